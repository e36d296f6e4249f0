"""The quality gate: is there an edge that stands out of noise, jumps and drift? It needs no model.

Four measures, each with a limit and its own reason; the worst decides, and says by how much. Rules and robust
statistics alone: they part the 184 tagged scans of a beamline better than chance leaves to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.reduction.e0 import find_e0
from xas_live.reduction.quality import Unusable, check, coarser, point_noise
from xas_live.spectrum import Array, Spectrum

PRE, POST = (-150.0, -20.0), (40.0, 250.0)  # eV from the edge, for the lines below and above it
NEAR = 15.0  # eV within which the rise counts as the edge's
LEAST_BEFORE, LEAST_AFTER = 10.0, 40.0  # eV of data that must lie before and after the edge
NOISE_LIMIT = 0.05  # noise of a point, in edge steps
RISE_LIMIT = 0.35  # share of the edge step that must come within 15 eV of the edge
JUMP_LIMIT = 0.4  # largest change between neighbours away from the edge, in edge steps
DRIFT_LIMIT = 0.1  # root mean square about the lines, in edge steps
NONLINEAR = 0.5  # correlation of mu's and i0's fluctuations
I0_MOVES = 0.01  # relative fluctuations of i0 from which that can be told


@dataclass(frozen=True)
class Quality:
    """Verdict on a sweep.

    Attributes
    ----------
    usable : whether it may be analysed.
    margin : logarithm (base 2) of the worst measure's limit over its value: 1 is twice as good as needed,
        -1 twice as bad; infinite where nothing could be measured.
    reason : the worst measure in words, whether or not it is within its limit.
    """

    usable: bool
    margin: float
    reason: str


def quality(spectrum: Spectrum) -> Quality:
    """Whether a sweep of whatever element is usable, and why or why not; its edge is looked for."""
    try:
        good = check(spectrum)
        e0 = find_e0(*coarser(good.energy, good.mu))
    except ValueError as error:
        return Quality(False, -np.inf, str(error))
    return judge(good.energy, good.mu, e0)


def gate(energy: Array, mu: Array, e0: float) -> None:
    """Let a sweep pass, or say why not.

    Parameters
    ----------
    energy, mu : (n,) eV ascending, and finite absorption.
    e0 : eV.

    Raises
    ------
    Unusable : with the reason.
    """
    verdict = judge(energy, mu, e0)
    if not verdict.usable:
        raise Unusable(verdict.reason)


def judge(energy: Array, mu: Array, e0: float) -> Quality:
    """As `quality`, of a checked sweep and an edge energy."""
    before, after = e0 - energy[0], energy[-1] - e0
    if before < LEAST_BEFORE or after < LEAST_AFTER:
        return Quality(
            False,
            -np.inf,
            f"no edge inside the scan: the steepest rise lies {before:.0f} eV after its start and "
            f"{after:.0f} eV before its end",
        )
    x = energy - e0
    below, above = _line(x, mu, PRE), _line(x, mu, POST)
    step = float(above.at(0.0) - below.at(0.0))
    noise = point_noise(mu)
    if step <= 0:
        return Quality(
            False, -np.inf, f"no edge: mu falls by {-step:.3g} over it, in noise of {noise:.2g} a point"
        )
    near = np.abs(x) <= NEAR
    rise = float(np.median(mu[(x > 0) & near]) - np.median(mu[(x < 0) & near])) / step if near.any() else 0.0
    far = np.abs(0.5 * (x[1:] + x[:-1])) > NEAR
    jumps = np.where(far, np.abs(np.diff(mu)), 0.0) / step
    at = int(jumps.argmax())
    drift = max(below.off, above.off) / step
    measures = (
        (NOISE_LIMIT / max(noise / step, 1e-12), f"noise of {noise / step:.3f} edge steps a point"),
        (
            max(rise, 1e-12) / RISE_LIMIT,
            f"{100 * rise:.0f} % of the edge step within {NEAR:.0f} eV of the edge",
        ),
        (JUMP_LIMIT / max(jumps[at], 1e-12), f"a jump of {jumps[at]:.2f} edge steps at {energy[at]:.1f} eV"),
        (DRIFT_LIMIT / max(drift, 1e-12), f"mu lies {drift:.3f} edge steps (rms) off straight lines"),
    )
    worst, reason = min(measures)
    margin = float(np.log2(worst))
    return Quality(margin >= 0, margin, f"no edge to speak of: {reason}" if margin < 0 else reason)


def i0_nonlinear(mu: Array, i0: Array) -> bool:
    """Whether mu follows the jumps of i0: detectors that do not count alike, or a dark offset."""
    if len(i0) != len(mu) or not (np.isfinite(i0).all() and (i0 > 0).all()):
        return False
    moves, follows = np.diff(np.log(i0), 3), np.diff(mu, 3)
    if np.std(moves) < I0_MOVES * np.sqrt(20.0):
        return False
    return bool(abs(np.corrcoef(moves, follows)[0, 1]) > NONLINEAR)


@dataclass(frozen=True)
class _Line:
    slope: float
    offset: float
    off: float  # root mean square about it

    def at(self, x: float) -> float:
        return self.offset + self.slope * x


def _line(x: Array, mu: Array, window: tuple[float, float]) -> _Line:
    """Straight line through a window, or through what there is on its side of the edge."""
    inside = (x >= window[0]) & (x <= window[1])
    if inside.sum() < 4:
        inside = x < window[1] if window[1] < 0 else x > window[0]
    if inside.sum() < 4:
        inside = x < 0 if window[1] < 0 else x > 0
    centre = float(x[inside].mean())
    slope, offset = np.polyfit(x[inside] - centre, mu[inside], 1)
    off = mu[inside] - offset - slope * (x[inside] - centre)
    return _Line(float(slope), float(offset - slope * centre), float(np.sqrt(np.mean(off**2))))
