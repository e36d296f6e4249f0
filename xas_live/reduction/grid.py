"""Resampling onto a grid as a matrix: dense data are averaged, sparse data follow a cubic spline."""

from __future__ import annotations

import numpy as np

from xas_live.spectrum import Array

MARGIN = 12.0  # eV of data beside the grid that shape the spline's ends


def resampling_matrix(energy: Array, points: Array) -> Array:
    """Matrix R with `R @ mu` the values at `points`.

    Data denser than the points are first averaged in cells half a point spacing wide, which keeps their
    statistics; between the averages runs the natural cubic spline, which is linear in the data.

    Parameters
    ----------
    energy : (n,) eV, strictly ascending.
    points : (g,) eV, ascending, inside the range of `energy`.

    Returns
    -------
    (g, n) matrix.

    Raises
    ------
    ValueError : when the points reach beyond the data.
    """
    if points[0] < energy[0] or points[-1] > energy[-1]:
        raise ValueError(
            f"data from {energy[0]:.1f} to {energy[-1]:.1f} eV do not cover the grid, "
            f"{points[0]:.1f} to {points[-1]:.1f} eV"
        )
    first = max(int(np.searchsorted(energy, points[0] - MARGIN)) - 2, 0)
    last = min(int(np.searchsorted(energy, points[-1] + MARGIN)) + 2, len(energy))
    local = energy[first:last]
    average = _cell_averages(local, points)
    knots = average @ local
    for end, reaches in ((0, knots[0] <= points[0]), (-1, knots[-1] >= points[-1])):
        if not reaches:  # the outermost cell's mean lies inside the points: its raw end takes its place
            average[end] = 0.0
            average[end, end] = 1.0
            knots[end] = local[end]
    matrix = np.zeros((len(points), len(energy)))
    matrix[:, first:last] = spline_matrix(knots, points) @ average
    return matrix


def _cell_averages(energy: Array, points: Array) -> Array:
    """(cells, n) matrix of averages over runs of data closer together than half the point spacing."""
    spacing = np.interp(energy, points, np.gradient(points))
    cell = np.floor(np.concatenate([[0.0], np.cumsum(np.diff(energy) / (0.5 * spacing[1:]))]) + 1e-9)
    _, cell_of = np.unique(cell, return_inverse=True)
    average = np.zeros((cell_of[-1] + 1, len(energy)))
    average[cell_of, np.arange(len(energy))] = 1.0
    return np.asarray(average / average.sum(axis=1, keepdims=True))


def spline_matrix(knots: Array, points: Array) -> Array:
    """(g, m) matrix of natural cubic spline interpolation from `knots` to `points`."""
    m = len(knots)
    step = np.diff(knots)
    curvature = np.zeros((m, m))  # of the spline at the knots, from the values at the knots
    if m > 2:
        inner = np.arange(1, m - 1)
        system = np.eye(m)
        system[inner, inner - 1] = step[:-1] / 6.0
        system[inner, inner] = (step[:-1] + step[1:]) / 3.0
        system[inner, inner + 1] = step[1:] / 6.0
        right = np.zeros((m, m))
        right[inner, inner - 1] = 1.0 / step[:-1]
        right[inner, inner] = -1.0 / step[:-1] - 1.0 / step[1:]
        right[inner, inner + 1] = 1.0 / step[1:]
        curvature[:] = np.linalg.solve(system, right)
    left = np.clip(np.searchsorted(knots, points, side="right") - 1, 0, m - 2)
    width = step[left]
    b = (points - knots[left]) / width
    a = 1.0 - b
    rows = np.arange(len(points))
    matrix = np.zeros((len(points), m))
    matrix[rows, left] = a
    matrix[rows, left + 1] = b
    square = (width**2 / 6.0)[:, None]
    matrix += square * ((a**3 - a)[:, None] * curvature[left] + (b**3 - b)[:, None] * curvature[left + 1])
    return matrix
