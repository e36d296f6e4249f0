"""Calibration and accuracy of a trained ensemble, on environments that its members never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np
import torch

from xas_live.models.card import Accuracy
from xas_live.models.outputs import Estimate, OutputKind, Scalars, columns_of
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.intervals import LevelError, conformal_rank
from xas_live.theory.sites import Indices, Mask
from xas_live.training.population import Population
from xas_live.training.recipe import Recipe
from xas_live.training.train import Trained

LEVEL = 0.9  # of the intervals whose coverage the card states
DRAWS = 8  # simulated measurements of each particle


def enough(structures: int) -> bool:
    """Whether so many give intervals of `LEVEL`."""
    try:
        conformal_rank(structures, LEVEL)
    except LevelError:
        return False
    return True


FEWEST = next(n for n in count(1) if enough(n))
"""Structures that intervals of `LEVEL` need, in each range of them."""


@dataclass(frozen=True, eq=False)
class Unseen:
    """Simulated measurements of structures, each predicted by the members that never saw it.

    Attributes
    ----------
    kinds : the outputs, side by side in the columns below.
    truth, mean : (rows, width).
    spread : (rows, width) of the whole ensemble, as a user's prediction will have it: the scale of an
        interval must be the same function of the spectrum in calibration and in use.
    particle, fold : (rows,) index of the structure and its fold.
    whole : (rows,) whether it is a whole particle, not one cut down to the fold's environments.
    """

    kinds: tuple[OutputKind, ...]
    truth: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    particle: Indices
    fold: Indices
    whole: Mask

    def intervals(self, without_fold: int | None = None) -> Tensors:
        """Return the outputs' calibration tensors, of all structures or of those not in a fold."""
        every = np.arange(len(self.fold))
        rows = every if without_fold is None else np.flatnonzero(self.fold != without_fold)
        tensors: Tensors = {}
        for kind, c in zip(self.kinds, columns_of(self.kinds), strict=True):
            mean, spread, truth = (part[rows][:, c] for part in (self.mean, self.spread, self.truth))
            tensors |= kind.calibrate(mean, spread, truth, self._stratum(kind, rows), draws=DRAWS)
        return tensors

    def estimates(self, tensors: Tensors, rows: Indices) -> list[Estimate]:
        """Return what each output says of these rows with this calibration."""
        return [
            kind.estimate(
                tensors, self.mean[rows][:, c], self.spread[rows][:, c], self._stratum(kind, rows), LEVEL
            )
            for kind, c in zip(self.kinds, columns_of(self.kinds), strict=True)
        ]

    def column(self, target: str) -> int:
        """Return where a target stands among the columns."""
        return column_of(self.kinds, target)

    @property
    def particles(self) -> int:
        """How many structures there are."""
        return len(np.unique(self.particle))

    def _stratum(self, kind: OutputKind, rows: Indices) -> torch.Tensor | None:
        return None if kind.strata is None else self.mean[rows, self.column(kind.strata)]


def measure_unseen(
    recipe: Recipe, population: Population, trained: Trained, rng: np.random.Generator
) -> Unseen:
    """Simulate and predict the structures that judge, each by the members that never saw it."""
    tested = population.tested(rng)
    truth, mean, spread, rows = [], [], [], []
    for k in np.unique(tested.fold):
        of = np.flatnonzero(tested.fold == k)
        x, y = population.measure(np.repeat(tested.weights[of], DRAWS, axis=0), recipe.nuisances, rng)
        everyone = trained.predict(x)
        truth.append(y)
        mean.append((everyone if k < 0 else everyone[trained.member_fold == k]).mean(0))
        spread.append(everyone.std(0, correction=0))
        rows.append(np.repeat(of, DRAWS))
    index = np.concatenate(rows)
    return Unseen(
        trained.scaling.kinds,
        torch.cat(truth),
        torch.cat(mean),
        torch.cat(spread),
        index,
        tested.fold[index],
        tested.whole[index],
    )


def accuracy(
    population: Population, unseen: Unseen, tensors: Tensors, noise: tuple[float, float]
) -> Accuracy:
    """Errors and coverage on whole structures; a fold's intervals come from the structures of the others.

    Parameters
    ----------
    tensors : of the outputs' scaling.
    noise : of the simulated measurements, for the card's words.
    """
    rows_of = [np.flatnonzero((unseen.fold == k) & unseen.whole) for k in np.unique(unseen.fold)]
    rows_of = [rows for rows in rows_of if len(rows)]
    rows = np.concatenate(rows_of)
    inside = []
    for of_fold in rows_of:
        own = tensors | unseen.intervals(without_fold=int(unseen.fold[of_fold[0]]))
        inside.append(_covered(unseen, own, of_fold))
    hits = [torch.cat(of_kind) for of_kind in zip(*inside, strict=True)]
    shipped = unseen.estimates(tensors | unseen.intervals(), rows)
    errors = _errors(unseen, rows)
    by_size: dict[str, dict[str, float]] = {}
    strata = next((kind.strata for kind in unseen.kinds if kind.strata is not None), None)
    if strata is not None:
        first = unseen.truth[rows, unseen.column(strata)].numpy()
        for low, high in pairwise(population.ranges):
            of = (first >= low) & (first < high)
            if of.any():
                number = len(np.unique(unseen.particle[rows][of]))
                name = f"{strata} {_range(low, high, population.ranges)} ({number} {population.counted})"
                by_size[name] = _figures(unseen, [hit[torch.from_numpy(of)] for hit in hits])
    return Accuracy(
        mae=_figures(unseen, [error.abs() for error in errors]),
        bias=_figures(unseen, errors),
        coverage=_figures(unseen, hits),
        coverage_by_size=by_size,
        half_width=_figures(unseen, [estimate.half for estimate in shipped]),
        level=LEVEL,
        particles=len(np.unique(unseen.particle[rows])),
        counted=population.counted,
        folds=len(rows_of),
        conditions="simulated measurements with every nuisance of the recipe, noise of "
        f"{noise[0]:g} to {noise[1]:g} edge steps a point",
    )


def column_of(kinds: Sequence[OutputKind], target: str) -> int:
    """Return where a target stands among the columns of all outputs.

    Raises
    ------
    KeyError : when none has it.
    """
    for kind, columns in zip(kinds, columns_of(kinds), strict=True):
        if isinstance(kind, Scalars) and target in kind.columns:
            return int(columns.start) + kind.columns.index(target)
    raise KeyError(target)


def _covered(unseen: Unseen, tensors: Tensors, rows: Indices) -> list[torch.Tensor]:
    estimates = unseen.estimates(tensors, rows)
    return [
        kind.covered(estimate, unseen.truth[rows][:, c])
        for kind, c, estimate in zip(unseen.kinds, columns_of(unseen.kinds), estimates, strict=True)
    ]


def _errors(unseen: Unseen, rows: Indices) -> list[torch.Tensor]:
    return [
        kind.error(unseen.mean[rows][:, c], unseen.truth[rows][:, c])
        for kind, c in zip(unseen.kinds, columns_of(unseen.kinds), strict=True)
    ]


def _figures(unseen: Unseen, of_kinds: Sequence[torch.Tensor]) -> dict[str, float]:
    """Means by name, three digits each."""
    found: dict[str, float] = {}
    for kind, values in zip(unseen.kinds, of_kinds, strict=True):
        found |= {name: float(f"{value:.3g}") for name, value in kind.figures(values).items()}
    return found


def _range(low: float, high: float, ranges: Sequence[float]) -> str:
    if low == ranges[0]:
        return f"under {high:g}"
    return f"over {low:g}" if high == ranges[-1] else f"{low:g} to {high:g}"
