"""Normalisation as linear operators, equal to `larch.xafs.pre_edge`.

For fixed e0 and windows larch's pre-edge line, post-edge polynomial, edge step and flattening are linear in
mu up to one division: norm = (1 - P) mu / step. An operator holds that arithmetic for one energy axis, so
that a batch of sweeps on the axis is one matrix product in float64, by numpy on the CPU, torch on a GPU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from xas_live.arrays import Numbers, library_of
from xas_live.reduction.e0 import spread_repeats
from xas_live.reduction.grid import resample, resampling_matrix
from xas_live.spectrum import Array

ASKED_KEPT = 64  # axes seen once, that may come again


@dataclass(frozen=True)
class Windows:
    """Fit ranges in eV relative to e0, by larch's names; None takes larch's default for the data at hand.

    Attributes
    ----------
    pre1, pre2 : range of the pre-edge line.
    norm1, norm2 : range of the post-edge polynomial.
    nnorm : its degree, 0 to 5.
    npre : degree of the pre-edge fit, 1 for a line or 0 for a constant; None lets larch's rule decide.
    """

    pre1: float | None = None
    pre2: float | None = None
    norm1: float | None = None
    norm2: float | None = None
    nnorm: int | None = None
    npre: int | None = None


class FitRanges(NamedTuple):
    """Windows settled for one energy axis: index ranges of both fits, degrees, index of e0."""

    pre: slice
    npre: int
    post: slice
    nnorm: int
    ie0: int


def settle_windows(energy: Array, e0: float, windows: Windows) -> FitRanges:
    """Index ranges by the rules of `larch.xafs.preedge`.

    Parameters
    ----------
    energy : (n,) eV, strictly ascending.
    e0 : eV.
    windows : eV relative to e0, or None for larch's defaults.

    Raises
    ------
    ValueError : for a degree outside 0 to 5.
    """
    if windows.nnorm is not None and not 0 <= windows.nnorm <= 5:
        raise ValueError(f"nnorm is the degree of the post-edge polynomial, 0 to 5, not {windows.nnorm}")
    ie0 = _nearest(energy, e0)
    pre1, pre2, norm1, norm2 = windows.pre1, windows.pre2, windows.norm1, windows.norm2
    if pre1 is None:
        unit = 5.0 if ie0 > 20 else 2.0
        pre1 = unit * round((energy[1] - e0) / unit)
    pre1 = max(pre1, energy[0] - e0)
    pre2 = 0.5 * pre1 if pre2 is None else pre2
    pre1, pre2 = min(pre1, pre2), max(pre1, pre2)
    npre = windows.npre
    if npre is None:
        npre = 0 if _at_or_below(energy - e0, pre2) - _at_or_below(energy - e0, pre1) < 3 else 1

    end = energy[-1] - e0
    norm2 = 5.0 * round(end / 5.0) if norm2 is None else norm2
    norm2 = min(end - norm2 if norm2 < 0 else norm2, end)
    norm1 = min(25.0, 5.0 * round(norm2 / 15.0)) if norm1 is None else norm1
    norm1, norm2 = min(norm1, norm2), max(norm1, norm2)
    norm1 = min(norm1, norm2 - 2.0)
    nnorm = windows.nnorm
    if nnorm is None:
        nnorm = 0 if norm2 - norm1 < 30 else 1 if norm2 - norm1 < 300 else 2

    p1, p2 = _at_or_below(energy, pre1 + e0), _nearest(energy, pre2 + e0)
    p2 = max(p2, p1 + 1) if npre == 0 else p2 if p2 - p1 >= 2 else min(len(energy), p1 + 2)
    n1, n2 = min(_at_or_below(energy, norm1 + e0), len(energy) - 3), _nearest(energy, norm2 + e0)
    if n2 - n1 < 2:
        n1, nnorm = n1 - 2, 0
    elif n2 - n1 < 5:
        nnorm = min(1, nnorm)
    return FitRanges(slice(p1, p2), npre, slice(n1, n2), nnorm, ie0)


class Normalized(NamedTuple):
    """norm and flat, each (batch, points), and edge_step, (batch,), in float64."""

    norm: Numbers
    flat: Numbers
    edge_step: Numbers


class _Fits:
    """Pre-edge line and post-edge polynomial of one axis, e0 and windows: small fits of each window."""

    def __init__(self, energy: Array, e0: float, windows: Windows) -> None:
        self.ranges = ranges = settle_windows(energy, e0, windows)
        reach = max(energy[-1] - e0, e0 - energy[0], 1.0)
        x = (energy - e0) / reach  # keeps the polynomial fits well conditioned
        self.line = np.vander(x, ranges.npre + 1, increasing=True)
        self.curve = np.vander(x, ranges.nnorm + 1, increasing=True)
        self.pre = np.linalg.pinv(self.line[ranges.pre])
        self.post = np.linalg.pinv(self.curve[ranges.post])
        self.above = (np.arange(len(energy)) >= ranges.ie0).astype(np.float64)


class NormalizationOperator:
    """Pre-edge, post-edge, flattening and resampling for one energy axis, e0 and windows.

    Parameters
    ----------
    energy : (n,) eV, ascending; repeats are nudged apart as larch does.
    e0 : eV.
    windows : fit ranges.
    points : (g,) eV at which the result is wanted; None for the axis itself.

    Raises
    ------
    ValueError : when the points reach beyond the axis.
    """

    def __init__(
        self, energy: Array, e0: float, windows: Windows | None = None, points: Array | None = None
    ) -> None:
        energy = spread_repeats(energy)
        fits = _Fits(energy, e0, windows or Windows())
        line, curve, n = fits.line, fits.curve, len(energy)
        pre_fit = np.zeros((line.shape[1], n))
        pre_fit[:, fits.ranges.pre] = fits.pre
        post_fit = np.zeros((curve.shape[1], n))
        post_fit[:, fits.ranges.post] = fits.post
        post_fit -= (post_fit @ line) @ pre_fit  # the polynomial is fitted to mu less its pre-edge line
        step = curve[fits.ranges.ie0] @ post_fit
        above = fits.above[:, None]

        # norm = mu - line; flat = norm - curve + step above e0: a few coefficients and their shapes
        coefficients = np.vstack([pre_fit, post_fit, step])
        shapes = np.hstack([-line, -above * curve, above])
        self._used = slice(None)
        resample = None
        if points is not None:
            full = resampling_matrix(energy, points)
            shapes = full @ shapes
            columns = np.flatnonzero(full.any(axis=0))
            self._used = slice(int(columns[0]), int(columns[-1]) + 1)
            resample = np.ascontiguousarray(full[:, self._used].T)
        self._pre_terms = line.shape[1]
        self._arrays = resample, np.ascontiguousarray(coefficients.T), np.ascontiguousarray(shapes.T)
        self._on_device: dict[torch.device, tuple[Numbers, Numbers, Numbers]] = {}
        self.nbytes = coefficients.nbytes + shapes.nbytes + (0 if resample is None else resample.nbytes)

    def __call__(self, mu: Numbers) -> Normalized:
        """Normalise a batch.

        Parameters
        ----------
        mu : (batch, n) float64: an array, or a tensor on any device.
        """
        values, fitted, shapes = self._parts(mu)
        p = self._pre_terms
        norm = values + fitted[:, :p] @ shapes[:p]
        flat = norm + fitted[:, p:] @ shapes[p:]
        edge_step = abs(fitted[:, -1]).clip(1e-12, None)
        return Normalized(norm / edge_step[:, None], flat / edge_step[:, None], edge_step)

    def flat(self, mu: Numbers) -> tuple[Numbers, Numbers]:
        """Flattened spectra, (batch, points), and signed edge steps, (batch,): the hot path.

        Steps of any size divide; where there is none at all the spectrum is left as it is.
        """
        values, fitted, shapes = self._parts(mu)
        edge_step = fitted[:, -1]
        return (values + fitted @ shapes) / _divisor(edge_step)[:, None], edge_step

    def _parts(self, mu: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """mu at the points, fitted coefficients (the last is the edge step), and their shapes."""
        if isinstance(mu, np.ndarray):
            resample, coefficients, shapes = self._arrays
        else:
            if mu.device not in self._on_device:
                there = [None if a is None else torch.from_numpy(a).to(mu.device) for a in self._arrays]
                self._on_device[mu.device] = (there[0], there[1], there[2])
            resample, coefficients, shapes = self._on_device[mu.device]
        values = mu if resample is None else mu[:, self._used] @ resample
        return values, mu @ coefficients, shapes


def flat_once(energy: Array, mu: Array, e0: float, windows: Windows, points: Array) -> tuple[Array, Array]:
    """What an operator's `flat` gives, for an axis seen once, as axes are that jitter.

    The same fits and the same spline as in `NormalizationOperator`, without their matrices.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (batch, n).
    e0, windows, points : as for the operator.

    Raises
    ------
    ValueError : when the points reach beyond the axis.
    """
    energy = spread_repeats(energy)
    fits = _Fits(energy, e0, windows)
    less_line = mu - (mu[:, fits.ranges.pre] @ fits.pre.T) @ fits.line.T
    curve = (less_line[:, fits.ranges.post] @ fits.post.T) @ fits.curve.T
    edge_step = curve[:, fits.ranges.ie0]
    flat = less_line + fits.above * (edge_step[:, None] - curve)
    return resample(energy, flat, points) / _divisor(edge_step)[:, None], edge_step


def _divisor(edge_step: Numbers) -> Numbers:
    """What a spectrum is divided by: its step's size, or 1 where there is none."""
    return library_of(edge_step).where(edge_step == 0, 1.0, abs(edge_step))


def normalize(
    energy: Array, mu: Array, e0: float, windows: Windows | None = None
) -> tuple[Array, Array, float]:
    """norm, flat, each (n,), and edge_step of one spectrum on its own axis, as `larch.xafs.pre_edge` gives.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (n,) absorption.
    e0 : eV.
    windows : eV relative to e0; default larch's.
    """
    result = NormalizationOperator(energy, e0, windows)(np.asarray(mu, np.float64)[None])
    return result.norm[0], result.flat[0], float(result.edge_step[0])


class OperatorCache:
    """The operators used last, within a bound of memory; safe to share between threads.

    Parameters
    ----------
    max_bytes : the bound, in bytes of matrices on the CPU.
    """

    def __init__(self, max_bytes: int = 128 * 2**20) -> None:
        self.max_bytes = max_bytes
        self._operators: OrderedDict[Hashable, NormalizationOperator] = OrderedDict()
        self._asked: OrderedDict[Hashable, None] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def expected(self, key: Hashable, several: bool = False) -> bool:
        """Whether an operator is worth its building: there is one, or the key was asked about before.

        Parameters
        ----------
        several : it is: there are several spectra for it.
        """
        with self._lock:
            if several or key in self._operators or key in self._asked:
                return True
            self._asked[key] = None
            while len(self._asked) > ASKED_KEPT:
                self._asked.popitem(last=False)
            return False

    def get(self, key: Hashable, build: Callable[[], NormalizationOperator]) -> NormalizationOperator:
        """The operator stored under `key`, built first if need be (outside the lock: others go on)."""
        with self._lock:
            if key in self._operators:
                self._operators.move_to_end(key)
                return self._operators[key]
        operator = build()
        with self._lock:
            if key not in self._operators:
                self._operators[key] = operator
                self._bytes += operator.nbytes
            while self._bytes > self.max_bytes and len(self._operators) > 1:
                _, oldest = self._operators.popitem(last=False)
                self._bytes -= oldest.nbytes
        return operator


def _nearest(array: Array, value: float) -> int:
    return int(np.abs(array - value).argmin())


def _at_or_below(array: Array, value: float) -> int:
    return max(int(np.searchsorted(array, value, side="right")) - 1, 0)
