"""Normalisation as linear operators, equal to `larch.xafs.pre_edge`.

For fixed e0 and windows larch's pre-edge line, post-edge polynomial, edge step and flattening are linear in
mu up to one division: norm = (1 - P) mu / step. An operator holds that arithmetic for one energy axis, so
that a batch of sweeps on the axis is one matrix product in float64, by numpy on the CPU, torch on a GPU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from xas_live.errors import Refusal
from xas_live.reduction.arrays import Numbers, library_of
from xas_live.reduction.e0 import spread_repeats
from xas_live.reduction.grid import resample, resample_transposed, resampling_matrix
from xas_live.spectrum import Array

ASKED_KEPT = 64  # axes seen once, that may come again
NEGLIGIBLE = 1e-18  # share of a point's mu in a resampled value, below what float64 resolves


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
    """Windows settled for one energy axis: index ranges, degrees, index of e0; and the ranges in eV."""

    pre: slice
    npre: int
    post: slice
    nnorm: int
    ie0: int
    pre_limits: tuple[float, float]
    post_limits: tuple[float, float]


def settle_windows(energy: Array, e0: float, windows: Windows) -> FitRanges:
    """Index ranges by the rules of `larch.xafs.preedge`.

    Parameters
    ----------
    energy : (n,) eV, strictly ascending.
    e0 : eV.
    windows : eV relative to e0, or None for larch's defaults.

    Raises
    ------
    Refusal : for a degree outside 0 to 5.
    """
    if windows.nnorm is not None and not 0 <= windows.nnorm <= 5:
        raise Refusal(f"nnorm is the degree of the post-edge polynomial, 0 to 5, not {windows.nnorm}")
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
    limits = (e0 + pre1, e0 + pre2), (e0 + norm1, e0 + norm2)
    return FitRanges(slice(p1, p2), npre, slice(n1, n2), nnorm, ie0, *limits)


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


class _Weighted:
    """A polynomial through a window of bins, each weighted by the points behind it.

    A bin across the window's limit counts with the share of it that lies within, as its points would. The
    polynomial's terms are orthogonal over the window, so that normal equations lose no digits.

    Parameters
    ----------
    terms : (n, p) powers on the axis, and `at_e0`, (p,), at the edge.
    window, limits : the fit's range, as indices and in eV.
    """

    def __init__(
        self, energy: Array, terms: Array, at_e0: Array, window: slice, limits: tuple[float, float]
    ) -> None:
        between = 0.5 * (energy[1:] + energy[:-1])
        low = np.concatenate([[energy[0]], between])
        high = np.concatenate([between, [energy[-1]]])
        within = np.minimum(high, limits[1]) - np.maximum(low, limits[0])
        share = np.clip(within / (high - low), 0.0, 1.0)
        if np.count_nonzero(share) < terms.shape[1]:
            share[window] = 1.0
        used = np.flatnonzero(share)
        self.window = slice(int(used[0]), int(used[-1]) + 1)
        steady = np.sqrt(share * (high - low))[self.window, None]
        straight = np.linalg.inv(np.linalg.qr(steady * terms[self.window])[1])
        self.terms, self.at_e0 = terms @ straight, at_e0 @ straight
        near = self.terms[self.window]
        products = (near[:, :, None] * near[:, None, :]).reshape(len(near), -1)
        self.arrays = share[self.window], near, products

    def fit(self, mu: Numbers, weights: Numbers, arrays: Sequence[Numbers]) -> Numbers:
        """(batch, p) coefficients.

        Parameters
        ----------
        mu, weights : (batch, n).
        arrays : `self.arrays`, where mu is.
        """
        share, near, products = arrays
        weights = weights[:, self.window] * share
        p = near.shape[1]
        normal = (weights @ products).reshape(-1, p, p)
        wanted = (weights * mu[:, self.window]) @ near
        return library_of(mu).linalg.solve(normal, wanted[:, :, None])[:, :, 0]


class _WeightedFits:
    """As `_Fits`, for bins with so many points behind each: nearly what a fit to all the points gives."""

    def __init__(self, energy: Array, e0: float, windows: Windows) -> None:
        ranges = settle_windows(energy, e0, windows)
        x = (energy - e0) / max(energy[-1] - e0, e0 - energy[0], 1.0)
        pre, post = (
            np.vander(x, ranges.npre + 1, increasing=True),
            np.vander(x, ranges.nnorm + 1, increasing=True),
        )
        self.line = _Weighted(energy, pre, np.eye(pre.shape[1])[0], ranges.pre, ranges.pre_limits)
        self.curve = _Weighted(energy, post, np.eye(post.shape[1])[0], ranges.post, ranges.post_limits)
        above = (energy >= e0).astype(np.float64)[:, None]
        # norm = mu - line; flat = norm - curve + step above e0
        self.shapes = np.hstack([-self.line.terms, -above * self.curve.terms, above])
        self.arrays = (
            *self.line.arrays,
            *self.curve.arrays,
            self.line.terms[self.curve.window].T,
            self.curve.at_e0,
        )

    def fit(self, mu: Numbers, weights: Numbers, arrays: Sequence[Numbers]) -> Numbers:
        """(batch, terms) coefficients of `shapes`; the last is the edge step."""
        line = self.line.fit(mu, weights, arrays[:3])
        rest = mu + 0.0
        rest[:, self.curve.window] -= line @ arrays[6]
        curve = self.curve.fit(rest, weights, arrays[3:6])
        return library_of(mu).concatenate([line, curve, (curve @ arrays[7])[:, None]], 1)


class NormalizationOperator:
    """Pre-edge, post-edge, flattening and resampling for one energy axis, e0 and windows.

    Sweeps rebinned to a standard axis bring the number of points behind each bin: their polynomials are
    fitted with those weights, anew for each sweep, so that one operator serves them all.

    Parameters
    ----------
    energy : (n,) eV, ascending; repeats are nudged apart as larch does.
    e0 : eV.
    windows : fit ranges.
    points : (g,) eV at which the result is wanted; None for the axis itself.

    Raises
    ------
    BeyondDataError : when the points reach beyond the axis.
    """

    def __init__(
        self, energy: Array, e0: float, windows: Windows | None = None, points: Array | None = None
    ) -> None:
        energy = spread_repeats(energy)
        windows = windows or Windows()
        self._settings = energy, e0, windows
        fits = _Fits(energy, e0, windows)
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
            columns = np.flatnonzero(np.abs(full).max(axis=0) > NEGLIGIBLE)
            self._used = slice(int(columns[0]), int(columns[-1]) + 1)
            resample = np.ascontiguousarray(full[:, self._used].T)
        self._pre_terms = line.shape[1]
        by_rows, by_columns = np.ascontiguousarray(coefficients.T), coefficients.T  # fast for many, for one
        self._arrays = resample, by_rows, by_columns, np.ascontiguousarray(shapes.T)
        self._on_device: dict[tuple[torch.device, int], list[Numbers]] = {}
        self.nbytes = 2 * coefficients.nbytes + shapes.nbytes + (0 if resample is None else resample.nbytes)

    def __call__(self, mu: Numbers, weights: Numbers | None = None) -> Normalized:
        """Normalise a batch.

        Parameters
        ----------
        mu : (batch, n) float64: an array, or a tensor on any device.
        weights : (batch, n) of the same kind, number of points behind each; None where all weigh alike.
        """
        values, fitted, shapes = self._parts(mu, weights)
        p = self._pre_terms
        norm = values + fitted[:, :p] @ shapes[:p]
        flat = norm + fitted[:, p:] @ shapes[p:]
        edge_step = abs(fitted[:, -1]).clip(1e-12, None)
        return Normalized(norm / edge_step[:, None], flat / edge_step[:, None], edge_step)

    def flat(self, mu: Numbers, weights: Numbers | None = None) -> tuple[Numbers, Numbers]:
        """Flattened spectra, (batch, points), and signed edge steps, (batch,): the hot path.

        Steps of any size divide; where there is none at all the spectrum is left as it is. Parameters as for
        a call.
        """
        values, fitted, shapes = self._parts(mu, weights)
        edge_step = fitted[:, -1]
        flat = fitted @ shapes
        flat += values
        flat /= divisor(edge_step)
        return flat, edge_step

    def edge_step(self, mu: Numbers, weights: Numbers | None = None) -> Numbers:
        """Signed edge steps, (batch,). Parameters as for a call."""
        return self._parts(mu, weights)[1][:, -1]

    def _parts(self, mu: Numbers, weights: Numbers | None) -> tuple[Numbers, Numbers, Numbers]:
        """mu at the points, fitted coefficients (the last is the edge step), and their shapes."""
        if weights is None:
            resample, by_rows, by_columns, shapes = self._there(mu, self._arrays)
            fitted = mu @ (by_columns if len(mu) == 1 else by_rows)
            return self._at_points(mu, resample), fitted, shapes
        resample, shapes, *arrays = self._there(mu, self._weighted)
        return self._at_points(mu, resample), self._weighted_fits.fit(mu, weights, arrays), shapes

    def _at_points(self, mu: Numbers, resample: Numbers | None) -> Numbers:
        return mu if resample is None else mu[:, self._used] @ resample

    @cached_property
    def _weighted_fits(self) -> _WeightedFits:
        return _WeightedFits(*self._settings)

    @cached_property
    def _weighted(self) -> tuple[Array | None, ...]:
        resample, shapes = self._arrays[0], self._weighted_fits.shapes
        at_points = shapes if resample is None else resample.T @ shapes[self._used]
        return resample, np.ascontiguousarray(at_points.T), *self._weighted_fits.arrays

    def _there(self, mu: Numbers, arrays: Sequence[Array | None]) -> Sequence[Numbers]:
        """The arrays where mu is."""
        if isinstance(mu, np.ndarray):
            return arrays
        key = (mu.device, id(arrays))
        if key not in self._on_device:
            self._on_device[key] = [None if a is None else torch.from_numpy(a).to(mu.device) for a in arrays]
        return self._on_device[key]


def flat_once(
    energy: Array, mu: Array, e0: float, windows: Windows, points: Array, weights: Array | None = None
) -> tuple[Array, Array]:
    """What an operator's `flat` gives, for an axis seen once, as axes are that jitter.

    The same fits and the same spline as in `NormalizationOperator`, without their matrices.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (batch, n).
    e0, windows, points : as for the operator.
    weights : (batch, n) number of points behind each; None where all weigh alike.

    Raises
    ------
    BeyondDataError : when the points reach beyond the axis.
    """
    energy = spread_repeats(energy)
    if weights is not None:
        bins = _WeightedFits(energy, e0, windows)
        fitted = bins.fit(mu, weights, bins.arrays)
        steps = fitted[:, -1]
        return resample(energy, mu + fitted @ bins.shapes.T, points) / divisor(steps), steps
    fits = _Fits(energy, e0, windows)
    less_line = mu - (mu[:, fits.ranges.pre] @ fits.pre.T) @ fits.line.T
    curve = (less_line[:, fits.ranges.post] @ fits.post.T) @ fits.curve.T
    edge_step = curve[:, fits.ranges.ie0]
    flat = less_line + fits.above * (edge_step[:, None] - curve)
    return resample(energy, flat, points) / divisor(edge_step), edge_step


def point_gradients(
    energy: Array,
    mu: Array,
    e0: float,
    windows: Windows,
    points: Array,
    gradients: Array,
    *,
    flat: bool = True,
) -> Array:
    """Return how quantities change with each measured point, (quantities, n), by the chain rule.

    The transpose of what `flat_once` does, for sweeps whose points weigh alike.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (n,).
    e0, windows, points : as for the operator.
    gradients : (quantities, g) of the quantities by the normalised values at the points.
    flat : the values are flattened.

    Raises
    ------
    BeyondDataError : when the points reach beyond the axis.
    """
    energy = spread_repeats(energy)
    fits = _Fits(energy, e0, windows)
    pre, post = fits.ranges.pre, fits.ranges.post
    less_line = mu - fits.line @ (fits.pre @ mu[pre])
    curve = fits.curve @ (fits.post @ less_line[post])
    step = float(curve[fits.ranges.ie0]) or 1.0  # of a spectrum without a step nothing is predicted
    values = less_line + fits.above * (step - curve) if flat else less_line
    by_values = resample_transposed(energy, gradients, points) / step
    by_step = -(by_values @ values) / step
    by_curve = np.zeros_like(by_values)
    if flat:
        by_curve = -fits.above * by_values
        by_step = by_step - by_curve.sum(axis=1)
    by_curve[:, fits.ranges.ie0] += by_step
    found = by_values.copy()
    found[:, post] += (by_curve @ fits.curve) @ fits.post
    found[:, pre] -= (found @ fits.line) @ fits.pre
    return found


def divisor(edge_step: Numbers) -> Numbers | float:
    """What spectra are divided by, (batch, 1): their steps' sizes, or 1 where there is none."""
    if isinstance(edge_step, np.ndarray) and len(edge_step) == 1:  # a plain number is faster than an array
        return abs(float(edge_step[0])) or 1.0
    size = abs(edge_step)
    return (size + (size == 0))[:, None]


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


class Operator(Protocol):
    """What an `OperatorCache` keeps."""

    @property
    def nbytes(self) -> int:
        """Of its matrices on the CPU."""
        ...


AnOperator = TypeVar("AnOperator", bound=Operator)


class OperatorCache(Generic[AnOperator]):
    """The operators used last, within a bound of memory; safe to share between threads.

    Parameters
    ----------
    max_bytes : the bound, in bytes of matrices on the CPU.
    """

    def __init__(self, max_bytes: int = 128 * 2**20) -> None:
        self.max_bytes = max_bytes
        self._operators: OrderedDict[Hashable, AnOperator] = OrderedDict()
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

    def get(self, key: Hashable, build: Callable[[], AnOperator]) -> AnOperator:
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
