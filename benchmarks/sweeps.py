"""Simulated sweeps that speed is measured on, and how it is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xas_live import FoilAnchor, load_model
from xas_live.simulator import Mismatch, growth
from xas_live.simulator.absorption import measured as absorption
from xas_live.simulator.library import site_library
from xas_live.simulator.stream import BLANK, sweep_axis, sweeps_of
from xas_live.spectrum import Array, Spectrum

LIBRARY, MODEL, POINTS = "pt_l3", "pt-l3", 600
DENSE, ENCODER = 10_000, 0.045  # points of a continuous sweep, and the jitter of its energies (eV)


def sweeps(n: int, points: int = POINTS, library: str = LIBRARY) -> tuple[Array, Array]:
    """Energies, and mu (n, points) of growing particles with noise."""
    energy = sweep_axis(library, points)
    return energy, sweeps_of(library, n, energy)


def anchor(model: str = MODEL, library: str = LIBRARY) -> FoilAnchor:
    """A foil, as measured at the same beamline."""
    known, energy = site_library(library), sweep_axis(library)
    mu = absorption(energy, library, None, Mismatch()) + BLANK
    foil = Spectrum(energy=energy, mu=mu, element=known.element, edge=known.edge, temperature=295.0)
    return FoilAnchor.fit(foil, load_model(model))


def dense_sweeps(n: int, *, jitter: bool) -> list[Spectrum]:
    """Continuous sweeps at even speed with noise; with jitter every one has energies of its own, not in order."""
    rng = np.random.default_rng(20261125)
    e0 = site_library(LIBRARY).edge_energy
    energy = np.linspace(e0 - 150.0, e0 + 600.0, DENSE)
    clean = absorption(energy, LIBRARY, growth(8, LIBRARY)[0], Mismatch()) + 0.2
    found = []
    for _ in range(n):
        own = energy + ENCODER * rng.standard_normal(DENSE) if jitter else energy
        mu = np.interp(own, energy, clean) + 0.005 * rng.standard_normal(DENSE)
        found += spectra_of(own, mu[None])
    return found


def spectra_of(energy: Array, mu: Array, library: str = LIBRARY) -> list[Spectrum]:
    known = site_library(library)
    rest: dict[str, Any] = {"element": known.element, "edge": known.edge, "temperature": 295.0}
    return [Spectrum(energy=energy, mu=row, **rest) for row in mu]


def timed(work: Callable[[], Any], times: int) -> float:
    """Median seconds, after three runs that do not count."""
    taken = []
    for _ in range(times + 3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[3:]))
