"""Predictions of growing sweeps: means over their completions, intervals calibrated by the last energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xas_live.spectrum import Array

LAST_ENERGIES = (30.0, 40.0, 50.0, 60.0, 70.0, 80.0)  # eV on the model's grid


def partial_values(draws: Array, values: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Mean and standard deviation over completions, each (batch, targets).

    Parameters
    ----------
    draws : (batch, draws, g) network inputs.
    values : gives (n, targets) of inputs (n, g).
    """
    batch, count, g = draws.shape
    of_each = values(draws.reshape(batch * count, g)).reshape(batch, count, -1)
    return of_each.mean(1), of_each.std(1)


def widening(factors: Array, last: float, *, later: bool) -> Array:
    """(targets,) factor of half widths where a sweep has reached `last` eV on the grid.

    Parameters
    ----------
    factors : (2, energies, targets), at `LAST_ENERGIES`: of first sweeps, and of later ones.
    later : whether earlier sweeps tell the edge step.
    """
    of = factors[int(later)]
    return np.array([np.interp(last, LAST_ENERGIES, column) for column in of.T])
