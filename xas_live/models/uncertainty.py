"""Intervals by split-conformal prediction, normalised by the ensemble's spread.

The nonconformity score of a particle is |truth - prediction| / scale, with scale² = spread² + floor². The
interval at level L is prediction ± q scale, with q the ⌈(n + 1) L⌉-th smallest of the n calibration scores
(Papadopoulos et al., Proc. ECML 2002; Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018). The calibration
particles' environments were unknown to the network that predicted them.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch


def conformal_scale(spread: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """Scale of the scores: spread (batch, targets) with a floor (targets,) under it."""
    return torch.sqrt(spread**2 + floor**2)


def conformal_quantile(scores: torch.Tensor, level: float) -> torch.Tensor:
    """Quantile of calibration scores that covers new particles at `level`.

    Parameters
    ----------
    scores : (n, targets), sorted ascending along n.
    level : nominal coverage, between 0 and 1.

    Returns
    -------
    (targets,)

    Raises
    ------
    ValueError : when the calibration set is too small for the level.
    """
    n = scores.shape[0]
    rank = math.ceil((n + 1) * level)
    if not 0 < level < 1 or rank > n:
        raise ValueError(
            f"intervals of level {level} cannot be had from {n} calibration particles: "
            f"choose a level of at most {n / (n + 1):.3f}"
        )
    return scores[rank - 1]


def gaussian_quantile(level: float) -> float:
    """Half width, in standard deviations, of a Gaussian's central interval of this level."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)
