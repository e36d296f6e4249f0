"""Growing sweeps: what is foreseen, when, and how surely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.analysis import Analyzer, AnalyzerPool, Earlier, RunHistory
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.sections.completion import Completion
from xas_live.simulator import Sample, growth

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")
EDGE = 11919.0


def cut(spectrum, end):
    """The sweep as far as so many eV past the edge."""
    n = int(np.searchsorted(spectrum.energy, EDGE + end))
    return replace(
        spectrum, energy=spectrum.energy[:n], mu=spectrum.mu[:n], reference=None, counts={}, complete=False
    )


@pytest.fixture(scope="module")
def analyzer(au, au_anchor):
    return Analyzer(au, au_anchor)


def test_nothing_is_foreseen_before_the_edge_is_passed(analyzer, scan_of):
    scan = scan_of(SAMPLE)
    assert analyzer.preview(cut(scan, -30)) is None
    assert analyzer.preview(cut(scan, 20)) is None
    assert analyzer.preview(cut(scan, 45)) is not None


@pytest.mark.parametrize("end", [35, 55, 85, 150])
def test_what_is_foreseen_holds_the_truth_mostly(analyzer, scan_of, end):
    inside = []
    for i, sample in enumerate(growth(10, "au_l3")):
        found = analyzer.preview(cut(scan_of(sample, noise=0.002, seed=i), end))
        assert found.partial
        assert "partial" in found.flags
        value = found.values["CN1"]
        inside.append(value.lower <= sample.truth()["CN1"] <= value.upper)
    assert np.mean(inside) >= 0.8


def test_it_comes_near_the_whole_sweeps_prediction(analyzer, scan_of):
    scan = scan_of(SAMPLE)
    (whole,) = analyzer.analyze([scan])
    known = Earlier(step=(whole.edge_step, 0.01))
    off = [
        abs(analyzer.preview(cut(scan, end), known).values["CN1"].value - whole.values["CN1"].value)
        for end in (35, 150)
    ]
    assert off[1] < 0.2
    assert off[0] < 1.0


def test_a_step_that_disagrees_is_dropped(analyzer, scan_of):
    growing = cut(scan_of(SAMPLE), 60)
    first = analyzer.preview(growing)
    misled = analyzer.preview(growing, Earlier(step=(3.0 * first.edge_step, 0.01)))
    assert misled.values == first.values


def test_noise_in_the_energies_and_missing_points_do_not_matter(analyzer, scan_of):
    growing = cut(scan_of(SAMPLE), 60)
    mu = growing.mu.copy()
    mu[::37] = np.nan
    turned = replace(growing, energy=growing.energy[::-1], mu=mu[::-1])
    assert analyzer.preview(turned).values["CN1"].value == pytest.approx(
        analyzer.preview(growing).values["CN1"].value, abs=0.3
    )


def test_completed_sweeps_do_not_depend_on_previews(au, au_anchor, scan_of):
    scan = scan_of(SAMPLE, noise=0.002)
    (alone,) = Analyzer(au, au_anchor).analyze([scan])
    analyzer = Analyzer(au, au_anchor)
    for end in (40, 60, 80):
        analyzer.preview(cut(scan, end))
    (after,) = analyzer.analyze([scan])
    assert after.values == alone.values


def test_without_a_foil_or_a_calibration_there_is_none(au, au_anchor, scan_of):
    growing = cut(scan_of(SAMPLE), 60)
    assert Analyzer(au).preview(growing) is None
    tensors = {k: v for k, v in au.tensors.items() if k != "partial_widening"}
    with pytest.raises(ModelError, match="lack partial_widening"):
        Bundle(au.card, tensors, "silent")
    card = au.card.model_copy(update={"sections": au.card.sections.model_copy(update={"preview": None})})
    assert Analyzer(Bundle(card, tensors, "silent"), au_anchor).preview(growing) is None
    assert AnalyzerPool(anchor=au_anchor).preview(replace(growing, element="Xx", edge="K")) is None


def test_with_its_own_reference_previews_begin_with_the_second_sweep(au, scan_of):
    analyzer = Analyzer(au, "reference")
    scan = scan_of(SAMPLE)
    assert analyzer.preview(cut(scan, 60)) is None
    history = RunHistory()
    history.add(analyzer.analyze([scan]))
    growing = cut(scan, 60)
    assert analyzer.preview(growing) is None  # the analyzer itself remembers nothing
    assert analyzer.preview(growing, history.before(growing)) is not None


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), measured=st.integers(20, 39), width=st.sampled_from([None, 0.01]))
def test_gaussian_spectra_are_completed_as_gaussians_are(seed, measured, width):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, 40)
    covariance = 0.02 * np.exp(-0.5 * ((x[:, None] - x) / 0.2) ** 2) + 1e-6 * np.eye(40)
    mean = 1.0 + 0.2 * np.sin(9 * x)
    spectra = rng.multivariate_normal(mean, covariance, size=5)
    rising, fixed = spectra[:, :measured] - 0.3, np.full(measured, 0.3)
    draws, factors = Completion(mean, covariance).draws(rising, fixed, width)
    assert draws.shape == (5, factors.shape[1], 40)
    np.testing.assert_allclose(draws[..., :measured], rising[:, None] / factors[..., None] + 0.3)
    known, between = covariance[:measured, :measured], covariance[measured:, :measured]
    expected = mean[measured:] + (draws[..., :measured] - mean[:measured]) @ np.linalg.solve(known, between.T)
    off = draws[..., measured:] - expected
    # Draws come in pairs of opposite sign: what is left is the conditional mean.
    half = factors.shape[1] // 2
    np.testing.assert_allclose(off[:, :half] + off[:, half:], 0.0, atol=1e-6)
