"""How much weaker a measured foil's fine structure is than its theory's.

Theory has no thermal disorder, and its losses are too small. The fine structure of a measured foil is weaker
by d(E) = amplitude exp(-2 k² sigma2), and so is every difference between a sample and its foil: read by a
model of undamped theory, a small particle would lie too near the bulk. The foil's own spectrum tells d, no
structure of a sample is needed for it.

Theory errs in shape, too. Where r is its correlation with the measured fine structure, least squares give
d = r s, with s the ratio of their root mean squares. The slope leaves out what is not of theory's shape, s
counts all of it; d is taken between them, as s sqrt(r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.reduction.constants import K2_PER_EV
from xas_live.spectrum import Array

FINE_STRUCTURE = 15.0  # eV, from where oscillations tell the damping
LEAST_REACH = 45.0  # eV that the grid must reach: one oscillation tells no trend
WHITE_LINE_END, FADE = 13.0, 3.0  # eV: below, differences are of the electrons, and no disorder damps them
SIGMA2 = np.linspace(-0.005, 0.035, 81)  # Å², the mesh that is searched
LEAST_CORRELATION = 0.5  # of theory and foil: what is worse tells no damping
WEAKEST, STRONGEST = 0.35, 1.25  # of d: beyond, the foil does not tell its own damping


@dataclass(frozen=True)
class Damping:
    """Of a foil's fine structure against theory's.

    Attributes
    ----------
    amplitude : at k = 0.
    sigma2 : Å², by which it falls with k.
    """

    amplitude: float = 1.0
    sigma2: float = 0.0

    @classmethod
    def fit(cls, grid: Array, theory: Array, background: Array, foil: Array) -> Damping:
        """Return the damping of least squares; none where the grid ends too early to tell.

        Parameters
        ----------
        grid : (g,) eV from the model's energy origin.
        theory, background : (g,) of the bulk, with and without fine structure, in edge steps.
        foil : (g,) as measured, laid on theory. What varies slowly in its difference from theory (a parabola)
            is no damping.
        """
        told = grid > FINE_STRUCTURE
        if grid[-1] < LEAST_REACH:
            return cls()
        x = grid[told]
        slow = np.stack([np.ones_like(x), x / x[-1], (x / x[-1]) ** 2], axis=1)
        q = np.linalg.qr(slow)[0]
        waves = (theory - background)[told] * np.exp(-2.0 * K2_PER_EV * x * SIGMA2[:, None])
        waves = waves - (waves @ q) @ q.T
        measured = (foil - background)[told]
        measured = measured - q @ (q.T @ measured)
        overlap, power = waves @ measured, (waves**2).sum(1)
        best = int((overlap**2 / power).argmax())
        slope = overlap[best] / power[best]
        correlation = overlap[best] / np.sqrt(power[best] * (measured @ measured))
        return cls(float(slope / np.sqrt(max(correlation, LEAST_CORRELATION))), float(SIGMA2[best]))

    def at(self, grid: Array) -> Array:
        """(g,) d at the energies of a grid (eV), within what a foil can tell."""
        k2 = K2_PER_EV * np.maximum(grid, 0.0)
        return np.clip(self.amplitude * np.exp(-2.0 * k2 * self.sigma2), WEAKEST, STRONGEST)

    def restoring(self, grid: Array) -> Array:
        """(g,) by which differences between sample and foil are multiplied; 1 in the white line."""
        return np.asarray(1.0 + above_white_line(grid) * (1.0 / self.at(grid) - 1.0))


def above_white_line(energy: Array) -> Array:
    """(n,) from 0 in the white line to 1 where differences are of the fine structure, at energies in eV."""
    return np.asarray(1.0 / (1.0 + np.exp(-(energy - WHITE_LINE_END) / FADE)))
