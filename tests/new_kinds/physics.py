"""Spectra of known classes, distances and pair distributions: as calculated, and as a beamline measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.e0 import find_e0
from xas_live.reduction.normalize import Windows, normalize

Array = NDArray[np.float64]

EDGES = {("Fe", "K"): 7112.0, ("Cu", "K"): 8979.0, ("Pt", "L3"): 11564.0}
WINDOWS = Windows(-150.0, -50.0, 75.0, 600.0)
STRENGTH = 0.5  # of the fine structure
CLASSES = ("T4", "S4", "P5", "O6", "C8")
R_AXIS = np.round(np.arange(1.6, 3.41, 0.1), 3)
"""Å, of pair distributions."""


def scan_axis(edge: float) -> Array:
    """Energies of a scan (eV)."""
    near = np.arange(-25.0, 120.0, 0.5)
    return edge + np.concatenate([np.arange(-160.0, -25.0, 4.0), near, np.arange(120.0, 800.0, 3.0)])


def absorption(energy: Array, edge: float, kind: int, distance: float) -> Array:
    """mu of a site in edge steps: white line and shape resonance by its class, fine structure by distance.

    Parameters
    ----------
    kind : 0 to 4, the class.
    distance : to the neighbours, Å.
    """
    x = energy - edge
    k = np.sqrt(np.maximum(x, 0.0) * K2_PER_EV)
    step = 0.5 + np.arctan(x / 1.5) / np.pi
    line = (0.1 + 0.1 * kind) * np.exp(-0.5 * ((x - 4.0) / 3.0) ** 2)
    resonance = 0.08 * np.exp(-0.5 * ((x - 14.0 - 6.0 * kind) / 5.0) ** 2)
    fine = np.sin(2.0 * k * distance) * np.exp(-2.0 * k**2 * 0.006) / distance**2
    ramp = np.clip(x / 15.0, 0.0, 1.0)
    return step + line + resonance + ramp * STRENGTH * fine


def pairs(distance: float) -> Array:
    """g(r) on `R_AXIS` of neighbours at one distance."""
    return np.exp(-0.5 * ((R_AXIS - distance) / 0.12) ** 2)


@dataclass(frozen=True)
class Sites:
    """Sites drawn at random.

    Attributes
    ----------
    kind, distance : (n,) class, and distance to the neighbours (Å).
    """

    count: int
    seed: int
    kind: NDArray[np.int64] = field(init=False)
    distance: Array = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        object.__setattr__(self, "kind", rng.integers(len(CLASSES), size=self.count))
        object.__setattr__(self, "distance", rng.uniform(1.9, 3.1, self.count))

    def norm(self, edge: float) -> tuple[Array, Array]:
        """(e,) eV from e0 by larch's rule, and (n, e) norm: what a measurement is reduced to."""
        grid, energy = np.arange(-40.0, 140.0, 0.5), scan_axis(edge)
        rows = []
        for kind, distance in zip(self.kind, self.distance, strict=True):
            mu = absorption(energy, edge, int(kind), float(distance))
            e0 = find_e0(energy, mu)
            rows.append(np.interp(grid, energy - e0, normalize(energy, mu, e0, WINDOWS)[0]))
        return grid, np.stack(rows)

    def chi(self) -> tuple[Array, Array]:
        """(e,) 1/Å, and (n, e) chi(k)."""
        k = np.arange(2.0, 11.0, 0.05)
        chi = STRENGTH * np.sin(2.0 * k * self.distance[:, None]) * np.exp(-2.0 * k**2 * 0.006)
        return k, chi / self.distance[:, None] ** 2

    def write(self, path: Path, edge: float | None, *, labels: tuple[str, ...]) -> Path:
        """The file that a recipe trains on; chi(k) where no edge is given."""
        with h5py.File(path, "w") as file:
            if edge is None:
                file["k"], file["chi"] = self.chi()
            else:
                file["energy"], file["mu"] = self.norm(edge)
            known = {
                "environment": np.array([CLASSES[kind] for kind in self.kind], dtype="S2"),
                "distance": self.distance,
                "g": np.stack([pairs(float(distance)) for distance in self.distance]),
            }
            for name in labels:
                file[f"labels/{name}"] = known[name]
        return path


def counts(energy: Array, edge: float, kind: int, distance: float, seed: int) -> tuple[Array, Array]:
    """i0 and it of a measurement in transmission."""
    rng = np.random.default_rng(seed)
    mu = 0.9 * absorption(energy, edge, kind, distance) + 0.4 + 2e-4 * (edge - energy)
    i0 = np.full(len(energy), 1e7)
    return rng.poisson(i0).astype(float), rng.poisson(i0 * np.exp(-mu)).astype(float)


def write_columns(path: Path, absorber: tuple[str, str], kind: int, distance: float) -> Path:
    """A measurement as an XDI file."""
    edge = EDGES[absorber]
    energy = scan_axis(edge)
    i0, it = counts(energy, edge, kind, distance, seed=kind)
    head = (
        "# XDI/1.0\n# Column.1: energy eV\n# Column.2: i0\n# Column.3: itrans\n"
        f"# Element.symbol: {absorber[0]}\n# Element.edge: {absorber[1]}\n# ///\n# energy i0 itrans\n"
    )
    rows = "\n".join(f"{e:.2f} {a:.1f} {b:.1f}" for e, a, b in zip(energy, i0, it, strict=True))
    path.write_text(f"{head}{rows}\n", encoding="utf-8")
    return path
