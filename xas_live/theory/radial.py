"""FEFF spectra of bulk metal whose neighbours are displaced along their radius (data/README.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from xas_live.spectrum import Array
from xas_live.theory.sites import data_file


@dataclass(frozen=True, eq=False)
class RadialLibrary:
    """Bulk spectra by radial displacement.

    Attributes
    ----------
    element, edge : as "Au" and "L3".
    displacement : (d,) Å, ascending, of all neighbours along their radius.
    energy : (e,) eV relative to the Fermi level.
    mu : (d, e).
    r1 : nearest-neighbour distance (Å) at zero displacement.
    sha256 : of the file.
    """

    element: str
    edge: str
    displacement: Array
    energy: Array
    mu: Array
    r1: float
    sha256: str

    @classmethod
    def load(cls, name: str | Path) -> RadialLibrary:
        """Read a library: "au_l3_radial" of the package's own, or a file.

        Raises
        ------
        FileNotFoundError : naming the file, when there is none.
        """
        path = data_file(name, ".h5")
        if not path.is_file():
            raise FileNotFoundError(f"no spectra at {path}: give au_l3_radial or an HDF5 file")
        return _read(path)


@cache
def _read(path: Path) -> RadialLibrary:
    with h5py.File(path) as file:
        return RadialLibrary(
            element=str(file.attrs["element"]),
            edge=str(file.attrs["edge"]),
            displacement=file["displacement_angstrom"][:].astype(np.float64),
            energy=file["energy"][:].astype(np.float64),
            mu=file["mu"][:].astype(np.float64),
            r1=float(file.attrs["bulk_R1_angstrom"]),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
