"""Energy shift between two spectra of the same foil."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xas_live.errors import Refusal
from xas_live.spectrum import Array

RANGE = (-25.0, 45.0)  # eV around e0 that are compared
SMOOTHED = 1.0  # eV, so that noise does not pass for curvature
WIDEST = 12.0  # eV, the largest shift looked for


class Shift(NamedTuple):
    """How a reference lies on the foil.

    `energy` is what to add to the foil's energies to reach the reference's (eV); `correlation`, 0 to 1;
    `broadening` the Gaussian width (eV) by which the reference is broader than the foil, below 0 where it is
    sharper.
    """

    energy: float
    correlation: float
    broadening: float = 0.0


class AlignmentError(Refusal):
    """A reference that cannot be aligned to the foil, with the reason."""


def reference_shift(energy: Array, reference: Array, foil_energy: Array, foil_mu: Array, e0: float) -> Shift:
    """Shift at which the reference's edge lies on the foil's, whatever their scale and offset.

    Their correlation over -25 to 45 eV around the edge, a straight background aside, is searched from -12 to
    12 eV and refined to 5 meV.

    Parameters
    ----------
    energy, reference : (n,) eV and absorption of the reference channel.
    foil_energy, foil_mu : (m,) eV and absorption of the foil.
    e0 : edge energy of the foil, eV.

    Raises
    ------
    AlignmentError : when the two do not overlap, do not look alike (correlation under 0.98), or the shift
        lies at the end of its range.
    """
    x = np.arange(e0 + RANGE[0], e0 + RANGE[1], 0.25)
    if not np.isfinite(reference).all():
        raise AlignmentError("the reference channel has values that are not numbers")
    if energy[0] > x[0] - 1 or energy[-1] < x[-1] + 1:
        raise AlignmentError(
            f"the reference from {energy[0]:.0f} to {energy[-1]:.0f} eV does not span the edge at {e0:.0f} eV"
        )
    # The reference may lie on any slope; the foil's share of it is taken out with it.
    line = np.linalg.qr(np.vander(x - x.mean(), 2))[0]
    foil = np.interp(x, foil_energy, foil_mu)
    foil = foil - line @ (line.T @ foil)
    foil /= np.sqrt(foil @ foil)

    def likeness(shifts: Array) -> Array:
        moved = np.interp(x + shifts[:, None], energy, reference)
        moved = moved - (moved @ line) @ line.T
        return np.asarray((moved @ foil) / (np.sqrt((moved**2).sum(axis=1)) + 1e-300))

    shifts = np.arange(-WIDEST, WIDEST + 0.1, 0.5)
    best = 0.0
    for step in (0.5, 0.05, 0.005):
        found = likeness(shifts)
        best = float(shifts[int(found.argmax())])
        shifts = best + np.arange(-1.0, 1.01, 0.1) * step
    correlation = float(found.max())
    if abs(best) > WIDEST - 0.6:
        raise AlignmentError(
            f"the reference lies over {WIDEST:.0f} eV from the foil: is it another element's?"
        )
    if correlation < 0.98:
        raise AlignmentError(
            f"the reference does not look like the foil (correlation {correlation:.3f}, 0.98 is needed)"
        )
    return Shift(best, correlation, _broadening(x, np.interp(x + best, energy, reference), foil, line))


def _broadening(x: Array, reference: Array, foil: Array, line: Array) -> float:
    """Width (eV) of the Gaussian between two foils: half its square goes with the curvature."""
    step = x[1] - x[0]
    narrow = np.exp(-0.5 * (np.arange(-8, 9) * step / SMOOTHED) ** 2)
    narrow /= narrow.sum()
    smooth = [np.convolve(y, narrow, mode="same")[8:-8] for y in (reference, foil)]
    curvature = np.gradient(np.gradient(smooth[1], step), step)
    design = np.column_stack([smooth[1], curvature, line[8:-8]])
    scale, bend = np.linalg.lstsq(design, smooth[0], rcond=None)[0][:2]
    square = 2.0 * bend / scale
    return float(np.sign(square) * np.sqrt(abs(square)))
