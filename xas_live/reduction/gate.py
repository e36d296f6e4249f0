"""The quality gate: is there an edge that stands out of noise, jumps and drift? It needs no model.

Four measures, each with a limit and its own reason; the worst decides, and says by how much. Rules and robust
statistics alone: they part the 184 tagged scans of a beamline better than chance leaves to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal
from xas_live.reduction.axis import Axis
from xas_live.reduction.quality import Unusable, check, point_noises
from xas_live.spectrum import Array, Spectrum

PRE, POST = (-150.0, -20.0), (40.0, 250.0)  # eV from the edge, for the lines below and above it
NEAR = 15.0  # eV within which the rise counts as the edge's
LEAST_BEFORE, LEAST_AFTER = 10.0, 40.0  # eV of data that must lie before and after the edge
NOISE_LIMIT = 0.05  # noise of a point, in edge steps
RISE_LIMIT = 0.35  # share of the edge step that must come within 15 eV of the edge
JUMP_LIMIT = 0.4  # largest change between neighbours away from the edge, in edge steps
ALONE = 4.0  # times the changes beside it, of a jump that is no edge
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
        e0 = good.axis.edge_finder(good.axis.coarser(good.mu))
    except Refusal as error:
        return Quality(False, -np.inf, str(error))
    verdict = judge(good.energy, good.mu[None], e0)[0]
    if not verdict.usable and (reason := _jump(good.energy, good.mu)):
        return replace(verdict, reason=reason)
    return verdict


def _jump(energy: Array, mu: Array) -> str:
    """Say where mu (n,) jumps between two points alone by more than an edge may; "" where it does not."""
    jumps = np.abs(np.diff(mu))
    low, high = np.quantile(mu, [0.05, 0.95])
    at = int(jumps.argmax())
    beside = np.r_[jumps[max(at - 1, 0) : at], jumps[at + 1 : at + 2]].max(initial=0.0)
    if not jumps[at] > max(JUMP_LIMIT * (high - low), ALONE * beside):
        return ""
    return (
        f"no usable edge: a jump of {jumps[at]:.3g} in mu, which spans {high - low:.3g} otherwise, between "
        f"{energy[at]:.1f} and {energy[at + 1]:.1f} eV: was there beam, and is the file whole?"
    )


def gate(axis: Axis, mu: Array, e0: Array, noise: Array | None = None) -> list[Unusable | None]:
    """Why sweeps of one axis must not pass; None for those that may.

    Parameters
    ----------
    axis : of n points.
    mu : (batch, n) finite absorption.
    e0 : (batch,) eV.
    noise : (batch,) of a point, where it is known already.
    """
    noise = point_noises(mu) if noise is None else noise
    found: list[Unusable | None] = [None] * len(mu)
    for edge in np.unique(e0).tolist():
        rows = np.flatnonzero(e0 == edge)
        for i, verdict in zip(rows.tolist(), judge(axis.energy, mu[rows], edge, noise[rows]), strict=True):
            found[i] = None if verdict.usable else Unusable(verdict.reason)
    return found


def judge(energy: Array, mu: Array, e0: float, noise: Array | None = None) -> list[Quality]:
    """As `quality`, of checked sweeps with one axis and one edge energy.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    mu : (batch, n) finite absorption.
    e0 : eV.
    noise : (batch,) of a point, where it is known already.
    """
    before, after = e0 - energy[0], energy[-1] - e0
    if before < LEAST_BEFORE or after < LEAST_AFTER:
        nowhere = Quality(
            False,
            -np.inf,
            f"no edge inside the scan: the steepest rise lies {before:.0f} eV after its start and "
            f"{after:.0f} eV before its end",
        )
        return [nowhere] * len(mu)
    x = energy - e0
    noise = point_noises(mu) if noise is None else noise
    below, above = _line(x, mu, PRE), _line(x, mu, POST)
    step = above.offset - below.offset
    first, last = np.searchsorted(x, -NEAR, side="left"), np.searchsorted(x, NEAR, side="right")
    at_least, over = np.searchsorted(x, 0.0, side="left"), np.searchsorted(x, 0.0, side="right")
    rise = np.zeros(len(mu))
    if over < last and first < at_least:
        rise = np.median(mu[:, over:last], axis=1) - np.median(mu[:, first:at_least], axis=1)
    jumps = np.abs(mu[:, 1:] - mu[:, :-1])
    middle = 0.5 * (x[1:] + x[:-1])
    jumps[:, np.searchsorted(middle, -NEAR) : np.searchsorted(middle, NEAR, side="right")] = 0.0
    at = jumps.argmax(axis=1)
    largest = jumps[np.arange(len(mu)), at]
    off = np.maximum(below.off, above.off)
    return [
        _verdict(*values)
        for values in zip(*(v.tolist() for v in (step, noise, rise, largest, energy[at], off)), strict=True)
    ]


def _verdict(step: float, noise: float, rise: float, jump: float, at: float, drift: float) -> Quality:
    """All but `at` (eV) in units of mu."""
    if step <= 0:
        return Quality(
            False, -np.inf, f"no edge: mu falls by {-step:.3g} over it, in noise of {noise:.2g} a point"
        )
    noise, rise, jump, drift = noise / step, rise / step, jump / step, drift / step
    margins = (
        NOISE_LIMIT / max(noise, 1e-12),
        max(rise, 1e-12) / RISE_LIMIT,
        JUMP_LIMIT / max(jump, 1e-12),
        DRIFT_LIMIT / max(drift, 1e-12),
    )
    worst = min(margins)
    reason = (
        f"noise of {noise:.3f} edge steps a point",
        f"{100 * rise:.0f} % of the edge step within {NEAR:.0f} eV of the edge",
        f"a jump of {jump:.2f} edge steps at {at:.1f} eV",
        f"mu lies {drift:.3f} edge steps (rms) off straight lines",
    )[margins.index(worst)]
    margin = math.log2(worst) if worst > 0 else -math.inf  # of mu that overflows
    return Quality(margin >= 0, margin, f"no usable edge: {reason}" if margin < 0 else reason)


def i0_nonlinear(mu: Array, i0: Array) -> NDArray[np.bool_]:
    """Whether mu follows the jumps of i0: detectors that do not count alike, or a dark offset.

    Parameters
    ----------
    mu, i0 : (batch, n).

    Returns
    -------
    (batch,); False where i0 or mu are not positive numbers throughout.
    """
    known = np.isfinite(i0).all(axis=1) & (i0 > 0).all(axis=1) & np.isfinite(mu).all(axis=1)
    with np.errstate(all="ignore"):
        moves, follows = np.diff(np.log(i0), 3), np.diff(mu, 3)
        moves -= moves.mean(axis=1, keepdims=True)
        follows -= follows.mean(axis=1, keepdims=True)
        square = (moves * moves).sum(axis=1)
        correlation = (moves * follows).sum(axis=1) / np.sqrt(square * (follows * follows).sum(axis=1))
        lively = np.sqrt(square / moves.shape[1]) >= I0_MOVES * np.sqrt(20.0)
        return np.asarray(known & lively & (np.abs(correlation) > NONLINEAR))


@dataclass(frozen=True)
class _Lines:
    """Straight lines through spectra, each (batch,): value at the edge, and root mean square about them."""

    offset: Array
    off: Array


def _line(x: Array, mu: Array, window: tuple[float, float]) -> _Lines:
    """Lines through a window of mu (batch, n), or through what there is on its side of the edge."""
    first, last = int(np.searchsorted(x, window[0])), int(np.searchsorted(x, window[1], side="right"))
    below = window[1] < 0
    for limit in (window[1] if below else window[0], 0.0):
        if last - first < 4:
            first = 0 if below else int(np.searchsorted(x, limit, side="right"))
            last = int(np.searchsorted(x, limit)) if below else len(x)
    centre = float(x[first:last].mean())
    along, values = x[first:last] - centre, mu[:, first:last]
    mean = values.mean(axis=1, keepdims=True)
    slope = (values @ along / (along @ along))[:, None]
    off = values - mean - slope * along
    return _Lines((mean - slope * centre)[:, 0], np.sqrt(np.mean(off * off, axis=1)))
