"""Training of the ensemble: all members at once, each without the site environments of its fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import Weights, init_network, network
from xas_live.models.outputs import OutputKind, Scalars, ScalarsSpec, Target, columns_of, kinds_of
from xas_live.models.outputs.base import Tensors
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
    """What inputs and outputs are divided by, the same for all members.

    Attributes
    ----------
    kinds : the outputs, side by side in the order of the network's columns.
    tensors : `input_mean`, `input_scale` (g,), and those of the outputs' own scaling.
    """

    kinds: tuple[OutputKind, ...]
    tensors: Tensors

    @classmethod
    def of(
        cls,
        x: torch.Tensor,
        y: torch.Tensor,
        least: float = LEAST_SCALE,
        kinds: Sequence[OutputKind] | None = None,
    ) -> Scaling:
        """Return the scaling of draws of all members.

        Parameters
        ----------
        x, y : (members, n, g) inputs and (members, n, width) truth.
        least : smallest scale of an input, in units of the largest.
        kinds : default: numbers, all columns of y.
        """
        outputs = tuple(kinds) if kinds is not None else (unnamed_numbers(y.shape[-1]),)
        spread = x.std((0, 1))
        tensors: Tensors = {
            "input_mean": x.mean((0, 1)),
            "input_scale": spread.clamp_min(least * float(spread.max())),
        }
        for kind, columns in zip(outputs, columns_of(outputs), strict=True):
            tensors |= kind.scaling(y[..., columns])
        return cls(outputs, tensors)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Scaling:
        """Return the scaling that a bundle was trained with."""
        return cls(bundle.kinds, bundle.tensors)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """As a network takes them."""
        scaled: torch.Tensor = (x - self.tensors["input_mean"]) / self.tensors["input_scale"]
        return scaled

    def outputs(self, raw: torch.Tensor) -> torch.Tensor:
        """Raw outputs (members, n, width) in their units, side by side."""
        parts = [kind.decoded(self.tensors, raw[..., c]) for kind, c in self._parts()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def loss(self, raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Sum over the outputs of their mean losses; what is not known (NaN) teaches nothing."""
        losses = [
            kind.loss(raw[..., c], kind.scaled(self.tensors, truth[..., c])) for kind, c in self._parts()
        ]
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        return total

    def disagreement(self, spread: torch.Tensor) -> torch.Tensor:
        """(n,) members' standard deviation (n, width) in units of the outputs' scale, mean over columns."""
        return torch.cat(
            [kind.scaled_spread(self.tensors, spread[:, c]) for kind, c in self._parts()], 1
        ).mean(1)

    def _parts(self) -> Iterator[tuple[OutputKind, slice]]:
        return zip(self.kinds, columns_of(self.kinds), strict=True)


def unnamed_numbers(count: int) -> Scalars:
    """Return an output of numbers without names or ranges, for networks that no card describes."""
    targets = [
        Target(name=f"y{i}", minimum=-math.inf, maximum=math.inf, description="") for i in range(count)
    ]
    return Scalars(ScalarsSpec(name="numbers", targets=tuple(targets)))


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
        """Raw outputs (members, n, width) of inputs (members, n, g), or (n, g) seen by every member."""
        return network(self.spec, self.weights, self.scaling.inputs(x))

    def train(
        self, draw: Draw, schedule: Schedule, progress: Progress = lambda step, steps, loss: None
    ) -> Self:
        """The ensemble after training; its weights are trained in place."""
        return replace(self, loss=fit(self.weights, self.forward, draw, self.scaling, schedule, progress))

    def on_cpu(self) -> Self:
        """The ensemble, wherever it was trained, on the CPU."""
        tensors = {name: tensor.cpu() for name, tensor in self.scaling.tensors.items()}
        weights = {name: weight.cpu() for name, weight in self.weights.items()}
        return replace(self, weights=weights, scaling=Scaling(self.scaling.kinds, tensors))

    def predict(self, x: torch.Tensor, members: Indices | None = None) -> torch.Tensor:
        """(members, batch, width) outputs in their units, of all members or of those indexed."""
        weights = self.weights if members is None else {k: v[members] for k, v in self.weights.items()}
        return self.scaling.outputs(replace(self, weights=weights).forward(x))


def initial_ensemble(
    spec: NetworkSpec,
    member_fold: Indices,
    x: torch.Tensor,
    y: torch.Tensor,
    seed: int,
    least_scale: float = LEAST_SCALE,
    kinds: Sequence[OutputKind] | None = None,
) -> Trained:
    """Return random weights, where the draws lie, and the draws' scaling; parameters as for `Scaling.of`."""
    weights = init_network(spec, x.shape[-1], y.shape[-1], torch.Generator().manual_seed(seed))
    weights = {name: weight.to(x.device) for name, weight in weights.items()}
    return Trained(spec, weights, member_fold, Scaling.of(x, y, least_scale, kinds))


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
    forward : raw outputs (members, n, width) of inputs (members, n, g); uses the weights.
    draw, scaling, schedule : `schedule.batch` draws a member at each step.

    Returns
    -------
    The loss of the last steps, mean over members.
    """
    parameters = [p.requires_grad_() for p in weights.values()]
    optimizer = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    steps = schedule.steps
    cycle = -(-steps // schedule.cycles)
    warm = max(1, cycle // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s % cycle + 1) / warm, 0.5 * (1 + math.cos(math.pi * (s % cycle) / cycle))),
    )
    running = math.nan
    for step in range(steps):
        x, y = draw(schedule.batch)
        # Every member is its own network: the sum keeps each one's gradient that of its own mean.
        loss = scaling.loss(forward(x), y) * len(x)
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


def minimise(
    parameters: Iterable[torch.Tensor], loss: Callable[[], torch.Tensor], steps: int, learning_rate: float
) -> None:
    """Minimise a loss of fresh draws by Adam, its rate falling as a cosine, in place."""
    trained = [p.requires_grad_() for p in parameters]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        scheduler.step()
    for p in trained:
        p.requires_grad_(False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums come in one order, however many cores there are; networks this small are no faster on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    """Train every member without its fold of the population, where its spectra are simulated."""
    schedule, spec = recipe.schedule, recipe.network
    rng = np.random.default_rng(schedule.seed)
    member_fold = np.sort(np.arange(spec.members) % recipe.folds)
    draw = draw_members(
        lambda fold, n: population.draw(fold, n, rng),
        lambda weights: population.measure(weights, recipe.nuisances, rng),
        member_fold,
    )
    kinds = kinds_of(population.outputs)
    ensemble = initial_ensemble(spec, member_fold, *draw(FIRST_DRAWS), schedule.seed, kinds=kinds)
    return ensemble.train(draw, schedule, progress).on_cpu()
