"""The edge energy e0 by larch's rule."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal
from xas_live.spectrum import Array

TINY_STEP = 0.0005  # eV; larch nudges repeated energies apart by this much


def spread_repeats(energy: Array) -> Array:
    """Energies with repeats nudged up by 0.5 meV, as larch's `remove_dups` does.

    Parameters
    ----------
    energy : (n,) ascending, eV.
    """
    out = np.array(energy, dtype=np.float64)
    for i in np.flatnonzero(np.diff(out) < TINY_STEP) + 1:
        out[i] = max(out[i], out[i - 1] + TINY_STEP)
    return out


class EdgeFinder:
    """Larch's rule on one axis: the highest point of the smoothed derivative that has two high neighbours.

    The rule, its constants and its search window are those of `larch.xafs.find_e0`: a first estimate from
    the bare derivative, then a refinement within 75 points of it on the derivative smoothed by a Lorentzian.

    Parameters
    ----------
    energy : (n,) eV, ascending.

    Raises
    ------
    Refusal : with fewer than 10 points.
    """

    def __init__(self, energy: Array) -> None:
        if len(energy) < 10:
            raise Refusal(f"an edge cannot be found in {len(energy)} points: at least 10 are needed")
        self._energy = spread_repeats(energy)
        # larch leaves out the last point of whatever it differentiates
        self._step = _typical_step(self._energy[:-1])
        self._gaps = _differences(self._energy[:-1])

    def __call__(self, mu: Array) -> float:
        """e0 in eV, one of the points of the axis.

        Parameters
        ----------
        mu : (n,) absorption, any scale, finite.
        """
        return float(self.find(mu[None])[0])

    def find(self, mu: Array) -> Array:
        """(batch,) e0 in eV of spectra, (batch, n)."""
        first = _steepest(_differences(mu[:, :-1]) / self._gaps)
        found = np.empty(len(mu))
        for index in np.unique(first).tolist():
            rows = np.flatnonzero(first == index)
            found[rows] = self._refined(mu[rows], index)
        return found

    def _refined(self, mu: Array, index: int) -> Array:
        """(batch,) e0 of spectra whose bare derivative is highest at one point."""
        energy = self._energy
        start, stop = max(3, index - 75), min(index + 75, len(energy) - 3)
        estimate = energy[index]
        if index < 0.05 * len(energy):  # an edge in the first points is a glitch
            estimate = energy.mean()
            start, stop = max(3, index - 20), len(energy) - 3
        width = 0.5 * (max(0.01, min(1.0, self._step)) + max(0.01, min(1.0, estimate / 25000.0)))
        near = energy[start : stop - 1]
        if len(near) < 7:
            return np.full(len(mu), estimate)
        slope = _differences(mu[:, start : stop - 1]) / _differences(near)
        best = _steepest(_lorentzian_smooth(near, slope, width))
        return np.where(best < 1, energy[start + 2], near[best])


def find_e0(energy: Array, mu: Array) -> float:
    """Edge energy of one spectrum by larch's rule: see `EdgeFinder`.

    Parameters
    ----------
    energy, mu : (n,) eV, ascending, and absorption, finite.

    Raises
    ------
    Refusal : with fewer than 10 points.
    """
    return EdgeFinder(energy)(mu)


def _differences(y: Array) -> Array:
    """`numpy.gradient` over the index of the last axis, without its overhead."""
    out = np.empty_like(y)
    out[..., 1:-1] = 0.5 * (y[..., 2:] - y[..., :-2])
    out[..., 0], out[..., -1] = y[..., 1] - y[..., 0], y[..., -1] - y[..., -2]
    return out


def _typical_step(energy: Array) -> float:
    """Mean of the ten smallest steps, the smallest 1 % left out; 1 eV under 100 points, as in larch."""
    skip = int(0.01 * len(energy))
    if skip == 0:
        return 1.0
    steps = np.sort(np.diff(energy[:-1][skip:-skip]))
    return float(steps[skip : skip + 10].mean())


def _steepest(slope: Array) -> NDArray[np.int64]:
    """(batch,) index of the highest of the high points whose neighbours are high, too; 0 where there is none.

    Parameters
    ----------
    slope : (batch, n).
    """
    n = slope.shape[1]
    edge = max(3, int(n * 0.02))
    if not np.isfinite(slope).all():
        slope = np.where(np.isfinite(slope), slope, -1.0)
    inner = slope[:, edge:-edge]
    low = inner.min(axis=1, keepdims=True)
    slope = (slope - low) / np.maximum(1e-10, inner.max(axis=1, keepdims=True) - low)
    level = 0.60 if n > 20 else 0.30
    high = slope > level
    for row in np.flatnonzero(np.count_nonzero(high, axis=1) < 3).tolist():
        high[row] = _high_enough(slope[row], level)
    first, last = max(edge, 1), min(n - edge, n - 2)
    peak = high[:, first : last + 1] & high[:, first - 1 : last] & high[:, first + 1 : last + 2]
    among = np.where(peak, slope[:, first : last + 1], -np.inf)
    return np.where(peak.any(axis=1), first + among.argmax(axis=1), 0)


def _high_enough(slope: Array, level: float) -> NDArray[np.bool_]:
    """(n,) which points count as high where under three rise above the level: lower it twice, or take all."""
    for _ in range(2):
        level *= 0.5
        high = slope > level
        if np.count_nonzero(high) > 3:
            break
    return high if np.count_nonzero(high) >= 3 else np.ones(len(slope), dtype=bool)


def _lorentzian_smooth(x: Array, y: Array, width: float) -> Array:
    """(batch, n) y convolved with a Lorentzian of half width `width` on an even mesh of that step."""
    low = width * int((x[0] - 5 * width) / width)
    high = width * int((x[-1] + 5 * width) / width)
    count = min(1 + int(abs(high - low + 0.1 * width) / width), 50 * len(x))
    mesh = np.linspace(low, high, count)
    values = _interpolated(mesh, x, y)
    padded = np.concatenate([values[:, :0:-1], values, values[:, ::-1]], axis=1)
    size, kernel = _lorentzian(count)
    smooth = np.fft.irfft(np.fft.rfft(padded, size) * kernel, size)[:, 2 * count - 1 : 3 * count - 1]
    return _interpolated(x, mesh, smooth)


def _interpolated(x: Array, known: Array, y: Array) -> Array:
    """`numpy.interp` for many curves (batch, n) over the same energies."""
    if len(y) == 1:
        return np.interp(x, known, y[0])[None]
    right = np.clip(np.searchsorted(known, x, side="right"), 1, len(known) - 1)
    share = np.clip((x - known[right - 1]) / (known[right] - known[right - 1]), 0.0, 1.0)
    return y[:, right - 1] + share * (y[:, right] - y[:, right - 1])


@lru_cache(maxsize=64)
def _lorentzian(count: int) -> tuple[int, NDArray[np.complex128]]:
    """Size of the Fourier transform for so many points, and the transform of the Lorentzian."""
    offsets = np.arange(2 * count) - count
    kernel = 1.0 / (1.0 + offsets.astype(np.float64) ** 2)
    size = 1 << int(np.ceil(np.log2(3 * count - 1 + len(kernel))))
    return size, np.fft.rfft(kernel / kernel.sum(), size)
