"""Simulated spectra of Pt particles that depart from every particle in training in a way of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from xas_live.analysis import Analyzer
from xas_live.energy import xanes_grid
from xas_live.models import load_model
from xas_live.models.bundle import Bundle
from xas_live.reduction.anchor import FoilAnchor
from xas_live.simulator import DEMO_PARTICLES, Sample
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.spectrum import Array, Provenance, Spectrum
from xas_live.theory.phases import phases_of

EDGE = 11564.0
NOISE = 0.002
STRENGTHS = (0.06, 0.08, 0.11, 0.15, 0.2, 0.25, 0.3, 0.4)  # edge steps
Shape = Callable[[Array], Array]


def white_line(above: Array) -> Array:
    """A higher white line and a slow wave: what a sample and its beamline may add (eV above the edge)."""
    return np.exp(-0.5 * ((above - 1.5) / 3.5) ** 2) + 0.15 * np.sin(above / 25.0) * np.exp(-above / 60.0) * (
        above > 0
    )


def bump_at(energy: float, width: float = 5.0) -> Shape:
    """A departure at so many eV above the edge."""
    return lambda above: np.exp(-0.5 * ((above - energy) / width) ** 2)


def sweep(
    sample: Sample | None, add: Array | float = 0.0, noise: float = 0.0, oxide: float = 0.0, **rest: object
) -> Spectrum:
    """A sample, or the foil, with a departure (e,) and a share of oxide."""
    energy = xanes_grid(EDGE, 600.0)
    mu = measured(energy, "pt_l3", sample, Mismatch())
    if oxide:
        phase = next(p for p in phases_of("Pt", "L3") if p.name == "PtO2")
        falling = (energy / EDGE) ** -2.7
        mu = (1.0 - oxide) * mu + oxide * np.interp(energy - EDGE, phase.energy, phase.mu) * falling
    seed = rest.pop("seed", 0)
    mu = mu + add + noise * np.random.default_rng(seed).standard_normal(len(energy)) + 0.2  # type: ignore[arg-type]
    return Spectrum(energy=energy, mu=mu, element="Pt", edge="L3", temperature=295.0, **rest)  # type: ignore[arg-type]


def good(
    count: int, seed: int, strength: float, shape: Shape = white_line, oxide: float = 0.0
) -> list[Spectrum]:
    """Sweeps of particles of 55 to 250 atoms that depart in one way."""
    rng = np.random.default_rng(seed)
    found = []
    for i, place in enumerate(rng.uniform(1.0, 2.7, count)):
        first, later = int(place), float(place) % 1.0
        sample = Sample({DEMO_PARTICLES[first]: 1.0 - later, DEMO_PARTICLES[first + 1]: later})
        add = strength * shape(xanes_grid(EDGE, 600.0) - EDGE - 0.8)
        where = Provenance(scan=f"scan {seed}.{i}")
        found.append(sweep(sample, add, NOISE, oxide, seed=1000 * seed + i, provenance=where))
    return found


@cache
def model() -> Bundle:
    """The shipped model of Pt L3."""
    return load_model("pt-l3")


@cache
def foil() -> FoilAnchor:
    """The foil of the simulated beamline."""
    return FoilAnchor.fit(sweep(None), model())


def judge(bundle: Bundle) -> Analyzer:
    """An analyzer at the simulated beamline."""
    return Analyzer(bundle, foil(), device="cpu")


@cache
def strength_of(shape: Shape = white_line) -> float:
    """The weakest that takes sweeps out of what the shipped model was trained on."""
    for strength in STRENGTHS:
        if all(p.domain.inside is False for p in judge(model()).analyze(good(8, 1, strength, shape))):
            return strength
    raise AssertionError("the model finds no departure")


def kept(bundle: Bundle) -> Bundle:
    """A bundle in the precision of use, as it is when it is read."""
    return replace(bundle, tensors={name: tensor.float() for name, tensor in bundle.tensors.items()})
