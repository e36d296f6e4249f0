"""A candidate: linear estimators, one for every point of a grid of nuisances, weighted by their likelihood.

At fixed shift, disorder and lattice scale the spectrum of a mixture and its coordination numbers are both
linear in the sites. With Gaussian mixtures and noise the best estimate is then linear in the spectrum, and the
likelihood of the spectrum tells the nuisances. What is not Gaussian is left to a network after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tasks import MEMBER_FOLD, TARGETS, Task

from xas_live.models.network_spec import NetworkSpec
from xas_live.training.train import Trained, initial_ensemble

COMPONENTS = 28  # of the spectra, by principal components
NODES = {"shift": 6, "disorder": 4, "scale": 6}  # of the grid of nuisances, where they vary
FLOOR = 3e-4  # least noise: finite training sets know no less
DRAWS = 20_000
LEAST_SCALE = 0.02  # of the largest spread of features: small ones are estimates too, and no noise
FIRST_CORRECTION = 0.1  # of random last weights: training begins near the experts' own answer


class Experts:
    """The estimators of all folds, stacked.

    Parameters
    ----------
    task : mixtures and nuisances.
    shrinkage : how much of the spread of sites that coordination numbers do not explain is added to the
        covariance, as its standard deviation: unknown environments differ as known ones do.
    seed : of the mixtures that covariances are taken from.
    """

    def __init__(self, task: Task, shrinkage: float, seed: int) -> None:
        c, library = task.conditions, task.library
        axes = {
            "shift": _nodes(-c.shift, c.shift, NODES["shift"]),
            "disorder": _nodes(0.0, c.disorder_spread, NODES["disorder"]),
            "scale": _nodes(1.0 + c.lattice[0], 1.0 + c.lattice[1], NODES["scale"]),
        }
        self.r1 = library.r1[1.0]
        grid = np.stack(np.meshgrid(*axes.values(), indexing="ij"), axis=-1).reshape(-1, 3)
        steps = np.array([a[1] - a[0] if len(a) > 1 else 0.0 for a in axes.values()])
        sites = torch.eye(len(library.cn))[task.used]
        simulator, instrument = task.simulator, task.simulator.instrument

        def of_sites(nuisances: np.ndarray) -> torch.Tensor:
            shift, disorder, scale = (torch.full((len(sites),), float(v)) for v in nuisances)
            clean = simulator.clean(sites, scale, disorder)
            return instrument.on_grid(instrument.moved(clean, shift[:, None])).double()

        rng = np.random.default_rng(seed)
        x, _ = task.draws(rng)(3000)
        components = COMPONENTS if c.noise[1] else 60
        self.axes = torch.stack(
            [torch.linalg.svd((of - of.mean(0)).double(), full_matrices=False)[2][:components].T for of in x]
        )
        weights = [torch.from_numpy(source.draw(DRAWS, rng)[:, task.used]) for source in task.mixtures]
        cn, noise = simulator.cn[task.used].double(), max(c.noise[1], FLOOR)
        design = torch.cat([torch.ones(len(cn), 1, dtype=torch.float64), cn], dim=1)
        parts: list[list[tuple[torch.Tensor, ...]]] = []
        for nuisances in grid:
            spectra = of_sites(nuisances)
            steep = [
                (of_sites(nuisances + 0.1 * step * unit) - spectra) / 0.1
                for step, unit in zip(steps, np.eye(3), strict=True)
                if step
            ]
            row = []
            for w, axis, allowed in zip(weights, self.axes, task.allowed, strict=True):
                m, mean_w = spectra @ axis, w.mean(0)
                spread_w = (w - mean_w).T @ (w - mean_w) / len(w)
                mean = mean_w @ m
                known = torch.from_numpy(allowed[task.used])
                left = m[known] - design[known] @ torch.linalg.lstsq(design[known], m[known]).solution
                covariance = m.T @ spread_w @ m + shrinkage**2 * left.T @ left / len(left)
                covariance += c.gain**2 * torch.outer(mean, mean) + noise**2 * torch.eye(
                    len(mean), dtype=torch.float64
                )
                for change in steep:  # evenly between the nodes
                    along = mean_w @ (change @ axis)
                    covariance += torch.outer(along, along) / 12.0
                whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
                gain = whiten @ whiten.T @ (m.T @ spread_w @ cn)
                volume = torch.log(torch.diagonal(whiten)).sum()
                row.append((whiten, mean @ whiten, gain, mean_w @ cn - mean @ gain, volume))
            parts.append(row)
        whiten, centre, gain, offset, volume = (
            torch.stack([torch.stack([row[k][i] for row in parts]) for k in range(len(weights))]).float()
            for i in range(5)
        )
        self.axes, self.nuisances = self.axes.float(), torch.from_numpy(grid).float()
        folds, _, size, _ = whiten.shape
        self.whiten = whiten.permute(0, 2, 1, 3).reshape(folds, size, -1)
        self.centre = centre.reshape(folds, 1, -1)
        self.gain = gain.permute(0, 2, 1, 3).reshape(folds, size, -1)
        self.offset, self.volume = offset, volume

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Components, shift and disorder as estimated, and CN1 to CN4 and R1: (folds, batch, ...).

        Of inputs (folds, batch, g), or (batch, g) seen by every fold.
        """
        with torch.no_grad():
            z = torch.bmm(x.expand(len(self.axes), -1, -1), self.axes)
            folds, batch, _ = z.shape
            experts = len(self.nuisances)
            far = (
                (torch.bmm(z, self.whiten) - self.centre).reshape(folds, batch, experts, -1).square().sum(-1)
            )
            share = torch.softmax(self.volume[:, None] - 0.5 * far, dim=-1)
            each = torch.bmm(z, self.gain).reshape(folds, batch, experts, -1) + self.offset[:, None]
            cn = (share[..., None] * each).sum(2)
            nuisances = share @ self.nuisances
            return torch.cat([z, nuisances[..., :2], cn, nuisances[..., 2:] * self.r1], dim=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Corrected(Trained):
    """The experts' answer, corrected by a small network of their features.

    Attributes
    ----------
    experts : of the same folds; scaling and network are those of their features.
    """

    experts: Experts

    @classmethod
    def initial(
        cls, spec: NetworkSpec, experts: Experts, x: torch.Tensor, y: torch.Tensor, seed: int
    ) -> Corrected:
        """Random weights, and the scaling of first draws x (folds, n, g) and y (folds, n, targets)."""
        start = initial_ensemble(spec, MEMBER_FOLD, experts.features(x), y, seed, LEAST_SCALE)
        start.weights[f"layer{len(spec.hidden)}.weight"] *= FIRST_CORRECTION
        return cls(
            spec=spec,
            weights=start.weights,
            member_fold=start.member_fold,
            scaling=start.scaling,
            experts=experts,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scaled targets (folds, n, targets) of inputs (folds, n, g), or (n, g) seen by every fold."""
        features = self.experts.features(x)
        (kind,) = self.scaling.kinds
        return kind.scaled(self.scaling.tensors, answer(features)) + super().forward(features)


def answer(features: torch.Tensor) -> torch.Tensor:
    """The experts' own CN1 to CN4 and R1, of their features."""
    return features[..., -len(TARGETS) - 1 :]


def _nodes(low: float, high: float, count: int) -> np.ndarray:
    return np.linspace(low, high, count) if high > low else np.array([low])
