"""What goes into documents comes out of the assembler, number for number."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import event_model
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.sources.documents import documents, run_uid
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.sources.scan import Scan

numbers = st.floats(-1e7, 1e7, allow_subnormal=False)


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Scans with ascending energies and any numbers in their channels."""
    points = draw(st.integers(5, 40))
    steps = draw(st.lists(st.floats(1.0, 20.0), min_size=points, max_size=points))
    channels = {"energy": 11000.0 + np.cumsum(steps)}
    mode = draw(st.sampled_from(("mu", "transmission", "fluorescence")))
    needed = {"mu": ["mu"], "transmission": ["i0", "it"], "fluorescence": ["i0", "iff"]}[mode]
    for name in {*needed, *draw(st.sets(st.sampled_from(("mu", "reference", "i0", "it", "ir", "iff"))))}:
        channels[name] = np.array(draw(st.lists(numbers, min_size=points, max_size=points)))
    return Scan("folder/a file.dat", "a file.dat", channels, mode, "Pt", "L3", 300.0, 1.7e9)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(scans())
def test_documents_are_valid_and_hold_the_columns(scan: Scan) -> None:
    run = list(documents(scan))
    assert [name for name, _ in run] == ["start", "descriptor", "event_page", "stop"]
    for name, doc in run:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
        json.dumps(doc, allow_nan=False)
    data = run[2][1]["data"]
    assert set(data) == set(scan.channels) == set(run[1][1]["data_keys"])
    for name, column in scan.channels.items():
        np.testing.assert_array_equal(data[name], column)


@settings(max_examples=60, deadline=None)
@given(scans())
def test_spectra_have_the_columns_of_the_file(scan: Scan) -> None:
    (spectrum,) = spectra_of(scan)
    np.testing.assert_array_equal(spectrum.energy, scan.channels["energy"])
    for name, column in spectrum.counts.items():
        np.testing.assert_array_equal(column, scan.channels[name])
    assert set(spectrum.counts) == set(scan.channels) & {"i0", "it", "ir", "iff"}
    if "reference" in scan.channels:
        assert spectrum.reference is not None
        np.testing.assert_array_equal(spectrum.reference, scan.channels["reference"])
    if scan.mode == "mu":
        np.testing.assert_array_equal(spectrum.mu, scan.channels["mu"])
    assert (spectrum.mode, spectrum.element, spectrum.edge) == (scan.mode, "Pt", "L3")
    assert (spectrum.provenance.source, spectrum.provenance.scan) == (scan.source, scan.scan)
    assert (spectrum.complete, spectrum.temperature) == (True, 300.0)


def test_same_numbers_are_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "scan.dat"
    path.write_text("# energy mu\n" + "\n".join(f"{11000 + i} {i / 7}" for i in range(9)))
    (scan,) = read_file(path)
    assert isinstance(scan, Scan)
    moved = dataclasses.replace(scan, source="elsewhere", time=0.0)
    assert run_uid(scan) == run_uid(moved)
    assert run_uid(scan) != run_uid(
        dataclasses.replace(scan, channels={**scan.channels, "mu": scan.channels["mu"] + 1})
    )
    assert run_uid(scan) != run_uid(dataclasses.replace(scan, scan="another"))


def test_documents_of_a_file_are_understood_without_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "scan.dat"
    path.write_text("# energy i0 it ir\n" + "\n".join(f"{11000 + i} {2 + i} 1 0.5" for i in range(9)))
    (scan,) = read_file(path)
    assert isinstance(scan, Scan)
    assembler = SpectrumAssembler()
    (spectrum,) = [spectrum for name, doc in documents(scan) for spectrum in assembler(name, doc)]
    np.testing.assert_allclose(spectrum.mu, np.log(np.arange(9) + 2))
    np.testing.assert_allclose(spectrum.reference, np.log(2))
