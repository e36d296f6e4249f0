"""Spectra of bulk oxides, as they would lie in a network's input beside the metal."""

from __future__ import annotations

import h5py
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from xas_live.errors import Refusal
from xas_live.spectrum import Array
from xas_live.theory.sites import data_file, extend_below

MESH = np.arange(-30.0, 90.0, 0.25)  # eV
ZERO = 2.0  # eV within which an oxide's energy zero against the metal's is drawn
STRETCH, BROADENING = 0.1, 2.0  # relative, and eV: no calculated oxide is quite the one in the beam
KINDS = 64  # drawn a batch


class UnknownOxideError(Refusal):
    """An oxide of which there is no spectrum.

    Attributes
    ----------
    index : of its name among those asked for.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Oxides:
    """Draws of oxide less metal, for networks that shall tell one from the other.

    Parameters
    ----------
    names : of oxides in the package's own oxides.h5.
    grid : (g,) eV, the network's.
    bulk : (g,) theory of the metal's foil.

    Raises
    ------
    UnknownOxideError : for a name that is not there.
    """

    def __init__(self, names: tuple[str, ...], grid: Array, bulk: Array) -> None:
        with h5py.File(data_file("oxides", ".h5")) as file:
            known = sorted(name for name in file if name != "energy")
            for i, name in enumerate(names):
                if name not in known:
                    raise UnknownOxideError(i, f"no such spectrum; known are {', '.join(known)}")
            energy = file["energy"][:].astype(np.float64)
            spectra = np.stack([file[name]["mu"][:].astype(np.float64) for name in names])
        self.energy, self.spectra = extend_below(energy, spectra, MESH[0] - 15.0)
        self.grid, self.bulk = grid, bulk

    def at(self, which: int, shift: float, stretch: float = 1.0, broadening: float = 0.0) -> Array:
        """(g,) an oxide less the metal; `shift` and `broadening` in eV."""
        spectrum = np.interp((MESH - shift) / stretch, self.energy, self.spectra[which])
        if broadening:
            spectrum = gaussian_filter1d(spectrum, broadening / (MESH[1] - MESH[0]))
        return np.asarray(np.interp(self.grid, MESH, spectrum) - self.bulk)

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, g) differences, of a few kinds a draw."""
        kinds = np.stack(
            [
                self.at(
                    int(rng.integers(len(self.spectra))),
                    rng.uniform(-ZERO, ZERO),
                    rng.uniform(1.0 - STRETCH, 1.0 + STRETCH),
                    rng.uniform(0.0, BROADENING),
                )
                for _ in range(KINDS)
            ]
        )
        return torch.from_numpy(kinds[rng.integers(KINDS, size=n)]).float()
