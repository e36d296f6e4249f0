"""Training of the ensemble: all members at once, each without the site environments of its fold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from xas_live.models.card import NetworkSpec
from xas_live.models.networks import Weights, init_network, network
from xas_live.training.recipe import Recipe
from xas_live.training.simulate import Mixtures, Simulator
from xas_live.training.sites import Indices, Particle, SiteLibrary

COMMON_USE = 0.15  # share of particles beyond which a site counts as one that all larger particles share


def site_folds(particles: list[Particle], sites: int, bulk_site: int, folds: int) -> Indices:
    """Part site environments so that whole particles lie in one fold.

    Fold 0 holds the environments that larger particles have in common; the others hold those of small and
    unusual particles, kept together where a particle uses both. The bulk environment is in no fold (-1).

    Returns
    -------
    (sites,) fold of each site.
    """
    fold = np.full(sites, -1)
    use = np.zeros(sites)
    for particle in particles:
        use[particle.sites] += 1.0 / len(particles)
    common = use > COMMON_USE
    fold[common] = 0
    group = np.arange(sites)
    for particle in particles:
        own = [s for s in particle.sites if not common[s] and s != bulk_site]
        joined = {group[s] for s in own}
        group[np.isin(group, list(joined))] = min(joined, default=0)
    rare = [s for s in np.flatnonzero(use > 0) if not common[s] and s != bulk_site]
    groups = sorted({int(group[s]) for s in rare}, key=lambda g: (-sum(group[s] == g for s in rare), g))
    size = np.zeros(folds)
    size[0] = np.inf
    for g in groups:
        members = [s for s in rare if group[s] == g]
        smallest = int(size.argmin())
        fold[members] = smallest
        size[smallest] += len(members)
    fold[bulk_site] = -1
    return fold


def held_out_particles(particles: list[Particle], fold: Indices, k: int) -> list[Particle]:
    """Particles of which every environment, the bulk's aside, lies in fold k."""
    return [p for p in particles if np.isin(fold[p.sites], (k, -1)).all() and (fold[p.sites] == k).any()]


@dataclass(frozen=True, eq=False)
class Trained:
    """An ensemble as trained, with its scaling.

    Attributes
    ----------
    spec : the network.
    weights : its members' stacked weights, float32.
    member_fold : (members,) fold that each member never saw.
    input_mean, input_scale : (g,); target_mean, target_scale : (targets,).
    loss : of the last steps, mean over members.
    """

    spec: NetworkSpec
    weights: Weights
    member_fold: Indices
    input_mean: torch.Tensor
    input_scale: torch.Tensor
    target_mean: torch.Tensor
    target_scale: torch.Tensor
    loss: float

    def predict(self, x: torch.Tensor, members: Indices | None = None) -> torch.Tensor:
        """(members, batch, targets) of all members, or of those indexed."""
        weights = self.weights if members is None else {k: v[members] for k, v in self.weights.items()}
        out = network(self.spec, weights, (x - self.input_mean) / self.input_scale)
        return out * self.target_scale + self.target_mean


def train_ensemble(
    recipe: Recipe,
    library: SiteLibrary,
    simulator: Simulator,
    particles: list[Particle],
    fold: Indices,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Trained:
    """Train every member on fresh mixtures at each step.

    Parameters
    ----------
    progress : called with step, number of steps, and loss.
    """
    schedule, members = recipe.schedule, recipe.network.members
    rng = np.random.default_rng(schedule.seed)
    member_fold = np.arange(members) % recipe.folds
    used = np.zeros(len(fold), dtype=bool)
    for particle in particles:
        used[particle.sites] = True
    sources = [
        Mixtures.of(library, particles, used & (fold != k), recipe.structures) for k in range(recipe.folds)
    ]
    share = np.bincount(member_fold, minlength=recipe.folds)

    def draw(per_member: int) -> tuple[torch.Tensor, torch.Tensor]:
        weights = np.concatenate(
            [source.draw(per_member * int(n), rng) for source, n in zip(sources, share, strict=True)]
        )
        x = simulator.measure(weights, recipe.nuisances, rng)
        y = (torch.from_numpy(weights) @ simulator.cn).float()
        # Draws come fold by fold; members run through the folds.
        order = np.argsort(np.argsort(member_fold, kind="stable"), kind="stable")
        return (
            x.reshape(members, per_member, -1)[order],
            y.reshape(members, per_member, -1)[order],
        )

    x, y = draw(2000)
    trained = Trained(
        spec=recipe.network,
        weights=init_network(
            recipe.network,
            len(simulator.grid),
            y.shape[-1],
            torch.Generator().manual_seed(schedule.seed),
        ),
        member_fold=member_fold,
        input_mean=x.mean((0, 1)),
        # One scale for all points: far points carry little structure and must not be blown up to noise.
        input_scale=x.std((0, 1)).clamp_min(0.2 * x.std((0, 1)).max()),
        target_mean=y.mean((0, 1)),
        target_scale=y.std((0, 1)),
        loss=math.nan,
    )
    parameters = [p.requires_grad_() for p in trained.weights.values()]
    optimizer = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    warm = max(1, schedule.steps // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, s / schedule.steps)))),
    )
    running = math.nan
    for step in range(schedule.steps):
        x, y = draw(schedule.batch)
        out = network(recipe.network, trained.weights, (x - trained.input_mean) / trained.input_scale)
        error = out - (y - trained.target_mean) / trained.target_scale
        # Every member is its own network: the sum keeps each one's gradient that of its own mean.
        loss = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.3) * members
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        value = loss.item() / members
        running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        progress(step + 1, schedule.steps, running)
    for p in parameters:
        p.requires_grad_(False)
    return Trained(**{**trained.__dict__, "loss": running})
