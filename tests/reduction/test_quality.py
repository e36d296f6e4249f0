"""Bad input is named and refused, or mended with a flag; it never passes silently."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.analysis import Analyzer, AnalyzerPool
from xas_live.prediction import Prediction
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.quality import Unusable, check, check_all
from xas_live.simulator import Sample, growth
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


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_batch_is_checked_as_its_members_are(good, data):
    spectra = []
    for seed in range(4):
        i0 = 1e6 * (1 + 0.01 * np.random.default_rng(seed).standard_normal(len(good)))
        energy, counts = good.energy.copy(), {"i0": i0, "it": i0 * np.exp(-good.mu)}
        what = data.draw(
            st.sampled_from(["nothing", "nothing", "nan", "swap", "repeat", "dead", "full", "zero"])
        )
        at = data.draw(st.integers(0, len(good) - 2))
        if what == "nan":
            counts["it"][at] = np.nan
        elif what == "swap":
            energy[[at, at + 1]] = energy[[at + 1, at]]
        elif what == "repeat":
            energy[at + 1] = energy[at]
        elif what == "dead":
            counts["i0"][:] = 5.0
        elif what == "full":
            counts["it"] = np.minimum(counts["it"], np.quantile(counts["it"], 0.6))
        elif what == "zero":
            counts["i0"][at] = 0.0
        spectra.append(Spectrum.from_counts(energy, counts))
    for spectrum, found in zip(spectra, check_all(spectra, AxisCache()), strict=True):
        if isinstance(found, Unusable):
            with pytest.raises(Unusable, match=re.escape(str(found))):
                check(spectrum)
            continue
        alone = check(spectrum)
        assert found.flags == alone.flags
        np.testing.assert_array_equal(found.energy, alone.energy)
        np.testing.assert_array_equal(found.mu, alone.mu)


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
        (lambda s: replace(s, edge="L2"), "the sample is Au L2"),
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


def test_a_gap_in_the_reference_of_a_descending_scan_is_mended(analyze, good):
    reference = good.reference.copy()
    reference[100] = np.nan
    down = replace(good, energy=good.energy[::-1], mu=good.mu[::-1], reference=reference[::-1])
    prediction = analyze(down)
    assert {"unsorted", "bad_points"} <= set(prediction.flags)
    assert "bad_reference" not in prediction.flags
    assert prediction.values["CN1"].value == pytest.approx(analyze(good).values["CN1"].value, abs=0.02)


@pytest.mark.parametrize("step", [0.05, 0.1])
def test_dense_noisy_scans_are_analysed(analyze, good, step):
    rng = np.random.default_rng(0)
    energy = np.arange(good.energy[0], good.energy[-1], step)
    mu = np.interp(energy, good.energy, good.mu) + 0.01 * rng.standard_normal(len(energy))
    prediction = analyze(Spectrum(energy=energy, mu=mu, element="Au", edge="L3"))
    assert prediction.refused is None
    assert prediction.values["CN1"].value == pytest.approx(analyze(good).values["CN1"].value, abs=0.6)


def test_a_dense_scan_that_ends_with_the_grid_costs_no_more(analyze, good):
    energy = np.arange(good.energy[0], 12010.5, 0.02)
    mu = np.interp(energy, good.energy, good.mu)
    began = time.process_time()
    assert analyze(Spectrum(energy=energy, mu=mu, element="Au", edge="L3")).refused is None
    assert time.process_time() - began < 10.0  # 14,000 points; a matrix of all of them would take minutes


def test_energies_that_dwell_before_the_scan_are_one_point(analyze, good):
    dwell = good.energy[0] + 1e-5 * np.random.default_rng(0).standard_normal(400)
    energy, mu = np.concatenate([dwell, good.energy]), np.concatenate([np.full(400, good.mu[0]), good.mu])
    assert analyze(Spectrum(energy=energy, mu=mu, element="Au", edge="L3")).refused is None


def test_a_glitch_is_flagged(analyze, good):
    mu = good.mu.copy()
    mu[np.searchsorted(good.energy, 11940.0)] += 0.1
    assert "glitch" in analyze(replace(good, mu=mu)).flags
    assert "glitch" not in analyze(good).flags


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0, 3.0])
def test_a_scan_too_coarse_for_its_edge_has_no_glitch_there(scan_of, step):
    fine = scan_of(growth(4, "pt_l3")[2], "pt_l3")
    energy = np.arange(fine.energy[0], fine.energy[-1], step)
    mu, reference = (np.interp(energy, fine.energy, y) for y in (fine.mu, fine.reference))
    coarse = replace(fine, energy=energy, mu=mu, reference=reference)
    analyzer = AnalyzerPool("pt-l3", "reference")
    assert "glitch" not in analyzer.analyze([coarse])[0].flags
    mu[np.searchsorted(energy, 11605.0)] += 0.1
    assert "glitch" in analyzer.analyze([replace(coarse, mu=mu)])[0].flags


@pytest.mark.parametrize("scale", [1e-13, 1e-6, 1e6])
def test_mu_may_have_any_scale(analyze, good, scale):
    prediction = analyze(replace(good, mu=scale * good.mu))
    assert prediction.values["CN1"].value == pytest.approx(analyze(good).values["CN1"].value, abs=1e-3)


def test_fluorescence_says_that_self_absorption_is_not_corrected(analyze, good):
    i0 = np.linspace(1.1e6, 1e6, len(good))
    prediction = analyze(
        Spectrum.from_counts(good.energy, {"i0": i0, "iff": good.mu * i0}, element="Au", edge="L3")
    )
    assert "self_absorption_uncorrected" in prediction.flags


def test_noise_is_flagged(analyze, good):
    mu = good.mu + 0.04 * np.random.default_rng(0).standard_normal(len(good))
    assert "noisy" in analyze(replace(good, mu=mu)).flags


@pytest.mark.parametrize(
    ("start", "flagged"), [(-150, False), (-100, False), (-60, False), (-45, False), (-30, True), (-25, True)]
)
def test_a_short_pre_edge_changes_little_or_is_flagged(analyze, good, start, flagged):
    sloped = replace(good, mu=good.mu - 1.5e-3 * (good.energy - 11919.0), reference=None)
    whole = analyze(sloped).values["CN1"].value
    part = sloped.energy > 11919 + start
    cut = replace(sloped, energy=sloped.energy[part], mu=sloped.mu[part])
    prediction = analyze(cut)
    assert prediction.values["CN1"].value == pytest.approx(whole, abs=0.5 if flagged else 0.3)
    assert ("short_pre_edge" in prediction.flags) == flagged


@pytest.mark.parametrize(
    ("end", "flagged", "within"), [(600, False, 0.4), (200, False, 0.4), (140, True, 0.4), (100, True, 0.8)]
)
def test_a_short_post_edge_changes_little_and_is_flagged(analyze, good, end, flagged, within):
    part = good.energy < 11919 + end
    prediction = analyze(replace(good, energy=good.energy[part], mu=good.mu[part], reference=None))
    assert prediction.values["CN1"].value == pytest.approx(analyze(good).values["CN1"].value, abs=within)
    assert ("short_range" in prediction.flags) == flagged
