"""How far the model is off in changes: simulated samples that turn from one particle into another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xas_live.models.outputs.base import Tensors
from xas_live.models.sections.latent import encode
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training.population import Particles
from xas_live.training.recipe import Nuisances
from xas_live.training.train import Trained

DRAWS = 16  # changes of each particle


@dataclass(frozen=True, eq=False)
class Changes:
    """Simulated changes, without noise, predicted by members that never saw either particle.

    Attributes
    ----------
    error : (n, targets) of the predicted change.
    distance : (n,) of the two spectra in latent coordinates.
    particle : (n,) index of the particle that changes.
    """

    error: Array
    distance: Array
    particle: Indices

    def scores(self, draws: int = DRAWS) -> Array:
        """Return the errors by distance, (n / draws, targets), ascending: as many as there are particles."""
        every = np.sort(np.abs(self.error) / np.maximum(self.distance, 1e-9)[:, None], axis=0)
        return every[draws - 1 :: draws]


def simulate_changes(
    population: Particles,
    trained: Trained,
    tensors: Tensors,
    nuisances: Nuisances,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Changes:
    """Turn each particle that judges by a random share into another whose environments are in the same fold.

    All that theory, foil and beamline get wrong is drawn once for both spectra of a change.
    """
    same = nuisances.model_copy(update={"noise": (0.0, 0.0), "i0_noise": 0.0, "glitch": 0.0})
    tested = population.tested(rng)
    errors, distances, particles = [], [], []
    for fold in np.unique(tested.fold):
        of = np.flatnonzero(tested.fold == fold)
        if len(of) < 2:
            continue
        before = np.repeat(of, draws)
        after = of[(np.repeat(np.arange(len(of)), draws) + rng.integers(1, len(of), len(before))) % len(of)]
        share = rng.uniform(size=(len(before), 1))
        mixed = (1.0 - share) * tested.weights[before] + share * tested.weights[after]
        seed = int(rng.integers(2**32))
        members = np.flatnonzero((trained.member_fold == fold) | (fold < 0))
        truth, told, latent = [], [], []
        for weights in (tested.weights[before], mixed):
            x, y = population.measure(weights, same, np.random.default_rng(seed))
            truth.append(y)
            told.append(trained.predict(x, members).mean(0))
            latent.append(encode(tensors, x))
        errors.append((told[1] - told[0]) - (truth[1] - truth[0]))
        distances.append((latent[1] - latent[0]).norm(dim=1))
        particles.append(before)
    return Changes(
        torch.cat(errors).double().numpy(), torch.cat(distances).double().numpy(), np.concatenate(particles)
    )
