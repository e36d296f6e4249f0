"""Documents to spectra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.callbacks.edges import GRID, counts_of, documents, mu_of
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.messages import Messages
from xas_live.callbacks.assembly.run import AssemblySettings, RunAssembler
from xas_live.errors import Refusal
from xas_live.spectrum import Spectrum


def assemble(stream, **kwargs) -> list[Spectrum]:
    assembler = SpectrumAssembler(**kwargs)
    return [spectrum for name, doc in stream for spectrum in assembler(name, doc)]


def same(one: Spectrum, other: Spectrum) -> bool:
    return (
        np.array_equal(one.energy, other.energy)
        and np.array_equal(one.mu, other.mu, equal_nan=True)
        and one.complete == other.complete
        and one.provenance.sweep == other.provenance.sweep
        and one.provenance.time == other.provenance.time
    )


def test_a_run_becomes_a_spectrum():
    [spectrum] = assemble(documents(GRID, scan_id=7, element="Pt", edge="L3", sample_name="foil", beam="on"))
    np.testing.assert_array_equal(spectrum.energy, GRID)
    np.testing.assert_allclose(spectrum.mu, mu_of(GRID))
    np.testing.assert_allclose(spectrum.reference, mu_of(GRID))
    assert set(spectrum.counts) == {"i0", "it", "ir"}
    assert (spectrum.element, spectrum.edge, spectrum.mode) == ("Pt", "L3", "transmission")
    assert spectrum.complete
    where = spectrum.provenance
    assert (where.source, where.scan, where.scan_id, where.stream, where.sweep) == (
        "live",
        "7",
        7,
        "primary",
        0,
    )
    assert where.time == 1.7e9 + len(GRID) - 1
    assert where.metadata == {"sample_name": "foil"}


@given(
    sweeps=st.integers(1, 4),
    back=st.booleans(),
    page=st.lists(st.integers(1, 70), max_size=8),
    aborted=st.booleans(),
    lost=st.integers(0, 40),
)
@settings(deadline=None, max_examples=40)
def test_paging_changes_nothing(sweeps, back, page, aborted, lost):
    parts = [GRID[::-1] if back and k % 2 else GRID for k in range(sweeps)]
    energy = np.concatenate(parts)[: len(GRID) * sweeps - lost]
    status = "abort" if aborted else "success"
    single = assemble(documents(energy, exit_status=status))
    paged = assemble(documents(energy, exit_status=status, page=page))
    whole = assemble(documents(energy, exit_status=status, page=[len(energy)]))
    assert len(single) == len(paged) == len(whole) == sweeps
    assert all(map(same, single, paged))
    assert all(map(same, single, whole))
    for spectrum in single[:-1]:
        assert spectrum.complete
        np.testing.assert_array_equal(spectrum.energy, GRID)
    # The sweeps before tell how far the last should have gone; a single one only how the run ended.
    cut_short = aborted if sweeps == 1 else lost > (1 if aborted else 6)
    if not 1 <= lost <= 6 or sweeps == 1:  # near the limits either is fine
        assert single[-1].complete is not cut_short


def test_an_aborted_run_gives_its_sweep_as_incomplete():
    [whole, cut] = assemble(documents(np.r_[GRID, GRID[:30]], exit_status="abort"))
    assert whole.complete
    assert not cut.complete
    [all_there] = assemble(documents(GRID, exit_status="fail"))
    assert not all_there.complete  # nothing says how far it should have gone


def test_keV_with_a_unit_becomes_eV():
    [spectrum] = assemble(documents(GRID / 1000, units="keV"))
    np.testing.assert_allclose(spectrum.energy, GRID)
    [as_is] = assemble(documents(GRID / 1000, units=""))
    np.testing.assert_allclose(as_is.energy, GRID / 1000)


def test_the_energies_tell_element_and_edge():
    [spectrum] = assemble(documents(GRID))
    assert (spectrum.element, spectrum.edge, spectrum.absorber_guessed) == ("Pt", "L3", True)
    [named] = assemble(documents(GRID, element="Pt"))  # what the metadata name is not guessed
    assert (named.element, named.edge, named.absorber_guessed) == ("Pt", "L3", False)
    [given_by_hand] = assemble(documents(GRID), mapping=ChannelMapping(element="Au", edge="L3"))
    assert given_by_hand.element == "Au"


def test_missing_values_are_nan():
    def spoil(stream):
        for k, (name, doc) in enumerate(stream):
            if name == "event" and k == 10:
                doc["filled"] = {"it": False}
                doc["data"]["it"] = "some-datum-id"
            if name == "event" and k == 11:
                doc["data"]["it"] = None
            if name == "event" and k == 12:
                del doc["data"]["it"]
            yield name, doc

    [spectrum] = assemble(spoil(documents(GRID)))
    assert np.flatnonzero(np.isnan(spectrum.mu)).tolist() == [8, 9, 10]
    assert np.isfinite(spectrum.counts["i0"]).all()


@pytest.mark.parametrize("page", [(), (30, 70, 200)])
def test_each_direction_has_its_own_offset(page):
    energy = np.r_[GRID, GRID[::-1], GRID]
    mapping = ChannelMapping(up_offset=-0.25, down_offset=0.5)
    spectra = assemble(documents(energy, page=page), mapping=mapping)
    for spectrum, offset in zip(spectra, (-0.25, 0.5, -0.25), strict=True):
        np.testing.assert_array_equal(spectrum.energy, GRID + offset)
        np.testing.assert_allclose(spectrum.mu, mu_of(GRID))
    [up, down, _] = assemble(documents(energy, page=page), mapping=ChannelMapping(down_offset=0.5))
    np.testing.assert_array_equal(up.energy, GRID)
    np.testing.assert_array_equal(down.energy, GRID + 0.5)
    [whole] = assemble(documents(GRID[::-1]), mapping=mapping, whole_runs=True)
    np.testing.assert_array_equal(whole.energy, GRID + 0.5)


def test_the_growing_sweep_has_its_offset():
    assembler = SpectrumAssembler(ChannelMapping(down_offset=0.5))
    for name, doc in list(documents(np.r_[GRID, GRID[::-1]]))[:-5]:
        assembler(name, doc)
    growing = assembler.growing
    assert growing is not None
    assert set(growing.energy - 0.5) <= set(GRID)


def test_fine_noisy_sweeps_know_their_direction():
    fine = np.arange(GRID[0], GRID[0] + 60, 0.1)
    noise = np.random.default_rng(3).uniform(-0.9, 0.9, (2, len(fine)))
    energy = np.r_[fine + noise[0], fine[::-1] + noise[1]]
    mapping = ChannelMapping(down_offset=50.0)
    up, down = assemble(documents(energy, page=[len(energy)]), mapping=mapping)
    assert up.energy.min() == pytest.approx(GRID[0], abs=2)
    assert down.energy.min() == pytest.approx(GRID[0] + 50, abs=2)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_an_offset_that_is_no_number_is_refused(wrong):
    with pytest.raises(ValueError, match=r"down_offset=.*give a number of eV"):
        ChannelMapping(down_offset=wrong)


def test_dark_offsets_and_fluorescence():
    fields = {"energy": "mono", "i0": "a", "iff": "b"}
    mapping = ChannelMapping(energy="mono", i0="a", iff="b", dark={"i0": 100.0})
    [spectrum] = assemble(documents(GRID, fields=fields), mapping=mapping)
    assert spectrum.mode == "fluorescence"
    counts = counts_of(GRID)
    np.testing.assert_allclose(spectrum.mu, counts["iff"] / (counts["i0"] - 100.0))


def test_a_pass_in_one_event():
    """A flyer that hands over all points of a pass in one event."""

    def passes():
        [start, descriptor, *_, stop] = list(documents(GRID))
        yield start
        yield descriptor
        for k in range(3):
            data = {"energy": GRID} | counts_of(GRID)
            yield (
                "event",
                {
                    "descriptor": descriptor[1]["uid"],
                    "data": data,
                    "time": 5.0 + k,
                    "seq_num": k + 1,
                    "uid": "e",
                },
            )
        yield stop

    spectra = assemble(passes())
    assert [len(s) for s in spectra] == [len(GRID)] * 3
    assert [s.provenance.time for s in spectra] == [5.0, 6.0, 7.0]


def test_uneven_channels_lose_only_their_own_event():
    assembler = SpectrumAssembler()
    run = list(documents(GRID))
    for name, doc in run[:20]:
        assembler(name, doc)
    with pytest.raises(Refusal, match="field 'it' of stream 'primary' has 3 values for 1 energies"):
        assembler("event", run[20][1] | {"data": run[20][1]["data"] | {"it": [1.0, 2.0, 3.0]}})
    spectra = [s for name, doc in run[21:] for s in assembler(name, doc)]
    assert [len(s) for s in spectra] == [len(GRID) - 1]


def test_interleaved_runs_do_not_mix():
    one = list(documents(GRID, scan_id=1))
    two = list(
        documents(GRID[::-1][:-5], scan_id=2, fields={"energy": "mono_energy", "i0": "I0", "iff": "pips"})
    )
    mixed = [item for pair in itertools.zip_longest(one, two) for item in pair if item is not None]
    spectra = {s.provenance.scan_id: s for s in assemble(mixed)}
    np.testing.assert_array_equal(spectra[1].energy, GRID)
    np.testing.assert_array_equal(spectra[2].energy, GRID[5:])
    assert spectra[2].mode == "fluorescence"


def test_it_says_what_it_guessed_once():
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    for _ in range(3):
        for name, doc in documents(GRID):
            assembler(name, doc)
    [line] = said
    assert "energy = energy (eV), i0 = i0, it = it, ir = ir" in line
    assert "mapping=ChannelMapping(energy='energy'" in line


def test_it_says_once_why_there_are_no_spectra():
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    for scan, motor in ((4, "slit"), (5, "slit"), (6, "table")):
        for name, doc in documents(GRID, fields={"energy": motor, "i0": "i0"}, units="mm", scan_id=scan):
            assert assembler(name, doc) == []
    assert len(said) == 2
    assert "Run 4 gives no spectra: no energy among" in said[0]
    assert "i0, slit" in said[0]
    assert "i0, table" in said[1]


def test_temperature_from_start_and_baseline():
    [hot] = assemble(documents(GRID, sample={"temperature": 500}))
    assert hot.temperature == 500.0
    baseline = list(
        documents(
            [GRID[0]],
            stream="baseline",
            extra_keys={
                "sample_temperature": {"dtype": "number", "shape": [], "source": "x", "units": "degC"}
            },
        )
    )
    run = list(documents(GRID))
    baseline[1][1]["run_start"] = run[0][1]["uid"]
    [warm] = assemble([run[0], *baseline[1:-1], *run[1:]])
    assert warm.temperature == pytest.approx(573.15)


@pytest.mark.parametrize("misread", [30.0, -30.0])
def test_a_whole_run_is_one_sweep_whatever_its_energies_do(misread):
    energy = GRID.copy()
    energy[20] += misread
    [spectrum] = assemble(documents(energy), whole_runs=True)
    np.testing.assert_array_equal(spectrum.energy, energy)  # as measured, for the quality checks to name
    [back] = assemble(documents(energy[::-1], page=[len(GRID)]), whole_runs=True)
    np.testing.assert_array_equal(back.energy, energy)
    [twice] = assemble(documents(np.r_[GRID, GRID]), whole_runs=True)
    assert len(twice) == 2 * len(GRID)
    assert twice.complete


def test_of_very_many_numbers_in_the_metadata_the_first_go_with_a_sweep():
    numbers = {f"motor_{k}": float(k) for k in range(3000)}
    [spectrum] = assemble(documents(GRID, element="Pt", edge="L3", sample_name="A", **numbers))
    kept = spectrum.provenance.metadata
    assert kept["sample_name"] == "A"
    assert kept["motor_0"] == 0.0
    assert len(kept) <= 1010


def test_growing():
    assembler = SpectrumAssembler()
    assert assembler.growing is None
    run = list(documents(np.r_[GRID, GRID[::-1]]))
    for name, doc in run[:22]:
        assembler(name, doc)
    growing = assembler.growing
    assert growing is not None
    assert not growing.complete
    np.testing.assert_array_equal(growing.energy, GRID[:20])
    for name, doc in run[22:]:
        assembler(name, doc)
    assert assembler.growing is None


def test_documents_without_a_descriptor_make_no_sweep():
    run = list(documents(GRID))
    assert [spectrum.complete for spectrum in assemble(run[1:])] == [False]  # without its start document
    assert assemble(run[2:]) == []


@pytest.mark.parametrize("page", [(), (30, 70)])
def test_a_run_can_be_assembled_alone(page):
    run = list(documents(np.r_[GRID, GRID[::-1]], page=page, scan_id=3))
    lines: list[str] = []
    settings = AssemblySettings(mapping=None, source="live", tolerance=2.0, whole_runs=False)
    alone = RunAssembler(run[0][1], settings, Messages(lines.append))
    spectra = [spectrum for name, doc in run[1:] for spectrum in getattr(alone, name)(doc)]
    assert alone.points == 2 * len(GRID)
    assert all(map(same, spectra, assemble(run)))
    assert len(spectra) == 2
    [line] = lines
    assert line.startswith("Stream 'primary', transmission")


def test_nothing_is_kept_of_runs_that_ended():
    assembler = SpectrumAssembler()
    for run in (documents(GRID), documents(GRID[:3]), documents(GRID, fields={"energy": "slit"}, units="mm")):
        for name, doc in run:
            assembler(name, doc)
    assert assembler.fragments == 1
    assert assembler.growing is None
    assert not assembler._runs
    assert not assembler._parts


def test_runs_that_never_end_are_given_up(monkeypatch):
    monkeypatch.setattr("xas_live.callbacks.assembly.assembler.MOST_RUNS", 3)
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    runs = [list(documents(GRID, scan_id=k)) for k in range(6)]
    for run in runs[:3]:
        for name, doc in run[:20]:
            assembler(name, doc)
    assembler(*runs[0][20])  # so that the second got a document longest ago
    assert not any("not ended" in line for line in said)
    for run in runs[3:]:
        for name, doc in run[:20]:
            assembler(name, doc)
        assembler(*runs[0][21])  # the first goes on all the time
    spectra = [s for run in runs for name, doc in run[20:] for s in assembler(name, doc)]
    assert [s.provenance.scan_id for s in spectra] == [0, 4, 5]
    assert len([line for line in said if "More than 3 runs have begun and not ended" in line]) == 1
    assert assembler.growing is None
    assert not assembler._runs
    assert not assembler._parts


def test_a_run_that_begins_twice_is_read_as_begun_last():
    assembler = SpectrumAssembler()
    run = list(documents(GRID))
    for name, doc in run[:20]:
        assembler(name, doc)
    [spectrum] = [s for name, doc in run for s in assembler(name, doc)]
    assert len(spectrum) == len(GRID)
    assert not assembler._parts
