"""What stands in the simulated beam: nanoparticles whose coordination numbers are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.constants import Boltzmann, hbar
from scipy.constants import atomic_mass as atomic_mass_unit
from xraydb import atomic_mass

from xas_live.errors import Refusal
from xas_live.models.sections import fcc_diameter
from xas_live.simulator.library import site_library
from xas_live.spectrum import Array

DEMO_PARTICLES = ("cuboctahedron_3_1", "cuboctahedron_5_2", "cuboctahedron_7_3", "cuboctahedron_9_4")
"""The particles that grow in the demo, of 13, 55, 147 and 309 atoms: they take no part in training."""

ROOM_TEMPERATURE = 295.0  # K, of the foil
_EINSTEIN = {"Pt": 178.0, "Pd": 212.0, "Au": 137.0}  # K, as bulk metals vibrate at room temperature


@dataclass(frozen=True)
class Sample:
    """A mixture of particles of one metal.

    Attributes
    ----------
    particles : particle's name in the library -> fraction of the atoms that are in such particles; sums to 1.
    library : of which site spectra, as "pt_l3".
    surface_sigma2 : disorder in excess of the foil's (Å²) where all neighbours are missing: it grows with
        their missing share, as surface atoms vibrate more.
    surface_contraction : by how much distances are shorter than in the bulk, likewise: surface tension draws
        small particles together.
    oxide : fraction of all atoms that are oxide; the particles are the rest.
    temperature : K; thermal motion beyond the foil's, which is at 295 K, adds to the disorder.

    Raises
    ------
    Refusal : when the fractions do not sum to 1, the disorder is negative, the oxide is no fraction or the
        temperature not positive.
    """

    particles: Mapping[str, float]
    library: str = "pt_l3"
    surface_sigma2: float = 0.005
    surface_contraction: float = 0.03
    oxide: float = 0.0
    temperature: float = ROOM_TEMPERATURE

    def __post_init__(self) -> None:
        total = sum(self.particles.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6) or min(self.particles.values()) < 0:
            raise Refusal(f"fractions of particles must not be negative and sum to 1, not to {total:g}")
        if self.surface_sigma2 < 0:
            raise Refusal(f"disorder is in excess of the foil's, so not negative: {self.surface_sigma2:g}")
        if not 0 <= self.oxide <= 1:
            raise Refusal(f"the oxide is a fraction from 0 to 1, not {self.oxide:g}")
        if not self.temperature > 0:
            raise Refusal(f"a temperature in K is positive, not {self.temperature:g}")

    @property
    def name(self) -> str:
        """The particles in words: "cuboctahedron_3_1", or "64% cuboctahedron_3_1 + 36% cuboctahedron_5_2"."""
        if len(self.particles) == 1:
            return next(iter(self.particles))
        return " + ".join(f"{fraction:.0%} {name}" for name, fraction in self.particles.items())

    def weights(self) -> Array:
        """(sites,) fraction of the atoms on each site of the library."""
        library = site_library(self.library)
        weights = np.zeros(len(library.sites.cn))
        for name, fraction in self.particles.items():
            particle = library.particle(name)
            np.add.at(weights, particle.sites, fraction * particle.share)
        return weights

    @property
    def missing(self) -> float:
        """Share of nearest neighbours that a bulk atom has and an average atom here lacks."""
        return 1.0 - float(self.weights() @ site_library(self.library).sites.cn[:, 0]) / 12.0

    @property
    def sigma2(self) -> float:
        """Disorder in excess of the foil's (Å²)."""
        element = site_library(self.library).element
        thermal = thermal_sigma2(self.temperature, element) - thermal_sigma2(ROOM_TEMPERATURE, element)
        return self.surface_sigma2 * self.missing + thermal

    @property
    def contraction(self) -> float:
        """By how much distances are shorter than in the bulk."""
        return self.surface_contraction * self.missing

    def truth(self) -> dict[str, Any]:
        """What is known of the sample, ready for a start document.

        Returns
        -------
        CN1 to CN4 of the metal, `particle` (its name), `n_atoms` (averaged over atoms), `diameter_nm`, `R1`
        (Å), `sigma2` (Å², in excess of the foil's) and, where there is any, `oxide` (fraction of the atoms).
        """
        library = site_library(self.library)
        n_atoms = sum(part * library.particle(name).n_atoms for name, part in self.particles.items())
        bond = library.bulk_r1 * (1.0 - self.contraction)
        return {
            **{f"CN{i}": float(cn) for i, cn in enumerate(self.weights() @ library.sites.cn, start=1)},
            "particle": self.name,
            "n_atoms": float(n_atoms),
            "diameter_nm": float(fcc_diameter(np.array(n_atoms), bond)),
            "R1": bond,
            "sigma2": self.sigma2,
            **({"oxide": self.oxide} if self.oxide else {}),
        }


def thermal_sigma2(temperature: float, element: str) -> float:
    """Return the variance of the nearest-neighbour distance (Å²) at a temperature (K): Einstein's model."""
    einstein = _EINSTEIN[element]
    reduced_mass = 0.5 * atomic_mass(element) * atomic_mass_unit
    zero_point = hbar**2 / (2.0 * reduced_mass * Boltzmann * einstein) * 1e20
    return zero_point / math.tanh(einstein / (2.0 * temperature))


def mixed(place: float) -> dict[str, float]:
    """Return the fraction of the atoms in each particle at a place among DEMO_PARTICLES.

    Parameters
    ----------
    place : from 0, all in the first, to 3, all in the last; between two of them both are there.
    """
    first = min(int(place), len(DEMO_PARTICLES) - 2)
    later = round(float(place) - first, 6)
    parts = {DEMO_PARTICLES[first]: 1.0 - later, DEMO_PARTICLES[first + 1]: later}
    return {name: part for name, part in parts.items() if part > 0}


def growth(n_scans: int = 12, library: str = "pt_l3", **properties: float) -> list[Sample]:
    """Samples of growing size, one a scan: DEMO_PARTICLES from first to last, mixed in between.

    Parameters
    ----------
    n_scans : at least 2.
    library : of which site spectra.
    properties : `surface_sigma2` and `surface_contraction` of every sample.

    Raises
    ------
    Refusal : for fewer than 2 scans.
    """
    if n_scans < 2:
        raise Refusal(f"to grow, a sample needs at least 2 scans, not {n_scans}")
    places = np.linspace(0.0, len(DEMO_PARTICLES) - 1, n_scans)
    return [Sample(mixed(float(place)), library, **properties) for place in places]
