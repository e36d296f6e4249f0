"""What a departure from the training spectra costs: the factor by which it widens the intervals.

Departures of many kinds were drawn (white line, edge shift, damping, residuals by region, noise, other
phases), and the errors that they cause in predictions of particles not seen. A small network gives, from how
far out a spectrum lies in each respect, the quantile of the error in units of the interval. Its weights are
not negative: no departure ever narrows an interval, and beyond those that were drawn intervals go on
widening.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xas_live.models.sections.chemistry import ChemistryEstimate
from xas_live.models.sections.specs import CostSection, Distance
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

WHITE_LINE = (1.5, 3.5)  # eV, centre and width of what it adds
FINE_STRUCTURE = 15.0  # eV, from where the oscillations count
SMOOTH = 40.0  # eV, over which they average out
REGIONS = ((-np.inf, 13.0), (13.0, 40.0), (40.0, np.inf))  # eV, in which residuals are taken apart
SHAPES = ("white", "shift", "damped")  # of `shapes_of`
MOST = 50.0  # times the rim of the domain: farther out, it is all the same


def shapes_of(grid: Array, bulk: Array) -> dict[str, Array]:
    """(g,) of unit length: what a stronger white line, a shift and weaker fine structure change.

    Parameters
    ----------
    grid, bulk : (g,) eV, and the theory of the foil.
    """
    shapes = {
        "white": np.exp(-0.5 * ((grid - WHITE_LINE[0]) / WHITE_LINE[1]) ** 2),
        "shift": np.gradient(bulk, grid),
        "damped": np.where(grid > FINE_STRUCTURE, bulk - smooth(grid, bulk), 0.0),
    }
    return {name: shape / np.sqrt(shape @ shape) for name, shape in shapes.items()}


def smooth(grid: Array, spectrum: Array) -> Array:
    """A spectrum without its oscillations: Gaussian averages over the energy."""
    weight = np.exp(-0.5 * ((grid[:, None] - grid) / (0.5 * SMOOTH)) ** 2) * np.gradient(grid)
    return np.asarray((weight @ spectrum) / weight.sum(1))


def departures(
    grid: Array,
    shapes: Sequence[Numbers],
    scores: Numbers,
    residual: Numbers,
    chemistry: ChemistryEstimate | None,
) -> Numbers:
    """(batch, d) how far out spectra lie in each respect, none below zero.

    Parameters
    ----------
    grid : (g,) eV.
    shapes : (g,) each, as `shapes_of` gives them.
    scores : (batch, distances) of the domain: 1 at its rim.
    residual : (batch, g) the input less the nearest that training knows.
    chemistry : of the same spectra; None for a model without.
    """
    xp = library_of(residual)
    found = [xp.clip(scores[:, i], 0.0, None) for i in range(scores.shape[1])]
    for low, high in REGIONS:
        columns = np.flatnonzero((grid >= low) & (grid < high))
        found.append(xp.sqrt((residual[:, columns] ** 2).mean(1)))
    for shape in shapes:
        along = residual @ shape
        found += [xp.clip(along, 0.0, None), xp.clip(-along, 0.0, None)]
    if chemistry is not None:
        found += [chemistry.shares[:, i] for i in range(1, chemistry.shares.shape[1])]
        found.append(chemistry.mean[:, 1])
    return xp.stack(found, -1)


def acceptable(distances: Sequence[Distance], kinds: Sequence[str], share: float) -> Array:
    """(d,) how far out, in the order of `departures`, a user may vouch for as it is.

    What the residual holds is accepted by its shape instead (`models.sections.accepted`), and oxide never.

    Parameters
    ----------
    distances, kinds : of the domain, and of the chemistry's phases; none of a model without chemistry.
    share : most of a spectrum that may resemble a phase.
    """
    found = [np.inf if name in ("subspace", "disagreement") else 0.0 for name in distances]
    found += [0.0] * (len(REGIONS) + 2 * len(SHAPES))
    found += [0.0 if kind == "oxide" else share for kind in kinds[1:]]
    return np.array(found + [np.inf] * bool(kinds))


def widening(section: CostSection, tensors: NumbersByName, departed: Numbers) -> tuple[Numbers, Numbers]:
    """By how much intervals are widened, (batch, targets), and whether it is a departure, (batch,).

    Parameters
    ----------
    departed : (batch, d) as `departures` gives them.
    """
    xp = library_of(departed)
    raw = raw_widening(tensors, departed)
    out = raw[:, section.column] > section.trusted
    factor = xp.where(out[:, None], tensors["cost_factors"][1], tensors["cost_factors"][0])
    return xp.where(out[:, None], raw, xp.ones_like(raw)) * factor, out


def raw_widening(tensors: NumbersByName, departed: Numbers) -> Numbers:
    """(batch, targets) before its calibration, at least 1."""
    xp = library_of(departed)
    far = xp.log1p(xp.clip(departed / tensors["cost_rim"], 0.0, MOST))
    hidden = xp.clip(far @ tensors["cost_in"] + tensors["cost_in_bias"], 0.0, None)
    return xp.exp(xp.clip(hidden @ tensors["cost_out"] + tensors["cost_out_bias"], 0.0, 6.0))
