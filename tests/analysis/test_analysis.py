"""Analyzer: the one way from spectra to predictions."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from xas_live.analysis import AnalysisConfig, Analyzer, AnalyzerPool
from xas_live.analysis.analyzer import DeviceError
from xas_live.errors import Refusal
from xas_live.models.bundle import ModelError
from xas_live.models.outputs.intervals import LevelError
from xas_live.models.registry import load_model
from xas_live.reduction.align import AlignmentError
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.reduction.grid import BeyondDataError
from xas_live.reduction.quality import Unusable
from xas_live.reduction.standards import StandardError
from xas_live.simulator import DEMO_PARTICLES, Sample, growth
from xas_live.spectrum import Spectrum

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


@pytest.mark.parametrize("library", ["au_l3", "pt_l3", "pd_k"])
def test_growing_particles_come_out_as_they_are(scan_of, library):
    samples = growth(10, library)
    pool = AnalyzerPool(anchor="reference")
    predictions = pool.analyze([scan_of(s, library, noise=0.002, seed=i) for i, s in enumerate(samples)])
    error = [p.values["CN1"].value - s.truth()["CN1"] for p, s in zip(predictions, samples, strict=True)]
    assert np.abs(error).mean() < 0.4
    inside = [
        p.values[f"CN{i}"].lower <= s.truth()[f"CN{i}"] <= p.values[f"CN{i}"].upper
        for p, s in zip(predictions, samples, strict=True)
        for i in (1, 2, 3, 4)
    ]
    assert np.mean(inside) >= 0.85
    assert np.mean([p.in_domain for p in predictions]) >= 0.9


@pytest.mark.parametrize("model", ["au-l3", "pt-l3", "pd-k"])
def test_the_demos_particles_took_no_part_in_training(model):
    assert set(DEMO_PARTICLES) <= set(load_model(model).card.training["left_out_particles"])


def test_a_batch_gives_what_its_members_give_alone(au, au_anchor, scan_of):
    analyzer = Analyzer(au, au_anchor)
    scans = [scan_of(s, noise=0.003, seed=i, shift=0.1 * i) for i, s in enumerate(growth(6, "au_l3"))]
    together = analyzer.analyze(scans)
    for scan, batched in zip(scans, together, strict=True):
        (alone,) = analyzer.analyze([scan])
        for name, value in alone.values.items():
            assert value.value == pytest.approx(batched.values[name].value, abs=1e-4)
            assert value.upper == pytest.approx(batched.values[name].upper, abs=1e-3)
        assert alone.flags == batched.flags


def test_refused_spectra_keep_their_place(au, au_anchor, scan_of):
    good = scan_of(SAMPLE)
    bad = replace(good, mu=-good.mu)
    results = Analyzer(au, au_anchor).analyze([bad, good, bad, good])
    assert [p.refused is None for p in results] == [False, True, False, True]
    assert Analyzer(au, au_anchor).analyze([]) == []


def test_without_an_anchor_it_says_so(au, scan_of):
    (prediction,) = Analyzer(au).analyze([scan_of(SAMPLE, reference=None)])
    assert not prediction.anchored
    assert "unanchored" in prediction.flags
    assert prediction.values


def test_a_higher_level_gives_wider_intervals(au, au_anchor, scan_of):
    widths = []
    for level in (0.6, 0.9, 0.95):
        (p,) = Analyzer(au, au_anchor, AnalysisConfig(level=level)).analyze([scan_of(SAMPLE)])
        assert p.values["CN1"].level == level
        widths.append(p.values["CN1"].upper - p.values["CN1"].lower)
    assert widths == sorted(widths)
    with pytest.raises(ValidationError, match="level"):
        AnalysisConfig(level=0.999)
    for align in (float("inf"), float("nan"), 80.0):
        with pytest.raises(ValidationError, match="align"):
            AnalysisConfig(align=align)


def test_temperatures_that_differ_are_flagged(au, au_anchor, scan_of):
    anchor = replace(au_anchor, temperature=295.0)
    scan = replace(scan_of(SAMPLE), temperature=600.0)
    (hot,) = Analyzer(au, anchor).analyze([scan])
    assert "temperature_differs" in hot.flags
    (unknown,) = Analyzer(au, anchor).analyze([replace(scan, temperature=None)])
    assert "temperature_unknown" in unknown.flags
    (alike,) = Analyzer(au, anchor).analyze([replace(scan, temperature=320.0)])
    assert not [f for f in alike.flags if f.startswith("temperature")]


def test_the_pool_picks_the_model_by_absorber(scan_of):
    pool = AnalyzerPool(anchor="reference")
    samples = [Sample({"cuboctahedron_7_3": 1.0}, library) for library in ("pt_l3", "au_l3", "pt_l3")]
    found = pool.analyze([scan_of(s, s.library) for s in samples])
    assert [p.model for p in found] == ["pt-l3", "au-l3", "pt-l3"]
    (iron,) = pool.analyze([scan_of(SAMPLE, element="Fe", edge="K")])
    assert iron.refused.startswith("no model for Fe K: shipped are")


def test_auto_prefers_the_reference_channel_then_a_saved_anchor(scan_of, au_anchor, monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    scan = scan_of(SAMPLE)
    bare = replace(scan, reference=None)
    (p,) = AnalyzerPool().analyze([scan])
    assert (p.anchored, p.aligned, p.configuration["anchor"]) == (True, "reference", "reference")
    assert not AnalyzerPool().analyze([bare])[0].anchored
    au_anchor.save()
    (p,) = AnalyzerPool().analyze([bare])
    assert p.configuration["anchor"] == au_anchor.sha256
    spoilt = replace(scan, reference=np.random.default_rng(0).random(len(scan)))
    (p,) = AnalyzerPool().analyze([spoilt])
    assert p.anchored
    assert "bad_reference" in p.flags


def test_predictions_become_json(au, au_anchor, scan_of):
    good = scan_of(SAMPLE)
    for prediction in Analyzer(au, au_anchor).analyze([good, replace(good, mu=-good.mu)]):
        record = json.loads(json.dumps(prediction.to_json(), allow_nan=False))
        assert set(record) == {
            "source", "scan", "read", "element", "edge", "model", "model_sha256", "anchored", "aligned",
            "values", "classes", "curves", "fractions", "verdict", "verdict_reason", "widening", "chemistry",
            "in_domain", "domain_judged", "domain_p", "domain_score",
            "domain_reason", "latent", "correlation", "flags", "refused", "size", "e0", "edge_step",
            "seconds",
        }  # fmt: skip
        assert bool(record["values"]) == (record["refused"] is None)
    assert math.isnan(prediction.edge_step) or prediction.edge_step < 0


def test_one_analyzer_serves_many_threads(au, au_anchor, scan_of):
    analyzer = Analyzer(au, au_anchor)
    scans = [scan_of(s, noise=0.002, seed=i) for i, s in enumerate(growth(8, "au_l3"))]
    alone = [analyzer.analyze([scan])[0].values["CN1"].value for scan in scans]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda scan: analyzer.analyze([scan])[0].values["CN1"].value, scans * 5))
    np.testing.assert_allclose(together, alone * 5, atol=1e-4)


def test_a_device_that_fails_is_left_for_the_cpu(au, au_anchor, scan_of, caplog):
    # torch's device "meta" holds no numbers: whatever wants some back from it fails, as a broken GPU does.
    scans = [scan_of(SAMPLE, noise=0.002, seed=i) for i in range(3)]
    analyzer = Analyzer(au, au_anchor, device="meta")
    found = analyzer.analyze(scans)
    assert "goes on on the CPU" in caplog.text
    assert analyzer.device.type == "cpu"
    for one, other in zip(found, Analyzer(au, au_anchor, device="cpu").analyze(scans), strict=True):
        assert one.values["CN1"].value == pytest.approx(other.values["CN1"].value, abs=1e-4)


def test_memory_stays_bounded_over_a_long_session(au, scan_of):
    analyzer = Analyzer(au, "reference")
    analyzer.analyze([scan_of(SAMPLE, noise=0.002, seed=i, shift=0.01 * i) for i in range(20)])
    [reducer] = analyzer.reducers
    assert reducer._operators._bytes == 0
    assert not reducer._plans
    assert not reducer._foils


@pytest.mark.parametrize(
    ("mode", "channels"), [("transmission", ("i0", "it", "ir")), ("fluorescence", ("i0", "iff"))]
)
def test_counts_with_dark_offsets_give_mu(mode, channels):
    energy = np.linspace(11800, 12500, 300)
    dark = {"i0": 10.0, "it": 20.0, "ir": 5.0, "iff": 3.0}
    mu, foil = 0.5 + 0.1 * np.sin(energy / 50), 1.0 + 0.1 * np.cos(energy / 50)
    i0 = np.full(300, 1e5)
    bare = {"i0": i0, "it": i0 * np.exp(-mu), "ir": i0 * np.exp(-mu - foil), "iff": i0 * mu}
    counts = {name: bare[name] + dark[name] for name in channels}
    spectrum = Spectrum.from_counts(energy, counts, dark={name: dark[name] for name in channels})
    assert spectrum.mode == mode
    np.testing.assert_allclose(spectrum.mu, mu)
    if mode == "transmission":
        np.testing.assert_allclose(spectrum.reference, foil)


def test_channels_that_do_not_go_together_are_refused():
    energy = np.arange(100.0)
    with pytest.raises(ValueError, match="needs channels i0 and it"):
        Spectrum.from_counts(energy, {"i0": energy}, mode="transmission")
    with pytest.raises(ValueError, match="unknown channels"):
        Spectrum.from_counts(energy, {"I9": energy})
    with pytest.raises(ValueError, match="dark"):
        Spectrum.from_counts(energy, {"i0": energy, "it": energy}, dark={"I0": 3.0})
    with pytest.raises(Refusal, match="one length"):
        Spectrum(energy=energy, mu=energy[:-1])


def test_a_guessed_absorber_yields_to_the_model_chosen(scan_of):
    good = scan_of(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"))
    exchanged = replace(good, mu=-good.mu, element="Re", edge="L2", absorber_guessed=True)
    told = replace(exchanged, absorber_guessed=False)
    guessed, named = AnalyzerPool("au-l3").analyze([exchanged, told])
    assert "edge falls" in guessed.refused
    assert "the sample is Re L2" in named.refused


def test_what_cannot_be_below_zero_is_not(scan_of):
    atoms = Sample({"raft111_1_1.1": 1.0}, "au_l3")
    (prediction,) = AnalyzerPool("au-l3").analyze([scan_of(atoms)])
    assert all(v.lower <= v.value <= v.upper and v.value >= 0 for v in prediction.values.values())


def test_a_prediction_is_told_in_a_line(scan_of):
    (prediction,) = AnalyzerPool("au-l3").analyze([scan_of(None)])
    assert repr(prediction).startswith("<Prediction au-l3 of Au L3, scan ")
    assert "CN1 1" in str(prediction)
    assert "\n" not in repr(prediction)


def test_the_foil_has_the_msd_that_its_model_takes_it_to_have(scan_of):
    """Of a model without coordination numbers: there is a prediction, and no size."""
    bundle = load_model("au-l3-msd")
    foil = scan_of(None, reference=None)
    (p,) = Analyzer(bundle, FoilAnchor.fit(foil, bundle)).analyze([foil])
    assert p.refused is None
    assert p.values["MSD"].lower < 0.008 < p.values["MSD"].upper
    assert p.values["MSD"].unit == "Å²"
    assert p.size is None
    assert "MSD 0.00" in str(p)


REFUSALS = (
    AlignmentError, AnchorError, BeyondDataError, DeviceError, LevelError, ModelError, StandardError,
    Unusable,
)  # fmt: skip


def test_a_refusal_refuses_and_any_other_error_is_a_defect(au, au_anchor, scan_of, monkeypatch):
    good = scan_of(SAMPLE)
    for error in REFUSALS:
        assert issubclass(error, Refusal)
        assert issubclass(error, ValueError)

    def analysed(error):
        def failing(*_):
            raise error

        monkeypatch.setattr("xas_live.reduction.reducer.flat_once", failing)
        return Analyzer(au, au_anchor).analyze([good])[0]

    refused = analysed(Refusal("it cannot be normalised"))
    assert refused.refused == "it cannot be normalised"
    assert refused.e0 == pytest.approx(11919.0, abs=5.0)
    assert refused.anchor.kind == "foil"
    assert refused.values == {}
    assert not refused.in_domain
    for defect in (ValueError("shapes do not fit"), np.linalg.LinAlgError("singular"), KeyError("x")):
        with pytest.raises(type(defect)):
            analysed(defect)
