"""What departures from the training spectra cost: drawn, predicted by members that never saw the particle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.ensemble import Ensemble, Judged, joined
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.intervals import conformal_rank
from xas_live.models.sections.cost import MOST, departures, raw_widening, shapes_of, smooth
from xas_live.models.sections.specs import CHEMISTRY_NETWORK, CostSection
from xas_live.spectrum import Array
from xas_live.theory.phases import ALLOYED, NON_METAL
from xas_live.theory.sites import Indices
from xas_live.training.calibrate import LEVEL
from xas_live.training.chemistry import PhasePool, nuisances_of
from xas_live.training.population import Particles
from xas_live.training.recipe import Nuisances, Recipe
from xas_live.training.simulate import Admixture
from xas_live.training.train import Trained, minimise

ALONE = 0.7  # share of departures that come alone; the others come two at a time
HIDDEN = 24
SPECTRA_A_STEP, LEARNING_RATE = 8, 0.02
LEAST_ERROR = 1e-3  # of the interval, as errors are taken in their logarithm
RIM = 0.99  # quantile of spectra in domain that counts as the rim, in each respect
TRUSTED = 1.45  # widening up to which a spectrum is no departure
METAL_LEAST = 0.5  # share of the spectrum that must be this metal's for its error to mean something

KINDS = (
    "none", "white line", "edge shift", "damping", "residual", "gain", "self-absorption", "glitch", "noise",
    "normalisation", "resolution", "adsorbates", "non-metal", "alloy",
)  # fmt: skip
"""Departures that are drawn; "none" is what is in domain."""


@dataclass(frozen=True, eq=False)
class Departed:
    """Simulated spectra with departures, and what the ensemble makes of them.

    Attributes
    ----------
    x : (n, g) network inputs.
    judged : by the whole ensemble, intervals as without any departure.
    error : (n, targets) of the members that never saw the particle.
    particle : (n,) index of the particle.
    kind : (n,) index among `KINDS`, the later one where there are two.
    other : (n,) share of the spectrum that is another phase.
    phase : (n,) index of that phase; below zero: none.
    truth : (n, targets).
    """

    x: torch.Tensor
    judged: Judged
    error: Array
    particle: Indices
    kind: Indices
    other: Array
    phase: Indices
    truth: Array

    def of(self, rows: Indices) -> Departed:
        """Some of them."""
        return replace(
            self,
            x=self.x[torch.from_numpy(rows)],
            judged=self.judged.of(rows),
            error=self.error[rows],
            particle=self.particle[rows],
            kind=self.kind[rows],
            other=self.other[rows],
            phase=self.phase[rows],
            truth=self.truth[rows],
        )

    def far(self, bundle: Bundle) -> Array:
        """(n, d) how far out they lie in each respect."""
        theory = bundle.inputs[0].theory
        assert theory is not None
        assert self.judged.residual is not None
        shapes = list(shapes_of(bundle.grid, theory.on(bundle.grid)).values())
        return np.asarray(
            departures(bundle.grid, shapes, self.judged.scores, self.judged.residual, self.judged.chemistry)
        )


def depart(
    recipe: Recipe, population: Particles, trained: Trained, bundle: Bundle, n: int, rng: np.random.Generator
) -> Departed:
    """Draw particles with departures of all kinds, and predict each by members that never saw it.

    Parameters
    ----------
    bundle : with domain and chemistry, but without the cost of departures.
    n : number of spectra, a third of them without any departure.
    """
    tested = population.tested(rng)
    pool = PhasePool.of(population, CHEMISTRY_NETWORK.members)
    grid, z = bundle.grid, nuisances_of(recipe)
    particle = rng.integers(len(tested.weights), size=n)
    kind = np.where(rng.random(n) < 1.0 / 3.0, 0, rng.integers(1, len(KINDS), size=n))
    second = np.where((kind > 0) & (rng.random(n) > ALONE), rng.integers(1, len(KINDS), size=n), 0)
    share, phase = np.zeros(n), np.full(n, -1)

    def rows_of(name: str) -> Indices:
        return np.flatnonzero((kind == KINDS.index(name)) | (second == KINDS.index(name)))

    for name, group in (("non-metal", NON_METAL), ("alloy", ALLOYED)):
        rows = rows_of(name)
        share[rows] = rng.uniform(0.02, 1.0, len(rows))
        known = [of for of in map(pool.known, group) if len(of)]
        for row in rows:
            phase[row] = rng.choice(known[int(rng.integers(len(known)))])
    mixed = np.flatnonzero(phase >= 0)
    spectra = np.zeros((n, len(pool.mesh)))
    spectra[mixed] = pool.draw(phase[mixed], rng)
    here = population.simulator.instrument.here
    x, truth = np.empty((n, len(grid)), np.float32), np.empty((n, len(bundle.card.targets)))
    by_kind = _nuisances(z, bool(population.simulator.adsorbates))
    strong = np.zeros(n, dtype=int)
    for i, name in enumerate(by_kind, start=1):
        strong[rows_of(name)] = i
    for i, nuisances in enumerate((z, *by_kind.values())):
        rows = np.flatnonzero(strong == i)
        for part in np.array_split(rows, max(1, len(rows) // 2000)):
            if len(part):
                admixture = Admixture(here(spectra[part]), here(share[part]))
                found = population.simulator.measure_mixed(
                    tested.weights[particle[part]], nuisances, rng, admixture
                )
                x[part], truth[part] = found.x.numpy(), found.truth[:, population.columns].numpy()
    for name, alter in _ALTERED.items():
        rows = rows_of(name)
        if len(rows):
            x[rows] = alter(x[rows].astype(np.float64), grid, rng)
    inputs = torch.from_numpy(x)
    judged, own = judged_by(bundle, trained, inputs, tested.fold[particle])
    return Departed(inputs, judged, own - truth, particle, np.maximum(kind, second), share, phase, truth)


def judged_by(bundle: Bundle, trained: Trained, inputs: torch.Tensor, fold: Indices) -> tuple[Judged, Array]:
    """What the whole ensemble says, and the members that never saw the particle."""
    ensemble = Ensemble(bundle, torch.device("cpu"), LEVEL)
    judged = joined([ensemble.judge(part.numpy()) for part in inputs.split(1000)])
    own = np.empty_like(judged.mean)
    with torch.inference_mode():
        for k in np.unique(fold):
            of = np.flatnonzero(fold == k)
            members = np.flatnonzero(trained.member_fold == k)
            own[of] = trained.predict(inputs[torch.from_numpy(of)], members).mean(0).double().numpy()
    return judged, own


def cost_section(recipe: Recipe, bundle: Bundle) -> CostSection:
    """Return what the card says of the cost of departures."""
    assert recipe.domain is not None
    assert recipe.domain.limit is not None
    leading = recipe.domain.stratify_by or bundle.target_names[0]
    return CostSection(
        leading=leading,
        column=bundle.target_names.index(leading),
        trusted=TRUSTED,
        limit=recipe.domain.limit,
        kinds=KINDS,
    )


def cost_tensors(section: CostSection, bundle: Bundle, drawn: Departed) -> Tensors:
    """Return the network that gives the widening, from half of the particles, and its calibration."""
    far = drawn.far(bundle)
    known = drawn.other <= 1.0 - METAL_LEAST  # of what is hardly metal no error is the metal's
    inside = drawn.kind == 0
    rim = np.maximum(np.quantile(far[inside], RIM, axis=0), 1e-3)
    ratio = np.abs(drawn.error) / drawn.judged.half
    first = drawn.particle % 2 == 0
    tensors: Tensors = {"cost_rim": torch.from_numpy(rim).float()}
    rows = np.flatnonzero(first & known)
    tensors |= _fitted(far[rows] / rim, ratio[rows])
    rows = np.flatnonzero(~first & known)
    return tensors | {
        "cost_factors": _factors(section, tensors, far[rows], ratio[rows], drawn.particle[rows])
    }


def _fitted(far: Array, ratio: Array) -> Tensors:
    """Weights, none below zero, that give the quantile of the error's logarithm by pinball loss."""
    aim = torch.from_numpy(np.log(ratio + LEAST_ERROR)).float()
    x = torch.from_numpy(np.log1p(np.clip(far, 0.0, MOST))).float()
    generator = torch.Generator().manual_seed(0)

    def small(*shape: int) -> torch.Tensor:
        return (0.3 * torch.randn(shape, generator=generator) - 2.0).requires_grad_()

    first, last = small(x.shape[1], HIDDEN), small(HIDDEN, aim.shape[1])
    bias = (-2.0 * torch.rand(HIDDEN, generator=generator)).requires_grad_()
    level = torch.zeros(aim.shape[1], requires_grad=True)
    softplus = torch.nn.functional.softplus

    def loss() -> torch.Tensor:
        rows = torch.randint(len(x), (4096,), generator=generator)
        hidden = (x[rows] @ softplus(first) + bias).clamp_min(0.0)
        off = aim[rows] - hidden @ softplus(last) - level
        return torch.maximum(LEVEL * off, (LEVEL - 1.0) * off).mean()

    minimise((first, last, bias, level), loss, max(1, 2 * len(x) // SPECTRA_A_STEP), LEARNING_RATE)
    return {
        "cost_in": softplus(first).detach(),
        "cost_in_bias": bias.detach(),
        "cost_out": softplus(last).detach(),
        "cost_out_bias": level.detach(),
    }


def _factors(
    section: CostSection, tensors: Tensors, far: Array, ratio: Array, particle: Indices
) -> torch.Tensor:
    """(2, targets) by which intervals of spectra without, and with a departure are widened to cover.

    Particles count, not spectra: of each an equal number of scores is kept.
    """
    raw = np.asarray(raw_widening(tensors, torch.from_numpy(far).float()).double().numpy())
    out = raw[:, section.column] > section.trusted
    factors = []
    for group in (~out, out):
        left = ratio[group] / np.where(out[group, None], raw[group], 1.0)
        draws = max(1, len(left) // max(1, len(np.unique(particle[group]))))
        kept = np.sort(left, axis=0)[draws - 1 :: draws]
        factors.append(kept[conformal_rank(len(kept), LEVEL)])
    return torch.from_numpy(np.stack(factors)).float()


def _nuisances(z: Nuisances, with_adsorbates: bool) -> dict[str, Nuisances]:
    """Departures that are larger nuisances, by kind."""
    found = {
        "noise": z.model_copy(update={"noise": (0.01, 0.06), "i0_noise": 0.02}),
        "resolution": z.model_copy(update={"resolution": 4.0}),
    }
    if with_adsorbates:
        found["adsorbates"] = z.model_copy(update={"adsorbed": 1.0, "adsorbed_atoms": 1.0})
    return found


Alter = Callable[[Array, Array, np.random.Generator], Array]
"""Of inputs (n, g), grid (g,) and a generator, the inputs altered."""


def _sizes(n: int, low: float, high: float, rng: np.random.Generator, *, signed: bool = True) -> Array:
    """(n, 1) even in their logarithm, of either sign."""
    size = low * (high / low) ** rng.random((n, 1))
    return np.asarray(size * rng.choice([-1.0, 1.0], (n, 1))) if signed else size


def _white_line(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    centre, width = rng.uniform(-2.0, 7.0, (len(x), 1)), rng.uniform(1.5, 4.0, (len(x), 1))
    shape = np.exp(-0.5 * ((grid - centre) / width) ** 2)
    return x + _sizes(len(x), 0.02, 0.4, rng) * shape


def _edge_shift(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    moved = _sizes(len(x), 0.2, 3.0, rng)[:, 0]
    return np.stack([np.interp(grid - s, grid, row) for s, row in zip(moved, x, strict=True)])


def _damping(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    waves = x - np.stack([smooth(grid, row) for row in x])
    fine = 1.0 / (1.0 + np.exp(-(grid - 13.0)))
    return x - rng.uniform(-0.4, 0.6, (len(x), 1)) * fine * waves


def _residual(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    """A smooth curve in some region of the spectrum."""
    length = 1.5 * (8.0 / 1.5) ** rng.random((len(x), 1))
    centre, reach = rng.uniform(grid[0], grid[-1], (len(x), 1)), rng.uniform(5.0, 40.0, (len(x), 1))
    wave = np.cos(grid / length + rng.uniform(0.0, 2.0 * np.pi, (len(x), 1)))
    return x + _sizes(len(x), 0.005, 0.1, rng) * wave * np.exp(-0.5 * ((grid - centre) / reach) ** 2)


def _gain(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    return x * (1.0 + _sizes(len(x), 0.01, 0.15, rng))


def _self_absorption(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    a = _sizes(len(x), 0.03, 0.6, rng, signed=False)
    return x * (1.0 + a) / (1.0 + a * x)


def _glitch(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    x = x.copy()
    x[np.arange(len(x)), rng.integers(x.shape[1], size=len(x))] += _sizes(len(x), 0.03, 0.5, rng)[:, 0]
    return x


def _normalisation(x: Array, grid: Array, rng: np.random.Generator) -> Array:
    rise = np.maximum(grid, 0.0) / 80.0
    slope, curve = (_sizes(len(x), 0.01, 0.15, rng) for _ in range(2))
    return x + slope * rise + curve * (rise**2 - rise)


_ALTERED: dict[str, Alter] = {
    "white line": _white_line,
    "edge shift": _edge_shift,
    "damping": _damping,
    "residual": _residual,
    "gain": _gain,
    "self-absorption": _self_absorption,
    "glitch": _glitch,
    "normalisation": _normalisation,
}
