"""FoilAnchor: finds how the beamline differs from theory, and refuses foils that do not fit."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.models.bundle import Bundle
from xas_live.models.registry import load_model
from xas_live.reduction.align import reference_shift
from xas_live.reduction.anchor import AnchorError, FoilAnchor, common_windows
from xas_live.reduction.normalize import Windows
from xas_live.reduction.quality import half_rise
from xas_live.reduction.saved_anchors import newest_anchor
from xas_live.simulator import Sample
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.spectrum import Provenance, Spectrum


def test_it_finds_the_simulated_mismatch(au_anchor):
    assert au_anchor.stretch == pytest.approx(1.02, abs=0.01)
    assert au_anchor.correlation > 0.97
    assert au_anchor.residual < 0.03


def test_a_foil_anchored_by_itself_returns_bulk_by_construction(au, au_anchor, scan_of):
    (prediction,) = Analyzer(au, au_anchor).analyze([scan_of(None, reference=None)])
    theory = np.interp(au.grid, au.array("theory_energy"), au.array("theory_bulk"))
    np.testing.assert_allclose(prediction.reduced.network_input, theory, atol=1e-9)
    assert prediction.values["CN1"].value == pytest.approx(12.0, abs=0.3)


def test_saved_and_loaded_it_is_the_same(au_anchor, tmp_path):
    again = FoilAnchor.load(au_anchor.save(tmp_path / "anchor"))
    assert again.sha256 == au_anchor.sha256
    np.testing.assert_array_equal(again.mu, au_anchor.mu)
    assert sorted(p.name for p in (tmp_path / "anchor").iterdir()) == ["anchor.json", "foil.safetensors"]


def test_the_newest_saved_anchor_is_found(au_anchor, scan_of, au, monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    assert newest_anchor("Au", "L3") is None
    older = FoilAnchor.fit(scan_of(None, shift=0.4, reference=None), au)
    os.utime(older.save() / "anchor.json", (1, 1))
    au_anchor.save()
    assert newest_anchor("Au", "L3").sha256 == au_anchor.sha256
    assert newest_anchor("Pt", "L3") is None


def test_a_broken_or_newer_anchor_is_refused_with_the_reason(au_anchor, tmp_path):
    with pytest.raises(AnchorError, match="no anchor can be read"):
        FoilAnchor.load(tmp_path)
    folder = au_anchor.save(tmp_path / "a")
    numbers = json.loads((folder / "anchor.json").read_text())
    (folder / "anchor.json").write_text(json.dumps(numbers | {"version": 99}))
    with pytest.raises(AnchorError, match="version"):
        FoilAnchor.load(folder)
    (folder / "anchor.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(AnchorError, match="element"):
        FoilAnchor.load(folder)
    for text in ("[1]", '{"version": 1', json.dumps(numbers | {"shift": "abc"})):
        (folder / "anchor.json").write_text(text)
        with pytest.raises(AnchorError, match="no anchor can be read"):
            FoilAnchor.load(folder)
    (folder / "anchor.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(AnchorError, match="no anchor can be read"):
        FoilAnchor.load(folder)
    (folder / "anchor.json").write_text(json.dumps(numbers))
    (folder / "foil.safetensors").write_bytes(b"not tensors")
    with pytest.raises(AnchorError, match="no anchor can be read"):
        FoilAnchor.load(folder)


@pytest.mark.parametrize("version", [2, 3])
def test_an_anchor_that_is_not_what_was_saved_is_refused(au_anchor, monkeypatch, tmp_path, version):
    """Of a flipped bit in the foil, or an edited number, predictions would not tell."""
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    folder = au_anchor.save()
    numbers = json.loads((folder / "anchor.json").read_text())
    if version == 2:
        numbers = {name: entry for name, entry in numbers.items() if name != "sha256"} | {"version": 2}
        (folder / "anchor.json").write_text(json.dumps(numbers))
    assert FoilAnchor.load(folder).sha256 == au_anchor.sha256
    sound = (folder / "foil.safetensors").read_bytes()
    for at in range(len(sound) - 8 * len(au_anchor.mu), len(sound), 37):
        flipped = bytearray(sound)
        flipped[at] ^= 1
        (folder / "foil.safetensors").write_bytes(flipped)
        with pytest.raises(AnchorError, match=r"not what was saved|do not ascend|no number"):
            FoilAnchor.load(folder)
    assert newest_anchor("Au", "L3") is None
    (folder / "foil.safetensors").write_bytes(sound)
    edited = {"shift": 0.5, "temperature": 77.0} if version == 2 else {"vouched": True, "noise": 0.5}
    for name, entry in edited.items():
        (folder / "anchor.json").write_text(json.dumps(numbers | {name: entry}))
        with pytest.raises(AnchorError, match="not what was saved"):
            FoilAnchor.load(folder)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_an_anchors_files_hold_the_error_is_its_own(au_anchor, tmp_path, data):
    folder = au_anchor.save(tmp_path / "anchor")
    name = data.draw(st.sampled_from(["anchor.json", "foil.safetensors"]))
    raw = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (folder / name).write_bytes(raw)
    with suppress(AnchorError):
        assert FoilAnchor.load(folder).sha256 == au_anchor.sha256


def test_an_anchor_whose_file_is_a_pipe_or_deep_json_is_refused(au_anchor, tmp_path):
    folder = au_anchor.save(tmp_path / "anchor")
    (folder / "anchor.json").write_text("[" * 100_000)
    with pytest.raises(AnchorError, match="no anchor can be read"):
        FoilAnchor.load(folder)
    (folder / "anchor.json").unlink()
    os.mkfifo(folder / "anchor.json")
    with pytest.raises(AnchorError, match=r"there is no file anchor\.json"):
        FoilAnchor.load(folder)


def test_an_unreadable_anchor_is_passed_by(au_anchor, monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "none yet"))
    assert newest_anchor("Au", "L3") is None
    assert not (tmp_path / "none yet").exists()
    au_anchor.save()
    broken = tmp_path / "none yet" / "anchors" / "Au-L3-broken"
    broken.mkdir()
    (broken / "anchor.json").write_text("{")
    assert newest_anchor("Au", "L3").sha256 == au_anchor.sha256


def test_an_anchor_of_another_theory_is_fitted_anew(au, au_anchor, scan_of):
    tensors = dict(au.tensors)
    tensors["theory_energy"] = tensors["theory_energy"] + 1.0
    other = Bundle(au.card, tensors, "")
    again = au_anchor.fitted_to(other)
    assert again.shift == pytest.approx(au_anchor.shift - 1.0, abs=0.2)
    assert au_anchor.fitted_to(au) is au_anchor


def test_where_the_foil_comes_from_does_not_change_predictions_nor_their_identity(au_anchor):
    assert replace(au_anchor, source="elsewhere", noise=0.1).sha256 == au_anchor.sha256
    assert replace(au_anchor, shift=9.0).sha256 != au_anchor.sha256


def test_a_noisy_foil_is_flagged(au, scan_of):
    anchor = FoilAnchor.fit(scan_of(None, noise=0.01, reference=None), au)
    (prediction,) = Analyzer(au, anchor).analyze([scan_of(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"))])
    assert "noisy_foil" in prediction.flags


def test_an_edge_above_the_foils_is_flagged_and_that_of_bare_metal_is_not():
    pt = load_model("pt-l3")
    grid = pt.grid
    theory = np.interp(grid, pt.array("theory_energy"), pt.array("theory_bulk"))
    assert half_rise(grid - 0.3, theory) == pytest.approx(half_rise(grid, theory) - 0.3)
    assert 0.1 <= float(pt.array("edge_rise_limit")[0]) < 0.25


@settings(deadline=None, max_examples=60)
@given(start=st.floats(-400, -20), end=st.floats(92, 1500), step=st.floats(0.5, 12))
def test_windows_fit_into_any_scan(start, end, step):
    axis = 11919.0 + np.arange(start, end, step)
    if axis[-1] < 11919 + 90:
        return
    long = 11919.0 + np.arange(-500.0, 2000.0, 1.0)
    windows = common_windows(Windows(-150, -50, 75, 600), [axis, long], 11919.0)
    assert start - 5 <= windows.pre1 < windows.pre2 < 0 < windows.norm1 < windows.norm2 <= end
    assert windows == common_windows(Windows(-150, -50, 75, 600), [long, axis], 11919.0)


def test_foils_that_do_not_fit_are_refused_with_the_reason(au, scan_of):
    foil = scan_of(None, reference=None)
    with pytest.raises(AnchorError, match="a Pt L3 foil cannot anchor au-l3"):
        FoilAnchor.fit(replace(foil, element="Pt"), au)
    with pytest.raises(AnchorError, match=r"edge lies at 1156\d eV"):
        FoilAnchor.fit(scan_of(None, "pt_l3", element=None, edge=None), au)
    with pytest.raises(AnchorError, match=r"bound|does not look like"):
        FoilAnchor.fit(replace(foil, energy=11919 + 0.8 * (foil.energy - 11919)), au)
    smooth = 0.5 + np.arctan((foil.energy - 11919) / 3) / np.pi
    with pytest.raises(AnchorError, match=r"does not look like Au metal|lies at the bound"):
        FoilAnchor.fit(replace(foil, mu=smooth), au)
    white_line = 0.8 * np.exp(-(((foil.energy - 11922) / 3) ** 2))
    with pytest.raises(AnchorError, match=r"does not look like Au metal|lies at the bound"):
        FoilAnchor.fit(replace(foil, mu=foil.mu + white_line), au)
    short = foil.energy < 11919 + 60
    with pytest.raises(AnchorError, match="ends at"):
        FoilAnchor.fit(replace(foil, energy=foil.energy[short], mu=foil.mu[short]), au)
    with pytest.raises(AnchorError, match="not usable: only 5 points"):
        FoilAnchor.fit(Spectrum(energy=foil.energy[:5], mu=foil.mu[:5]), au)


def test_an_anchor_of_another_metal_is_refused(au_anchor):
    with pytest.raises(ValueError, match="a Au L3 foil cannot anchor pt-l3"):
        Analyzer(load_model("pt-l3"), au_anchor)


@pytest.mark.parametrize("shift", [-3.0, 0.7])
def test_the_reference_channel_follows_an_energy_drift(au, au_anchor, scan_of, shift):
    sample = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")
    still, drifted = scan_of(sample), scan_of(sample, shift=shift)
    analyzer = Analyzer(au, au_anchor)
    first, second = analyzer.analyze([still, drifted])
    assert second.aligned == "reference"
    assert second.shift == pytest.approx(shift, abs=0.05)
    assert second.values["CN1"].value == pytest.approx(first.values["CN1"].value, abs=0.1)


def test_alignment_is_explicit(au, au_anchor, scan_of):
    scan = scan_of(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"), shift=2.5)
    bare = replace(scan, reference=None)

    def aligned(align, spectrum):
        (p,) = Analyzer(au, au_anchor, AnalysisConfig(align=align)).analyze([spectrum])
        return p

    assert aligned("none", scan).aligned == "none"
    assert "e0_differs_from_foil" in aligned("none", scan).flags
    assert "e0_differs_from_foil" in aligned("auto", bare).flags
    by_number = aligned(2.5, bare)
    assert by_number.aligned == "2.5 eV"
    assert by_number.values["CN1"].value == pytest.approx(aligned("auto", scan).values["CN1"].value, abs=0.1)
    assert "aligned_by_e0" in aligned("e0", bare).flags
    assert "no_reference" in aligned("reference", bare).flags


@pytest.mark.parametrize(
    ("model", "foil", "others"),
    [
        ("au-l3", "au_nanoparticles/14_Au_foil.dat",
         ["foils_nsls/Au_foil_Au_L3.dat", "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi"]),
        ("au-l3", "foils_nsls/Au_foil_Au_L3.dat",
         ["au_nanoparticles/14_Au_foil.dat", "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi"]),
        ("pt-l3", "foils_nsls/Pt_foil_Pt_L3.dat", ["foils_xdi/pt_metal_rt.xdi"]),
        ("pt-l3", "foils_xdi/pt_metal_rt.xdi", ["foils_nsls/Pt_foil_Pt_L3.dat"]),
    ],
)  # fmt: skip
def test_measured_foils_anchored_by_another_beamlines_are_bulk(measured, model, foil, others):
    bundle = load_model(model)

    def read(name):
        return spectra_of(read_file(measured / name)[0])[0]

    analyzer = Analyzer(bundle, FoilAnchor.fit(read(foil), bundle), AnalysisConfig(align="e0"))
    for prediction in analyzer.analyze([read(name) for name in others]):
        assert prediction.values["CN1"].value > 11.0
        assert prediction.in_domain


def test_a_reference_of_another_resolution_is_flagged(au, au_anchor, scan_of):
    scan = scan_of(None)
    step = 0.25
    mesh = np.arange(scan.energy[0], scan.energy[-1], step)
    fine = np.interp(mesh, scan.energy, scan.reference)
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * step / 1.5) ** 2)
    broad = np.convolve(np.pad(fine, 40, mode="edge"), kernel / kernel.sum(), mode="valid")
    blurred = replace(scan, reference=np.interp(scan.energy, mesh, broad))
    found = reference_shift(blurred.energy, blurred.reference, au_anchor.energy, au_anchor.mu, au_anchor.e0)
    assert found.broadening == pytest.approx(1.5, abs=0.4)
    same, other = Analyzer(au, au_anchor).analyze([scan, blurred])
    assert "resolution_differs" not in same.flags
    assert "resolution_differs" in other.flags
    assert other.values


def test_an_anchor_of_another_week_is_flagged(au, scan_of):
    now = 1_700_000_000.0
    at = {days: Provenance(time=now - 86400.0 * days) for days in (0, 3, 30)}
    scan = replace(scan_of(None, seed=1), provenance=at[0])
    for days, old in ((3, False), (30, True)):
        anchor = FoilAnchor.fit(replace(scan_of(None, reference=None), provenance=at[days]), au)
        (found,) = Analyzer(au, anchor).analyze([scan])
        assert ("anchor_old" in found.flags) == old
    (own,) = Analyzer(au, "reference").analyze([scan])
    assert "anchor_old" not in own.flags


def test_it_is_shown_in_one_line(au_anchor):
    text = repr(au_anchor)
    assert text.startswith("<FoilAnchor Au L3 of ")
    assert "residual 0.0" in text
    assert len(text) < 200
