"""What a model is trained on: structures to draw, in folds, and their measurements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from pydantic import ValidationError

from xas_live.models.card import Absorber, InputSpec
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.specs import OutputSpec
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices, Mask, Particle, SiteLibrary
from xas_live.training.recipe import InputRequest, Nuisances, Recipe, Structures, WrongEntry
from xas_live.training.simulate import Mixtures, Simulator, UnknownParticleError, fcc_particles
from xas_live.training.targets import PARTICLE_TARGETS, columns, described, scalars_of

CN1_STEP = 0.5  # particles are chosen evenly over CN1 in such steps: the library has mostly large ones
PER_STEP = 40
COMMON_USE = 0.15  # share of particles beyond which a site counts as one that all larger particles share


@dataclass(frozen=True, eq=False)
class Tested:
    """Structures that judge a model.

    Attributes
    ----------
    weights : (n, sites).
    fold : (n,) that each was kept out of training with; below zero: no member has seen it.
    whole : (n,) whether accuracy may be stated on it, or it only calibrates intervals.
    """

    weights: Array
    fold: Indices
    whole: Mask


@dataclass(frozen=True, eq=False)
class Bulk:
    """The bulk metal in theory, which measured foils are laid on.

    Attributes
    ----------
    energy, mu : (m,) eV, and its spectrum.
    background : (m,) its absorption without fine structure; None where it is not known.
    r1 : nearest-neighbour distance, Å.
    missing_from : target that tells the share of missing neighbours, or None.
    """

    energy: Array
    mu: torch.Tensor
    r1: float
    missing_from: str | None = None
    background: torch.Tensor | None = None


class Population(Protocol):
    """Structures and their simulated measurements; each is a row of weights of known spectra.

    Attributes
    ----------
    inputs, outputs : as the card states them; `measure` gives the truth of the outputs, side by side.
    bulk : theory of the foil; None for spectra that are not anchored.
    ranges : of the target that stratifies, for which the card states coverage apart; empty for none.
    counted : what one structure is called.
    about : what the card says of the data; test_set : of the structures that judge.
    limits, references : for the card.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    bulk: Bulk | None
    ranges: tuple[float, ...]
    counted: str
    about: dict[str, object]
    test_set: str
    limits: tuple[str, ...]
    references: tuple[str, ...]

    def draw(self, fold: int | None, n: int, rng: np.random.Generator) -> Array:
        """(n, sites) weights for training that know nothing of a fold; of everything for None."""
        ...

    def belonging(self, n: int, rng: np.random.Generator) -> Array:
        """(n, known) weights of structures as samples have them: what is in domain."""
        ...

    def measure(
        self, weights: Array, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network inputs (n, g) and the truth (n, targets), both float32."""
        ...

    def add_noise(self, x: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """Noiseless network inputs (n, g) with the noise of counting."""
        ...

    def tested(self, rng: np.random.Generator) -> Tested:
        """The structures that judge."""
        ...

    def tables(self) -> Tensors:
        """What predictions are compared with besides: stored in the bundle."""
        ...


class Particles:
    """Mixtures of sites of fcc particles; a fold is a part of the site environments.

    Parameters
    ----------
    recipe : with structures of kind "mixtures".
    device : where spectra are simulated.

    Attributes
    ----------
    columns : of the recipe's targets among the simulator's CN1 to CN4 and R1.

    Raises
    ------
    FileNotFoundError : when the site spectra are missing.
    WrongEntry : for targets, particles or a grid that do not fit the library.
    """

    counted = "particles"
    ranges: tuple[float, ...] = (0.0, 6.5, 8.0, 9.5, 12.1)
    test_set = (
        "particles, whole or cut down to environments of one fold, predicted by the members that "
        "never saw any of these environments"
    )
    limits: tuple[str, ...] = (
        "Unrelaxed fcc particles of one metal: alloys and icosahedral order are outside.",
        "A sample hotter or colder than its foil has wider errors: disorder and size are hardly told apart.",
    )
    references: tuple[str, ...] = ("Timoshenko et al., J. Phys. Chem. Lett. 8, 5091 (2017)",)

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    bulk: Bulk | None

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        structures = recipe.structures
        assert isinstance(structures, Structures)
        self.library = library = SiteLibrary.load(structures.sites)
        request = scalars_of(recipe, PARTICLE_TARGETS)
        self.inputs = (anchored_input(recipe, library.element, library.edge),)
        grid = self.inputs[0].points
        check_grid(grid, library.energy)
        try:
            self.particles = fcc_particles(library, structures.left_out)
        except UnknownParticleError as error:
            raise WrongEntry(("structures", "left_out"), str(error)) from error
        self.columns = columns(request.targets, PARTICLE_TARGETS)
        self.simulator = Simulator(library, grid, device)
        names = [target.name for target in request.targets]
        r1 = library.r1[1.0]
        self.bulk = Bulk(
            self.simulator.mesh,
            self.simulator.bulk.cpu(),
            r1,
            "CN1" if "CN1" in names else None,
            self.simulator.background.cpu(),
        )
        self.fold = site_folds(self.particles, len(library.cn), library.bulk_site, recipe.folds)
        self.sites = used_sites(self.particles)
        used = np.isin(np.arange(len(self.fold)), self.sites)
        self._sources = {
            k: Mixtures.of(
                library, self.particles, used if k is None else used & (self.fold != k), structures
            )
            for k in (None, *range(recipe.folds))
        }
        whole = structures.random_sites + structures.particles
        self._belonging = replace(
            self._sources[None],
            structures=structures.model_copy(update={"random_sites": 0.0, "particles": whole}),
        )
        z, cn = recipe.nuisances, library.cn[self.sites]
        ranges = {f"CN{i + 1}": (float(cn[:, i].min()), float(cn[:, i].max())) for i in range(4)}
        least = 1.0 - z.contraction[1] * (1.0 - float(cn[:, 0].min()) / 12.0)
        ranges["R1"] = (r1 * (least + z.lattice[0]), r1 * (1.0 + z.lattice[1]))
        self.outputs = (described(request, PARTICLE_TARGETS, ranges),)
        self.about: dict[str, object] = {
            "data": f"FEFF10.0 site spectra of {library.element} {library.edge}, fcc environments, "
            f"lattice scales {' and '.join(f'{scale:g}' for scale in sorted(library.mu))}",
            "data_sha256": library.sha256,
            "site_environments": len(self.sites),
            "left_out_particles": list(structures.left_out),
            "folds": f"{recipe.folds} of site environments; each member was trained without one of them",
        }

    def draw(self, fold: int | None, n: int, rng: np.random.Generator) -> Array:
        """(n, sites) weights of mixtures."""
        return self._sources[fold].draw(n, rng)

    def belonging(self, n: int, rng: np.random.Generator) -> Array:
        """(n, sites) weights of particles and their mixtures: no sample is a random choice of sites."""
        return self._belonging.draw(n, rng)

    def measure(
        self, weights: Array, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network inputs and the truth of the recipe's targets."""
        x, truth = self.simulator.measure(weights, nuisances, rng)
        return x, truth[:, self.columns]

    def add_noise(self, x: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """See `Population`."""
        return self.simulator.instrument.counted(x, nuisances, rng)

    def tested(self, rng: np.random.Generator) -> Tested:
        """Particles evenly over CN1, whole or cut down.

        Few whole particles lie in one fold but for the largest and the smallest. Between them stand particles
        cut down to those of their environments that lie in the fold, the bulk's left out, which would make
        them easy: they calibrate intervals, too, but accuracy is stated on whole particles alone.
        """
        weights, folds, whole = _candidates(self.library, self.particles, self.fold)
        chosen = _evenly(weights @ self.library.cn[:, 0], whole, rng)
        return Tested(weights[chosen], folds[chosen], whole[chosen])

    def tables(self) -> Tensors:
        """Coordination numbers and atoms of all particles, from which sizes are read."""
        table = fcc_particles(self.library)
        return {
            # Rounded: how an average is summed differs between machines in the last digits.
            "particle_cn": torch.from_numpy(np.stack([self.library.particle_cn(p) for p in table])).float(),
            "particle_atoms": torch.tensor([float(p.n_atoms) for p in table], dtype=torch.float64),
        }


def anchored_input(recipe: Recipe, element: str, edge: str) -> InputSpec:
    """Return the only input of a recipe whose spectra are of one metal, as the card states it.

    Raises
    ------
    WrongEntry : for further inputs, or another absorber than the spectra's.
    """
    request, *more = recipe.inputs
    if more:
        raise WrongEntry(("inputs", 1), f"these spectra are of {element} {edge} alone: give one input")
    for name, asked, known in (("element", request.element, element), ("edge", request.edge, edge)):
        if asked not in (None, known):
            raise WrongEntry(("inputs", 0, name), f"the spectra are of {element} {edge}")
    if request.kind == "chi":
        raise WrongEntry(("inputs", 0, "kind"), "these spectra are of absorption near the edge: take flat")
    origin = "Fermi level of the theory; the foil's anchor places it on the measured scale"
    return input_spec(0, request, element, edge, origin)


def input_spec(index: int, request: InputRequest, element: str, edge: str, origin: str) -> InputSpec:
    """Return an input as the card states it.

    Raises
    ------
    WrongEntry : where the card's rules forbid it.
    """
    try:
        return InputSpec(
            absorber=Absorber(element=element, edge=edge, energy=request.edge_energy),
            kind=request.kind,
            unit=request.unit,
            grid=request.grid,
            origin=origin,
            windows=request.windows,
            k_weight=request.k_weight,
            anchor=request.anchor,
        )
    except ValidationError as error:
        raise WrongEntry.of(error, ("inputs", index)) from error


def check_grid(grid: Array, energy: Array) -> None:
    """Refuse a grid that theory does not cover.

    Raises
    ------
    WrongEntry : with the range that it must keep to.
    """
    low, high = -30.0, float(energy[-1])  # below, the edge's tail goes on; above, nothing is known
    if grid[0] < low or grid[-1] > high:
        raise WrongEntry(
            ("inputs", 0, "grid"),
            f"it runs from {grid[0]:g} to {grid[-1]:g} eV; theory reaches from {low:g} to {high:g} eV",
        )


def used_sites(particles: list[Particle]) -> Indices:
    """Environments that these particles have."""
    return np.unique(np.concatenate([p.sites for p in particles]))


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
