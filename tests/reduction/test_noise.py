"""The transpose of normalisation and resampling, and the statistical error that it gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xas_live.reduction.grid import resample_transposed, resampling_matrix
from xas_live.reduction.normalize import NormalizationOperator, Windows, point_gradients


@given(
    steps=st.lists(st.floats(0.05, 4.0), min_size=60, max_size=200),
    spacing=st.floats(0.3, 3.0),
    seed=st.integers(0, 1000),
)
def test_the_transpose_of_resampling_is_that_of_its_matrix(steps, spacing, seed):
    energy = 100.0 + np.cumsum(steps)
    points = np.arange(energy[0] + 2.0, energy[-1] - 2.0, spacing)
    if len(points) < 4:
        points = np.linspace(energy[0], energy[-1], 4)
    weights = np.random.default_rng(seed).standard_normal((3, len(points)))
    expected = weights @ resampling_matrix(energy, points)
    np.testing.assert_allclose(resample_transposed(energy, weights, points), expected, atol=1e-10)


@pytest.mark.parametrize("flat", [True, False])
def test_gradients_by_the_points_are_those_of_small_changes(flat):
    e0, rng = 11564.0, np.random.default_rng(4)
    energy = np.r_[np.arange(-150, -20, 5.0), np.arange(-20, 60, 0.7), np.arange(60, 400, 3.0)] + e0
    mu = 0.3 + 1e-4 * (energy - e0) + 0.8 / (1 + np.exp(-(energy - e0))) + 0.02 * np.sin(energy / 9)
    windows, points = Windows(-140, -40, 80, 380), np.arange(e0 - 8, e0 + 85, 1.0)
    wanted = rng.standard_normal((2, len(points)))
    operator = NormalizationOperator(energy, e0, windows, points)

    def quantities(mu):
        found = operator(mu[None])
        return wanted @ (found.flat if flat else found.norm)[0]

    got = point_gradients(energy, mu, e0, windows, points, wanted, flat=flat)
    for point in (0, 10, 40, 80, 150, 250):
        changed = mu.copy()
        changed[point] += 1e-6
        np.testing.assert_allclose(
            got[:, point], (quantities(changed) - quantities(mu)) / 1e-6, rtol=1e-4, atol=1e-6
        )
