"""The older way to announce files, resource and datum: a device that writes HDF5, in a real RunEngine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from event_model import compose_resource
from ophyd import Device
from ophyd.status import Status

from tests.callbacks.edges import GRID, Counter, Energy, counts_of, documents
from xas_live.callbacks.assembly import legacy
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.spectrum import Spectrum


class FileCounter(Device):
    """Counts i0 and it into an HDF5 file, a row a trigger, and gives datum ids as ophyd's file plugins do."""

    def __init__(
        self, name: str, energy: Energy, path: Path, *, kwargs: str = "none", shape: tuple[int, ...] = ()
    ):
        super().__init__(name=name)
        self.energy, self.path, self.kwargs, self.shape = energy, path, kwargs, shape
        self._assets: list[tuple[str, Any]] = []
        self._factories: dict[str, Any] = {}

    def stage(self) -> list[Any]:
        self._rows = 0
        self._factories.clear()
        with h5py.File(self.path, "w", libver="latest") as file:
            for field in ("i0", "it"):
                rows = {"shape": (0, *self.shape), "maxshape": (None, *self.shape), "dtype": "f4"}
                file.create_dataset(f"/entry/{field}", chunks=True, **rows)
        return super().stage()

    def trigger(self) -> Status:
        counts = counts_of(self.energy.position)
        with h5py.File(self.path, "a", libver="latest") as file:
            for field in ("i0", "it"):
                data = file[f"/entry/{field}"]
                data.resize(self._rows + 1, axis=0)
                data[self._rows] = counts[field]
        self._rows += 1
        status = Status()
        status.set_finished()
        return status

    def describe(self) -> dict[str, Any]:
        key = {"dtype": "array", "dtype_numpy": "<f4", "source": "f", "external": "FILESTORE:"}
        return {field: {**key, "shape": list(self.shape)} for field in ("i0", "it")}

    def read(self) -> dict[str, Any]:
        found = {}
        for field in ("i0", "it"):
            if field not in self._factories:
                resource = compose_resource(
                    spec="AD_HDF5_SWMR", root=str(self.path.parent), resource_path=self.path.name,
                    resource_kwargs={"dataset": f"/entry/{field}", "swmr": False}, start=None,
                )  # fmt: skip
                document = {key: value for key, value in resource.resource_doc.items() if key != "run_start"}
                self._assets.append(("resource", document))
                self._factories[field] = resource.compose_datum
            arguments = {"none": {}, "point": {"point_number": self._rows - 1}}[self.kwargs]
            datum = self._factories[field](datum_kwargs=arguments)
            self._assets.append(("datum", datum))
            found[field] = {"value": datum["datum_id"], "timestamp": 1.7e9 + self._rows}
        return found

    def collect_asset_docs(self) -> Iterator[tuple[str, Any]]:
        assets, self._assets = self._assets, []
        yield from assets


def scanned(detector: Any, energy: Energy, *more: Any) -> tuple[list[Spectrum], list[Any]]:
    docs: list[Any] = []
    RE = RunEngine({})
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    path = [x for _ in range(2) for x in GRID]
    RE(bp.list_scan([detector, *more], energy, path, md={"element": "Pt", "edge": "L3"}))
    assembler = SpectrumAssembler()
    return [spectrum for name, doc in docs for spectrum in assembler(name, doc)], docs


@pytest.mark.parametrize("kwargs", ["none", "point"])
def test_counts_in_a_file_by_resource_and_datum(tmp_path, kwargs):
    energy = Energy(name="energy")
    found, docs = scanned(FileCounter("counter", energy, tmp_path / "c.h5", kwargs=kwargs), energy)
    assert {"resource", "datum"} <= {name for name, _ in docs}
    assert len(found) == 2
    times = [doc["time"] for name, doc in docs if name == "event"]
    for spectrum, last in zip(found, (times[len(GRID) - 1], times[-1]), strict=True):
        np.testing.assert_array_equal(spectrum.energy, GRID)
        for field in ("i0", "it"):
            np.testing.assert_array_equal(spectrum.counts[field], counts_of(GRID)[field].astype("<f4"))
        assert spectrum.complete
        assert spectrum.provenance.time == last


def test_datums_that_come_after_their_events(tmp_path):
    """Some services give the datums of a run when it is over."""
    energy = Energy(name="energy")
    expected, docs = scanned(FileCounter("counter", energy, tmp_path / "c.h5"), energy)
    datums = [pair for pair in docs if pair[0] == "datum"]
    others = [pair for pair in docs if pair[0] != "datum"]
    assembler = SpectrumAssembler()
    found = [s for name, doc in [*others[:-1], *datums, others[-1]] for s in assembler(name, doc)]
    assert [len(s) for s in found] == [len(GRID)] * 2
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.mu, b.mu)


def test_a_datum_that_never_comes_is_told(tmp_path):
    energy = Energy(name="energy")
    _, docs = scanned(FileCounter("counter", energy, tmp_path / "c.h5"), energy)
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    gone = {id(doc) for name, doc in [pair for pair in docs if pair[0] == "datum"][-6:]}  # i0 and it each
    found = [s for name, doc in docs if id(doc) not in gone for s in assembler(name, doc)]
    assert [len(s) for s in found] == [len(GRID)] * 2
    assert np.flatnonzero(np.isnan(found[1].mu)).tolist() == list(range(len(GRID) - 3, len(GRID)))
    assert np.isfinite(found[0].mu).all()
    assert any("3 events refer to data in files that no datum announced" in line for line in said)


def test_images_beside_the_scan_change_nothing(tmp_path, monkeypatch):
    """A camera's files are not the channels: events with its datums are not translated."""
    energy = Energy(name="energy")
    camera = FileCounter("camera", energy, tmp_path / "c.h5", shape=(4, 5))
    beside = [Counter(name=name, energy=energy) for name in ("ir", "iff")]
    translated: list[str] = []
    take = legacy.LegacyAssets.event

    def listening(self: legacy.LegacyAssets, doc: Any) -> Any:
        translated.append("event")
        return take(self, doc)

    monkeypatch.setattr(legacy.LegacyAssets, "event", listening)
    describe, read = camera.describe, camera.read
    renamed = {"i0": "camera_image", "it": "camera_other"}
    monkeypatch.setattr(camera, "describe", lambda: {renamed[k]: v for k, v in describe().items()})
    monkeypatch.setattr(camera, "read", lambda: {renamed[k]: v for k, v in read().items()})
    i0, it = (Counter(name=name, energy=energy) for name in ("i0", "it"))
    found, _ = scanned(camera, energy, i0, it, *beside)
    assembler = SpectrumAssembler()
    plain = [s for name, doc in documents(np.r_[GRID, GRID]) for s in assembler(name, doc)]
    assert [len(s) for s in found] == [len(GRID)] * 2
    np.testing.assert_allclose(found[0].mu, plain[0].mu)
    assert "event" not in translated


def test_a_resource_without_its_run_belongs_to_the_open_one(tmp_path):
    energy = Energy(name="energy")
    expected, docs = scanned(FileCounter("counter", energy, tmp_path / "c.h5"), energy)
    assert any("run_start" in doc for name, doc in docs if name == "resource")
    bare = [
        (name, {k: v for k, v in doc.items() if name != "resource" or k != "run_start"}) for name, doc in docs
    ]
    assembler = SpectrumAssembler()
    found = [spectrum for name, doc in bare for spectrum in assembler(name, doc)]
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.mu, other.mu)
