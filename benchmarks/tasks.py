"""The task of tests (a), (b), (c) and (e): mixtures to train on, and whole particles to test on, in folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from xas_live.spectrum import Array
from xas_live.theory.sites import Particle, SiteLibrary
from xas_live.training.population import held_out_particles, site_folds, used_sites
from xas_live.training.recipe import Nuisances, Structures
from xas_live.training.simulate import Mixtures, Simulator, fcc_particles
from xas_live.training.train import Draw, draw_members

FOLDS = 5
MEMBER_FOLD = np.arange(FOLDS)  # one member a fold
TARGETS = ("CN1", "CN2", "CN3", "CN4")
GRID = np.concatenate([np.arange(-8.0, 30.0, 0.5), np.arange(30.0, 85.5, 1.0)])  # as the shipped models'
TEST_DRAWS = 400  # test spectra of a fold, at least four a particle
KNOWN = Structures(sites="")

Predict = Callable[[int, torch.Tensor], torch.Tensor]
"""Of a fold and its spectra (n, g), the targets (n, 5)."""


class Task:
    """Training mixtures and test particles of every fold, and the measurements of both.

    Parameters
    ----------
    library : site spectra.
    conditions : of training and test alike.
    known_environments : test particles are new, but not their environments: test (c).

    Attributes
    ----------
    used : (sites,) environments that occur in particles.
    allowed : of each fold, (sites,) environments that training may see.
    mixtures : of each fold, what training draws from.
    tests : of each fold, (particles, sites) weights of its test particles.
    """

    def __init__(
        self, library: SiteLibrary, conditions: Nuisances, *, known_environments: bool = False
    ) -> None:
        self.library, self.conditions = library, conditions
        self.simulator = Simulator(library, GRID)
        particles = _distinct(fcc_particles(library))
        self.used = used = np.isin(np.arange(len(library.cn)), used_sites(particles))
        if known_environments:
            part = np.random.default_rng(0).permutation(len(particles)) % FOLDS
            held = [[p for p, k in zip(particles, part, strict=True) if k == fold] for fold in range(FOLDS)]
            self.allowed = [used] * FOLDS
        else:
            fold_of = site_folds(particles, len(library.cn), library.bulk_site, FOLDS)
            held = [held_out_particles(particles, fold_of, fold) for fold in range(FOLDS)]
            self.allowed = [used & (fold_of != fold) for fold in range(FOLDS)]
        self.mixtures = [
            Mixtures.of(library, [p for p in particles if p not in test], allowed, KNOWN)
            for test, allowed in zip(held, self.allowed, strict=True)
        ]
        self.tests = [np.stack([site_weights(library, p) for p in test]) for test in held]

    def draws(self, rng: np.random.Generator, structures: Structures = KNOWN) -> Draw:
        """Training spectra (folds, n, g) and targets (folds, n, 5), n a fold."""
        mixtures = [replace(source, structures=structures) for source in self.mixtures]
        return draw_members(
            lambda fold, n: mixtures[fold].draw(n, rng),
            lambda weights: self.simulator.measure(weights, self.conditions, rng),
            MEMBER_FOLD,
        )

    def errors(self, predict: Predict, lattice: tuple[float, float] = (0.0, 0.0)) -> list[Array]:
        """Mean absolute errors of every test particle of every fold, (particles, 5) each."""
        found, nuisances = [], self.conditions.model_copy(update={"lattice": lattice})
        for fold, weights in enumerate(self.tests):
            repeats = max(4, TEST_DRAWS // len(weights))
            rows, rng = np.repeat(weights, repeats, axis=0), np.random.default_rng(1000 + fold)
            x, y = self.simulator.measure(rows, nuisances, rng)
            with torch.inference_mode():
                error = (predict(fold, x) - y).abs()
            found.append(error.reshape(len(weights), repeats, -1).mean(1).numpy())
        return found


def site_weights(library: SiteLibrary, particle: Particle) -> Array:
    """(sites,) shares of the particle's environments."""
    row = np.zeros(len(library.cn))
    row[particle.sites] = particle.share
    return row


def _distinct(particles: list[Particle]) -> list[Particle]:
    """One particle of each composition: the library names some of them twice."""
    seen = {tuple(np.round(p.share, 9)) + tuple(p.sites): p for p in reversed(particles)}
    return list(reversed(seen.values()))
