"""What sweeps are reduced to: the input that a network takes, of one absorber."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.normalize import Windows
from xas_live.spectrum import Array

InputKind = Literal["flat", "norm", "chi"]
AnchorNeed = Literal["required", "optional", "none"]


@dataclass(frozen=True, eq=False)
class BulkTheory:
    """The calculated spectrum of the bulk, which a measured foil is laid on.

    Attributes
    ----------
    energy, mu : (m,) eV from the model's energy origin, and absorption in edge steps.
    background : (m,) absorption without fine structure; None for a model that does not know it.
    """

    energy: Array
    mu: Array
    background: Array | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of both: an anchor belongs to it."""
        digest = hashlib.sha256(self.energy.tobytes())
        digest.update(self.mu.tobytes())
        digest.update(b"" if self.background is None else self.background.tobytes())
        return digest.hexdigest()

    @cached_property
    def edge(self) -> float:
        """Energy of its edge (eV): the steepest point within 15 eV of zero."""
        near = np.abs(self.energy) < 15.0
        return float(self.energy[near][np.gradient(self.mu[near], self.energy[near]).argmax()])

    def on(self, grid: Array) -> Array:
        """(g,) the spectrum at the energies of a grid (eV)."""
        return np.interp(grid, self.energy, self.mu)

    def background_on(self, grid: Array) -> Array | None:
        """(g,) the background at the energies of a grid (eV), or None."""
        return None if self.background is None else np.interp(grid, self.energy, self.background)


@dataclass(frozen=True, eq=False)
class InputTarget:
    """The input of one model for one absorber.

    Attributes
    ----------
    model : its name, for messages.
    element, edge, edge_energy : of the absorber; eV, as tabulated.
    kind : flat or norm of mu(E), or chi(k).
    grid : (g,) eV from the model's energy origin; 1/Å for chi.
    k_weight : chi is multiplied by k to this power.
    windows : of the normalisation, eV relative to e0.
    anchor : whether a measured foil is needed, used if there is one, or not used.
    theory : of the bulk, which a foil is laid on; None for a model that is not anchored.
    """

    model: str
    element: str
    edge: str
    edge_energy: float
    kind: InputKind
    grid: Array
    windows: Windows
    anchor: AnchorNeed
    theory: BulkTheory | None = None
    k_weight: int = 0

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model

    @property
    def absorbers(self) -> tuple[tuple[str, str], ...]:
        """Its only element and edge."""
        return ((self.element, self.edge),)

    def energies(self, e0: float) -> Array:
        """(g,) measured energies (eV) of the grid for a sweep without a foil, whose edge lies at e0."""
        if self.kind == "chi":
            return e0 + self.grid**2 / K2_PER_EV
        return e0 + self.grid - (0.0 if self.theory is None else self.theory.edge)

    def input_for(self, element: str | None, edge: str | None) -> InputTarget | None:
        """Itself, where element and edge are its own or not known; else None."""
        return self if element in (None, self.element) and edge in (None, self.edge) else None


class TakesSweeps(Protocol):
    """A model as the reduction sees it: a bundle, or one of its `InputTarget`s."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def absorbers(self) -> tuple[tuple[str, str], ...]:
        """Elements and edges of which it takes sweeps."""
        ...

    def input_for(self, element: str | None, edge: str | None) -> InputTarget | None:
        """What sweeps of this absorber are reduced to; where one is None, the first that fits; else None."""
        ...


def listed(absorbers: tuple[tuple[str, str], ...]) -> str:
    """Absorbers in words, as "Pt L3, Pd K"."""
    return ", ".join(f"{element} {edge}" for element, edge in absorbers)
