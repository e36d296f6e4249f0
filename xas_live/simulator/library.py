"""The site spectra that the simulated samples are made of."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
from xraydb import core_width, xray_edge

from xas_live.errors import Refusal
from xas_live.spectrum import Array
from xas_live.theory import Particle, SiteLibrary
from xas_live.theory.phases import Phase, phases_of

LIBRARIES = ("pt_l3", "pd_k", "au_l3")

_OXIDE = {"Pt": "PtO2", "Pd": "PdO", "Au": "PtO2"}


class Library:
    """The site spectra of one metal and edge, with what a beamline needs besides.

    Attributes
    ----------
    name : as "pt_l3".
    sites : the site spectra.
    element, edge : of the absorber.
    edge_energy : eV, as tabulated.
    half_width : of the core hole's level (eV), which sets how slowly absorption falls under the edge.
    bulk_r1 : nearest-neighbour distance in the bulk (Å).

    Raises
    ------
    Refusal : when there is no library of that name.
    """

    def __init__(self, name: str) -> None:
        if name not in LIBRARIES:
            raise Refusal(f"no library of site spectra named {name!r}: use one of {', '.join(LIBRARIES)}")
        self.name = name
        self.sites = SiteLibrary.load(name)
        self.element, self.edge = self.sites.element, self.sites.edge
        self.edge_energy = float(xray_edge(self.element, self.edge).energy)
        self.half_width = 0.5 * float(core_width(self.element, self.edge))
        self.bulk_r1 = self.sites.r1[1.0]

    def particle(self, name: str) -> Particle:
        """A particle of the library.

        Raises
        ------
        Refusal : when it has none of that name.
        """
        try:
            return self.sites.particles[name]
        except KeyError:
            raise Refusal(f"{self.name} has no particle {name!r}: see simulator.DEMO_PARTICLES") from None

    def bulk(self) -> Array:
        """(sites,) weights of the foil: all atoms on the bulk's site."""
        weights = np.zeros(len(self.sites.cn))
        weights[self.sites.bulk_site] = 1.0
        return weights

    @cached_property
    def oxide(self) -> Phase:
        """The calculated spectrum of the metal's highest oxide; of gold, platinum's."""
        return next(p for p in phases_of(self.element, self.edge) if p.name == _OXIDE[self.element])

    def spectra(self, weights: Array, scale: float) -> tuple[Array, Array]:
        """Absorption and its embedded-atom background, (e,) each, of atoms spread over the sites.

        Parameters
        ----------
        weights : (sites,) fraction of the atoms on each site.
        scale : of all distances; between the scales calculated the spectra are interpolated.

        Raises
        ------
        Refusal : for a scale outside those calculated.
        """
        scales = sorted(self.sites.mu)
        if not scales[0] <= scale <= scales[-1]:
            raise Refusal(f"distances can be scaled from {scales[0]:g} to {scales[-1]:g}, not by {scale:g}")
        upper = next(known for known in scales if known >= scale)
        lower = max((known for known in scales if known <= scale), default=upper)
        part = (scale - lower) / (upper - lower) if upper > lower else 0.0
        mu, mu0 = (
            (1.0 - part) * (weights @ kind[lower]) + part * (weights @ kind[upper])
            for kind in (self.sites.mu, self.sites.mu0)
        )
        return mu, mu0


@lru_cache(maxsize=4)
def site_library(name: str) -> Library:
    """The library of that name, read once."""
    return Library(name)
