"""Reduction against larch, the reference that it must equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foils import FOILS
from hypothesis import given, settings
from hypothesis import strategies as st
from larch import Group
from larch.xafs import find_e0 as larch_find_e0
from larch.xafs import pre_edge

from xas_live.reduction.align import AlignmentError, reference_shift
from xas_live.reduction.e0 import find_e0
from xas_live.reduction.grid import resampling_matrix, spline_matrix
from xas_live.reduction.normalize import NormalizationOperator, OperatorCache, Windows, flat_once, normalize
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of


def edge(energy: np.ndarray, e0: float, step: float = 1.0, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    """An edge with fine structure on a sloping background."""
    x = energy - e0
    mu = 0.3 - 4e-4 * x + step * (0.5 + np.arctan(x / 2.0) / np.pi)
    mu += np.where(x > 0, 0.1 * step * np.sin(0.9 * np.sqrt(np.maximum(x, 0))) * np.exp(-x / 200), 0)
    return mu + noise * np.random.default_rng(seed).standard_normal(len(energy))


def axis(e0: float, before: float, after: float, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.2, 1.0, n)
    return e0 - before + (before + after) * np.cumsum(steps) / steps.sum()


def by_larch(energy, mu, e0, **windows):
    group = Group()
    pre_edge(energy.copy(), mu.copy(), group=group, e0=e0, **windows)
    return group


@pytest.mark.parametrize("name", FOILS)
@pytest.mark.parametrize(
    "windows",
    [{}, {"pre1": -90, "pre2": -40, "norm1": 75, "norm2": 600}, {"norm1": 30, "norm2": 200, "nnorm": 1}],
)
def test_norm_and_flat_equal_larch_on_measured_foils(measured, name, windows):
    (spectrum,) = spectra_of(read_file(measured / name)[0])
    energy, mu = spectrum.energy, spectrum.mu
    e0 = larch_find_e0(energy, mu)
    larch = by_larch(energy, mu, e0, **windows)
    norm, flat, step = normalize(energy, mu, e0, Windows(**windows))
    np.testing.assert_allclose(norm, larch.norm, atol=1e-9, rtol=0)
    np.testing.assert_allclose(flat, larch.flat, atol=1e-9, rtol=0)
    assert step == pytest.approx(larch.edge_step, rel=1e-9)


@pytest.mark.parametrize("name", FOILS)
def test_e0_equals_larch_within_one_point(measured, name):
    (spectrum,) = spectra_of(read_file(measured / name)[0])
    ours, larch = (f(spectrum.energy, spectrum.mu) for f in (find_e0, larch_find_e0))
    assert abs(np.searchsorted(spectrum.energy, ours) - np.searchsorted(spectrum.energy, larch)) <= 1


@settings(deadline=None, max_examples=60)
@given(
    e0=st.floats(5000, 26000),
    before=st.floats(30, 250),
    after=st.floats(60, 1200),
    n=st.integers(120, 500),
    step=st.floats(0.01, 5),
    noise=st.floats(0, 0.01),
    seed=st.integers(0, 10**6),
)
def test_norm_flat_and_e0_equal_larch_on_random_spectra(e0, before, after, n, step, noise, seed):
    energy = axis(e0, before, after, n, seed)
    mu = edge(energy, e0, step, seed, noise * step)
    found = larch_find_e0(energy, mu)
    assert abs(np.searchsorted(energy, find_e0(energy, mu)) - np.searchsorted(energy, found)) <= 1
    larch = by_larch(energy, mu, found)
    norm, flat, _ = normalize(energy, mu, found)
    scale = max(1.0, np.abs(larch.norm).max())
    np.testing.assert_allclose(norm, larch.norm, atol=1e-9 * scale, rtol=0)
    np.testing.assert_allclose(flat, larch.flat, atol=1e-9 * scale, rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    pre=st.tuples(st.floats(-200, -20), st.floats(-200, -20)),
    post=st.tuples(st.floats(10, 900), st.floats(10, 900)),
    nnorm=st.one_of(st.none(), st.integers(0, 3)),
)
def test_any_windows_equal_larch(pre, post, nnorm):
    energy = axis(11919.0, 220, 950, 400, 3)
    mu = edge(energy, 11919.0, 0.7, 3, 1e-3)
    windows = {"pre1": pre[0], "pre2": pre[1], "norm1": post[0], "norm2": post[1], "nnorm": nnorm}
    larch = by_larch(energy, mu, 11919.0, **windows)
    norm, flat, _ = normalize(energy, mu, 11919.0, Windows(**windows))
    # Extrapolating a narrow window blows rounding up as it does the curve: compare on the curve's scale.
    np.testing.assert_allclose(norm, larch.norm, atol=1e-8 * max(1.0, np.abs(larch.norm).max()), rtol=0)
    np.testing.assert_allclose(flat, larch.flat, atol=1e-8 * max(1.0, np.abs(larch.flat).max()), rtol=0)


def test_a_batch_equals_its_members_one_by_one():
    energy = axis(11919.0, 160, 700, 400, 1)
    points = 11919.0 + np.arange(-8.0, 85.0, 0.7)
    operator = NormalizationOperator(energy, 11919.0, points=points)
    batch = torch.from_numpy(np.stack([edge(energy, 11919.0, 0.2 + i, i, 1e-3) for i in range(5)]))
    together, steps = operator.flat(batch)
    for i in range(5):
        alone, step = operator.flat(batch[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-12, rtol=0)
        assert step.item() == pytest.approx(steps[i].item())


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    points=st.integers(60, 900),
    jitter=st.floats(0.0, 0.4),
    before=st.floats(30, 200),
    after=st.floats(110, 900),
)
def test_an_axis_seen_once_is_reduced_as_by_matrices(seed, points, jitter, before, after):
    rng = np.random.default_rng(seed)
    energy = np.linspace(11919.0 - before, 11919.0 + after, points)
    energy += jitter * (energy[1] - energy[0]) * rng.uniform(-1, 1, points)
    mu = np.stack([edge(energy, 11919.0, 0.5 + i, seed + i, 1e-3) for i in range(2)])
    grid = 11919.0 + np.arange(-8.0, 85.0, 0.7)
    flat, steps = NormalizationOperator(energy, 11919.0, Windows(), grid).flat(mu)
    once, once_steps = flat_once(energy, mu, 11919.0, Windows(), grid)
    np.testing.assert_allclose(once, flat, atol=1e-10 * max(1.0, np.abs(flat).max()), rtol=0)
    np.testing.assert_allclose(once_steps, steps, rtol=1e-10)


def test_a_wrong_degree_is_refused():
    energy = axis(11919.0, 160, 700, 200, 1)
    with pytest.raises(ValueError, match="0 to 5, not 7"):
        normalize(energy, edge(energy, 11919.0), 11919.0, Windows(nnorm=7))


def test_the_spline_is_exact_on_its_knots_and_on_lines():
    knots = np.array([0.0, 1.0, 2.5, 3.0, 7.0])
    np.testing.assert_allclose(spline_matrix(knots, knots), np.eye(5), atol=1e-12)
    points = np.linspace(0, 7, 29)
    np.testing.assert_allclose(spline_matrix(knots, points) @ (3 * knots - 2), 3 * points - 2, atol=1e-12)


def test_dense_data_are_averaged_onto_the_grid():
    rng = np.random.default_rng(0)
    energy = np.arange(11850.0, 12100.0, 0.05)
    points = np.arange(11900.0, 12000.0, 1.0)
    noise = resampling_matrix(energy, points) @ rng.standard_normal(len(energy))
    assert noise.std() < 0.45  # ten points to a cell of half a grid step


def test_points_beyond_the_data_are_refused():
    with pytest.raises(ValueError, match="do not cover the grid"):
        resampling_matrix(np.arange(100.0, 200.0), np.arange(150.0, 210.0))


@settings(deadline=None, max_examples=20)
@given(shift=st.floats(-8, 8), scale=st.floats(0.1, 5), offset=st.floats(-3, 3))
def test_the_reference_channel_gives_its_energy_shift(shift, scale, offset):
    energy = np.arange(11750.0, 12500.0, 0.5)
    foil = edge(energy, 11919.0)
    found = reference_shift(energy, offset + scale * edge(energy, 11919.0 + shift), energy, foil, 11919.0)
    assert found.energy == pytest.approx(shift, abs=0.05)


def test_a_reference_that_is_no_foil_is_refused():
    energy = np.arange(11750.0, 12500.0, 0.5)
    foil, rng = edge(energy, 11919.0), np.random.default_rng(0)
    with pytest.raises(AlignmentError, match=r"does not look like|lies over"):
        reference_shift(energy, rng.standard_normal(len(energy)), energy, foil, 11919.0)
    with pytest.raises(AlignmentError, match="does not span"):
        reference_shift(energy[400:], foil[400:], energy, foil, 11919.0)


def test_the_operator_cache_stays_within_its_bound():
    energy = axis(11919.0, 160, 700, 300, 1)
    one = NormalizationOperator(energy, 11919.0)
    cache = OperatorCache(max_bytes=3 * one.nbytes)
    for i in range(10):
        cache.get(i, lambda: NormalizationOperator(energy, 11919.0))
    assert len(cache._operators) == 3
    assert cache.get(9, lambda: pytest.fail("was dropped although used last")) is not None
