"""What is known of a sweep after each step of its reduction. Each stage is frozen and holds the one before.

    Spectrum -> CheckedSweep -> AlignedSweep -> NormalisedSweep -> ReducedSweep
                                     at any step -> RefusedSweep

A stage adds flags; none is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xas_live.prediction import Alignment
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.normalize import Windows
from xas_live.reduction.quality import Checked
from xas_live.spectrum import Array, Spectrum


@dataclass(frozen=True, eq=False)
class Plan:
    """How the sweeps of one axis, anchor and shift are reduced.

    Attributes
    ----------
    center : e0 of the normalisation, eV.
    windows : its fit ranges.
    points : (g,) measured energies of the grid, eV.
    foil : (g,) the normalised foil there, or None.
    gain : (g,) by which differences from the foil are multiplied; None without a foil.
    theory_error : (g,) what theory gets wrong for the foil besides its damping, in edge steps, or None.
    foil_rise : eV on the grid at which the foil passes one half.
    unmeasured : (g,) True for points of the grid in which the sweep has a hole; None where it has none.
    """

    center: float
    windows: Windows
    points: Array
    foil: Array | None = None
    gain: Array | None = None
    theory_error: Array | None = None
    foil_rise: float = float("nan")
    unmeasured: NDArray[np.bool_] | None = None

    def measured_as(self, network_input: Array, theory: Array | None) -> Array:
        """The normalised sample that would give this network input; theory (g,) is the bulk's."""
        if self.foil is None or self.gain is None or theory is None:
            return network_input
        return self.foil + (network_input - theory) / self.gain

    def anchored(self, flat: Array, theory: Array) -> Array:
        """(..., g) the network input of normalised samples; theory (g,) is the bulk's."""
        assert self.foil is not None
        assert self.gain is not None
        return theory + self.gain * (flat - self.foil)


PlanKey = tuple[bytes, str | None, float]
"""Axis, anchor and shift (or e0, unanchored), by which plans and operators are kept."""


@dataclass(frozen=True, eq=False)
class RefusedSweep:
    """A sweep that cannot be analysed.

    Attributes
    ----------
    index : its place in the batch.
    spectrum : as measured.
    reason : in words.
    flags : raised before it was refused.
    alignment, anchor, edge_step : as far as they were found.
    """

    index: int
    spectrum: Spectrum
    reason: str
    flags: tuple[str, ...] = ()
    alignment: Alignment = field(default_factory=Alignment)
    anchor: FoilAnchor | None = None
    edge_step: float = float("nan")


@dataclass(frozen=True, eq=False)
class _Stage:
    index: int
    spectrum: Spectrum
    flags: tuple[str, ...]

    def flagged(self, flags: Sequence[str]) -> Self:
        """This stage with further flags."""
        return replace(self, flags=(*self.flags, *flags)) if flags else self


@dataclass(frozen=True, eq=False)
class CheckedSweep(_Stage):
    """A sweep fit to be looked at.

    Attributes
    ----------
    data : its points, in order, sound.
    noise : of a point, in units of mu.
    e0 : its edge by larch's rule (eV).
    """

    data: Checked
    noise: float
    e0: float


@dataclass(frozen=True, eq=False)
class AlignedSweep(_Stage):
    """A sweep whose foil and energy shift are settled.

    Attributes
    ----------
    checked : the stage before.
    anchor : its foil, or None.
    alignment : how its energies lie on the foil's.
    plan : how it will be normalised; `key` names axis, anchor and shift.
    """

    checked: CheckedSweep
    anchor: FoilAnchor | None
    alignment: Alignment
    plan: Plan
    key: PlanKey

    def refused(self, reason: object, edge_step: float = float("nan")) -> RefusedSweep:
        """Why it goes no further."""
        return RefusedSweep(
            self.index, self.spectrum, str(reason), self.flags, self.alignment, self.anchor, edge_step
        )


@dataclass(frozen=True, eq=False)
class NormalisedSweep(_Stage):
    """A sweep normalised at the energies of the grid.

    Attributes
    ----------
    aligned : the stage before.
    normalised : (g,) flat, norm or chi, as the model takes it.
    edge_step : in units of mu.
    """

    aligned: AlignedSweep
    normalised: Array
    edge_step: float

    def refused(self, reason: object) -> RefusedSweep:
        """Why it goes no further."""
        return replace(self.aligned.refused(reason, self.edge_step), flags=self.flags)


@dataclass(frozen=True, eq=False)
class ReducedSweep(_Stage):
    """A sweep as the network takes it.

    Attributes
    ----------
    normalised, edge_step, plan, anchor, alignment : of the stages before.
    network_input : (g,) the anchored sample, or the normalised one where there is no anchor.
    phases : (k, g) network inputs of the standards, at this sweep's windows and shift; None without.
    checked : the stage in which its points and their noise are known; None for a growing sweep, completed.
    """

    normalised: Array
    edge_step: float
    plan: Plan
    anchor: FoilAnchor | None
    alignment: Alignment
    network_input: Array
    phases: Array | None = None
    checked: CheckedSweep | None = None

    def refused(self, reason: object) -> RefusedSweep:
        """Why nothing can be said of it."""
        return RefusedSweep(
            self.index,
            self.spectrum,
            str(reason),
            self.flags,
            self.alignment,
            self.anchor,
            self.edge_step,
        )


def mu_of(sweeps: Iterable[CheckedSweep]) -> Array:
    """(batch, n) absorption of sweeps that share an axis."""
    return np.stack([sweep.data.mu for sweep in sweeps])
