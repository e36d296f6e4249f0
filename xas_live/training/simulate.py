"""Training spectra of particles: mixtures of site spectra, as a beamline would see them after anchoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xas_live.errors import Refusal
from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.grid import spline_matrix
from xas_live.spectrum import Array
from xas_live.theory.adsorbates import Adsorbates
from xas_live.theory.sites import FCC_FAMILIES, Indices, Mask, Particle, SiteLibrary, extend_below
from xas_live.training.instrument import MESH_STEP, Instrument
from xas_live.training.recipe import Nuisances, Structures

ADSORBATE_SEED = 20261128  # of the variants of covered sites: the same in training, calibration and tests


class UnknownParticleError(Refusal):
    """A particle that is in no library."""


def fcc_particles(library: SiteLibrary, left_out: tuple[str, ...] = ()) -> list[Particle]:
    """Particles of fcc order, without those named.

    Raises
    ------
    UnknownParticleError : when a name to leave out is in no library.
    """
    unknown = sorted(set(left_out) - set(library.particles))
    if unknown:
        raise UnknownParticleError(f"no particles {unknown} in the library of {library.element}")
    return [p for p in library.particles.values() if p.family in FCC_FAMILIES and p.name not in left_out]


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Draws of site weights, from some of the sites.

    Attributes
    ----------
    weights : (n, sites), rows summing to 1.
    """

    library: SiteLibrary
    allowed: Mask  # (sites,)
    particles: tuple[Array, ...]  # site weights of particles, restricted to the allowed sites
    structures: Structures

    @classmethod
    def of(
        cls, library: SiteLibrary, particles: list[Particle], allowed: Mask, structures: Structures
    ) -> Mixtures:
        """Mixtures of allowed sites; a particle keeps its allowed sites, if they are two or more."""
        rows = []
        for particle in particles:
            keep = allowed[particle.sites]
            if keep.sum() >= 2:
                row = np.zeros(len(library.cn))
                row[particle.sites[keep]] = particle.share[keep] / particle.share[keep].sum()
                rows.append(row)
        return cls(library, allowed, tuple(rows), structures)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """(n, sites) weights; some below zero where mixtures are carried on beyond the known ones."""
        weights = self._mix(n, rng)
        if self.structures.reach:
            far = (rng.random(n) < 0.5) * rng.uniform(0.0, self.structures.reach, n)
            weights += far[:, None] * (weights - self._mix(n, rng))
        return weights

    def _mix(self, n: int, rng: np.random.Generator) -> Array:
        s = self.structures
        weights = np.zeros((n, len(self.allowed)))
        kind = rng.random(n)
        sites = np.flatnonzero(self.allowed)
        table = np.stack(self.particles)

        random = np.flatnonzero(kind < s.random_sites)
        size = np.exp(rng.uniform(0, np.log(s.max_sites + 1), len(random))).astype(int)
        picks = rng.integers(len(sites), size=(len(random), s.max_sites))
        share = rng.exponential(size=picks.shape) * (np.arange(s.max_sites) < size[:, None])
        np.add.at(weights, (random[:, None], sites[picks]), share / share.sum(1, keepdims=True))

        whole = np.flatnonzero((kind >= s.random_sites) & (kind < s.random_sites + s.particles))
        first = table[self._particle_index(len(whole), rng)]
        second = table[self._particle_index(len(whole), rng)]
        bulk = rng.random(len(whole)) < 0.5
        second[bulk] = 0.0
        second[bulk, self.library.bulk_site] = 1.0
        mix = np.where(rng.random(len(whole)) < 0.5, 0.0, rng.random(len(whole)))[:, None]
        both = (1 - mix) * first + mix * second
        both *= np.exp(s.weight_jitter * rng.standard_normal(both.shape))
        weights[whole] = both / both.sum(1, keepdims=True)

        weights[kind >= s.random_sites + s.particles, self.library.bulk_site] = 1.0
        return weights

    def _particle_index(self, n: int, rng: np.random.Generator) -> Indices:
        """Particles drawn evenly over CN1: the library has mostly large ones."""
        cn1 = np.stack(self.particles) @ self.library.cn[:, 0]
        order = np.argsort(cn1)
        target = rng.uniform(cn1.min(), cn1.max(), n)
        near = np.searchsorted(cn1[order], target) + rng.integers(-3, 4, n)
        return np.asarray(order[np.clip(near, 0, len(order) - 1)])


@dataclass(frozen=True, eq=False)
class Admixture:
    """Another phase in the spectra of particles.

    Attributes
    ----------
    spectra : (n, m) on the simulator's mesh.
    share : (n,) of the spectrum that is the other phase's.
    """

    spectra: torch.Tensor
    share: torch.Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """Simulated measurements.

    Attributes
    ----------
    x : (n, g) network inputs, float32.
    truth : (n, 5) CN1 to CN4 and R1 (Å) of the metal.
    adsorbed : (n,) share of the metal's atoms that carry adsorbates.
    """

    x: torch.Tensor
    truth: torch.Tensor
    adsorbed: torch.Tensor


class Simulator:
    """Measurements of mixtures of sites, nuisances drawn at random, and what they are measurements of.

    Parameters
    ----------
    library : site spectra.
    grid : (g,) eV from the Fermi level, the network's grid.
    device : where spectra are simulated.

    Attributes
    ----------
    mesh : (m,) eV, on which spectra are simulated.
    bulk, background : (m,) theory of the foil, with and without its fine structure.
    cn : (sites, 4) neighbours of the sites.
    adsorbates : names of those that were calculated for this metal, once for each variant.
    """

    def __init__(self, library: SiteLibrary, grid: Array, device: str = "cpu") -> None:
        self.library = library
        self.instrument = Instrument(grid, device)
        self.mesh = self.instrument.mesh
        here = self.instrument.here
        self.cn = here(library.cn)
        scales = sorted(library.mu)
        self._low, self._high = scales[0], scales[-1]
        self._mu = {s: self._on_mesh(library.mu[s]) for s in scales}
        self._mu0 = {s: self._on_mesh(library.mu0[s]) for s in scales}
        self._k2 = here(K2_PER_EV * np.maximum(self.mesh, 0.0))
        self.bulk = self._mu[self._high][library.bulk_site]
        self.background = self._mu0[self._high][library.bulk_site]
        covered = Adsorbates(library, self.mesh, np.random.default_rng(ADSORBATE_SEED))
        self.adsorbates = covered.names
        self._surface, self._covered = here(covered.surface), here(covered.tables)

    def _on_mesh(self, spectra: Array) -> torch.Tensor:
        energy, mu = extend_below(self.library.energy, spectra, self.mesh[0] - 1.0)
        inside = self.mesh <= energy[-1]
        out = np.empty((len(mu), len(self.mesh)))
        out[:, inside] = mu @ spline_matrix(energy, self.mesh[inside]).T
        out[:, ~inside] = out[:, inside][
            :, -1:
        ]  # above FEFF's grid: only derivatives at the last point see it
        return self.instrument.here(out)

    def clean(self, weights: torch.Tensor, scale: torch.Tensor, disorder: torch.Tensor) -> torch.Tensor:
        """Theory on the mesh, (n, m).

        Parameters
        ----------
        weights : (n, sites).
        scale : (n,) lattice scale; spectra are linear in it through the two stored ones, also beyond them.
        disorder : (n,) excess sigma2, Å^2.
        """
        t = ((scale - self._low) / (self._high - self._low))[:, None]
        mu = torch.lerp(weights @ self._mu[self._low], weights @ self._mu[self._high], t)
        mu0 = torch.lerp(weights @ self._mu0[self._low], weights @ self._mu0[self._high], t)
        # Below the edge mu0 is no background of the fine structure, and k = 0 leaves mu as it is.
        return mu0 + (mu - mu0) * torch.exp(-2.0 * self._k2 * disorder[:, None])

    def measure(
        self, weights: Array, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network inputs as anchored measurements of these mixtures would give them, and the truth.

        Returns
        -------
        x : (n, g) float32.
        truth : (n, 5) CN1 to CN4 and R1 (Å).
        """
        found = self.measure_mixed(weights, nuisances, rng)
        return found.x, found.truth

    def measure_mixed(
        self,
        weights: Array,
        nuisances: Nuisances,
        rng: np.random.Generator,
        admixture: Admixture | None = None,
    ) -> Measured:
        """Measurements of these mixtures of sites, with another phase beside the metal where one is given."""
        n, z, here = len(weights), nuisances, self.instrument.here
        w = here(weights)
        cn = w @ self.cn
        missing = (1.0 - cn[:, 0] / 12.0).clamp(0.0, 1.0)

        def between(low: float, high: float) -> torch.Tensor:
            return here(rng.uniform(low, high, n))

        scale = 1.0 + between(*z.lattice) - between(*z.contraction) * missing
        disorder = between(0.0, z.disorder) * missing + between(0.0, z.disorder_spread)
        if z.thermal != (0.0, 0.0):
            disorder = disorder + between(*z.thermal)
        x = self.clean(w, scale, disorder)
        if z.surface_shift:
            moved = here(rng.uniform(-z.surface_shift, z.surface_shift, n))[:, None]
            of_surface = (w * (1.0 - self.cn[:, 0] / 12.0)) @ self._mu[self._high]
            x = x - moved * torch.gradient(of_surface, spacing=MESH_STEP, dim=1)[0]
        adsorbed = torch.zeros_like(missing)
        if z.adsorbed and self.adsorbates:
            x, adsorbed = self._cover(x, w, z, rng)
        if admixture is not None:
            x = torch.lerp(x, admixture.spectra, admixture.share[:, None])
        x = self.instrument.measure(x, missing, self.bulk, z, rng)
        truth = torch.cat([cn, (self.library.r1[1.0] * scale)[:, None]], dim=1)
        return Measured(x, truth, adsorbed)

    def _cover(
        self, x: torch.Tensor, weights: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Particles (n, m) with adsorbates on a share of them, and how many of their atoms carry one."""
        n = len(x)
        hit = rng.random(n) < nuisances.adsorbed
        at = weights.clamp_min(0.0) * self._surface
        surface = at.sum(1).clamp_min(1e-3)
        coverage = self.instrument.here(np.where(hit, rng.random(n), 0.0))
        if nuisances.adsorbed_atoms:
            coverage = coverage * nuisances.adsorbed_atoms / surface
        at = coverage[:, None] * at
        variant = rng.integers(len(self.adsorbates), size=n)
        change = torch.zeros_like(x)
        for each in range(len(self.adsorbates)):
            rows = torch.from_numpy(np.flatnonzero(hit & (variant == each))).to(x.device)
            change.index_copy_(0, rows, at[rows] @ self._covered[each])
        return x + change, at.sum(1)
