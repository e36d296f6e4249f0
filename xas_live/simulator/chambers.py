"""What the detectors of a simulated beamline see, of a beam that passes a sample and a foil."""

from __future__ import annotations

import numpy as np

from xas_live.spectrum import Array

_STORED_BEAM_LIFETIME = 36_000.0  # s
_TOP_UP_EVERY = 600.0  # s
_BLANK = 0.3  # absorption at the edge by all else, in absorption lengths


def stored_beam(clock: float) -> float:
    """Return the current in the ring at a time (s): a share of the full one, topped up at times."""
    return float(np.exp(-(clock % _TOP_UP_EVERY) / _STORED_BEAM_LIFETIME))


def with_blank(energy: Array, edge_energy: float, absorption: Array) -> Array:
    """Return an absorption (absorption lengths) with that of all else in the beam, at energies in eV."""
    return absorption + _BLANK * (energy / edge_energy) ** -3


def transmitted(beam: Array, sample: Array, foil: Array) -> tuple[Array, Array, Array]:
    """Return the expected counts of i0, it and ir: before the sample, behind it, and behind the foil.

    Parameters
    ----------
    beam : (n,) photons before the sample.
    sample, foil : (n,) absorption lengths.
    """
    behind = beam * np.exp(-sample)
    return beam, behind, behind * np.exp(-foil)
