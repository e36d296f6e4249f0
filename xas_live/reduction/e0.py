"""The edge energy e0 by larch's rule."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

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
    ValueError : with fewer than 10 points.
    """

    def __init__(self, energy: Array) -> None:
        if len(energy) < 10:
            raise ValueError(f"an edge cannot be found in {len(energy)} points: at least 10 are needed")
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
        energy = self._energy
        index = _steepest(_differences(mu[:-1]) / self._gaps)
        start, stop = max(3, index - 75), min(index + 75, len(energy) - 3)
        estimate = energy[index]
        if index < 0.05 * len(energy):  # an edge in the first points is a glitch
            estimate = energy.mean()
            start, stop = max(3, index - 20), len(energy) - 3
        width = 0.5 * (max(0.01, min(1.0, self._step)) + max(0.01, min(1.0, estimate / 25000.0)))
        near = energy[start : stop - 1]
        if len(near) < 7:
            return float(estimate)
        slope = _differences(mu[start : stop - 1]) / _differences(near)
        best = _steepest(_lorentzian_smooth(near, slope, width))
        return float(energy[start + 2] if best < 1 else near[best])


def find_e0(energy: Array, mu: Array) -> float:
    """Edge energy of one spectrum by larch's rule: see `EdgeFinder`.

    Parameters
    ----------
    energy, mu : (n,) eV, ascending, and absorption, finite.

    Raises
    ------
    ValueError : with fewer than 10 points.
    """
    return EdgeFinder(energy)(mu)


def _differences(y: Array) -> Array:
    """`numpy.gradient` over the index, without its overhead."""
    out = np.empty_like(y)
    out[1:-1] = 0.5 * (y[2:] - y[:-2])
    out[0], out[-1] = y[1] - y[0], y[-1] - y[-2]
    return out


def _typical_step(energy: Array) -> float:
    """Mean of the ten smallest steps, the smallest 1 % left out; 1 eV under 100 points, as in larch."""
    skip = int(0.01 * len(energy))
    if skip == 0:
        return 1.0
    steps = np.sort(np.diff(energy[:-1][skip:-skip]))
    return float(steps[skip : skip + 10].mean())


def _steepest(slope: Array) -> int:
    """Index of the highest of the high points whose neighbours are high, too; 0 where there is none."""
    n = len(slope)
    edge = max(3, int(n * 0.02))
    if not np.isfinite(slope).all():
        slope = np.where(np.isfinite(slope), slope, -1.0)
    inner = slope[edge:-edge]
    low = inner.min()
    slope = (slope - low) / max(1e-10, inner.max() - low)
    level = 0.60 if n > 20 else 0.30
    high = slope > level
    if np.count_nonzero(high) < 3:
        for _ in range(2):
            if np.count_nonzero(high) > 3:
                break
            level *= 0.5
            high = slope > level
        if np.count_nonzero(high) < 3:
            high = np.ones(n, dtype=bool)
    first, last = max(edge, 1), min(n - edge, n - 2)
    peak = np.flatnonzero(high[first : last + 1] & high[first - 1 : last] & high[first + 1 : last + 2])
    if not peak.size:
        return 0
    return int(first + peak[slope[first + peak].argmax()])


def _lorentzian_smooth(x: Array, y: Array, width: float) -> Array:
    """y convolved with a Lorentzian of half width `width` on an even mesh of that step."""
    low = width * int((x[0] - 5 * width) / width)
    high = width * int((x[-1] + 5 * width) / width)
    count = min(1 + int(abs(high - low + 0.1 * width) / width), 50 * len(x))
    mesh = np.linspace(low, high, count)
    values = np.interp(mesh, x, y)
    padded = np.concatenate([values[:0:-1], values, values[::-1]])
    size, kernel = _lorentzian(count)
    smooth = np.fft.irfft(np.fft.rfft(padded, size) * kernel, size)[2 * count - 1 : 3 * count - 1]
    return np.interp(x, mesh, smooth)


@lru_cache(maxsize=64)
def _lorentzian(count: int) -> tuple[int, NDArray[np.complex128]]:
    """Size of the Fourier transform for so many points, and the transform of the Lorentzian."""
    offsets = np.arange(2 * count) - count
    kernel = 1.0 / (1.0 + offsets.astype(np.float64) ** 2)
    size = 1 << int(np.ceil(np.log2(3 * count - 1 + len(kernel))))
    return size, np.fft.rfft(kernel / kernel.sum(), size)
