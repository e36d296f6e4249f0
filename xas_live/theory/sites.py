"""Site-resolved FEFF spectra and the particles built from them (data/README.md says how they were made)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xas_live.spectrum import Array

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

DATA_FOLDER = Path(__file__).resolve().parent / "data"
FCC_FAMILIES = frozenset(
    (
        "cuboctahedron", "hemi100", "hemi111", "irregular", "octahedron", "raft111",
        "sphere", "supported", "tetrahedron", "truncoct", "wulff",
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Particle:
    """Sites of one particle and their share of its atoms (sums to 1)."""

    name: str
    family: str
    n_atoms: int
    sites: Indices
    share: Array


@dataclass(frozen=True, eq=False)
class SiteLibrary:
    """Spectra of every site environment of one metal and edge.

    Attributes
    ----------
    element, edge : as "Pt" and "L3".
    energy : (e,) eV relative to the Fermi level.
    mu, mu0 : by lattice scale, each (sites, e): absorption and embedded-atom background.
    r1 : by lattice scale, the nearest-neighbour distance (Å).
    cn : (sites, 4) neighbours in the first four shells.
    bulk_site : index of the bulk environment, the theoretical foil.
    particles : by name.
    sha256 : of the file.
    """

    element: str
    edge: str
    energy: Array
    mu: dict[float, Array]
    mu0: dict[float, Array]
    r1: dict[float, float]
    cn: Array
    bulk_site: int
    particles: dict[str, Particle]
    sha256: str

    @classmethod
    def load(cls, name: str | Path) -> SiteLibrary:
        """Read a library: "pt_l3", "pd_k", "au_l3" of the package's own, or a file.

        Raises
        ------
        FileNotFoundError : naming the file, when there is none.
        """
        path = data_file(name, "_sites.h5")
        if not path.is_file():
            raise FileNotFoundError(f"no site spectra at {path}: give pt_l3, pd_k, au_l3 or an HDF5 file")
        return _read(path)

    def particle_cn(self, particle: Particle) -> Array:
        """(4,) average coordination numbers."""
        return np.asarray(particle.share @ self.cn[particle.sites])

    def particle_spectrum(self, particle: Particle, scale: float = 1.0) -> tuple[Array, Array]:
        """mu and mu0 of a particle, each (e,), at a stored lattice scale."""
        return (
            np.asarray(particle.share @ self.mu[scale][particle.sites]),
            np.asarray(particle.share @ self.mu0[scale][particle.sites]),
        )


def data_file(name: str | Path, ending: str) -> Path:
    """A file as given, or the package's own of a name, which ends so."""
    return Path(name) if Path(name).suffix == ".h5" else DATA_FOLDER / f"{name}{ending}"


@cache
def _read(path: Path) -> SiteLibrary:
    with h5py.File(path) as file:
        scales = {float(k.removeprefix("scale_")): file[k] for k in file if k.startswith("scale_")}
        particles = {}
        for name, group in file["particles"].items():
            count = group["count"][:].astype(np.float64)
            particles[name] = Particle(
                name=name,
                family=str(group.attrs["family"]),
                n_atoms=int(group.attrs["n_atoms"]),
                sites=group["site"][:].astype(np.int64),
                share=count / count.sum(),
            )
        return SiteLibrary(
            element=str(file.attrs["element"]),
            edge=str(file.attrs["edge"]),
            energy=file["energy"][:].astype(np.float64),
            mu={s: g["mu"][:].astype(np.float64) for s, g in scales.items()},
            mu0={s: g["mu0"][:].astype(np.float64) for s, g in scales.items()},
            r1={s: float(g.attrs["R1_angstrom"]) for s, g in scales.items()},
            cn=file["sites/cn"][:].astype(np.float64),
            bulk_site=int(file.attrs["bulk_site"]),
            particles=particles,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )


def extend_below(energy: Array, mu: Array, start: float) -> tuple[Array, Array]:
    """Continue spectra below the FEFF grid by the tail of the core-hole lifetime.

    Under the Fermi level absorption falls as the Lorentzian's tail, c / (E_c - E), the far form of the
    arctangent; c and E_c match value and slope at the first point.

    Parameters
    ----------
    energy : (e,) eV, even steps at its start.
    mu : (..., e).
    start : eV, where the extended spectrum begins.

    Returns
    -------
    energy (e', ) and mu (..., e').
    """
    step = energy[1] - energy[0]
    below = energy[0] - step * np.arange(round((energy[0] - start) / step), 0, -1)
    value = mu[..., :1]
    slope = (mu[..., 2:3] - mu[..., :1]) / (energy[2] - energy[0])
    width = value / np.maximum(slope, 1e-6)
    tail = value * width / (width + energy[0] - below)
    return np.concatenate([below, energy]), np.concatenate([tail, mu], axis=-1)
