"""Calculated spectra that training and simulation draw from, and the constants they share."""

from xas_live.reduction.constants import K2_PER_EV
from xas_live.theory.oxides import Oxides, UnknownOxideError
from xas_live.theory.radial import RadialLibrary
from xas_live.theory.sites import FCC_FAMILIES, Indices, Mask, Particle, SiteLibrary, extend_below

__all__ = [
    "FCC_FAMILIES",
    "K2_PER_EV",
    "Indices",
    "Mask",
    "Oxides",
    "Particle",
    "RadialLibrary",
    "SiteLibrary",
    "UnknownOxideError",
    "extend_below",
]
