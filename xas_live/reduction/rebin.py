"""Rebinning of dense sweeps onto the standard grid of an edge.

A continuous (QEXAFS) sweep has thousands of points, and its encoder reads other energies every time. They are
averaged in bins that belong to the edge, not to the sweep: all sweeps of a beamline share one axis, and with
it whatever is worked out for the axis. The number of points behind each bin is kept as its weight.

The mean over a bin belongs to no one energy: its points lie unevenly about the centre, and mu bends within.
To second order in the points' distances x from the centre

    mean = mu + <x> mu' + <x x> mu'' / 2,

with the derivatives by five-point differences between centres; that is solved for mu at the centres.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xas_live.reduction.axis import MIN_POINTS, Axis
from xas_live.spectrum import Array

# The peer is larch's rebin_xafs: 2 eV to -30 eV, e0 / 25000 to 15 eV, then 0.05 1/Angstrom. The fine part is
# longer here: it lies about the tabulated edge, and a beamline's scale may be tens of eV off. Its step is a
# compromise: with a wider one a bin errs by over 1e-4 edge steps at sharp edges; with one far below the
# network's 0.5 eV, each point of the network's grid sees half of the data.
START, FINE_FROM, FINE_TO, LAST_K = -1000.0, -50.0, 30.0, 28.0  # eV, eV, eV, 1/Angstrom
COARSE_STEP, K_STEP = 2.0, 0.05  # eV, 1/Angstrom
RESOLVING, FINEST, COARSEST = 30000.0, 0.25, 0.4  # edge energy over fine step, and the step's bounds (eV)
K_SQUARED = 3.809982  # eV Angstrom^2: E - e0 = 3.81 k^2
CELL = 0.05  # eV: all limits of bins are multiples of it, so that a table tells a point's bin

DENSE = 2.0  # points a bin, on average in each part of the grid, from which a sweep is dense
LARGEST_GAP = 3  # bins in a row without a point, that are filled in
ASTRAY = 0.001  # share of points that may lie apart from the others: energies misread, no sparse pre-edge
ITERATIONS = 4  # each leaves a fifth of the error, or less
MISREAD, LEAST_MISREAD = 12.0, 0.03  # times the mean deviation, and share of mu's range, of a misread point
FILLED_IN = 1e-3  # points behind a bin that was filled in: none, but a fit to such bins alone stays defined


class EdgeGrid:
    """The standard grid of an edge: 2 eV before it, fine about it, even in k behind. See `edge_grid`.

    Parameters
    ----------
    edge_energy : tabulated, eV.

    Attributes
    ----------
    energy : (m,) centres of the bins, eV.
    fine_step : eV.
    """

    def __init__(self, edge_energy: float) -> None:
        step = CELL * int(edge_energy / RESOLVING / CELL)
        self.fine_step = step = min(max(step, FINEST), COARSEST)
        coarse = np.arange(START, FINE_FROM, COARSE_STEP)
        fine = np.arange(FINE_FROM, FINE_TO + 0.5 * step, step)
        k = np.arange(np.sqrt(fine[-1] / K_SQUARED), LAST_K, K_STEP)[1:]
        cells = np.round((np.concatenate([coarse, fine, K_SQUARED * k**2]) - START) / CELL).astype(np.int64)
        self._start = CELL * round(edge_energy / CELL) + START
        limits = self._start + CELL * cells
        self.energy = 0.5 * (limits[1:] + limits[:-1])
        self._parts = (0, len(coarse), len(coarse) + len(fine) - 1, len(self.energy))
        # Bin of each cell; one bin besides on either side takes what lies beyond the grid.
        widths = np.concatenate([[1], np.diff(cells), [1]])
        self._bin_of_cell = np.repeat(np.arange(len(widths)), widths)
        self._centre = np.pad(self.energy, 1, mode="edge")

    def layout(self, energy: Array) -> Layout | None:
        """How a sweep's points lie in the bins; None where it is not dense, and must be taken as measured.

        A dense sweep has two points a bin or more on average in every part of the grid that it covers, and
        never more than three bins in a row without any. It gets the bins whose centres it passes.

        Parameters
        ----------
        energy : (n,) eV, in any order, finite.
        """
        n = len(energy)
        if n < DENSE * MIN_POINTS:
            return None
        covered = np.searchsorted(self.energy, [energy.min(), energy.max()])
        if n < DENSE * (covered[1] - covered[0]):  # a step scan is let through at no cost
            return None
        cell = np.clip((energy - self._start) * (1.0 / CELL) + 1.0, 0.0, len(self._bin_of_cell) - 1.0)
        which = self._bin_of_cell[cell.astype(np.int64)]
        count = np.bincount(which, minlength=len(self._centre))[1:-1]
        first, last = _main_run(count)
        apart = n - int(count[first:last].sum())
        if apart > max(3, ASTRAY * n) or last - first < MIN_POINTS:
            return None
        if energy[which == first + 1].min() > self.energy[first]:
            first += 1 + int(np.argmax(count[first + 1 :] > 0))
        if energy[which == last].max() < self.energy[last - 1]:
            last -= 1 + int(np.argmax(count[last - 2 :: -1] > 0))
        for low, high in zip(self._parts, self._parts[1:], strict=False):
            part = count[max(low, first) : min(high, last)]
            if part.sum() < DENSE * len(part):
                return None
        if min(self._parts[2], last) - max(self._parts[1], first) < MIN_POINTS:
            return None
        return Layout(_bins(self, first, last), energy - self._centre[which], which, count[first:last], apart)

    def axis_of(self, energy: Array) -> Axis:
        """The axis with these centres (eV); an axis of its own where they are not this grid's."""
        first = int(np.searchsorted(self.energy, energy[0] - 0.5 * CELL))
        last = first + len(energy)
        if np.array_equal(self.energy[first:last], energy):
            return _bins(self, first, last).axis
        return Axis(energy)


@lru_cache(maxsize=32)
def edge_grid(edge_energy: float) -> EdgeGrid:
    """The standard grid of the edge with this tabulated energy (eV)."""
    return EdgeGrid(edge_energy)


class _Bins:
    """Bins first to last of a grid, with what all sweeps that have them share.

    Attributes
    ----------
    axis : of the b centres.
    inside : these among all the grid's bins and one besides on either side, `size` in all.
    near : (b, 5) indices of each bin and of two to either side.
    slope, bend : (b, 5) weights of those for the derivatives at the bin's centre.
    without : (b, 5) weights for how much the bin lies off the cubic through the others.
    """

    def __init__(self, grid: EdgeGrid, first: int, last: int) -> None:
        fine_from, fine_to = grid._parts[1:3]
        judged = slice(max(fine_from - first, 0), min(fine_to, last) - first)
        self.axis = Axis(grid.energy[first:last], judged)
        self.inside, self.size = slice(first + 1, last + 1), len(grid.energy) + 2
        b = last - first
        self.near = np.clip(np.arange(b)[:, None] + np.arange(-2, 3), 0, b - 1)
        self.slope, self.bend, self.without = _five_points(self.axis.energy)


@lru_cache(maxsize=128)
def _bins(grid: EdgeGrid, first: int, last: int) -> _Bins:
    return _Bins(grid, first, last)


class Layout:
    """How the n points of a dense sweep lie in its b bins; `EdgeGrid.layout` makes it.

    Attributes
    ----------
    axis : of the bins' centres.
    weights : (b,) number of points behind each bin.
    apart : how many points lie apart from the others, in no bin: energies misread.
    """

    def __init__(
        self, bins: _Bins, x: Array, which: NDArray[np.int64], count: NDArray[np.int64], apart: int
    ) -> None:
        self._shared, self._x, self._which, self._count = bins, x, which, count
        self.axis, self.apart = bins.axis, apart
        self.weights = np.maximum(count, FILLED_IN)
        self._mean_x = self._mean(x)
        self._empty = np.flatnonzero(count == 0)
        self._off = self._mean_x[:, None] * bins.slope + 0.5 * self._mean(x * x)[:, None] * bins.bend
        self._off[self._empty] = bins.without[self._empty]

    def _mean(self, values: Array) -> Array:
        bins = self._shared
        return np.bincount(self._which, values, bins.size)[bins.inside] / np.maximum(self._count, 1)

    def without(self, left_out: NDArray[np.bool_]) -> Layout:
        """The same bins for the other points; left_out is (n,)."""
        kept = ~left_out
        which = self._which[kept]
        count = np.bincount(which, minlength=self._shared.size)[self._shared.inside]
        return Layout(self._shared, self._x[kept], which, count, self.apart)

    def average(self, values: Array) -> Array:
        """(rows, b) values at the bins' centres; a bin without points gets what its neighbours say.

        Parameters
        ----------
        values : (rows, n), finite.
        """
        mean = np.stack([self._mean(row) for row in values])
        centre, full = self.axis.energy, self._count > 0
        at = (centre + self._mean_x)[full]
        found = np.stack([np.interp(centre, at, row[full]) for row in mean])
        for at_end in self._empty[(self._empty < 2) | (self._empty >= len(centre) - 2)]:
            mean[:, at_end] = found[:, at_end]
        for _ in range(ITERATIONS):
            found = mean - self._applied(self._off, found)
        return found

    def misread(self, values: Array, average: Array) -> NDArray[np.bool_]:
        """(rows, n) points that stand out of their bins, as single points do that were read wrongly.

        Parameters
        ----------
        values, average : (rows, n) as measured, (rows, b) as `average` gives it.
        """
        inside, which = self._shared.inside, self._which
        outside = (which < inside.start) | (which >= inside.stop)
        slopes = self._applied(self._shared.slope, average)
        found = np.empty(values.shape, dtype=bool)
        level, slope = np.zeros(self._shared.size), np.zeros(self._shared.size)
        for k, row in enumerate(values):
            level[inside], slope[inside] = average[k], slopes[k]
            off = np.abs(row - level[which] - self._x * slope[which])
            off[outside] = 0.0
            found[k] = off > max(MISREAD * float(off.mean()), LEAST_MISREAD * float(np.ptp(average[k])))
        return found

    def _applied(self, weights: Array, values: Array) -> Array:
        return np.asarray(np.einsum("rbk,bk->rb", values[:, self._shared.near], weights))


def _main_run(count: NDArray[np.int64]) -> tuple[int, int]:
    """First bin, and one past the last, of the run with most points; runs end where a gap is too large."""
    filled = np.flatnonzero(count)
    if not filled.size:
        return 0, 0
    runs = np.split(filled, np.flatnonzero(np.diff(filled) > LARGEST_GAP + 1) + 1)
    most = max(runs, key=lambda run: int(count[run].sum())) if len(runs) > 1 else runs[0]
    return int(most[0]), int(most[-1]) + 1


def _five_points(x: Array) -> tuple[Array, Array, Array]:
    """Weights, each (b, 5), of the points around each for `_Bins`: slope, bend, without."""
    near = np.lib.stride_tricks.sliding_window_view(x, 5)
    scale = (near[:, 4:] - near[:, :1]) / 4.0
    powers = ((near - near[:, 2:3]) / scale)[:, None, :] ** np.arange(5)[:, None]
    wanted = np.broadcast_to(np.diag([1.0, 1.0, 2.0, 6.0, 24.0])[:, [1, 2, 4]], (len(near), 5, 3))
    weights = np.linalg.solve(powers, wanted)
    slope, bend, without = (np.zeros((len(x), 5)) for _ in range(3))
    slope[2:-2], bend[2:-2] = weights[:, :, 0] / scale, weights[:, :, 1] / scale**2
    without[2:-2] = weights[:, :, 2] / weights[:, 2:3, 2]
    without[:, 2] = 0.0
    for end, inwards in ((0, 1), (len(x) - 1, -1)):  # a line at the ends, a parabola beside them
        slope[end, [2, 2 + inwards]] = np.array([-1.0, 1.0]) / (x[end + inwards] - x[end])
        i = end + inwards
        before, after = x[i] - x[i - 1], x[i + 1] - x[i]
        rises = np.array([[-1.0 / before, 1.0 / before, 0.0], [0.0, -1.0 / after, 1.0 / after]])
        slope[i, 1:4] = np.array([after, before]) @ rises / (before + after)
        bend[i, 1:4] = 2.0 * (rises[1] - rises[0]) / (before + after)
    return slope, bend, without
