"""Analyzer: the one way from spectra to predictions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from xas_live.analysis import AnalysisConfig, Analyzer, AnalyzerPool
from xas_live.models.registry import load_model
from xas_live.simulator import DEMO_PARTICLES, Sample, growth

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
            "source", "scan", "element", "edge", "model", "model_sha256", "anchored", "aligned", "values",
            "classes", "curves", "fractions", "in_domain", "domain_p", "flags", "refused", "size", "e0",
            "edge_step", "seconds",
        }  # fmt: skip
        assert bool(record["values"]) == (record["refused"] is None)
    assert math.isnan(prediction.edge_step) or prediction.edge_step < 0
