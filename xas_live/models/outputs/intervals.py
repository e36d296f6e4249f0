"""Intervals by split-conformal prediction, normalised by the ensemble's spread, at the predicted size.

The nonconformity score of a calibration particle is |truth - prediction| / scale, with scale² = spread² +
floor². The interval at level L is prediction ± q scale, with q the ⌈(n + 1) L⌉-th smallest of the n scores
(Papadopoulos et al., Proc. ECML 2002; Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018). Scores and floor are
those of particles of like predicted size (Mondrian: Vovk et al., "Algorithmic Learning in a Random World",
2005), so that small particles get intervals of their own. The calibration particles' environments were
unknown to the networks that predicted them.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch

from xas_live.errors import Refusal
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of

Tensors = dict[str, torch.Tensor]

BINS = 3  # thirds of predicted size, with equally many calibration particles each


def fit_intervals(
    error: torch.Tensor, spread: torch.Tensor, predicted: torch.Tensor, bins: int = BINS, draws: int = 1
) -> Tensors:
    """Scores and floors by predicted size.

    Parameters
    ----------
    error, spread : (n, targets) of calibration particles: prediction less truth, and the ensemble's spread.
    predicted : (n,) the target that stratifies, as predicted.
    bins : number of ranges of it.
    draws : measurements of each particle. Particles count, not measurements: of all scores of a bin, sorted,
        every `draws`-th is kept, so that there are as many as particles (pooled distributions: Dunn et al.,
        J. Am. Stat. Assoc. 118, 2491, 2023).

    Returns
    -------
    `calibration_scores` (bins, n/bins/draws, targets) ascending, `calibration_edges` (bins - 1,), and
    `scale_floor` (bins, targets): the errors' robust standard deviation. The members share what they cannot
    know (noise, disorder against contraction), so their spread alone would be too sure of itself where they
    agree.
    """
    order = predicted.argsort()
    size = len(order) // bins
    scores, floors, edges = [], [], []
    for i in range(bins):
        rows = order[i * size : (i + 1) * size]
        floor = 1.4826 * error[rows].abs().median(0).values
        every = (error[rows].abs() / _scale(spread[rows], floor)).sort(dim=0).values
        scores.append(every[draws - 1 :: draws])
        floors.append(floor)
        edges.append(predicted[rows[-1]])
    return {
        "calibration_scores": torch.stack(scores),
        "calibration_edges": torch.stack(edges[:-1]) if bins > 1 else predicted.new_empty(0),
        "scale_floor": torch.stack(floors),
    }


def half_width(tensors: NumbersByName, spread: Numbers, predicted: Numbers, level: float) -> Numbers:
    """Half widths of the intervals, (batch, targets).

    Parameters
    ----------
    tensors : as `fit_intervals` gives them.
    spread : (batch, targets); predicted : (batch,).
    level : nominal coverage.

    Raises
    ------
    LevelError : when the calibration set is too small for the level.
    """
    rank = conformal_rank(tensors["calibration_scores"].shape[1], level)
    if not isinstance(predicted, np.ndarray):
        predicted = predicted.contiguous()  # torch searches columns faster, and without a warning
    bins = library_of(predicted).searchsorted(tensors["calibration_edges"], predicted)
    return tensors["calibration_scores"][bins, rank] * _scale(spread, tensors["scale_floor"][bins])


class LevelError(Refusal):
    """A level of coverage that a calibration set is too small for."""


def conformal_rank(n: int, level: float) -> int:
    """Index of the score, among n ascending ones, that covers new particles at `level`.

    Raises
    ------
    LevelError : when n is too small for the level.
    """
    rank = math.ceil((n + 1) * level)
    if not 0 < level < 1 or rank > n:
        raise LevelError(
            f"intervals of level {level} cannot be had from {n} calibration particles of each size: "
            f"choose a level of at most {n / (n + 1):.3f}"
        )
    return rank - 1


def gaussian_quantile(level: float) -> float:
    """Half width, in standard deviations, of a Gaussian's central interval of this level."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def _scale(spread: Numbers, floor: Numbers) -> Numbers:
    return library_of(spread).hypot(spread, floor)
