"""Training of the ensemble: all members at once, each without the site environments of its fold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from xas_live.models.card import NetworkSpec
from xas_live.models.networks import Weights, init_network, network
from xas_live.theory.sites import Indices
from xas_live.training.population import Population
from xas_live.training.recipe import Recipe, Schedule

Draw = Callable[[int], tuple[torch.Tensor, torch.Tensor]]
"""Of a number of draws, network inputs (members, n, g) and truth (members, n, targets)."""

Progress = Callable[[int, int, float], None]
"""Called with step, number of steps, and loss."""

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
    def of(cls, x: torch.Tensor, y: torch.Tensor) -> Scaling:
        """From draws of all members: x (members, n, g) and y (members, n, targets)."""
        spread = x.std((0, 1))
        return cls(
            input_mean=x.mean((0, 1)),
            input_scale=spread.clamp_min(LEAST_SCALE * float(spread.max())),
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
    """An ensemble as trained.

    Attributes
    ----------
    spec : the network.
    weights : its members' stacked weights, float32.
    member_fold : (members,) fold that each member never saw.
    scaling : of inputs and targets.
    loss : of the last steps, mean over members.
    """

    spec: NetworkSpec
    weights: Weights
    member_fold: Indices
    scaling: Scaling
    loss: float

    def predict(self, x: torch.Tensor, members: Indices | None = None) -> torch.Tensor:
        """(members, batch, targets) of all members, or of those indexed."""
        weights = self.weights if members is None else {k: v[members] for k, v in self.weights.items()}
        return self.scaling.targets(network(self.spec, weights, self.scaling.inputs(x)))


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


def train_ensemble(
    recipe: Recipe, population: Population, progress: Progress = lambda step, steps, loss: None
) -> Trained:
    """Train every member without its fold of the population."""
    schedule, spec = recipe.schedule, recipe.network
    rng = np.random.default_rng(schedule.seed)
    member_fold = np.sort(np.arange(spec.members) % recipe.folds)
    share = np.bincount(member_fold, minlength=recipe.folds)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        weights = [population.draw(fold, n * int(members), rng) for fold, members in enumerate(share)]
        x, y = population.measure(np.concatenate(weights), recipe.nuisances, rng)
        return x.unflatten(0, (spec.members, n)), y.unflatten(0, (spec.members, n))

    x, y = draw(2000)
    generator = torch.Generator().manual_seed(schedule.seed)
    trained = Trained(
        spec=spec,
        weights=init_network(spec, x.shape[-1], y.shape[-1], generator),
        member_fold=member_fold,
        scaling=Scaling.of(x, y),
        loss=math.nan,
    )

    def forward(x: torch.Tensor) -> torch.Tensor:
        return network(spec, trained.weights, trained.scaling.inputs(x))

    loss = fit(trained.weights, forward, draw, trained.scaling, schedule, progress)
    return replace(trained, loss=loss)
