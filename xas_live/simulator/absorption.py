"""From FEFF's site spectra to the absorption of a whole scan, as a beamline would see it.

Theory reaches from a few eV under the Fermi level to 90 eV above; a scan reaches further. Below, the lifetime
tail of the edge goes on; above, the fine structure dies away over an atomic background that is the same
for every sample, as absorption far from an edge is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.energy import K2_PER_EV
from xas_live.simulator.library import Library, site_library
from xas_live.simulator.sample import Sample
from xas_live.spectrum import Array
from xas_live.theory import extend_below

_LOWEST_EV = -1000.0  # under this absorption is as there
_SETTLING_EV = 60.0  # over which a sample's background becomes the bulk's, beyond theory
_FAR_SIGMA2 = 0.005  # Å², how fast the fine structure dies away, beyond theory
_FALL = 2.7  # atomic absorption falls as this power of the energy


@dataclass(frozen=True)
class Mismatch:
    """In what theory and the beamline disagree, alike for sample and foil: what an anchor has to undo.

    Attributes
    ----------
    shift : of the edge against the tabulated one (eV).
    stretch : of the energy above the edge.
    gain : of all structure in the spectrum.
    bump, bump_at, bump_width : a smooth difference in shape (edge steps; eV above the edge; eV).
    """

    shift: float = 0.8
    stretch: float = 1.02
    gain: float = 0.95
    bump: float = 0.03
    bump_at: float = 12.0
    bump_width: float = 10.0


def theory(energy: Array, library: Library, sample: Sample | None = None) -> Array:
    """Absorption by theory, in edge steps.

    Parameters
    ----------
    energy : (n,) eV above the Fermi level.
    sample : None is the bulk, without excess disorder.

    Returns
    -------
    (n,)
    """
    mu, mu0 = library.spectra(library.bulk(), 1.0)
    settled = mu0[-1]
    known = library.sites.energy
    if sample is not None:
        mu, mu0 = library.spectra(sample.weights(), 1.0 - sample.contraction)
        k2 = K2_PER_EV * np.clip(known, 0.0, None)
        mu = mu0 + (mu - mu0) * np.exp(-2.0 * k2 * sample.sigma2)
    past = np.clip(energy - known[-1], 0.0, None)
    background = settled + (mu0[-1] - settled) * np.exp(-past / _SETTLING_EV)
    beyond = background + _dying_wave(energy, known, mu - mu0, library.bulk_r1)
    inside = np.interp(energy, *extend_below(known, mu, start=_LOWEST_EV))
    metal = np.where(energy > known[-1], beyond, inside)
    if sample is None or not sample.oxide:
        return metal
    return (1.0 - sample.oxide) * metal + sample.oxide * _oxide(energy, library, settled)


def measured(energy: Array, library_name: str, sample: Sample | None, mismatch: Mismatch) -> Array:
    """Absorption at the beamline, in edge steps; like `theory`, but at absolute energies (eV)."""
    library = site_library(library_name)
    above = energy - library.edge_energy - mismatch.shift
    own = above / np.where(above > 0, mismatch.stretch, 1.0)
    bump = mismatch.bump * np.exp(-0.5 * ((own - mismatch.bump_at) / mismatch.bump_width) ** 2)
    featureless = _arctangent(own, library)
    mu = mismatch.gain * theory(own, library, sample) + (1.0 - mismatch.gain) * featureless + bump
    return mu * (energy / library.edge_energy) ** -_FALL


def _arctangent(energy: Array, library: Library) -> Array:
    """An edge step at the Fermi level, as wide as the core hole's life is short."""
    return 0.5 + np.arctan(energy / library.half_width) / np.pi


def _oxide(energy: Array, library: Library, settled: float) -> Array:
    """The metal's oxide, which becomes featureless beyond theory, as the metal does."""
    known, mu = library.oxide.energy, library.oxide.mu
    past = np.clip(energy - known[-1], 0.0, None)
    beyond = settled + (mu[-1] - settled) * np.exp(-past / _SETTLING_EV)
    inside = np.interp(energy, *extend_below(known, mu, start=_LOWEST_EV))
    return np.where(energy > known[-1], beyond, inside)


def _dying_wave(energy: Array, known: Array, fine: Array, bond: float) -> Array:
    """Fine structure beyond the last known point: one shell's wave, joined in value and slope."""
    last = np.sqrt(K2_PER_EV * known[-1])
    k = np.sqrt(K2_PER_EV * np.clip(energy, known[-1], None))
    slope = (fine[-1] - fine[-9]) / (last - np.sqrt(K2_PER_EV * known[-9]))
    phase = 2.0 * bond * (k - last)
    wave = fine[-1] * np.cos(phase) + slope / (2.0 * bond) * np.sin(phase)
    return wave * (last / k) ** 2 * np.exp(-2.0 * (k**2 - last**2) * _FAR_SIGMA2)
