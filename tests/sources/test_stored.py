"""Runs stored in a real Tiled server come back as the spectra that were stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
import pytest
from bluesky import RunEngine

from xas_live.archive import Archive, RunWriter
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.energy import xanes_grid
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.sources.documents import documents
from xas_live.sources.files import read_file
from xas_live.sources.scan import Scan, Unreadable
from xas_live.sources.stored import StoredRun, stored_runs
from xas_live.spectrum import Spectrum

SCAN_ID = 4701  # no other test's runs in the archive have it


@pytest.fixture(scope="module")
def writer(archive: Archive) -> RunWriter:
    return archive.raw_writer()


@pytest.fixture(scope="module")
def stored(writer: RunWriter, tmp_path_factory: pytest.TempPathFactory) -> list[Spectrum]:
    """A simulated scan and a file, in the archive; as the assembler saw them before."""
    path = tmp_path_factory.mktemp("files") / "foil.dat"
    path.write_text("# energy mu\n" + "\n".join(f"{11500 + i} {np.tanh(i - 64)}" for i in range(200)))
    (scan,) = read_file(path)
    assert isinstance(scan, Scan)
    assembler = SpectrumAssembler()
    spectra: list[Spectrum] = []

    def take(name: str, doc: Any) -> None:
        writer(name, doc)
        spectra.extend(assembler(name, doc))

    energies = xanes_grid(11564.0)[::4]
    RunEngine({"scan_id": SCAN_ID - 1})(
        simulated_scan(SimulatedBeamline(), growth(2)[0], energies=energies), take
    )
    for name, doc in documents(scan):
        take(name, doc)
    assert writer.flush(60)
    return spectra


def test_stored_runs_give_the_same_spectra(archive: Archive, stored: list[Spectrum]) -> None:
    runs = stored_runs(archive.client, [str(s.provenance.run_uid) for s in stored], archive.uri)
    for run, before in zip(runs, stored, strict=True):
        assert isinstance(run, StoredRun)
        assembler = SpectrumAssembler()
        docs = list(run.documents())
        for name, doc in docs:
            event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
        (after,) = [spectrum for name, doc in docs for spectrum in assembler(name, doc)]
        np.testing.assert_array_equal(after.energy, before.energy)
        np.testing.assert_array_equal(after.mu, before.mu)
        assert (after.element, after.edge, after.complete) == (before.element, before.edge, True)
        assert after.provenance.run_uid == before.provenance.run_uid
    assert [run.scan for run in runs] == [str(SCAN_ID), "foil.dat"]


def test_runs_are_found_by_short_uids_and_scan_ids(archive: Archive, stored: list[Spectrum]) -> None:
    uid = str(stored[0].provenance.run_uid)
    for name in (uid[:8], str(SCAN_ID)):
        (run,) = stored_runs(archive.client, [name])
        assert isinstance(run, StoredRun)
        assert next(doc["uid"] for _, doc in run.documents()) == uid
    assert run.source.startswith("http://127.0.0.1")


def test_fly_scans_whose_detectors_write_files(
    archive: Archive, writer: RunWriter, detector_folder: Path
) -> None:
    path = detector_folder / "fly.h5"
    columns = {"energy": np.linspace(11400.0, 11800.0, 50), "mu": np.linspace(0.0, 1.0, 50)}
    with h5py.File(path, "w") as file:
        file.update(columns)
    run = event_model.compose_run(metadata={"plan_name": "fly", "scan_id": 5, "element": "Pt", "edge": "L3"})
    key = {"source": "file", "dtype": "number", "dtype_numpy": "<f8", "shape": [1], "external": "STREAM:"}
    stream = run.compose_descriptor(
        name="primary",
        data_keys={"energy": {**key, "units": "eV"}, "mu": key},
        object_keys={"detector": list(columns)},
        configuration={"detector": {"data": {}, "timestamps": {}, "data_keys": {}}},
        hints={},
    )
    documents = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    for name in columns:
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key=name,
            parameters={"dataset": name, "chunk_shape": [50], "swmr": False},
        )
        datum = resource.compose_stream_datum(
            indices={"start": 0, "stop": 50},
            seq_nums={"start": 1, "stop": 51},
            descriptor=stream.descriptor_doc,
        )
        documents += [("stream_resource", resource.stream_resource_doc), ("stream_datum", datum)]
    assembler = SpectrumAssembler()
    for name, doc in [*documents, ("stop", run.compose_stop())]:
        writer(name, dict(doc))
    assert writer.flush(60)
    (entry,) = stored_runs(archive.client, [run.start_doc["uid"]])
    assert isinstance(entry, StoredRun)
    (spectrum,) = [s for name, doc in entry.documents() for s in assembler(name, doc)]
    np.testing.assert_array_equal(spectrum.energy, columns["energy"])
    np.testing.assert_array_equal(spectrum.mu, columns["mu"])


def test_missing_runs_say_so(archive: Archive) -> None:
    for name in ("0123abcd-0000-0000-0000-000000000000", "no", "4711"):
        (entry,) = stored_runs(archive.client, [name])
        assert isinstance(entry, Unreadable)
        assert "no such run" in entry.reason
