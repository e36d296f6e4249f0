"""Measured standards of other phases, as they enter an analysis: oxide, precursor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from xas_live.errors import Refusal
from xas_live.reduction.align import AlignmentError, reference_shift
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.holes import refuse_holes
from xas_live.reduction.normalize import Windows, flat_once
from xas_live.reduction.quality import Unusable, check, check_range, locate_edge
from xas_live.reduction.rebin import edge_grid
from xas_live.reduction.target import TakesSweeps
from xas_live.spectrum import Array, Spectrum

MOST_STANDARDS = 3  # more cannot be told apart


class StandardError(Refusal):
    """A standard that cannot be used, with its name and the reason."""


@dataclass(frozen=True, eq=False)
class Standard:
    """One phase, as measured.

    Attributes
    ----------
    name : of the phase, as "oxide".
    energy, mu : (n,) eV ascending, and absorption of any scale.
    reference : (n,) the foil measured with it, or None: then it lies on the samples' energy scale.
    weights : (n,) number of measured points behind each, of a dense sweep that was rebinned; else None.
    """

    name: str
    energy: Array
    mu: Array
    reference: Array | None
    weights: Array | None = None

    @classmethod
    def of(cls, name: str, spectrum: Spectrum, model: TakesSweeps) -> Standard:
        """Check a spectrum and take it as standard.

        Raises
        ------
        StandardError : when it is unusable, or of another absorber than the model.
        """
        target = model.input_for(spectrum.element, spectrum.edge)
        if target is None:
            raise StandardError(
                f"the standard {name} is {spectrum.element} {spectrum.edge}, the model {model.name} is not"
            )
        try:
            good = check(spectrum, edge_grid(target.edge_energy))
            e0 = locate_edge(good.axis, good.mu, target.edge_energy)
            check_range(good.energy, e0, e0 + target.grid)
            refuse_holes(good.energy, e0, e0 + target.grid)
        except Unusable as error:
            raise StandardError(f"the standard {name} is not usable: {error}") from error
        return cls(name, good.energy, good.mu, good.reference, good.weights)

    @property
    def sha256(self) -> str:
        """Hash over all that predictions depend on."""
        digest = hashlib.sha256(self.name.encode())
        for array in (self.energy, self.mu, self.reference, self.weights):
            digest.update(b"" if array is None else array.tobytes())
        return digest.hexdigest()

    def flat(self, anchor: FoilAnchor, grid: Array, windows: Windows, samples_shift: float) -> Array:
        """(g,) normalised and flattened as the samples are, at the energies of the grid.

        Parameters
        ----------
        anchor : of the samples.
        samples_shift : eV of the samples against the foil, taken where the standard has no reference.

        Raises
        ------
        StandardError : when it does not reach over the grid or the windows.
        """
        shift = samples_shift
        if self.reference is not None:
            try:
                found = reference_shift(self.energy, self.reference, anchor.energy, anchor.mu, anchor.e0)
                shift = found.energy
            except AlignmentError as error:
                raise StandardError(f"the standard {self.name}: {error}") from error
        try:
            points = anchor.energies(grid, shift)
            weights = None if self.weights is None else self.weights[None]
            return flat_once(self.energy, self.mu[None], anchor.e0 + shift, windows, points, weights)[0][0]
        except Refusal as error:
            raise StandardError(f"the standard {self.name}: {error}") from error


def standards_of(given: Mapping[str, Spectrum], model: TakesSweeps) -> tuple[Standard, ...]:
    """Those that were given, checked.

    Raises
    ------
    StandardError : for one that cannot be used, a name that is taken, or more than can be told apart.
    """
    if len(given) > MOST_STANDARDS:
        raise StandardError(f"{len(given)} standards cannot be told apart: give at most {MOST_STANDARDS}")
    if "metal" in given:
        raise StandardError("a standard cannot be called metal: that is what the model is for")
    return tuple(Standard.of(name, spectrum, model) for name, spectrum in given.items())
