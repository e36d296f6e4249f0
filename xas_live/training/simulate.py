"""Training spectra: mixtures of site spectra, seen as a beamline would see them after anchoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xas_live.reduction.grid import spline_matrix
from xas_live.spectrum import Array
from xas_live.training.recipe import Nuisances, Structures
from xas_live.training.sites import FCC_FAMILIES, Indices, Mask, Particle, SiteLibrary, extend_below

MESH_STEP = 0.5  # eV; of the mesh on which spectra are simulated
MESH_MARGIN = 4.0  # eV beside the grid, for derivatives
EDGE_FADE = 1.0  # eV over which the near-edge nuisances fade
K2_PER_EV = 0.26246843  # Å^-2 per eV: k^2 = 2 m E / hbar^2


def fcc_particles(library: SiteLibrary, left_out: tuple[str, ...] = ()) -> list[Particle]:
    """Particles of fcc order, without those named.

    Raises
    ------
    ValueError : when a name to leave out is in no library.
    """
    unknown = sorted(set(left_out) - set(library.particles))
    if unknown:
        raise ValueError(f"no particles {unknown} in the library of {library.element}")
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
        """(n, sites) weights."""
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


class Simulator:
    """Network inputs for mixtures, with the nuisances of a measurement drawn at random.

    Parameters
    ----------
    library : site spectra.
    grid : (g,) eV from the Fermi level, the network's grid.
    """

    def __init__(self, library: SiteLibrary, grid: Array) -> None:
        self.library = library
        self.grid = grid
        self.mesh = np.arange(grid[0] - MESH_MARGIN, grid[-1] + MESH_MARGIN + 1e-9, MESH_STEP)
        self.cn = torch.from_numpy(library.cn)
        scales = sorted(library.mu)
        self._low, self._high = scales[0], scales[-1]
        self._mu = {s: self._on_mesh(library.mu[s]) for s in scales}
        self._mu0 = {s: self._on_mesh(library.mu0[s]) for s in scales}
        self._to_grid = torch.from_numpy(spline_matrix(self.mesh, grid)).T.contiguous()
        self._k2 = torch.from_numpy(K2_PER_EV * np.maximum(self.mesh, 0.0))
        self.bulk = self._mu[self._high][library.bulk_site]

    def _on_mesh(self, spectra: Array) -> torch.Tensor:
        energy, mu = extend_below(self.library.energy, spectra, self.mesh[0] - 1.0)
        inside = self.mesh <= energy[-1]
        out = np.empty((len(mu), len(self.mesh)))
        out[:, inside] = mu @ spline_matrix(energy, self.mesh[inside]).T
        out[:, ~inside] = out[:, inside][
            :, -1:
        ]  # above FEFF's grid: only derivatives at the last point see it
        return torch.from_numpy(out)

    def clean(self, weights: torch.Tensor, scale: torch.Tensor, disorder: torch.Tensor) -> torch.Tensor:
        """Theory on the mesh, (n, mesh).

        Parameters
        ----------
        weights : (n, sites).
        scale : (n,) lattice scale; spectra are linear in it through the two stored ones, also beyond them.
        disorder : (n,) excess sigma2, Å^2.
        """
        t = ((scale - self._low) / (self._high - self._low))[:, None]
        mu = (1 - t) * (weights @ self._mu[self._low]) + t * (weights @ self._mu[self._high])
        mu0 = (1 - t) * (weights @ self._mu0[self._low]) + t * (weights @ self._mu0[self._high])
        damping = torch.exp(-2.0 * self._k2 * disorder[:, None])
        # Below the edge mu0 is no background of the fine structure, and k = 0 leaves mu as it is.
        return mu0 + (mu - mu0) * damping

    def measure(self, weights: Array, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """Network inputs as anchored measurements of these mixtures would give them, (n, g) float32."""
        n, z = len(weights), nuisances
        w = torch.from_numpy(weights)

        def normal(size: float) -> torch.Tensor:
            return torch.from_numpy(size * rng.standard_normal(n))

        def even(top: float) -> torch.Tensor:
            return torch.from_numpy(rng.uniform(0.0, 1.0, n) * top)

        missing = (1.0 - (w @ self.cn[:, 0]) / 12.0).clamp(0.0, 1.0)
        scale = 1.0 - even(z.contraction) * missing + normal(z.contraction_spread)
        disorder = even(z.disorder) * missing + even(z.disorder_spread)
        x = self.clean(w, scale, disorder)
        near_edge = torch.from_numpy(1.0 / (1.0 + np.exp((self.mesh - z.edge_end) / EDGE_FADE)))
        x = x - even(z.edge_response)[:, None] * near_edge * (x - self.bulk)

        first = torch.gradient(x, spacing=MESH_STEP, dim=1)[0]
        second = torch.gradient(first, spacing=MESH_STEP, dim=1)[0]
        mesh = torch.from_numpy(self.mesh)
        delta = normal(z.shift)[:, None] + normal(z.stretch)[:, None] * mesh
        sigma = even(z.broadening)[:, None]
        x = x + delta * first + 0.5 * (delta**2 + sigma**2) * second

        above = (mesh > 0).double()
        rise = above * mesh / 80.0
        x = x * (1.0 + normal(z.gain)[:, None])
        x = x + normal(z.slope)[:, None] * rise + normal(z.curvature)[:, None] * (rise**2 - rise)
        size = z.mismatch + even(z.mismatch_per_u) * missing
        edge_size = even(z.edge_mismatch_per_u) * missing
        size = size[:, None] + edge_size[:, None] * near_edge
        x = x + size * self._smooth_random(n, z.mismatch_length, rng)

        y = x @ self._to_grid
        noise = z.noise * 10.0 ** -rng.uniform(0.0, 1.0, (n, 1))
        return (y + torch.from_numpy(noise * rng.standard_normal(y.shape))).float()

    def _smooth_random(self, n: int, length: float, rng: np.random.Generator) -> torch.Tensor:
        """(n, mesh) smooth functions of unit variance above the edge, fading to half of that below it."""
        mesh = self.mesh
        position = np.where(
            mesh < 0, mesh / length, 2.0 * (np.sqrt(1.0 + np.maximum(mesh, 0) / length) - 1.0)
        )
        knots = np.arange(position[0] - 2.0, position[-1] + 2.5, 1.0)
        basis = np.exp(-0.5 * (position[:, None] - knots) ** 2 / 0.75**2)
        basis /= np.sqrt((basis**2).sum(1, keepdims=True))
        basis *= (0.5 + 0.5 / (1.0 + np.exp(-(mesh + 2.0) / 2.0)))[:, None]
        return torch.from_numpy(rng.standard_normal((n, len(knots))) @ basis.T)
