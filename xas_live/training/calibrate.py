"""Calibration and accuracy of a trained ensemble, on environments that its members never saw."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from xas_live.models.card import Accuracy
from xas_live.models.domain import fit_domain
from xas_live.models.uncertainty import fit_intervals, half_width
from xas_live.reduction.quality import half_rise
from xas_live.spectrum import Array
from xas_live.training.recipe import Nuisances, Recipe
from xas_live.training.simulate import Mixtures, Simulator
from xas_live.training.sites import Indices, Mask, Particle, SiteLibrary
from xas_live.training.train import Trained

LEVEL = 0.9  # of the intervals whose coverage the card states
DRAWS = 8  # simulated measurements of each particle
CN1_STEP = 0.5  # particles are chosen evenly over CN1 in such steps: the library has mostly large ones
PER_STEP = 40
SIZES = (0.0, 6.5, 8.0, 9.5, 12.1)  # ranges of CN1 for which the card states coverage apart
DOMAIN_DRAWS = 6000
EDGE_DRAWS = 2000
SMALLEST_EDGE_RISE = 0.1  # eV: the least that a measurement can tell

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
        """Calibration tensors: one score a particle, that of its measurement drawn first."""
        rows = np.unique(self.particle, return_index=True)[1]
        if without_fold is not None:
            rows = rows[self.fold[rows] != without_fold]
        return fit_intervals((self.mean - self.truth)[rows], self.spread[rows], self.mean[rows, 0])

    @property
    def particles(self) -> int:
        """How many there are."""
        return len(np.unique(self.particle))


def measure_unseen(
    recipe: Recipe,
    library: SiteLibrary,
    simulator: Simulator,
    trained: Trained,
    particles: list[Particle],
    fold: Indices,
    rng: np.random.Generator,
) -> Unseen:
    """Simulate and predict particles of unseen environments, evenly over CN1.

    Few whole particles lie in one fold but for the largest and the smallest. Between them stand particles cut
    down to those of their environments that lie in the fold, the bulk's left out, which would make them easy:
    they calibrate intervals, too, but accuracy is stated on whole particles alone.
    """
    weights, folds, whole = _candidates(library, particles, fold)
    chosen = _evenly(weights @ library.cn[:, 0], whole, rng)
    weights, folds, whole = weights[chosen], folds[chosen], whole[chosen]
    truth, mean, spread, rows = [], [], [], []
    for k in np.unique(folds):
        of = np.flatnonzero(folds == k)
        repeated = np.repeat(weights[of], DRAWS, axis=0)
        x = simulator.measure(repeated, recipe.nuisances, rng)
        truth.append((torch.from_numpy(repeated) @ simulator.cn).float())
        mean.append(trained.predict(x, np.flatnonzero(trained.member_fold == k)).mean(0))
        spread.append(trained.predict(x).std(0, correction=0))
        rows.append(np.repeat(of, DRAWS))
    index = np.concatenate(rows)
    return Unseen(torch.cat(truth), torch.cat(mean), torch.cat(spread), index, folds[index], whole[index])


def _candidates(
    library: SiteLibrary, particles: list[Particle], fold: Indices
) -> tuple[Array, Indices, Mask]:
    """Site weights of every particle cut down to each fold, the fold, and whether the particle is whole."""
    weights, folds, whole = [], [], []
    for particle in particles:
        of = fold[particle.sites]
        for k in np.unique(of[of >= 0]):
            entire = bool(((of == k) | (of == -1)).all())
            keep = (of == k) | entire
            if entire or keep.sum() >= 2:
                row = np.zeros(len(library.cn))
                row[particle.sites[keep]] = particle.share[keep] / particle.share[keep].sum()
                weights.append(row)
                folds.append(int(k))
                whole.append(entire)
    unique, first = np.unique(np.round(np.stack(weights), 9), axis=0, return_index=True)
    first = np.sort(first)
    assert len(first) == len(unique)
    return np.stack(weights)[first], np.array(folds)[first], np.array(whole)[first]


def _evenly(cn1: Array, whole: Mask, rng: np.random.Generator) -> Indices:
    """At most `PER_STEP` of each step of CN1, whole particles first."""
    chosen: list[int] = []
    step = np.floor(cn1 / CN1_STEP)
    for value in np.unique(step):
        of = rng.permutation(np.flatnonzero(step == value))
        chosen += of[np.argsort(~whole[of], kind="stable")][:PER_STEP].tolist()
    return np.sort(np.array(chosen))


def domain_tensors(
    recipe: Recipe,
    simulator: Simulator,
    trained: Trained,
    everything: Mixtures,
    rng: np.random.Generator,
) -> Tensors:
    """What tells a spectrum that belongs from one that does not; and mean and covariance of the inputs."""

    def inputs(nuisances: Nuisances, n: int = DOMAIN_DRAWS) -> torch.Tensor:
        return simulator.measure(everything.draw(n, rng), nuisances, rng)

    none = dict.fromkeys(("noise", "mismatch", "mismatch_per_u", "edge_mismatch_per_u"), 0.0)
    clean, train, calibration = (
        inputs(nuisances)
        for nuisances in (recipe.nuisances.model_copy(update=none), recipe.nuisances, recipe.nuisances)
    )
    out = trained.predict(calibration)
    disagreement = (out.std(0, correction=0) / trained.target_scale).mean(1)

    physics = {
        "contraction",
        "contraction_spread",
        "disorder",
        "disorder_spread",
        "edge_end",
        "mismatch_length",
    }
    bare = recipe.nuisances.model_copy(update=dict.fromkeys(set(Nuisances.model_fields) - physics, 0.0))
    bulk = half_rise(simulator.mesh, simulator.bulk.numpy())
    rises = [half_rise(simulator.grid, x) - bulk for x in inputs(bare, EDGE_DRAWS).double().numpy()]
    return {
        "train_mean": train.mean(0),
        "train_covariance": torch.cov(train.T),
        "edge_rise_limit": torch.tensor([max(float(np.nanquantile(rises, 0.99)), SMALLEST_EDGE_RISE)]),
        **fit_domain(clean, train, calibration, out.mean(0)[:, 0], disagreement),
    }


def accuracy(names: list[str], unseen: Unseen, noise: float) -> Accuracy:
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
    hit, cn1 = torch.cat(inside), unseen.truth[rows, 0].numpy()
    error = (unseen.mean - unseen.truth)[rows]
    shipped = half_width(unseen.intervals(), unseen.spread[rows], unseen.mean[rows, 0], LEVEL)

    def by_name(values: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, [round(x, 3) for x in values.tolist()], strict=True))

    by_size = {}
    for low, high in pairwise(SIZES):
        of = (cn1 >= low) & (cn1 < high)
        if of.any():
            count = len(np.unique(unseen.particle[rows][of]))
            words = (
                f"under {high:g}" if low == 0 else f"over {low:g}" if high > 12 else f"{low:g} to {high:g}"
            )
            by_size[f"CN1 {words} ({count} particles)"] = by_name(hit[torch.from_numpy(of)].mean(0))
    return Accuracy(
        mae=by_name(error.abs().mean(0)),
        bias=by_name(error.mean(0)),
        coverage=by_name(hit.mean(0)),
        coverage_by_size=by_size,
        half_width=by_name(shipped.mean(0)),
        level=LEVEL,
        particles=len(np.unique(unseen.particle[rows])),
        folds=len(order),
        conditions="simulated measurements with every nuisance of the recipe, noise of "
        f"{noise / 10:g} to {noise:g} edge steps a point",
    )
