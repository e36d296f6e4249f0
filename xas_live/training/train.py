"""Training of the ensemble: all members at once, each without the site environments of its fold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from xas_live.models.card import NetworkSpec
from xas_live.models.networks import Weights, init_network, network
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training.population import Population
from xas_live.training.recipe import Recipe, Schedule

Draw = Callable[[int], tuple[torch.Tensor, torch.Tensor]]
"""Of a number of draws, network inputs (members, n, g) and truth (members, n, targets)."""

Progress = Callable[[int, int, float], None]
"""Called with step, number of steps, and loss."""

FIRST_DRAWS = 2000  # a member, from which the scaling is taken
LEAST_SCALE = 0.2  # of the inputs' largest spread: far points hold little structure, and much noise


@dataclass(frozen=True, eq=False)
class Scaling:
    """What inputs and targets are divided by, the same for all members.

    Attributes
    ----------
    input_mean, input_scale : (g,); target_mean, target_scale : (targets,).
    """

    input_mean: torch.Tensor
    input_scale: torch.Tensor
    target_mean: torch.Tensor
    target_scale: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor, y: torch.Tensor, least: float = LEAST_SCALE) -> Scaling:
        """From draws of all members: x (members, n, g) and y (members, n, targets)."""
        spread = x.std((0, 1))
        return cls(
            input_mean=x.mean((0, 1)),
            input_scale=spread.clamp_min(least * float(spread.max())),
            target_mean=y.mean((0, 1)),
            target_scale=y.std((0, 1)).clamp_min(1e-6),
        )

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """As a network takes them."""
        return (x - self.input_mean) / self.input_scale

    def scaled(self, y: torch.Tensor) -> torch.Tensor:
        """Targets as a network gives them."""
        return (y - self.target_mean) / self.target_scale

    def targets(self, out: torch.Tensor) -> torch.Tensor:
        """Targets in their units."""
        return out * self.target_scale + self.target_mean


@dataclass(frozen=True, eq=False)
class Trained:
    """An ensemble as trained, or with weights to begin with.

    Attributes
    ----------
    spec : the network.
    weights : its members' stacked weights, float32.
    member_fold : (members,) fold that each member never saw.
    scaling : of inputs and targets.
    loss : of the last steps, mean over members; NaN before training.
    """

    spec: NetworkSpec
    weights: Weights
    member_fold: Indices
    scaling: Scaling
    loss: float = math.nan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scaled targets (members, n, targets) of inputs (members, n, g), or (n, g) seen by every member."""
        return network(self.spec, self.weights, self.scaling.inputs(x))

    def train(
        self, draw: Draw, schedule: Schedule, progress: Progress = lambda step, steps, loss: None
    ) -> Self:
        """The ensemble after training; its weights are trained in place."""
        return replace(self, loss=fit(self.weights, self.forward, draw, self.scaling, schedule, progress))

    def predict(self, x: torch.Tensor, members: Indices | None = None) -> torch.Tensor:
        """(members, batch, targets) of all members, or of those indexed."""
        weights = self.weights if members is None else {k: v[members] for k, v in self.weights.items()}
        return self.scaling.targets(replace(self, weights=weights).forward(x))


def initial_ensemble(
    spec: NetworkSpec,
    member_fold: Indices,
    x: torch.Tensor,
    y: torch.Tensor,
    seed: int,
    least_scale: float = LEAST_SCALE,
) -> Trained:
    """Random weights, and the scaling of first draws x (members, n, g) and y (members, n, targets)."""
    weights = init_network(spec, x.shape[-1], y.shape[-1], torch.Generator().manual_seed(seed))
    return Trained(spec, weights, member_fold, Scaling.of(x, y, least_scale))


def fit(
    weights: Weights,
    forward: Callable[[torch.Tensor], torch.Tensor],
    draw: Draw,
    scaling: Scaling,
    schedule: Schedule,
    progress: Progress = lambda step, steps, loss: None,
) -> float:
    """Train weights in place, all members at once, on fresh draws at every step.

    Parameters
    ----------
    weights : what is trained, stacked by member.
    forward : scaled targets (members, n, targets) of inputs (members, n, g); uses the weights.
    draw, scaling, schedule : `schedule.batch` draws a member at each step.

    Returns
    -------
    The loss of the last steps, mean over members.
    """
    parameters = [p.requires_grad_() for p in weights.values()]
    optimizer = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    steps, warm = schedule.steps, max(1, schedule.steps // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps))))
    )
    running = math.nan
    for step in range(steps):
        x, y = draw(schedule.batch)
        out, aim = forward(x), scaling.scaled(y)
        error = torch.where(aim.isnan(), 0.0, out - aim)  # a label that is not known teaches nothing
        # Every member is its own network: the sum keeps each one's gradient that of its own mean.
        loss = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.3) * len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        value = loss.item() / len(x)
        running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        progress(step + 1, steps, running)
    for p in parameters:
        p.requires_grad_(False)
    return running


def draw_members(
    structures: Callable[[int, int], Array],
    measure: Callable[[Array], tuple[torch.Tensor, torch.Tensor]],
    member_fold: Indices,
) -> Draw:
    """Draws for every member, of structures that know nothing of its fold.

    Parameters
    ----------
    structures : of a fold and a number, so many weights (n, sites).
    measure : of weights, inputs (n, g) and truth (n, targets).
    member_fold : (members,) ascending.
    """
    share = np.bincount(member_fold)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = measure(np.concatenate([structures(k, n * int(members)) for k, members in enumerate(share)]))
        return x.unflatten(0, (len(member_fold), n)), y.unflatten(0, (len(member_fold), n))

    return draw


def train_ensemble(
    recipe: Recipe, population: Population, progress: Progress = lambda step, steps, loss: None
) -> Trained:
    """Train every member without its fold of the population."""
    schedule, spec = recipe.schedule, recipe.network
    rng = np.random.default_rng(schedule.seed)
    member_fold = np.sort(np.arange(spec.members) % recipe.folds)
    draw = draw_members(
        lambda fold, n: population.draw(fold, n, rng),
        lambda weights: population.measure(weights, recipe.nuisances, rng),
        member_fold,
    )
    ensemble = initial_ensemble(spec, member_fold, *draw(FIRST_DRAWS), schedule.seed)
    return ensemble.train(draw, schedule, progress)
