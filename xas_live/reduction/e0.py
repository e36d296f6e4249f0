"""The edge energy e0 by larch's rule."""

from __future__ import annotations

import numpy as np

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


def find_e0(energy: Array, mu: Array) -> float:
    """Edge energy: the highest point of the smoothed derivative that has two high neighbours.

    The rule, its constants and its search window are those of `larch.xafs.find_e0`: a first estimate from
    the bare derivative, then a refinement within 75 points of it on the derivative smoothed by a Lorentzian.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (n,) absorption, any scale, finite.

    Returns
    -------
    e0 in eV, one of the points of `energy`.

    Raises
    ------
    ValueError : with fewer than 10 points.
    """
    if len(energy) < 10:
        raise ValueError(f"an edge cannot be found in {len(energy)} points: at least 10 are needed")
    energy = spread_repeats(energy)
    # larch leaves out the last point of whatever it differentiates
    step = _typical_step(energy[:-1])
    index = _steepest(energy[:-1], np.gradient(mu[:-1]) / np.gradient(energy[:-1]))
    start, stop = max(3, index - 75), min(index + 75, len(energy) - 3)
    estimate = energy[index]
    if index < 0.05 * len(energy):  # an edge in the first points is a glitch
        estimate = energy.mean()
        start, stop = max(3, index - 20), len(energy) - 3
    width = 0.5 * (max(0.01, min(1.0, step)) + max(0.01, min(1.0, estimate / 25000.0)))
    near, absorption = energy[start : stop - 1], mu[start : stop - 1]
    if len(near) < 7:
        return float(estimate)
    slope = _lorentzian_smooth(near, np.gradient(absorption) / np.gradient(near), width)
    best = _steepest(near, slope)
    return float(energy[start + 2] if best < 1 else near[best])


def _typical_step(energy: Array) -> float:
    """Mean of the ten smallest steps, the smallest 1 % left out; 1 eV under 100 points, as in larch."""
    skip = int(0.01 * len(energy))
    if skip == 0:
        return 1.0
    steps = np.sort(np.diff(energy[:-1][skip:-skip]))
    return float(steps[skip : skip + 10].mean())


def _steepest(energy: Array, slope: Array) -> int:
    edge = max(3, int(len(energy) * 0.02))
    slope = np.where(np.isfinite(slope), slope, -1.0)
    inner = slope[edge:-edge]
    slope = (slope - inner.min()) / max(1e-10, np.ptp(inner))
    level = 0.60 if len(energy) > 20 else 0.30
    high = slope > level
    if high.sum() < 3:
        for _ in range(2):
            if high.sum() > 3:
                break
            level *= 0.5
            high = slope > level
    if high.sum() < 3:
        high = np.ones(len(energy), dtype=bool)
    peak = high & np.roll(high, 1) & np.roll(high, -1)
    index = np.arange(len(energy))
    peak &= (index >= edge) & (index <= len(energy) - edge) & (index > 0) & (index < len(energy) - 1)
    if not peak.any():
        return 0
    return int(np.argmax(np.where(peak, slope, -np.inf)))


def _lorentzian_smooth(x: Array, y: Array, width: float) -> Array:
    """y convolved with a Lorentzian of half width `width` on an even mesh of that step."""
    low = width * int((x.min() - 5 * width) / width)
    high = width * int((x.max() + 5 * width) / width)
    count = min(1 + int(abs(high - low + 0.1 * width) / width), 50 * len(x))
    mesh = np.linspace(low, high, count)
    values = np.interp(mesh, x, y)
    offsets = np.arange(2 * count) - count
    kernel = 1.0 / (1.0 + offsets.astype(np.float64) ** 2)
    padded = np.concatenate([values[:0:-1], values, values[::-1]])
    size = 1 << int(np.ceil(np.log2(len(padded) + len(kernel))))
    spectrum = np.fft.rfft(padded, size) * np.fft.rfft(kernel / kernel.sum(), size)
    smooth = np.fft.irfft(spectrum, size)[2 * count - 1 : 3 * count - 1]
    return np.interp(x, mesh, smooth)
