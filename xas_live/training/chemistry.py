"""Networks that see other phases and adsorbates, trained and calibrated on compounds they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count

import numpy as np
import torch

from xas_live.models.networks import Weights, init_network, network
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.intervals import fit_intervals
from xas_live.models.sections.chemistry import CALIBRATION, by_oxide, decoded
from xas_live.models.sections.specs import CHEMISTRY_NETWORK, ChemistrySection
from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.damping import above_white_line
from xas_live.spectrum import Array
from xas_live.theory.phases import ALLOYED, KINDS, NON_METAL, Phase, PhaseKind, drawn, phases_of
from xas_live.theory.sites import Indices
from xas_live.training.population import Particles
from xas_live.training.recipe import Nuisances, Recipe
from xas_live.training.simulate import Admixture
from xas_live.training.train import Trained, minimise

BATCH = 256
LEARNING_RATE = 2e-3
POOL, FRESH = 96, 25  # phases of a fold that are drawn at once, and steps after which they are drawn anew
METAL_ALONE, OF_ALLOYS = 0.35, 0.4  # share of spectra of metal alone; of the others, of alloys and hydrides
PURE = 0.3  # share of other phases without any metal
MOST = 0.6  # share of a phase that is no metal up to which intervals are calibrated
DRAWS = 16  # calibration spectra of each particle
DEPENDENT = 4  # of them, that count as one: a particle's spectra differ in share, phase and energy zero
RANGES = 5  # of the predicted share, in which intervals are calibrated apart
SIZES = 4  # ranges of predicted size in which false alarms are counted
FALSE_ALARMS = 0.02  # share of bare metal whose non_metal may exceed what is taken for none
RESTORED = (-0.25, 0.25, -0.3, 0.5)  # ranges of what the foil's damping does to a phase: constant, and by k²


@dataclass(frozen=True, eq=False)
class PhasePool:
    """Calculated phases of a metal, in folds of compounds.

    Attributes
    ----------
    phases : all of them.
    fold : (phases,) that each is left out of; below zero: all members have seen it.
    mesh : (m,) eV, on which they are drawn; bulk (m,) theory of the foil there.
    """

    phases: tuple[Phase, ...]
    fold: Indices
    mesh: Array
    bulk: Array

    @classmethod
    def of(cls, population: Particles, folds: int) -> PhasePool:
        """Of the population's metal: compounds of each kind spread over the folds, oxides in none.

        The few oxides are known to all members: their doubt in energy, stretch and width is wide instead.
        """
        library = population.library
        phases = phases_of(library.element, library.edge)
        fold = np.full(len(phases), -1)
        place = 0
        for kind in KINDS:
            if kind == "oxide":
                continue
            for compound in sorted({p.compound for p in phases if p.kind == kind}):
                fold[[i for i, p in enumerate(phases) if p.compound == compound]] = place % folds
                place += 1
        mesh = population.simulator.mesh
        return cls(phases, fold, mesh, population.simulator.bulk.cpu().double().numpy())

    def draw(self, which: Indices, rng: np.random.Generator) -> Array:
        """(n, m) phases of these indices, as the foil's damping leaves them."""
        spectra = drawn(self.phases, which, self.mesh, rng)
        a, b, c, d = RESTORED
        k2 = K2_PER_EV * np.maximum(self.mesh, 0.0)
        factor = rng.uniform(a, b, (len(which), 1)) + rng.uniform(c, d, (len(which), 1)) * k2 / k2[-1]
        return np.asarray(spectra + above_white_line(self.mesh) * factor * (spectra - self.bulk))

    def known(self, kind: PhaseKind, fold: int | None = None) -> Indices:
        """Indices of phases of a kind: of all of them, or of those that the members of a fold may see."""
        return np.array(
            [
                i
                for i, p in enumerate(self.phases)
                if p.kind == kind and (fold is None or self.fold[i] != fold)
            ],
            dtype=int,
        )

    def names(self, fold: int) -> tuple[str, ...]:
        """Of the phases of a fold."""
        return tuple(p.name for p, k in zip(self.phases, self.fold, strict=True) if k == fold)


def chemistry_section(population: Particles, by: str) -> ChemistrySection:
    """Return what the card says of the networks."""
    members = CHEMISTRY_NETWORK.members
    pool = PhasePool.of(population, members)
    return ChemistrySection(
        kinds=("metal", *(kind for kind in KINDS if len(pool.known(kind)))),
        non_metal=NON_METAL,
        adsorbates=bool(population.simulator.adsorbates),
        stratify_by=by,
        folds=tuple(pool.names(k) for k in range(members)),
    )


def nuisances_of(recipe: Recipe) -> Nuisances:
    """Those of spectra in domain, with adsorbates as the surface has room for."""
    assert recipe.domain is not None
    return recipe.domain.nuisances(recipe.nuisances).model_copy(update={"adsorbed_atoms": 0.0})


def _doubtful(recipe: Recipe) -> Nuisances:
    """The same, with what theory may get wrong at the edge, as the networks learn to leave it alone."""
    assert recipe.domain is not None
    return nuisances_of(recipe).model_copy(
        update={
            "edge_response": recipe.domain.chemistry_edge_response,
            "edge_mismatch_per_u": recipe.domain.chemistry_edge_mismatch_per_u,
        }
    )


def chemistry_tensors(
    recipe: Recipe,
    population: Particles,
    scaling: Tensors,
    trained: Trained,
    column: int,
    rng: np.random.Generator,
) -> Tensors:
    """Return the networks' weights, in half precision, and their calibration.

    Parameters
    ----------
    scaling : `input_mean` and `input_scale`.
    trained : the ensemble, whose `column` tells the size.
    """
    assert recipe.domain is not None
    section = chemistry_section(population, recipe.domain.stratify_by or "CN1")
    pool = PhasePool.of(population, CHEMISTRY_NETWORK.members)
    weights = _trained(recipe, population, pool, section, scaling, rng)
    found = {f"chemistry.{name}": weight.half() for name, weight in weights.items()}
    stored = {name: weight.half().float() for name, weight in weights.items()}
    seen = see(recipe, population, section, Looking(scaling, stored, trained, column), rng)
    return found | calibration_of(seen)


def _trained(
    recipe: Recipe,
    population: Particles,
    pool: PhasePool,
    section: ChemistrySection,
    scaling: Tensors,
    rng: np.random.Generator,
) -> Weights:
    assert recipe.domain is not None
    z, members, kinds = _doubtful(recipe), CHEMISTRY_NETWORK.members, section.kinds
    generator = torch.Generator().manual_seed(recipe.schedule.seed + 3)
    weights = init_network(CHEMISTRY_NETWORK, len(scaling["input_mean"]), len(kinds) + 1, generator)
    spectra: list[torch.Tensor] = []
    of_kind: list[Indices] = []
    step = count()

    def loss() -> torch.Tensor:
        nonlocal spectra, of_kind
        if next(step) % FRESH == 0:
            spectra, of_kind = _phases(pool, kinds, members, population, rng)
        parts, truths, covered = [], [], []
        for k in range(members):
            share, which = _shares(rng)
            admixture = Admixture(spectra[k][which], population.simulator.instrument.here(share))
            found = population.simulator.measure_mixed(
                population.draw(k % recipe.folds, BATCH, rng), z, rng, admixture
            )
            truth = torch.zeros(BATCH, len(kinds))
            truth[:, 0] = 1.0 - torch.from_numpy(share).float()
            truth[torch.arange(BATCH), torch.from_numpy(of_kind[k][which])] += torch.from_numpy(share).float()
            parts.append(found.x)
            truths.append(truth)
            covered.append(found.adsorbed * truth[:, 0])
        x = (torch.stack(parts) - scaling["input_mean"]) / scaling["input_scale"]
        raw = network(CHEMISTRY_NETWORK, weights, x)
        entropy = -(torch.stack(truths) * raw[..., : len(kinds)].log_softmax(-1)).sum(-1).mean()
        on_surface = torch.nn.functional.binary_cross_entropy_with_logits(
            raw[..., len(kinds)], torch.stack(covered)
        )
        # Every member is its own network: the sum keeps each one's gradient that of its own mean.
        return (entropy + on_surface) * members

    minimise(weights.values(), loss, recipe.domain.chemistry_steps, LEARNING_RATE)
    return weights


def _phases(
    pool: PhasePool, kinds: tuple[str, ...], members: int, population: Particles, rng: np.random.Generator
) -> tuple[list[torch.Tensor], list[Indices]]:
    """Of each fold, drawn phases (POOL, m) and their kinds' indices: half of them no metal, half alloys."""
    spectra, of_kind = [], []
    for k in range(members):
        which: list[int] = []
        for group in (NON_METAL, ALLOYED):
            there = [kind for kind in group if len(pool.known(kind, k))]
            weight = np.array([1.0 if kind != "hydride" else 0.3 for kind in there])
            for kind in rng.choice(np.array(there), POOL // 2, p=weight / weight.sum()):
                which.append(int(rng.choice(pool.known(kind, k))))
        chosen = np.array(which)
        spectra.append(population.simulator.instrument.here(pool.draw(chosen, rng)))
        of_kind.append(np.array([kinds.index(pool.phases[i].kind) for i in chosen]))
    return spectra, of_kind


def _shares(rng: np.random.Generator) -> tuple[Array, Indices]:
    """(BATCH,) share of another phase in training spectra, and which of the drawn phases it is."""
    half = POOL // 2  # the first half is no metal, the second alloys and hydrides
    alloyed = rng.random(BATCH) < OF_ALLOYS
    which = rng.integers(half, size=BATCH) + half * alloyed
    share = np.where(rng.random(BATCH) < PURE, np.where(alloyed, 1.0, rng.uniform(0.6, 1.0, BATCH)), 0.0)
    share = np.where(share == 0.0, rng.uniform(0.0, np.where(alloyed, 1.0, 0.7)), share)
    return np.where(rng.random(BATCH) < METAL_ALONE, 0.0, share), which


@dataclass(frozen=True, eq=False)
class Looking:
    """What is needed to look at a spectrum.

    Attributes
    ----------
    scaling : `input_mean` and `input_scale`.
    weights : of the networks of the chemistry.
    trained, column : the ensemble, and its column that tells the size.
    """

    scaling: Tensors
    weights: Weights
    trained: Trained
    column: int

    def at(self, section: ChemistrySection, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shares and quantities that all members give for inputs (n, g)."""
        with torch.inference_mode():
            scaled = (x - self.scaling["input_mean"]) / self.scaling["input_scale"]
            shares, quantities = decoded(section, network(CHEMISTRY_NETWORK, self.weights, scaled))
        return shares, quantities


@dataclass(frozen=True, eq=False)
class Seen:
    """What members give for particles and compounds that they have not seen.

    Attributes
    ----------
    own, spread, truth : (n, 2) of `QUANTITIES`: of the member, the spread of all members, and as drawn.
    size : (n,) predicted value of the section's `stratify_by`.
    oxide : (n,) whether most of what looks like no metal looks like oxide.
    particle : (n,) index of the particle.
    """

    own: torch.Tensor
    spread: torch.Tensor
    truth: torch.Tensor
    size: torch.Tensor
    oxide: torch.Tensor
    particle: torch.Tensor

    def of(self, rows: torch.Tensor) -> Seen:
        """Some of them."""
        return Seen(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def together(cls, parts: Sequence[Seen]) -> Seen:
        """Several as one."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def see(
    recipe: Recipe,
    population: Particles,
    section: ChemistrySection,
    looking: Looking,
    rng: np.random.Generator,
) -> dict[str, Seen]:
    """Particles beside an oxide, beside another phase without metal bonds ("other"), and alone ("none").

    Each is seen by the member that knows neither the particle's environments nor the compound.
    """
    pool = PhasePool.of(population, CHEMISTRY_NETWORK.members)
    z, here = nuisances_of(recipe), population.simulator.instrument.here
    tested = population.tested(rng)
    oxides = pool.known("oxide")
    found: dict[str, list[Seen]] = {"oxide": [], "other": [], "none": []}
    for k in range(CHEMISTRY_NETWORK.members):
        of = np.repeat(np.flatnonzero(tested.fold == k % recipe.folds), DRAWS)
        foreign = np.array(
            [i for i in np.flatnonzero(pool.fold == k) if pool.phases[i].kind in NON_METAL], dtype=int
        )
        for name, which in (("oxide", oxides), ("other", foreign), ("none", oxides)):
            if not len(which) or not len(of):
                continue
            share = rng.uniform(0.0, MOST, len(of)) if name != "none" else np.zeros(len(of))
            admixture = Admixture(here(pool.draw(rng.choice(which, len(of)), rng)), here(share))
            measured = population.simulator.measure_mixed(tested.weights[of], z, rng, admixture)
            shares, quantities = looking.at(section, measured.x)
            with torch.inference_mode():
                size = looking.trained.predict(measured.x).mean(0)[:, looking.column]
            truth = torch.stack([here(share), measured.adsorbed * (1.0 - here(share))], -1)
            found[name].append(
                Seen(
                    quantities[k],
                    quantities.std(0, correction=0),
                    truth,
                    size,
                    by_oxide(section, shares.mean(0)),
                    torch.from_numpy(of),
                )
            )
    return {name: Seen.together(parts) for name, parts in found.items() if parts}


def calibration_of(seen: Mapping[str, Seen]) -> Tensors:
    """Return the intervals of both quantities, and what is taken for none of non_metal, by size."""
    oxide, none = seen["oxide"], seen["none"]
    told = {
        "non_metal_oxide": (oxide, 0),
        "non_metal_other": (seen.get("other", oxide), 0),
        "adsorbates_other": (Seen.together([oxide, none]), 1),
    }
    found: Tensors = {}
    for name, (table, at) in told.items():
        own, spread, truth = (part[:, at : at + 1] for part in (table.own, table.spread, table.truth))
        intervals = fit_intervals(own - truth, spread, own[:, 0], RANGES, draws=DEPENDENT)
        found |= {f"chemistry_{name}_{part}": intervals[part] for part in CALIBRATION}
    parts = none.size.argsort().tensor_split(SIZES)
    found["chemistry_none"] = torch.stack([none.own[rows, 0].quantile(1.0 - FALSE_ALARMS) for rows in parts])
    found["chemistry_none_edges"] = torch.stack([none.size[rows[-1]] for rows in parts[:-1]])
    return found
