"""A shipped model as its recipe trained it, with the particles that test it."""

from __future__ import annotations

import numpy as np
import torch
from record import ROOT

from xas_live.models.ensemble import Ensemble, joined
from xas_live.models.registry import load_model
from xas_live.reduction.quality import half_rise
from xas_live.spectrum import Array
from xas_live.training.population import Particles
from xas_live.training.recipe import Nuisances, Recipe, read_recipe
from xas_live.training.train import Scaling, Trained

SEED = 20261124


class ShippedModel:
    """A shipped model with the particles that test it: their environments are new to some of its members."""

    def __init__(self, name: str) -> None:
        self.name, self.bundle = name, load_model(name)
        self.recipe: Recipe = read_recipe(ROOT / "xas_live" / "training" / "recipes" / f"{name}.toml")
        self.population = Particles(self.recipe)
        card = self.bundle.card
        self.trained = Trained(
            spec=card.network,
            weights=self.bundle.network,
            member_fold=np.sort(np.arange(card.network.members) % self.recipe.folds),
            scaling=Scaling.of_bundle(self.bundle),
        )
        self.theory = np.interp(
            self.bundle.grid, self.bundle.array("theory_energy"), self.bundle.array("theory_bulk")
        )
        self.ensemble = Ensemble(self.bundle, torch.device("cpu"), 0.9)
        self.rng = np.random.default_rng(SEED)
        self.tested = self.population.tested(self.rng)
        assert self.recipe.domain is not None
        self.domain_nuisances = self.recipe.domain.nuisances(self.recipe.nuisances)

    def particles(self, n: int, nuisances: Nuisances | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """n measurements of the particles that test, in domain unless nuisances are given."""
        rows = self.rng.integers(len(self.tested.weights), size=n)
        return self.population.measure(
            self.tested.weights[rows], nuisances or self.domain_nuisances, self.rng
        )

    def judged(self, x: torch.Tensor) -> tuple[Array, Array, Array]:
        """p-value, score, and whether it departs from the training spectra so that its interval is widened."""
        found = joined([self.ensemble.judge(part.numpy()) for part in x.split(1000)])
        assert found.departed is not None
        return found.p, found.scores.max(1), found.departed

    def edge_flagged(self, x: torch.Tensor) -> Array:
        """Whether the half-risen edge lies above the foil's by more than the model's limit."""
        grid, limit = self.bundle.grid, float(self.bundle.array("edge_rise_limit")[0])
        foil = half_rise(grid, self.theory)
        return np.array([half_rise(grid, row) - foil > limit for row in x.double().numpy()])
