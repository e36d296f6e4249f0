"""Calibration and accuracy of a trained ensemble, on environments that its members never saw."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from xas_live.models.card import Accuracy
from xas_live.models.outputs.intervals import fit_intervals, half_width
from xas_live.theory.sites import Indices, Mask
from xas_live.training.population import Population
from xas_live.training.recipe import Recipe
from xas_live.training.train import Trained

LEVEL = 0.9  # of the intervals whose coverage the card states
DRAWS = 8  # simulated measurements of each particle

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Unseen:
    """Simulated measurements of particles, each predicted by the members that never saw its environments.

    Attributes
    ----------
    truth, mean : (rows, targets).
    spread : (rows, targets) of the whole ensemble, as a user's prediction will have it: the scale of an
        interval must be the same function of the spectrum in calibration and in use.
    particle, fold : (rows,) index of the particle and its fold.
    whole : (rows,) whether it is a whole particle, not one cut down to the fold's environments.
    """

    truth: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    particle: Indices
    fold: Indices
    whole: Mask

    def intervals(self, without_fold: int | None = None) -> Tensors:
        """Calibration tensors, of all particles or of those not in a fold."""
        rows = (
            np.arange(len(self.fold)) if without_fold is None else np.flatnonzero(self.fold != without_fold)
        )
        error = (self.mean - self.truth)[rows]
        return fit_intervals(error, self.spread[rows], self.mean[rows, 0], draws=DRAWS)

    @property
    def particles(self) -> int:
        """How many there are."""
        return len(np.unique(self.particle))


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
        torch.cat(truth), torch.cat(mean), torch.cat(spread), index, tested.fold[index], tested.whole[index]
    )


def accuracy(population: Population, unseen: Unseen, noise: tuple[float, float]) -> Accuracy:
    """Errors and coverage on whole particles; a fold's intervals come from the particles of the others."""
    rows_of = [np.flatnonzero((unseen.fold == k) & unseen.whole) for k in np.unique(unseen.fold)]
    inside, order = [], []
    for rows in rows_of:
        if not len(rows):
            continue
        tensors = unseen.intervals(without_fold=int(unseen.fold[rows[0]]))
        half = half_width(tensors, unseen.spread[rows], unseen.mean[rows, 0], LEVEL)
        inside.append(((unseen.truth[rows] - unseen.mean[rows]).abs() <= half).float())
        order.append(rows)
    rows = np.concatenate(order)
    names = [target.name for target in population.targets]
    hit, first = torch.cat(inside), unseen.truth[rows, 0].numpy()
    error = (unseen.mean - unseen.truth)[rows]
    shipped = half_width(unseen.intervals(), unseen.spread[rows], unseen.mean[rows, 0], LEVEL)

    def by_name(values: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, [float(f"{x:.3g}") for x in values.tolist()], strict=True))

    by_size, ranges = {}, population.ranges
    for low, high in pairwise(ranges):
        of = (first >= low) & (first < high)
        if of.any():
            count = len(np.unique(unseen.particle[rows][of]))
            words = (
                f"under {high:g}"
                if low == ranges[0]
                else f"over {low:g}"
                if high == ranges[-1]
                else f"{low:g} to {high:g}"
            )
            by_size[f"{names[0]} {words} ({count} {population.counted})"] = by_name(
                hit[torch.from_numpy(of)].mean(0)
            )
    return Accuracy(
        mae=by_name(error.abs().mean(0)),
        bias=by_name(error.mean(0)),
        coverage=by_name(hit.mean(0)),
        coverage_by_size=by_size,
        half_width=by_name(shipped.mean(0)),
        level=LEVEL,
        particles=len(np.unique(unseen.particle[rows])),
        counted=population.counted,
        folds=len(order),
        conditions="simulated measurements with every nuisance of the recipe, noise of "
        f"{noise[0]:g} to {noise[1]:g} edge steps a point",
    )
