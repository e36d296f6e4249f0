"""Calibration of predictions of growing sweeps: by what their intervals are widened, by last energy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.outputs.intervals import conformal_rank, gaussian_quantile
from xas_live.models.sections.completion import Completion
from xas_live.models.sections.preview import LAST_ENERGIES, partial_values
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training.calibrate import DRAWS, LEVEL, column_of
from xas_live.training.population import Population
from xas_live.training.recipe import Recipe
from xas_live.training.train import Trained

STEP_ERROR = 0.01  # relative, of the edge step of a sweep against that of those before it
NARROWING = 1.01  # mean half width at one of LAST_ENERGIES, at least, over that at the next


@dataclass(frozen=True, eq=False)
class PartialScores:
    """Of simulated growing sweeps of particles whose environments the predicting members never saw.

    Attributes
    ----------
    error, half : (2, energies, rows, targets) prediction less truth, and the half width before calibration;
        first sweeps, and later ones whose step earlier sweeps tell.
    particle : (rows,) index of the particle.
    """

    error: Array
    half: Array
    particle: Indices

    def factors(self, without: Indices | None = None) -> Array:
        """(2, energies, targets) by which half widths are to be multiplied; of all particles but some.

        Of all scores every so many-th is kept, that there are as many as particles: see `fit_intervals`.
        Where the mean interval would not narrow from one energy to the next, the earlier one is widened.
        """
        rows = np.full(len(self.particle), True) if without is None else ~np.isin(self.particle, without)
        every = np.sort(np.abs(self.error[:, :, rows]) / self.half[:, :, rows], axis=2)
        scores = every[:, :, DRAWS - 1 :: DRAWS]
        factors = np.asarray(scores[:, :, conformal_rank(scores.shape[2], LEVEL)])
        mean = self.half[:, :, rows].mean(2)
        for k in reversed(range(len(LAST_ENERGIES) - 1)):
            least = NARROWING * factors[:, k + 1] * mean[:, k + 1] / mean[:, k]
            factors[:, k] = np.maximum(factors[:, k], least)
        return factors


def partial_scores(
    recipe: Recipe, population: Population, trained: Trained, bundle: Bundle, rng: np.random.Generator
) -> PartialScores:
    """Simulate sweeps, cut them off at each of `LAST_ENERGIES`, and predict them."""
    tested = population.tested(rng)
    completion = Completion(bundle.array("train_mean"), bundle.array("train_covariance"))
    grid, rows, errors, halves = bundle.grid, [], [], []
    for fold in np.unique(tested.fold):
        of = np.flatnonzero(tested.fold == fold)
        x, y = population.measure(np.repeat(tested.weights[of], DRAWS, axis=0), recipe.nuisances, rng)
        unseen = (trained.member_fold == fold) | (fold < 0)
        weights = {name: w[unseen] for name, w in trained.weights.items()}

        def values(inputs: Array, weights: dict[str, torch.Tensor] = weights) -> Array:
            with torch.inference_mode():
                out = replace(trained, weights=weights).predict(torch.from_numpy(inputs).float())
                return out.mean(0).double().numpy()

        def half_of(inputs: Array) -> Array:
            everyone = trained.predict(torch.from_numpy(inputs).float())
            mean, spread = everyone.mean(0), everyone.std(0, correction=0)
            [kind] = bundle.kinds
            stratum = None if kind.strata is None else mean[:, column_of(bundle.kinds, kind.strata)]
            half: torch.Tensor = kind.estimate(bundle.tensors, mean, spread, stratum, LEVEL).half
            return half.double().numpy()

        error, width = [], []
        inputs, truth = x.double().numpy(), y.double().numpy()
        for later in (False, True):
            told = 1.0 + STEP_ERROR * rng.standard_normal((len(inputs), 1)) if later else 1.0
            for last in LAST_ENERGIES:
                m = int(np.searchsorted(grid, last, side="right"))
                rising = inputs[:, :m] / told
                draws, _ = completion.draws(rising, np.zeros_like(rising), STEP_ERROR if later else None)
                mean, spread = partial_values(draws, values)
                base = half_of(draws.mean(1))
                error.append(mean - truth)
                width.append(np.hypot(base, gaussian_quantile(LEVEL) * spread))
        shape = (2, len(LAST_ENERGIES), *truth.shape)
        errors.append(np.stack(error).reshape(shape))
        halves.append(np.stack(width).reshape(shape))
        rows.append(np.repeat(of, DRAWS))
    off, half = (np.concatenate(parts, axis=2) for parts in (errors, halves))
    return PartialScores(off, half, np.concatenate(rows))
