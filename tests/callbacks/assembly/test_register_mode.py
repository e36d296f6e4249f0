"""A further detector mode, registered here, is known to files, live streams, checks and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.callbacks.edges import GRID, documents, mu_of
from xas_live import modes
from xas_live.callbacks.assembly import ChannelMapping, SpectrumAssembler
from xas_live.errors import Refusal
from xas_live.modes import I0, IT, Channel, CountCheck, DetectorMode, ratio, register_mode, unregister_mode
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.quality import Unusable, check, check_all
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.sources.scan import ColumnsError, Scan, parse_columns
from xas_live.spectrum import Spectrum

DRAIN = Channel("iey", aliases=("iey", "tey", "drain"))
TEY = DetectorMode("tey", (I0, DRAIN), lambda counts: ratio(counts["iey"], counts["i0"]))


@pytest.fixture
def electron_yield() -> Iterator[DetectorMode]:
    register_mode(TEY)
    yield TEY
    unregister_mode("tey")


def measured() -> dict[str, np.ndarray]:
    i0 = 1e6 + 1e4 * np.sin(GRID / 40.0)
    return {"energy": GRID, "i0": i0, "iey": i0 * mu_of(GRID) * 1e-4}


def live(
    fields: dict[str, str], mapping: ChannelMapping | None = None, *, page: bool = True, **columns: np.ndarray
) -> tuple[list[Spectrum], list[str]]:
    """What a live run of these fields gives, and what the user is told."""
    table = measured() | columns
    lines: list[str] = []
    assembler = SpectrumAssembler(mapping, say=lines.append)
    spectra = []
    names = {channel: name for channel, name in fields.items() if channel != "iey"}
    key = {"dtype": "number", "shape": [], "source": "test"}
    run = documents(GRID, fields=names, page=[len(GRID)] if page else (), extra_keys={fields["iey"]: key})
    for k, (kind, doc) in enumerate(run):
        if kind in ("event", "event_page"):
            for channel, name in fields.items():
                doc["data"][name] = table[channel].tolist() if page else float(table[channel][k - 2])
        spectra += assembler(kind, doc)
    return spectra, lines


@pytest.mark.parametrize("page", [True, False])
@pytest.mark.parametrize("name", ["sample_drain", "tey", "iey_counts"])
def test_a_live_stream_is_recognised(electron_yield, name, page):
    [spectrum], lines = live({"energy": "energy", "i0": "i0", "iey": name}, page=page)
    assert spectrum.mode == "tey"
    np.testing.assert_array_equal(spectrum.mu, measured()["iey"] / measured()["i0"])
    np.testing.assert_array_equal(spectrum.counts["iey"], measured()["iey"])
    [line] = lines
    assert f"tey: energy = energy (eV), i0 = i0, iey = {name}" in line
    assert f"others={{'iey': '{name}'}}" in line
    assert check(spectrum).flags == ()


def test_its_fields_can_be_named(electron_yield):
    mapping = ChannelMapping(
        energy="energy", i0="i0", others={"iey": "keithley"}, dark={"iey": 5.0, "i0": 10.0}
    )
    assert eval(str(mapping)) == mapping
    [spectrum], lines = live({"energy": "energy", "i0": "i0", "iey": "keithley"}, mapping)
    assert lines == []
    table = measured()
    np.testing.assert_allclose(spectrum.mu, (table["iey"] - 5.0) / (table["i0"] - 10.0), rtol=1e-12)


def test_other_modes_are_preferred_unless_it_is_asked_for(electron_yield):
    fields = {"energy": "energy", "i0": "i0", "it": "it", "iey": "drain"}
    it = measured()["i0"] * np.exp(-mu_of(GRID))
    [spectrum], _ = live(fields, it=it)
    assert spectrum.mode == "transmission"
    np.testing.assert_allclose(spectrum.mu, mu_of(GRID))
    [asked], _ = live(fields, ChannelMapping(mode="tey"), it=it)
    assert asked.mode == "tey"


def test_a_file_is_read_by_its_header_or_by_column_numbers(electron_yield, tmp_path: Path):
    table = measured()
    path = tmp_path / "drain.dat"
    for header, columns in (("# energy i0 TEY", None), ("", parse_columns("energy=0,i0=1,iey=2"))):
        np.savetxt(
            path, np.column_stack([table[c] for c in ("energy", "i0", "iey")]), header=header, comments=""
        )
        [scan] = read_file(path, columns=columns)
        assert isinstance(scan, Scan)
        assert scan.mode == "tey"
        [spectrum] = spectra_of(scan)
        assert spectrum.mode == "tey"
        np.testing.assert_array_equal(spectrum.mu, table["iey"] / table["i0"])


def test_the_command_line_names_it(electron_yield):
    with pytest.raises(ColumnsError, match="or i0 and iff, or i0 and iey"):
        parse_columns("energy=0,i0=1")
    with pytest.raises(ColumnsError, match="i0, it, ir, iff, iey"):
        parse_columns("energy=0,xeol=1")
    from xas_live.cli import app

    found = CliRunner().invoke(app, ["replay", "x.dat", "--mode", "xeol"])
    assert found.exit_code == 2
    assert "transmission, fluorescence, mu, tey" in " ".join(found.output.split())


def test_its_counts_are_checked(electron_yield):
    table = measured()
    dead = Spectrum.from_counts(GRID, {"i0": table["i0"], "iey": 0 * GRID}, mode="tey")
    with pytest.raises(Unusable, match="iey is 0 at every point"):
        check(dead)
    below = Spectrum.from_counts(GRID, {"i0": table["i0"], "iey": -table["iey"]})
    with pytest.raises(Unusable, match="iey is negative at every point"):
        check(below)
    good = Spectrum.from_counts(GRID, {"i0": table["i0"], "iey": table["iey"]})
    found = check_all([good, dead, below], AxisCache())
    assert [isinstance(each, Unusable) for each in found] == [False, True, True]


def test_counts_of_a_mode_that_this_process_does_not_know_are_checked_all_the_same():
    table = measured()
    foreign = Spectrum(GRID, mu_of(GRID), counts={"i0": table["i0"], "iey": 0 * GRID}, mode="tey")
    with pytest.raises(Unusable, match="iey is 0 at every point"):
        check(foreign)


def test_only_fluorescence_is_flattened_by_the_sample(electron_yield):
    flattened = [name for name in modes.mode_names() if modes.is_self_absorbed(name)]
    assert flattened == ["fluorescence"]
    assert not modes.is_self_absorbed("unknown here")


def test_what_cannot_be_registered_is_refused(electron_yield):
    register_mode(TEY)  # once more is nothing new
    with pytest.raises(Refusal, match="mode 'tey' exists"):
        register_mode(DetectorMode("tey", (I0, DRAIN), lambda counts: counts["iey"]))
    with pytest.raises(Refusal, match="mode 'none' needs at least one channel"):
        register_mode(DetectorMode("none", (), lambda counts: counts["i0"]))
    with pytest.raises(Refusal, match="channel 'i0' exists with other properties"):
        register_mode(DetectorMode("other", (Channel("i0"), IT), lambda counts: counts["i0"]))
    with pytest.raises(Refusal, match="comes in 'mu' only"):
        register_mode(DetectorMode("other", (Channel("mu2", counted=False),), lambda counts: counts["mu2"]))
    with pytest.raises(Refusal, match="other than energy"):
        Channel("energy")
    with pytest.raises(Refusal, match="cannot be taken out"):
        unregister_mode("transmission")
    with pytest.raises(Refusal, match=r"others are fields of further channels \(iey\), not of i0"):
        ChannelMapping(others={"i0": "x"})


def test_nothing_is_left_of_a_mode_that_was_taken_out():
    before = (modes.mode_names(), modes.all_channels())
    register_mode(TEY)
    assert modes.mode_names() == (*before[0], "tey")
    unregister_mode("tey")
    assert (modes.mode_names(), modes.all_channels()) == before
    with pytest.raises(Refusal, match=r"transmission, fluorescence, mu$"):
        ChannelMapping(mode="tey")
    with pytest.raises(Refusal, match=r"\(none registered\), not of iey"):
        ChannelMapping(others={"iey": "x"})


def test_an_installed_package_adds_a_mode(monkeypatch, caplog):
    class EntryPoint:
        name = value = "tey"

        def __init__(self, what: object) -> None:
            self.what = what

        def load(self) -> object:
            if isinstance(self.what, Exception):
                raise self.what
            return self.what

    points = [EntryPoint(ImportError("no module drain")), EntryPoint(TEY)]
    monkeypatch.setattr(modes, "entry_points", lambda group: points if group == modes.ENTRY_POINTS else [])
    monkeypatch.setattr(modes, "_installed_are_known", False)
    try:
        assert "tey" in modes.mode_names()
        assert modes.find_mode("tey") is TEY
        assert "no module drain" in caplog.text
        assert modes.is_in_every_process("tey")
    finally:
        unregister_mode("tey")
    assert not modes.is_in_every_process("tey")


def test_a_beam_is_checked_for_zeros():
    assert I0.check is CountCheck.BEAM
    table = measured()
    none = np.where(np.arange(len(GRID)) % 10 == 0, 0.0, table["i0"])
    with pytest.raises(Unusable, match=r"i0 is zero at 11 % of the points: no beam\?"):
        check(Spectrum(GRID, mu_of(GRID), counts={"i0": none, "it": table["i0"]}, mode="transmission"))
