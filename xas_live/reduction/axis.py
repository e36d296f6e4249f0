"""Axis: the energies of a sweep, with what the checks need of them, worked out once for all its sweeps."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xas_live.reduction.e0 import EdgeFinder
from xas_live.spectrum import Array

E0_CELL = 0.5  # eV
MIN_POINTS = 30
SAME_ENERGY = 0.003  # eV: points closer than this are one energy, read with jitter
LEAST_ENERGY = 200.0  # eV: below it there is no X-ray absorption scan
_OFFSETS = {"point": (0, (-2, -1, 1, 2)), "before": (-1, (-3, -2, 1, 2)), "after": (1, (-2, -1, 2, 3))}


class Axis:
    """An energy axis.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    judged : the points whose noise counts: all, but for bins of unlike width.
    """

    def __init__(self, energy: Array, judged: slice = slice(None)) -> None:
        self.energy = energy
        self.judged = judged
        self.key = energy.tobytes()

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def sound(self) -> bool:
        """Whether the energies are enough, all numbers in eV, and ascend without repeats."""
        e = self.energy
        if len(e) < MIN_POINTS or not np.isfinite(e).all() or e[0] < LEAST_ENERGY:
            return False
        return bool(np.diff(e).min() >= SAME_ENERGY)

    def coarser(self, mu: Array) -> Array:
        """(..., m) averages over cells of half an eV where points lie closer: noise would drown the slope."""
        if self._cells is None:
            return mu
        starts, count = self._cells
        return np.asarray(np.add.reduceat(mu, starts, axis=-1) / count)

    @cached_property
    def edge_finder(self) -> EdgeFinder:
        """Larch's rule for what `coarser` gives."""
        return EdgeFinder(self.coarser(self.energy))

    def off_cubic(self, mu: Array) -> tuple[Array, Array, Array]:
        """How far points lie off the cubic through four others (Lagrange).

        Parameters
        ----------
        mu : (batch, n), n at least 7.

        Returns
        -------
        Three (batch, n - 6), for every point but the first and last three: how far it lies off the cubic
        through its neighbours, and how far its neighbours before and after it lie off that through theirs,
        when it is left out.
        """
        before, point, after = (self._off(mu, which) for which in ("before", "point", "after"))
        return point, before, after

    def _off(self, mu: Array, which: str) -> Array:
        at, through = _OFFSETS[which]
        off = self._shifted(mu, at).copy()
        for weight, j in zip(self._cubic[which], through, strict=True):
            off -= weight * self._shifted(mu, j)
        return np.abs(off, out=off)

    def _shifted(self, values: Array, by: int) -> Array:
        return values[..., 3 + by : values.shape[-1] - 3 + by]

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        cell = np.floor(self.energy / E0_CELL)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(cell)) + 1])
        if len(starts) < MIN_POINTS or len(self.energy) < 1.5 * len(starts):
            return None
        return starts, np.diff(np.append(starts, len(self.energy)))

    @cached_property
    def _cubic(self) -> dict[str, list[Array]]:
        x = self.energy
        weights: dict[str, list[Array]] = {}
        for which, (at, through) in _OFFSETS.items():
            point = self._shifted(x, at)
            weights[which] = []
            for j in through:
                weight = np.ones(len(x) - 6)
                for k in through:
                    if k != j:
                        weight *= (point - self._shifted(x, k)) / (self._shifted(x, j) - self._shifted(x, k))
                weights[which].append(weight)
        return weights


class AxisCache:
    """The axes seen last; safe to share between threads.

    Parameters
    ----------
    kept : how many.
    """

    def __init__(self, kept: int = 64) -> None:
        self._kept = kept
        self._axes: OrderedDict[bytes, Axis] = OrderedDict()
        self._lock = Lock()

    def of(self, energy: Array) -> Axis:
        """The axis with these energies."""
        axis = Axis(energy)
        with self._lock:
            known = self._axes.setdefault(axis.key, axis)
            self._axes.move_to_end(axis.key)
            while len(self._axes) > self._kept:
                self._axes.popitem(last=False)
        return known
