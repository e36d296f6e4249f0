"""Resampling onto a grid as a matrix: dense data are averaged, sparse data follow a cubic spline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal
from xas_live.spectrum import Array

MARGIN = 12.0  # eV of data beside the grid that shape the spline's ends


class BeyondDataError(Refusal):
    """Points at which a spectrum is wanted lie beyond its data."""


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
    BeyondDataError : when the points reach beyond the data.
    """
    cells = _Cells.of(energy, points)
    average = np.zeros((len(cells.knots), cells.last - cells.first))
    cell_of = np.repeat(np.arange(len(cells.count)), cells.count)
    average[cell_of, np.arange(len(cell_of))] = 1.0 / cells.count[cell_of]
    for end in cells.raw_ends:
        average[end] = 0.0
        average[end, end] = 1.0
    matrix = np.zeros((len(points), len(energy)))
    matrix[:, cells.first : cells.last] = spline_matrix(cells.knots, points) @ average
    return matrix


def resample(energy: Array, values: Array, points: Array) -> Array:
    """(batch, g) what `values @ resampling_matrix(energy, points).T` gives, for an axis seen once.

    Parameters
    ----------
    energy : (n,) eV, strictly ascending.
    values : (batch, n).
    points : (g,) eV.

    Raises
    ------
    BeyondDataError : when the points reach beyond the data.
    """
    cells = _Cells.of(energy, points)
    local = values[:, cells.first : cells.last]
    at_knots = np.add.reduceat(local, cells.starts, axis=1) / cells.count
    for end in cells.raw_ends:
        at_knots[:, end] = local[:, end]
    return spline(cells.knots, at_knots, points)


def resample_transposed(energy: Array, weights: Array, points: Array) -> Array:
    """(batch, n) what `weights @ resampling_matrix(energy, points)` gives, without the matrix.

    Parameters
    ----------
    energy : (n,) eV, strictly ascending.
    weights : (batch, g) of the values at the points.
    points : (g,) eV.

    Raises
    ------
    BeyondDataError : when the points reach beyond the data.
    """
    cells = _Cells.of(energy, points)
    at_knots = _spline_transposed(cells.knots, weights, points)
    share = np.repeat(at_knots / cells.count, cells.count, axis=1)
    starts = np.cumsum(cells.count) - cells.count
    for end in cells.raw_ends:
        first, count = int(starts[end]), int(cells.count[end])
        share[:, first : first + count] = 0.0
        share[:, end] = at_knots[:, end]
    out = np.zeros((len(weights), len(energy)))
    out[:, cells.first : cells.last] = share
    return out


@dataclass(frozen=True)
class _Cells:
    """Runs of data closer together than half the point spacing, `energy[first:last]` cut at `starts`.

    `knots` are the averages of their energies; at `raw_ends` (0, -1) the outermost cell's mean would lie
    inside the points, and the raw end takes its place.
    """

    first: int
    last: int
    starts: NDArray[np.int64]
    count: NDArray[np.int64]
    knots: Array
    raw_ends: tuple[int, ...]

    @classmethod
    def of(cls, energy: Array, points: Array) -> _Cells:
        if points[0] < energy[0] or points[-1] > energy[-1]:
            raise BeyondDataError(
                f"data from {energy[0]:.1f} to {energy[-1]:.1f} eV do not cover the grid, "
                f"{points[0]:.1f} to {points[-1]:.1f} eV"
            )
        first = max(int(np.searchsorted(energy, points[0] - MARGIN)) - 2, 0)
        last = min(int(np.searchsorted(energy, points[-1] + MARGIN)) + 2, len(energy))
        local = energy[first:last]
        spacing = np.interp(local, points, np.gradient(points))
        along = np.floor(np.concatenate([[0.0], np.cumsum(np.diff(local) / (0.5 * spacing[1:]))]) + 1e-9)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(along)) + 1])
        count = np.diff(np.append(starts, len(local)))
        knots = np.add.reduceat(local, starts) / count
        inside = (knots[0] <= points[0], knots[-1] >= points[-1])
        raw_ends = tuple(end for end, reaches in zip((0, -1), inside, strict=True) if not reaches)
        for end in raw_ends:
            knots[end] = local[end]
        return cls(first, last, starts, count, knots, raw_ends)


def spline_matrix(knots: Array, points: Array, *, not_a_knot: bool = False) -> Array:
    """(g, m) matrix of cubic spline interpolation from `knots` to `points`; ends as for `spline`."""
    return spline(knots, np.eye(len(knots)), points, not_a_knot=not_a_knot).T


def spline(knots: Array, values: Array, points: Array, *, not_a_knot: bool = False) -> Array:
    """(batch, g) cubic splines through values (batch, m) at the knots (m,), at the points (g,).

    Parameters
    ----------
    not_a_knot : the first two pieces are one cubic, and the last two; else the ends are straight (natural).
    """
    curvature = _curvature(knots, values, not_a_knot and len(knots) > 3)
    left = np.clip(np.searchsorted(knots, points, side="right") - 1, 0, len(knots) - 2)
    width = knots[left + 1] - knots[left]
    b = (points - knots[left]) / width
    a = 1.0 - b
    bend = width**2 / 6.0
    return np.asarray(
        a * values[:, left]
        + b * values[:, left + 1]
        + bend * ((a**3 - a) * curvature[:, left] + (b**3 - b) * curvature[:, left + 1])
    )


def _spline_transposed(knots: Array, weights: Array, points: Array) -> Array:
    """(batch, m) weights of the values at the knots, of weights (batch, g) of a natural spline's values."""
    left = np.clip(np.searchsorted(knots, points, side="right") - 1, 0, len(knots) - 2)
    width = knots[left + 1] - knots[left]
    b = (points - knots[left]) / width
    a = 1.0 - b
    bend = width**2 / 6.0
    at_values, at_curvature = np.zeros((2, len(knots), len(weights)))
    np.add.at(at_values, left, (weights * a).T)
    np.add.at(at_values, left + 1, (weights * b).T)
    np.add.at(at_curvature, left, (weights * bend * (a**3 - a)).T)
    np.add.at(at_curvature, left + 1, (weights * bend * (b**3 - b)).T)
    if len(knots) > 2:  # the system of the curvatures is symmetric
        step = np.diff(knots)
        diagonal, beside = ((step[:-1] + step[1:]) / 3.0).tolist(), (step[1:-1] / 6.0).tolist()
        factors = _eliminate(diagonal, beside, beside)
        bent = np.stack(_substitute(list(at_curvature[1:-1]), factors, diagonal, beside))
        slopes = np.diff(np.pad(bent, ((1, 1), (0, 0))), axis=0) / step[:, None]
        at_values[:-1] += slopes
        at_values[1:] -= slopes
    return at_values.T


def _eliminate(diagonal: list[float], below: list[float], above: list[float]) -> list[float]:
    """Eliminate the lower diagonal of a tridiagonal system in place; return the factors."""
    factors = []
    for i in range(1, len(diagonal)):
        factors.append(below[i - 1] / diagonal[i - 1])
        diagonal[i] -= factors[-1] * above[i - 1]
    return factors


def _curvature(knots: Array, values: Array, not_a_knot: bool) -> Array:
    """(batch, m) second derivatives of cubic splines at their knots: a tridiagonal system.

    Solved by elimination (Thomas), one step a knot for the whole batch; the core does without scipy.
    """
    out = np.zeros_like(values)
    m = len(knots)
    if m < 3:
        return out
    step = np.diff(knots)
    right = np.diff(np.diff(values, axis=1) / step, axis=1)
    diagonal, beside = ((step[:-1] + step[1:]) / 3.0).tolist(), (step[1:-1] / 6.0).tolist()
    below, above = beside, beside
    if not_a_knot:
        below, above = [*beside], [*beside]
        (outer, inner), (last_inner, last_outer) = step[:2].tolist(), step[-2:].tolist()
        diagonal[0] += outer * (1.0 + outer / inner) / 6.0
        above[0] -= outer**2 / inner / 6.0
        diagonal[-1] += last_outer * (1.0 + last_outer / last_inner) / 6.0
        below[-1] -= last_outer**2 / last_inner / 6.0
    factors = _eliminate(diagonal, below, above)
    if len(values) == 1:  # plain numbers are faster than arrays of one
        out[0, 1:-1] = _substitute(right[0].tolist(), factors, diagonal, above)
    else:
        rows = _substitute(list(np.ascontiguousarray(right.T)), factors, diagonal, above)
        out[:, 1:-1] = np.stack(rows, axis=1)
    if not_a_knot:
        out[:, 0] = out[:, 1] + (out[:, 1] - out[:, 2]) * (outer / inner)
        out[:, -1] = out[:, -2] + (out[:, -2] - out[:, -3]) * (last_outer / last_inner)
    return out


def _substitute(
    right: list[Any], factors: list[float], diagonal: list[float], above: list[float]
) -> list[Any]:
    """Forward and back substitution, for numbers or for rows of a batch."""
    for i, factor in enumerate(factors, start=1):
        right[i] = right[i] - factor * right[i - 1]
    right[-1] = right[-1] / diagonal[-1]
    for i in range(len(right) - 2, -1, -1):
        right[i] = (right[i] - above[i] * right[i + 1]) / diagonal[i]
    return right
