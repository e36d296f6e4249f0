"""What a beamline measures of a theoretical spectrum, with every size drawn at random."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.damping import FADE, WHITE_LINE_END
from xas_live.reduction.grid import spline_matrix
from xas_live.spectrum import Array
from xas_live.training.recipe import Nuisances

MESH_STEP = 0.5  # eV; of the mesh on which spectra are simulated
MESH_MARGIN = 4.0  # eV beside the grid, for derivatives
EDGE_FADE = 1.0  # eV over which the near-edge nuisances fade
I0_LENGTH = 3.0  # eV over which noise that i0 leaves is alike
LEVELS = 0.25  # eV between the broadenings that are drawn for foil and sample alike
BROADER = 1.0 / 3.0  # share of spectra of a lower resolution than theory's
GLITCHED = 0.1  # share of spectra with a glitch that no check found


class Instrument:
    """Turns spectra on a mesh into network inputs as anchored measurements would give them.

    Parameters
    ----------
    grid : (g,) eV from the Fermi level, the network's grid.
    device : where spectra are simulated.

    Attributes
    ----------
    mesh : (m,) eV; reaches beyond the grid, so that energy scales may shift.
    """

    def __init__(self, grid: Array, device: str = "cpu") -> None:
        self.grid, self.device = grid, device
        self.mesh = np.arange(grid[0] - MESH_MARGIN, grid[-1] + MESH_MARGIN + 1e-9, MESH_STEP)
        self._energy = self.here(self.mesh)
        self._to_grid = self.here(spline_matrix(self.mesh, grid).T)
        alike = np.exp(-0.5 * ((grid[:, None] - grid) / I0_LENGTH) ** 2)
        alike /= np.sqrt((alike**2).sum(1, keepdims=True))
        self._alike = self.here(alike.T)
        self._fine = torch.sigmoid((self._energy - WHITE_LINE_END) / FADE)
        self._k2 = K2_PER_EV * self._energy.clamp_min(0.0)

    def here(self, values: NDArray[np.generic]) -> torch.Tensor:
        """The values in float32, where spectra are simulated."""
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def measure(
        self,
        x: torch.Tensor,
        missing: torch.Tensor,
        bulk: torch.Tensor,
        nuisances: Nuisances,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """Network inputs, (n, g) float32.

        Parameters
        ----------
        x : (n, m) theory on the mesh, float32.
        missing : (n,) share of missing neighbours, with which the mismatch grows.
        bulk : (m,) theory of the foil.
        nuisances : sizes; what is zero takes no time.
        """
        n, z, energy = len(x), nuisances, self._energy

        def normal(size: float) -> torch.Tensor:
            return size * self.here(rng.standard_normal((n, 1), dtype=np.float32))

        def even(top: float) -> torch.Tensor:
            return top * self.here(rng.random((n, 1), dtype=np.float32))

        missing = missing[:, None]
        near_edge = torch.sigmoid((z.edge_end - energy) / EDGE_FADE)
        if z.edge_response:
            x = x - even(z.edge_response) * near_edge * (x - bulk)
        if z.resolution:
            x = bulk + self._broadened(x - bulk, z.resolution, rng)
        if z.damping:
            restored = normal(z.damping) + normal(z.damping) * (self._k2 / self._k2[-1])
            x = x + restored * self._fine * (x - bulk)
        if z.self_absorption:
            damped = even(z.self_absorption)
            x = x * (1.0 + damped) / (1.0 + damped * x)
        if z.shift or z.stretch or z.broadening:
            delta = 2.0 * even(z.shift) - z.shift + normal(z.stretch) * energy
            x = self.moved(x, delta, even(z.broadening))
        if z.gain or z.slope or z.curvature:
            rise = energy.clamp_min(0.0) / 80.0
            x = x * (1.0 + normal(z.gain))
            x = x + normal(z.slope) * rise + normal(z.curvature) * (rise**2 - rise)
        if z.mismatch or z.mismatch_per_u or z.edge_mismatch_per_u:
            size = z.mismatch + even(z.mismatch_per_u) * missing
            size = size + even(z.edge_mismatch_per_u) * missing * near_edge
            x = x + size * self.smooth_random(n, z.mismatch_length, rng)
        return self.counted(self.on_grid(x), z, rng)

    def counted(self, y: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """Network inputs (n, g) as counts give them: with noise of points and of i0, and glitches."""
        n, z = len(y), nuisances
        low, high = z.noise
        if high:
            # Even in its logarithm.
            sizes = low * (high / low) ** rng.random((n, 1), dtype=np.float32) if low else np.float32(high)
            y = y + self.here(sizes * rng.standard_normal(tuple(y.shape), dtype=np.float32))
        if z.i0_noise:
            left = self.here(rng.standard_normal(tuple(y.shape), dtype=np.float32)) @ self._alike
            y = y * (1.0 + z.i0_noise * self.here(rng.random((n, 1), dtype=np.float32)) * left)
        if z.glitch:
            at = torch.from_numpy(rng.integers(y.shape[1], size=n)).to(self.device)
            hit = self.here(rng.random(n) < GLITCHED)
            height = z.glitch * (2.0 * self.here(rng.random(n, dtype=np.float32)) - 1.0)
            y = y.clone()
            y[torch.arange(n, device=self.device), at] += hit * height
        return y

    def moved(self, x: torch.Tensor, delta: torch.Tensor, sigma: torch.Tensor | float = 0.0) -> torch.Tensor:
        """Spectra (n, m) read `delta` (n, 1 or m) eV higher, broadened by `sigma` (eV), to second order."""
        first = torch.gradient(x, spacing=MESH_STEP, dim=1)[0]
        second = torch.gradient(first, spacing=MESH_STEP, dim=1)[0]
        return x + delta * first + 0.5 * (delta**2 + sigma**2) * second

    def on_grid(self, x: torch.Tensor) -> torch.Tensor:
        """Of spectra on the mesh (n, m), the network's grid (n, g)."""
        return x @ self._to_grid

    def _broadened(self, off: torch.Tensor, most: float, rng: np.random.Generator) -> torch.Tensor:
        """Differences from the bulk (n, m), of instruments broader than theory by up to `most` eV."""
        n = len(off)
        level = np.where(rng.random(n) < BROADER, rng.uniform(0.0, most, n) / LEVELS, 0.0).round().astype(int)
        for each in np.unique(level[level > 0]).tolist():
            rows = torch.from_numpy(np.flatnonzero(level == each)).to(self.device)
            weight = np.exp(-0.5 * ((self.mesh[:, None] - self.mesh) / (each * LEVELS)) ** 2)
            off = off.index_copy(0, rows, off[rows] @ self.here((weight / weight.sum(1, keepdims=True)).T))
        return off

    def smooth_random(self, n: int, length: float, rng: np.random.Generator) -> torch.Tensor:
        """(n, m) smooth functions of unit variance above the edge, fading to half of that below it."""
        mesh = self.mesh
        position = np.where(
            mesh < 0, mesh / length, 2.0 * (np.sqrt(1.0 + np.maximum(mesh, 0) / length) - 1.0)
        )
        knots = np.arange(position[0] - 2.0, position[-1] + 2.5, 1.0)
        basis = np.exp(-0.5 * (position[:, None] - knots) ** 2 / 0.75**2)
        basis /= np.sqrt((basis**2).sum(1, keepdims=True))
        basis *= (0.5 + 0.5 / (1.0 + np.exp(-(mesh + 2.0) / 2.0)))[:, None]
        drawn = rng.standard_normal((n, len(knots)), dtype=np.float32)
        return self.here(drawn) @ self.here(basis.T)
