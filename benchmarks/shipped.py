"""A shipped model as its recipe trained it, with the particles that test it."""

from __future__ import annotations

import numpy as np
import torch
from record import ROOT

from xas_live.analysis.verdict import chemistry_of, verdict_of
from xas_live.models.ensemble import Ensemble, Judged, joined
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.registry import load_model
from xas_live.prediction import Degree, DomainVerdict
from xas_live.reduction.quality import half_rise
from xas_live.spectrum import Array
from xas_live.training.population import Particles
from xas_live.training.recipe import Nuisances, Recipe, read_recipe
from xas_live.training.train import Scaling, Trained

SEED = 20261124
LEVEL = 0.9


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
        self.ensemble = Ensemble(self.bundle, torch.device("cpu"), LEVEL)
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
        """p-value, score, and whether the verdict is not "trusted"."""
        found = self.found(x)
        return found.p, found.scores.max(1), self.distrusted(found)

    def found(self, x: torch.Tensor) -> Judged:
        """What the ensemble says of inputs."""
        return joined([self.ensemble.judge(part.numpy()) for part in x.split(1000)])

    def distrusted(self, found: Judged) -> Array:
        """Whether the verdict is not "trusted", by the spectrum alone."""
        sections, quantile = self.bundle.card.sections, gaussian_quantile(LEVEL)
        bad = []
        for row in range(len(found.mean)):
            chemistry = chemistry_of(sections, found, row, LEVEL, quantile)
            verdict, _ = verdict_of(sections, found, row, DomainVerdict(), chemistry, ())
            bad.append(verdict.degree is not Degree.TRUSTED)
        return np.array(bad)

    def edge_flagged(self, x: torch.Tensor) -> Array:
        """Whether the half-risen edge lies above the foil's by more than the model's limit."""
        grid, limit = self.bundle.grid, float(self.bundle.array("edge_rise_limit")[0])
        foil = half_rise(grid, self.theory)
        return np.array([half_rise(grid, row) - foil > limit for row in x.double().numpy()])
