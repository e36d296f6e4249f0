"""Mean-squared displacement: our network against ridge and the shallow MLP, and the least error possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from record import ROOT, claim
from sklearn.linear_model import Ridge

from xas_live.models.network_spec import NetworkSpec
from xas_live.spectrum import Array
from xas_live.training.radial import Displaced, skew_normal
from xas_live.training.recipe import Nuisances, RadialStructures, Recipe, read_recipe
from xas_live.training.train import Scaling, train_ensemble

RECIPE = ROOT / "xas_live" / "training" / "recipes" / "au-l3-msd.toml"
NOISE = 0.003
CONDITIONS = {
    "noise": Nuisances(noise=(NOISE, NOISE)),
    "noise, shift, gain": Nuisances(noise=(NOISE, NOISE), shift=0.5, gain=0.003),
}
NETWORKS = {
    "shallow MLP": NetworkSpec(hidden=(400, 400), members=2),
    "deep MLP": NetworkSpec(hidden=(400, 400, 200, 200, 100), members=2),
}
STEPS = 3000
TEST = 6000
STEP = {"sigma": 1e-3, "mean": 1e-3, "skew": 0.05}  # of derivatives, by parameter of the weights
BINS = 4  # of each parameter's range


def msd_table(seed: int = 0) -> dict[str, Any]:
    """Errors of MSD (Å^2) under each condition, by network; of ours by family of weights; and their floor."""
    whole = read_recipe(RECIPE)
    population = Displaced(whole)
    structures = population.structures
    rng = np.random.default_rng(1000 + seed)
    drawn = {name: rng.uniform(*getattr(structures, name), TEST) for name in STEP}
    test = skew_normal(population.library.displacement, *drawn.values())
    out: dict[str, Any] = {"results": {}, "families": {}, "floor": {}}
    for condition, nuisances in CONDITIONS.items():
        x, truth = population.measure(test, nuisances, np.random.default_rng(2000 + seed))
        errors = {"ridge": _ridge(population, nuisances, seed, x) - truth[:, 0].numpy()}
        for name, spec in NETWORKS.items():
            errors[name] = _network(whole, population, nuisances, spec, seed, x) - truth[:, 0].numpy()
        out["results"][condition] = {name: float(np.abs(e).mean()) for name, e in errors.items()}
        out["families"][condition] = _by_family(structures, drawn, errors["deep MLP"])
        out["floor"][condition] = _floor(population, structures, nuisances, drawn)
    plain, shifted = (out["results"][condition]["deep MLP"] for condition in CONDITIONS)
    least = out["floor"]["noise"]
    out["claims"] = [
        claim("msd_mae", f"MSD at noise 0.003 (Å²; least possible about {least:.5f})", plain, at_most=0.0003),
        claim("msd_mae_nuisance", "MSD with shift and gain besides (Å²)", shifted, at_most=0.0010),
    ]  # fmt: skip
    return out


def _ridge(population: Displaced, nuisances: Nuisances, seed: int, x: torch.Tensor) -> Array:
    rng = np.random.default_rng(seed)
    inputs, truth = population.measure(population.draw(None, 20000, rng), nuisances, rng)
    scaling = Scaling.of(inputs[None], truth[None])
    model = Ridge(alpha=0.2, solver="svd").fit(scaling.inputs(inputs).numpy(), truth[:, 0].numpy())
    return np.asarray(model.predict(scaling.inputs(x).numpy()))


def _network(whole: Recipe, population: Displaced, nuisances: Nuisances, spec: NetworkSpec, seed: int, x: torch.Tensor) -> Array:  # fmt: skip
    schedule = whole.schedule.model_copy(update={"steps": STEPS, "seed": seed})
    recipe = whole.model_copy(update={"nuisances": nuisances, "network": spec, "schedule": schedule})
    trained = train_ensemble(recipe, population)
    with torch.inference_mode():
        return np.asarray(trained.predict(x).mean(0)[:, 0].numpy())


def _by_family(
    structures: RadialStructures, drawn: dict[str, Array], error: Array
) -> dict[str, dict[str, float]]:
    """Mean absolute errors in even parts of each parameter's range."""
    found = {}
    for name, values in drawn.items():
        edges = np.linspace(*getattr(structures, name), BINS + 1)
        part = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
        found[name] = {
            f"{edges[i]:.3g} to {edges[i + 1]:.3g}": float(np.abs(error[part == i]).mean())
            for i in range(BINS)
        }
    return found


def _floor(
    population: Displaced, structures: RadialStructures, nuisances: Nuisances, drawn: dict[str, Array]
) -> float:
    """Mean absolute error of the best estimate, about: spectra are taken as linear in the parameters nearby.

    The posterior is then normal, with the inverse of Fisher's information and of the prior's (even over each
    range, taken as a normal distribution of its variance) as covariance: the Bayesian bound of Cramér and Rao.
    """
    quiet = Nuisances()
    rng = np.random.default_rng(0)
    parameters = {name: values[:500] for name, values in drawn.items()}
    d = population.library.displacement

    def of(changed: str = "", by: float = 0.0) -> tuple[Array, Array]:
        weights = skew_normal(d, *(v + by * (k == changed) for k, v in parameters.items()))
        x, _ = population.measure(weights, quiet, rng)
        return x.double().numpy(), population.labels(weights)[:, 0]

    x0, _ = of()
    slopes, change = [], []
    for name, step in STEP.items():
        (x2, y2), (x1, y1) = of(name, step), of(name, -step)
        slopes.append((x2 - x1) / (2 * step))
        change.append((y2 - y1) / (2 * step))
    prior = [np.ptp(getattr(structures, name)) ** 2 / 12.0 for name in STEP]
    if nuisances.shift:
        slopes += [np.gradient(x0, population.grid, axis=1), x0]
        change += [np.zeros(len(x0))] * 2
        prior += [(2 * nuisances.shift) ** 2 / 12.0, nuisances.gain**2]
    j, g = np.stack(slopes, axis=-1), np.stack(change, axis=-1)
    information = np.einsum("nep,neq->npq", j, j) / NOISE**2 + np.diag(1.0 / np.array(prior))
    variance = np.einsum("np,npq,nq->n", g, np.linalg.inv(information), g)
    return float(np.mean(np.sqrt(2.0 / np.pi * variance)))
