"""chi(k) as a linear operator, equal to `larch.xafs.autobk` without clamps.

The background above the edge is a cubic spline in k, chosen so that the Fourier transform of the fine
structure left is smallest below `rbkg` (Newville, Līviņš, Yacoby, Rehr and Stern, Phys. Rev. B 47, 14126
(1993); Newville, Physica B 208-209, 154 (1995)). Knots, transform, window and the way from the measured k to
the even grid are those of larch's autobk.py, for ``win="hanning"``, ``kstep=0.05`` and ``nfft=2048``.

Larch minimises step by step, because its clamps, which hold the ends of chi near zero, weigh more where the
fit is worse. They are left out (``nclamp=0``): what is left is a linear least-squares problem, so that
background and chi of one axis are one matrix, the same for every sweep on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal
from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.e0 import spread_repeats
from xas_live.reduction.grid import BeyondDataError, spline_matrix
from xas_live.reduction.normalize import NormalizationOperator, Windows, divisor
from xas_live.spectrum import Array

K_STEP, N_FFT = 0.05, 2048  # of the transform: 1/Å, and its length, which gives the step in R
TAPER = 0.1  # 1/Å over which its window rises and falls
ORDER = 3  # of the splines
LEAST_KNOTS, MOST_KNOTS = 5, 128
ROUNDING = 1e-9  # 1/Å by which k may seem to pass the last point


class BackgroundError(Refusal):
    """Data from which no background can be told."""


class ChiOperator:
    """Background, edge step and chi(k) for one energy axis, e0 and windows.

    Parameters
    ----------
    energy : (n,) eV, ascending; repeats are nudged apart as larch does.
    e0 : eV, inside the data; k is counted from it.
    windows : of the normalisation that gives the edge step, eV relative to e0; None takes larch's.
    k : (g,) 1/Å, ascending from zero or more, at which chi is wanted.
    k_weight : chi is multiplied by k to this power.
    rbkg : Å below which the fine structure counts as background.
    kmin, kmax : 1/Å between which the background is fitted; kmax None takes all data.
    fit_weight : power of k that weighs the fine structure in that fit; larch's kweight.

    Raises
    ------
    BeyondDataError : when e0 or k lie outside the data.
    BackgroundError : when the data are too short or too sparse for the spline.
    Refusal : when k does not lie between zero and kmax.
    """

    def __init__(
        self,
        energy: Array,
        e0: float,
        windows: Windows | None,
        k: Array,
        *,
        k_weight: int = 0,
        rbkg: float = 1.0,
        kmin: float = 0.0,
        kmax: float | None = None,
        fit_weight: int = 1,
    ) -> None:
        energy = spread_repeats(energy)
        if not energy[0] <= e0 <= energy[-1]:
            raise BeyondDataError(
                f"data from {energy[0]:.1f} to {energy[-1]:.1f} eV do not cover the edge at {e0:.1f} eV"
            )
        if k[0] < 0 or (kmax is not None and k[-1] > kmax):
            raise Refusal(f"k from {k[0]:g} to {k[-1]:g} does not lie between 0 and kmax = {kmax}")
        above = _Above.of(energy, e0, kmax)
        if k[-1] > above.kmax + ROUNDING:
            raise BeyondDataError(
                f"data to {energy[-1]:.1f} eV end at k = {above.kmax:.2f} 1/Å, chi(k) is wanted to "
                f"{k[-1]:.2f} 1/Å"
            )
        matrix = _without_background(above, k, rbkg, kmin, fit_weight)
        self._matrix = np.ascontiguousarray((matrix * k[:, None] ** k_weight).T)
        self._used = above.used
        self._normalise = NormalizationOperator(energy, e0, windows)
        self.nbytes = self._matrix.nbytes + self._normalise.nbytes

    def __call__(self, mu: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Background removed, over the edge step.

        Parameters
        ----------
        mu : (batch, n).
        weights : (batch, n) number of points behind each; they count for the edge step only: the background
            is fitted as if all points weighed alike. None where they do.

        Returns
        -------
        chi k^k_weight, (batch, g), and signed edge steps, (batch,), whose sizes divide.
        """
        steps = np.asarray(self._normalise.edge_step(mu, weights))
        return mu[:, self._used] @ self._matrix / divisor(steps), steps


class _Above(NamedTuple):
    """The points from the edge to kmax.

    Attributes
    ----------
    used : which of the axis they are.
    k : (m,) 1/Å; the first is zero or below.
    nearby : (p,) 1/Å of all points past the edge, from which knots are taken.
    kmax : 1/Å.
    """

    used: slice
    k: Array
    nearby: Array
    kmax: float

    @classmethod
    def of(cls, energy: Array, e0: float, kmax: float | None) -> _Above:
        first = int(np.searchsorted(energy, e0, side="right")) - 1
        past = energy[first:] - e0
        k = np.sign(past) * np.sqrt(K2_PER_EV * np.abs(past))
        end = float(k[-1]) if kmax is None else min(float(k[-1]), kmax)
        last = int(np.searchsorted(energy, e0 + end**2 / K2_PER_EV, side="right"))  # one beyond, as in larch
        used = slice(first, min(last, len(energy) - 1) + 1)
        return cls(used, k[: used.stop - first], k, end)


def _without_background(above: _Above, k: Array, rbkg: float, kmin: float, fit_weight: int) -> Array:
    """(g, m) matrix from mu at the points above the edge to chi(k) times the edge step."""
    r_step = np.pi / (K_STEP * N_FFT)
    rbkg = max(rbkg, 2.0 * r_step)
    span = above.kmax - kmin
    wanted = 1 + int(2.0 * rbkg * span / np.pi)
    if wanted < LEAST_KNOTS:
        least = kmin + (LEAST_KNOTS - 1) * np.pi / (2.0 * rbkg)
        raise BackgroundError(
            f"the sweep ends {above.kmax**2 / K2_PER_EV:.0f} eV past the edge, at k = {above.kmax:.1f} 1/Å: "
            f"the background of chi(k) needs it to {least**2 / K2_PER_EV:.0f} eV, {least:.1f} 1/Å"
        )
    r_count = int(1 + (wanted - 1) * np.pi / (2.0 * r_step * span))
    spline = background_splines(above.nearby, above.k, kmin, above.kmax, min(wanted, MOST_KNOTS))

    even = K_STEP * np.arange(int(1.01 + above.kmax / K_STEP), dtype=np.float64)
    at = spline_matrix(above.k, np.concatenate([even, k]), not_a_knot=True)
    on_even, at_k = at[: len(even)], at[len(even) :]
    weighted = (even**fit_weight * hanning_window(even, kmin, above.kmax))[:, None] * on_even
    angle = 2.0 * np.pi / N_FFT * np.outer(np.arange(r_count), np.arange(len(even)))
    low_r = np.concatenate([np.cos(angle), np.sin(angle[1:])]) @ weighted
    fit = np.linalg.pinv(low_r @ spline) @ low_r
    return np.asarray(at_k - (at_k @ spline) @ fit)


def background_splines(nearby: Array, points: Array, kmin: float, kmax: float, count: int) -> Array:
    """(m, count) larch's splines of the background: their knots lie on measured points.

    Parameters
    ----------
    nearby : (p,) measured k, ascending, 1/Å.
    points : (m,) 1/Å where the splines are wanted.
    kmin, kmax : 1/Å between which `count` points are chosen, evenly as far as the data allow.

    Raises
    ------
    BackgroundError : when two of them are the same point.
    """
    even = kmin + np.arange(count) * (kmax - kmin) / (count - 1)
    chosen = nearby[np.abs(nearby[:, None] - even).argmin(axis=0)]
    if np.any(np.diff(chosen) <= 0):
        raise BackgroundError(
            f"the points past the edge lie too far apart for a background: {count} are needed, one every "
            f"{even[1] - even[0]:.2f} 1/Å"
        )
    return b_splines(not_a_knot(chosen), points)


def not_a_knot(sites: Array) -> Array:
    """(m + 4,) knots of the cubic splines through m sites, at least four, as FITPACK chooses them."""
    ends = ORDER + 1
    return np.concatenate([np.full(ends, sites[0]), sites[2:-2], np.full(ends, sites[-1])])


def b_splines(knots: Array, points: Array) -> Array:
    """Cubic B-splines by the recursion of Cox and de Boor; beyond the knots their outermost pieces go on.

    Parameters
    ----------
    knots : (m + 4,) ascending; the first four are equal, and the last four.
    points : (g,).

    Returns
    -------
    (g, m).
    """
    count = len(knots) - ORDER - 1
    piece = np.clip(np.searchsorted(knots, points, side="right") - 1, ORDER, count - 1)
    values = np.ones((len(points), 1))
    for degree in range(1, ORDER + 1):
        index = piece[:, None] + np.arange(1, degree + 1)
        right, left = knots[index], knots[index - degree]
        share = values / (right - left)
        values = np.zeros((len(points), degree + 1))
        values[:, :-1] += share * (right - points[:, None])
        values[:, 1:] += share * (points[:, None] - left)
    out = np.zeros((len(points), count))
    columns: NDArray[np.int64] = piece[:, None] + np.arange(-ORDER, 1)
    np.put_along_axis(out, columns, values, axis=1)
    return out


def hanning_window(k: Array, kmin: float, kmax: float) -> Array:
    """(g,) larch's ``ftwindow(k, kmin, kmax, dx=TAPER, window="hanning")`` on an even grid from zero.

    Parameters
    ----------
    k : (g,) 1/Å, even steps from zero.
    kmin, kmax : 1/Å, middles of the rise and of the fall.
    """
    step = float(k[-1] - k[0]) / (len(k) - 1)
    tiny = 1e-4 * step
    limits = (
        max(float(k[0]), kmin - 0.5 * TAPER),
        kmin + 0.5 * TAPER + tiny,
        kmax - 0.5 * TAPER - tiny,
        min(float(k[-1]), kmax + 0.5 * TAPER),
    )
    i1, i2, i3, i4 = (int((limit + tiny) / step) for limit in limits)
    i3, i4 = min(len(k) - 1, i3), min(len(k) - 1, i4)
    if i2 == i1:
        i1 = max(0, i2 - 1)
    if i4 == i3:
        i3 = max(i2, i4 - 1)
    rise, fall = k[i1 : i2 + 1], k[i3 : i4 + 1]
    window = np.zeros(len(k))
    window[i2:i3] = 1.0
    window[i1 : i2 + 1] = np.sin(0.5 * np.pi * (rise - k[i1]) / ((k[i2] - k[i1]) or tiny)) ** 2
    window[i3 : i4 + 1] = np.cos(0.5 * np.pi * (fall - k[i3]) / ((k[i4] - k[i3]) or tiny)) ** 2
    return window
