"""The damping of a foil's fine structure: found from the foil, and taken away from differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.damping import STRONGEST, WEAKEST, Damping

GRID = np.concatenate([np.arange(-8.0, 30.0, 0.5), np.arange(30.0, 85.5, 1.0)])
BACKGROUND = 0.5 + np.arctan(GRID / 2.0) / np.pi
THEORY = BACKGROUND + 0.2 * np.sin(GRID / 4.0) * np.exp(-np.maximum(GRID, 0.0) / 60.0) * (GRID > 0)


def damped(amplitude: float, sigma2: float) -> np.ndarray:
    factor = amplitude * np.exp(-2.0 * K2_PER_EV * np.maximum(GRID, 0.0) * sigma2)
    return BACKGROUND + factor * (THEORY - BACKGROUND)


@settings(deadline=None)
@given(
    amplitude=st.floats(0.6, 1.2),
    sigma2=st.floats(0.0, 0.02),
    slope=st.floats(-0.1, 0.1),
    curve=st.floats(-0.1, 0.1),
)
def test_the_foil_tells_its_damping_whatever_varies_slowly(amplitude, sigma2, slope, curve):
    foil = damped(amplitude, sigma2) + slope * GRID / 85.0 + curve * (GRID / 85.0) ** 2
    found = Damping.fit(GRID, THEORY, BACKGROUND, foil)
    expected = np.clip(amplitude * np.exp(-2.0 * K2_PER_EV * GRID * sigma2), WEAKEST, STRONGEST)
    fine = GRID > 20.0
    np.testing.assert_allclose(found.at(GRID)[fine], expected[fine], rtol=0.03)


def test_differences_are_restored_above_the_white_line_alone():
    restoring = Damping(0.7, 0.01).restoring(GRID)
    assert restoring[GRID < 0.0] == pytest.approx(1.0, abs=0.01)
    fine = GRID > 30.0
    np.testing.assert_allclose(restoring[fine] * Damping(0.7, 0.01).at(GRID)[fine], 1.0, atol=0.01)


def test_a_short_grid_tells_nothing():
    short = GRID[GRID < 40.0]
    assert (
        Damping.fit(short, *(each[: len(short)] for each in (THEORY, BACKGROUND, damped(0.6, 0.01))))
        == Damping()
    )


def test_a_foil_of_no_fine_structure_is_not_restored_without_bound():
    restoring = Damping.fit(GRID, THEORY, BACKGROUND, BACKGROUND + 0.001 * np.sin(GRID)).restoring(GRID)
    assert restoring.max() <= 1.0 / WEAKEST + 1e-9


def test_a_damped_beamline_reads_the_same_difference(au, scan_of):
    """Foil and sample damped alike enter the network as the undamped ones do."""
    target = au.inputs[0]
    foil = scan_of(None, reference=None)
    anchor = FoilAnchor.fit(foil, au)
    laid = anchor.on_grid(au.grid, target.theory, au.card.inputs[0].fit_windows)
    assert laid.gain.shape == au.grid.shape
    np.testing.assert_allclose(
        laid.theory_error,
        laid.damping.restoring(au.grid)
        * (anchor.gain * laid.flat - (target.theory.background_on(au.grid)
           + (target.theory.on(au.grid) - target.theory.background_on(au.grid))
           / laid.damping.restoring(au.grid))),
        atol=0.02,
    )  # fmt: skip
