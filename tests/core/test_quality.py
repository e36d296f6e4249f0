"""Bad input is named and refused, or mended with a flag; it never passes silently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.analysis import Analyzer
from xas_live.prediction import Prediction
from xas_live.simulator import Sample
from xas_live.spectrum import Spectrum

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


@pytest.fixture(scope="module")
def analyze(au, au_anchor):
    analyzer = Analyzer(au, au_anchor)

    def one(spectrum: Spectrum) -> Prediction:
        (prediction,) = analyzer.analyze([spectrum])
        assert (prediction.refused is None) == bool(prediction.values)
        return prediction

    return one


@pytest.fixture(scope="module")
def good(scan_of) -> Spectrum:
    return scan_of(SAMPLE)


def with_counts(good: Spectrum, **changed: np.ndarray) -> Spectrum:
    n = len(good)
    i0 = 1e6 * (1 + 0.01 * np.sin(np.arange(n)))
    counts = {"i0": i0, "it": i0 * np.exp(-good.mu)}
    return Spectrum.from_counts(good.energy, counts | changed, element="Au", edge="L3")


def test_a_good_scan_passes(analyze, good):
    assert analyze(good).refused is None
    assert analyze(with_counts(good)).refused is None


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda s: replace(s, energy=s.energy / 1000), "looks like keV"),
        (lambda s: replace(s, energy=s.energy - s.energy.min()), "no X-ray absorption scan"),
        (lambda s: replace(s, mu=np.full(len(s), 0.7)), "the same at every energy"),
        (lambda s: replace(s, mu=-s.mu), "falls"),
        (lambda s: replace(s, mu=np.where(np.arange(len(s)) % 5 == 0, np.nan, s.mu)), "are not numbers"),
        (lambda s: replace(s, mu=np.random.default_rng(1).standard_normal(len(s))), "edge"),
        (lambda s: replace(s, energy=s.energy - 355.0, element=None, edge=None), "wrong element or edge"),
        (lambda s: replace(s, element="Pt"), "the sample is Pt"),
        (lambda s: replace(s, edge="L2"), "the edge is L2"),
    ],
)
def test_what_is_wrong_is_named(analyze, good, break_it, reason):
    assert reason in analyze(break_it(good)).refused


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [(0, 20, "only 20 points"), (0, 150, "the sweep ends at"), (75, None, "the sweep starts at")],
)
def test_a_short_scan_is_refused_with_what_it_lacks(analyze, good, first, last, reason):
    part = slice(first, last)
    cut = replace(good, energy=good.energy[part], mu=good.mu[part], reference=None)
    assert reason in analyze(cut).refused


@pytest.mark.parametrize(
    ("channel", "values", "reason"),
    [
        ("i0", lambda i0: np.full_like(i0, 12.0), "dead or saturated"),
        ("i0", lambda i0: np.minimum(i0, np.quantile(i0, 0.5)), "saturated"),
        ("i0", lambda i0: np.where(np.arange(len(i0)) % 4 == 0, -i0, i0), "negative at 25 %"),
        ("it", lambda it: np.where(np.arange(len(it)) % 3 == 0, 0.0, it), "is zero at 33 %"),
    ],
)
def test_broken_detectors_are_named(analyze, good, channel, values, reason):
    counts = with_counts(good).counts
    prediction = analyze(with_counts(good, **{channel: values(counts[channel])}))
    assert channel in prediction.refused
    assert reason in prediction.refused


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), repeats=st.integers(1, 40), bad=st.integers(0, 3))
def test_mended_scans_say_so_and_agree(analyze, good, seed, repeats, bad):
    rng = np.random.default_rng(seed)
    again = rng.integers(len(good), size=repeats)
    order = rng.permutation(len(good) + repeats)
    energy = np.concatenate([good.energy, good.energy[again]])[order]
    mu = np.concatenate([good.mu, good.mu[again]])[order]
    mu[np.isin(energy, good.energy[rng.integers(0, 40, bad)])] = np.nan  # far below the edge
    prediction = analyze(Spectrum(energy=energy, mu=mu, element="Au", edge="L3", temperature=295.0))
    assert {"unsorted", "repeated_energies"} <= set(prediction.flags)
    if bad:
        assert "bad_points" in prediction.flags
    else:
        same = analyze(replace(good, reference=None))
        assert prediction.values["CN1"].value == pytest.approx(same.values["CN1"].value, abs=1e-4)


def test_a_bad_reference_does_not_cost_the_sample(analyze, good):
    noise = np.random.default_rng(0).random(len(good))
    for reference in (np.full(len(good), np.nan), np.ones(len(good)), noise):
        prediction = analyze(replace(good, reference=reference))
        assert prediction.refused is None
        assert "bad_reference" in prediction.flags


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=80))
def test_nothing_that_can_be_put_in_raises(analyze, numbers):
    values = np.array(numbers, dtype=float)
    prediction = analyze(Spectrum(energy=values, mu=values[::-1]))
    assert prediction.refused
