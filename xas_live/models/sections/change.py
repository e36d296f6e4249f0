"""How far the model is off in a change between two sweeps of one sample.

What theory, foil and beamline get wrong is much the same in both sweeps and cancels in their difference, the
more completely the less the sample has changed. The error of a change is therefore taken in proportion to the
distance of the two spectra in latent coordinates, and its quantiles are those of simulated samples that turn
from one particle into another while everything else stays (split-conformal prediction with that scale:
Papadopoulos et al., Proc. ECML 2002).
"""

from __future__ import annotations

from collections.abc import Mapping

from xas_live.models.outputs.intervals import conformal_rank
from xas_live.reduction.arrays import NumbersByName


def change_scales(tensors: NumbersByName, columns: Mapping[str, int], level: float) -> dict[str, float]:
    """Return by target the half width that the model's error of a change has, per unit of latent distance.

    Parameters
    ----------
    tensors : with `change_scores`, (n, targets): errors by latent distance, ascending.
    columns : place of each target.
    level : nominal coverage.

    Raises
    ------
    LevelError : when the calibration set is too small for the level.
    """
    scores = tensors["change_scores"]
    rank = conformal_rank(len(scores), level)
    return {name: float(scores[rank, column]) for name, column in columns.items()}
