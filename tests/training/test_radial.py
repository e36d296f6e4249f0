"""Displaced bulk: weights and labels against the moments of the skew-normal distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import xas_live.training
from xas_live.training.radial import Displaced, RadialLibrary, skew_normal
from xas_live.training.recipe import Nuisances, read_recipe

RECIPE = Path(xas_live.training.__file__).parent / "recipes" / "au-l3-msd.toml"


@pytest.fixture(scope="module")
def displaced() -> Displaced:
    return Displaced(read_recipe(RECIPE))


def test_there_is_no_library_of_another_name():
    with pytest.raises(FileNotFoundError, match=r"no spectra at .*pt_l3_radial"):
        RadialLibrary.load("pt_l3_radial")


# Widths whose tails the range of displacements holds.
@given(sigma=st.floats(0.03, 0.08), mean=st.floats(-0.1, 0.1), skew=st.floats(-5.0, 5.0))
def test_moments_are_those_of_the_skew_normal(displaced, sigma, mean, skew):
    weights = skew_normal(displaced.library.displacement, *np.array([[sigma], [mean], [skew]]))
    delta = skew / np.sqrt(1.0 + skew**2)
    variance = sigma**2 * (1.0 - 2.0 * delta**2 / np.pi)
    assert weights.sum() == pytest.approx(1.0)
    assert displaced.labels(weights)[0] == pytest.approx([variance + mean**2, variance], abs=3e-5)


def test_without_displacement_the_spectrum_is_the_bulk(displaced):
    library = displaced.library
    weights = (np.abs(library.displacement) < 1e-6).astype(float)[None]
    assert weights.sum() == 1.0
    x, truth = displaced.measure(weights, Nuisances(), np.random.default_rng(0))
    above = displaced.grid > 0
    expected = np.interp(displaced.grid[above], library.energy, library.mu[weights[0] > 0][0])
    np.testing.assert_allclose(x[0].numpy()[above], expected, atol=2e-3)
    assert truth.abs().max() == 0.0


def test_spectra_and_msd_are_linear_in_the_weights(displaced):
    weights = displaced.draw(None, 2, np.random.default_rng(3))
    both = np.concatenate([weights, weights.mean(0, keepdims=True)])
    x, truth = displaced.measure(both, Nuisances(), np.random.default_rng(0))
    torch.testing.assert_close(x[2], x[:2].mean(0))
    assert truth[2, 0] == pytest.approx(float(truth[:2, 0].mean()), rel=1e-4)
    assert truth[2, 1] > truth[:2, 1].mean()  # a variance is not


def test_disorder_damps_and_draws_repeat(displaced):
    d = displaced.library.displacement
    narrow, wide = skew_normal(d, np.array([0.03, 0.14]), np.zeros(2), np.zeros(2))
    x, truth = displaced.measure(np.stack([narrow, wide]), Nuisances(), np.random.default_rng(0))
    far = displaced.grid > 15
    assert x[1][far].std() < x[0][far].std()
    assert truth[1, 0] > truth[0, 0]
    one, two = (displaced.draw(None, 50, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
