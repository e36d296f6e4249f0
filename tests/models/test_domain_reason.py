"""Why a spectrum is out of domain, in words."""

from __future__ import annotations

import numpy as np
import pytest

from xas_live.models.sections.domain_reason import domain_reason

SCORES = {"subspace": 0, "residual": 1, "disagreement": 2, "oxide": 3}


@pytest.fixture(scope="module")
def grid_and_bulk(au):
    return au.grid, np.interp(au.grid, au.array("theory_energy"), au.array("theory_bulk"))


def reason(grid_and_bulk, off, farthest="residual"):
    scores = np.zeros(4)
    scores[SCORES[farthest]] = 2.0
    return domain_reason(scores, off, *grid_and_bulk)


def test_the_shape_of_the_difference_is_named(grid_and_bulk):
    grid, bulk = grid_and_bulk
    bump = 0.2 * np.exp(-0.5 * ((grid - 1.5) / 3.0) ** 2)
    assert "white line is higher" in reason(grid_and_bulk, bump)
    assert "white line is lower" in reason(grid_and_bulk, -bump)
    moved = np.interp(grid - 0.5, grid, bulk) - bulk
    assert "edge lies 0.5 eV above" in reason(grid_and_bulk, moved)
    assert "below" in reason(grid_and_bulk, -moved)
    wiggles = np.where(grid > 15, np.sin(grid / 3.0), 0.0)
    assert "unlike any particle" in reason(grid_and_bulk, 0.02 * wiggles)
    point = np.zeros(len(grid))
    point[60] = 0.2
    assert f"{grid[60]:.0f} eV" in reason(grid_and_bulk, point)
    assert "single point" in reason(grid_and_bulk, point)


def test_damped_and_strong_oscillations_are_told_apart(grid_and_bulk):
    grid, bulk = grid_and_bulk
    smooth = np.array([np.average(bulk, weights=np.exp(-0.5 * ((grid - e) / 20.0) ** 2)) for e in grid])
    waves = np.where(grid > 15, bulk - smooth, 0.0)
    assert "weaker" in reason(grid_and_bulk, -0.5 * waves)
    assert "stronger" in reason(grid_and_bulk, 0.5 * waves)


def test_other_distances_have_words_of_their_own(grid_and_bulk):
    nothing = np.zeros(len(grid_and_bulk[0]))
    assert "oxide" in reason(grid_and_bulk, nothing, "oxide")
    assert "contradict" in reason(grid_and_bulk, nothing, "disagreement")
    assert reason(grid_and_bulk, nothing, "subspace") == "unlike any particle"
