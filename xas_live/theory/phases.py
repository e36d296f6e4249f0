"""Spectra of what is no bare metal particle: oxides, sulphides, salts and complexes, hydrides, alloys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter1d

from xas_live.spectrum import Array
from xas_live.theory.sites import Indices, data_file, extend_below

PhaseKind = Literal["oxide", "sulphide", "salt", "hydride", "alloy"]
KINDS: tuple[PhaseKind, ...] = get_args(PhaseKind)
NON_METAL: tuple[PhaseKind, ...] = ("oxide", "sulphide", "salt")
"""Kinds whose atoms have no metal-metal bonds."""
ALLOYED: tuple[PhaseKind, ...] = ("alloy", "hydride")
"""Metals with atoms of another element."""

_OXO = frozenset(("Au_OH_4", "Pd_O4"))
_THIOLATES = frozenset(("Au_SR_2",))
_OXIDES = {"Pt": ("PtO", "PtO2"), "Pd": ("PdO",), "Au": ("PtO", "PtO2")}
"""Oxides of each metal; gold's, of which none was calculated, are taken as platinum's."""


@dataclass(frozen=True, eq=False)
class Phase:
    """A calculated spectrum.

    Attributes
    ----------
    name : as "PtNi_0.1_0".
    compound : what several calculations are of, as "PtNi_0.1": configurations of one random alloy.
    kind : of phase.
    energy, mu : (e,) eV from the calculation's Fermi level, which is uncertain by about 1 eV, and absorption.
    """

    name: str
    compound: str
    kind: PhaseKind
    energy: Array
    mu: Array


@dataclass(frozen=True)
class Doubt:
    """How far a calculated phase may lie from the one in the beam.

    Attributes
    ----------
    zero : eV within which its energy zero against the metal's is drawn.
    stretch : relative, of its energy scale.
    broadening : eV, even from zero.
    """

    zero: float
    stretch: float
    broadening: float


DOUBT = {kind: Doubt(2.0, 0.08, 2.0) for kind in NON_METAL} | {
    "hydride": Doubt(1.0, 0.03, 0.5),
    "alloy": Doubt(1.0, 0.03, 0.5),
}


def moved(phase: Phase, mesh: Array, shift: float, stretch: float = 1.0, broadening: float = 0.0) -> Array:
    """(m,) a phase's spectrum on an even mesh (eV), shifted and broadened by so many eV."""
    mu = np.interp((mesh - shift) / stretch, phase.energy, phase.mu)
    if broadening:
        mu = gaussian_filter1d(mu, broadening / (mesh[1] - mesh[0]), mode="nearest")
    return np.asarray(mu)


def drawn(phases: tuple[Phase, ...], which: Indices, mesh: Array, rng: np.random.Generator) -> Array:
    """(n, m) the phases of these indices, each within its kind's doubt."""
    found = np.empty((len(which), len(mesh)))
    for row, i in enumerate(which):
        doubt = DOUBT[phases[i].kind]
        found[row] = moved(
            phases[i],
            mesh,
            rng.uniform(-doubt.zero, doubt.zero),
            rng.uniform(1.0 - doubt.stretch, 1.0 + doubt.stretch),
            rng.uniform(0.0, doubt.broadening),
        )
    return found


@cache
def phases_of(element: str, edge: str) -> tuple[Phase, ...]:
    """Return all calculated phases of a metal that are no bare metal; none for an unknown one."""
    found = []
    with h5py.File(data_file("oxides", ".h5")) as file:
        energy = file["energy"][:].astype(np.float64)
        for name in _OXIDES.get(element, ()):
            long, mu = extend_below(energy, file[f"{name}/mu"][:].astype(np.float64), -60.0)
            found.append(Phase(name, name, "oxide", long, mu))
    with h5py.File(data_file("compounds", ".h5")) as file:
        energy, spectra = file["energy"][:].astype(np.float64), file["mu"][:].astype(np.float64)
        of = (file["element"].asstr()[:] == element) & (file["edge"].asstr()[:] == edge)
        names, kinds = file["labels/name"].asstr()[:], file["labels/kind"].asstr()[:]
        for i in np.flatnonzero(of):
            good = np.isfinite(spectra[i])
            long, mu = extend_below(energy[good], spectra[i][good], -60.0)
            name = str(names[i])
            found.append(Phase(name, _compound(name), _kind(name, str(kinds[i])), long, mu))
    return tuple(found)


def _compound(name: str) -> str:
    stem, _, last = name.rpartition("_")
    return stem if last in ("0", "1") else name


def _kind(name: str, stated: str) -> PhaseKind:
    if name in _OXO:
        return "oxide"
    if name in _THIOLATES or stated == "sulphide":
        return "sulphide"
    return {"complex": "salt", "alloy": "alloy", "hydride": "hydride"}[stated]  # type: ignore[return-value]
