"""What tells a spectrum that belongs to the training's from one that does not, trained and calibrated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from xas_live.models.networks import Weights, init_network, network
from xas_live.models.outputs.base import Tensors
from xas_live.models.sections.domain import domain_distances, fit_reference, fit_subspace
from xas_live.models.sections.latent import decode, encode, reconstruct
from xas_live.models.sections.specs import DECODER, ENCODER, LATENT, OXIDE_NETWORK, Distance
from xas_live.reduction.quality import half_rise
from xas_live.spectrum import Array
from xas_live.theory.oxides import Oxides, UnknownOxideError
from xas_live.training.calibrate import column_of
from xas_live.training.population import Population
from xas_live.training.recipe import Nuisances, Recipe, WrongEntry
from xas_live.training.train import Trained, minimise

BATCH = 256
LEARNING_RATE = 2e-3
OXIDE_SHARE = (0.05, 0.3)  # log-even: where oxide can be seen, and is not yet obvious
DRAWS = 6000
EDGE_DRAWS = 2000
METAL_DRAWS, METAL_SIZES, METAL_LEVELS, METAL_RANK = 24_000, 8, 3, 40
CLOUD = 600  # training spectra that the latent map shows
STRUCTURAL = ("contraction", "lattice", "disorder", "disorder_spread")
NOISELESS = {"noise": (0.0, 0.0), "i0_noise": 0.0, "glitch": 0.0}
EXACT = NOISELESS | dict.fromkeys(("mismatch", "mismatch_per_u", "edge_mismatch_per_u"), 0.0)
SMALLEST_EDGE_RISE = 0.1  # eV: the least that a measurement can tell


def domain_tensors(
    recipe: Recipe, population: Population, grid: Array, trained: Trained, rng: np.random.Generator
) -> Tensors:
    """Return all that judges the domain, by name; mean and covariance of the inputs.

    Without bulk theory there is neither an edge rise to compare nor a metal whose share can be fitted.
    """
    assert recipe.domain is not None
    z = recipe.domain.nuisances(recipe.nuisances)
    by = recipe.domain.stratify_by
    kinds, shown = trained.scaling.kinds, recipe.shown_target
    column = None if by is None else column_of(kinds, by)
    leading = None if shown is None else column_of(kinds, shown)

    def inputs(nuisances: Nuisances, n: int = DRAWS) -> torch.Tensor:
        return population.measure(population.belonging(n, rng), nuisances, rng)[0]

    train, calibration = inputs(z), inputs(z)
    tensors = {
        "input_mean": trained.scaling.tensors["input_mean"],
        "input_scale": trained.scaling.tensors["input_scale"],
        **fit_subspace(inputs(z.model_copy(update=EXACT)), train),
    }
    if population.bulk is not None:
        assert leading is not None, "structures with a bulk give numbers"
        tensors |= _metals(inputs, z, tensors, trained, leading)
    tensors |= _autoencoder(tensors, recipe, population, grid, z, rng, leading)
    names: list[Distance] = ["subspace", "residual", "disagreement"]
    if (oxides := oxides_of(recipe, population)) is not None:
        tensors |= _oxide_seen(tensors, recipe, population, oxides, z, rng)
        names.append("oxide")
    with torch.inference_mode():
        out = trained.predict(calibration)
        disagreement = trained.scaling.disagreement(out.std(0, correction=0))
        predicted = None if column is None else out.mean(0)[:, column]
        stored = widened(tensors)
        distances = domain_distances(
            stored, calibration, reconstruct(stored, calibration)[1], disagreement, names
        )
    found = {
        **{k: v for k, v in tensors.items() if not k.startswith("input")},
        **fit_reference(distances, predicted, names),
        "train_mean": train.mean(0),
        "train_covariance": torch.cov(train.T),
    }
    if population.bulk is None:
        return found
    physics = {name: getattr(recipe.nuisances, name) for name in STRUCTURAL}
    foil = half_rise(population.bulk.energy, population.bulk.mu.double().numpy())
    bare = inputs(Nuisances(**physics), EDGE_DRAWS)
    rises = [half_rise(grid, x) - foil for x in bare.double().numpy()]
    limit = max(float(np.nanquantile(rises, 0.99)), SMALLEST_EDGE_RISE)
    return {**found, "edge_rise_limit": torch.tensor([limit])}


def oxides_of(recipe: Recipe, population: Population) -> Oxides | None:
    """Return the oxides that the metal is told from, or None.

    Raises
    ------
    WrongEntry : for one of which there is no spectrum.
    """
    if recipe.domain is None or not recipe.domain.oxides or population.bulk is None:
        return None
    grid = population.inputs[0].points
    bulk = np.interp(grid, population.bulk.energy, population.bulk.mu.double().numpy())
    try:
        return Oxides(recipe.domain.oxides, grid, bulk)
    except UnknownOxideError as error:
        raise WrongEntry(("domain", "oxides", error.index), str(error)) from error


def _metals(
    inputs: Callable[[Nuisances, int], torch.Tensor],
    nuisances: Nuisances,
    tensors: Tensors,
    trained: Trained,
    column: int,
) -> Tensors:
    """Training spectra as a mixture of Gaussians: by predicted size, and by what lies outside the subspace.

    One Gaussian would take the small mismatch of a large particle for a metal that is diluted.
    """
    x = inputs(nuisances, METAL_DRAWS)
    with torch.inference_mode():
        predicted = torch.cat([trained.predict(part).mean(0)[:, column] for part in x.split(2000)])
    centred = x - tensors["domain_mean"]
    axes = tensors["domain_components"]
    level = (centred - centred @ axes.T @ axes).square().mean(1)
    means, factors, rests = [], [], []
    for of_size in predicted.argsort().tensor_split(METAL_SIZES):
        for rows in of_size[level[of_size].argsort()].tensor_split(METAL_LEVELS):
            variances, vectors = torch.linalg.eigh(torch.cov(x[rows].T).double())
            kept = vectors[:, -METAL_RANK:] * variances[-METAL_RANK:].clamp_min(0.0).sqrt()
            means.append(x[rows].mean(0))
            factors.append(kept.half())
            others = variances[:-METAL_RANK]  # none where the grid has no more points than that
            rests.append(others.mean().float() if len(others) else torch.zeros(()))
    return {
        "metal_mean": torch.stack(means),
        "metal_factor": torch.stack(factors),
        "metal_rest": torch.stack(rests),
    }


def _autoencoder(
    tensors: Tensors,
    recipe: Recipe,
    population: Population,
    grid: Array,
    nuisances: Nuisances,
    rng: np.random.Generator,
    column: int | None,
) -> Tensors:
    """Encoder and decoder, in half precision, and the cloud of training spectra in latent coordinates.

    Parameters
    ----------
    column : of the number that the cloud is shown by; None: there is none.
    """
    quiet = nuisances.model_copy(update=NOISELESS)
    assert recipe.domain is not None
    generator = torch.Generator().manual_seed(recipe.schedule.seed)
    weights = _named("encoder.", init_network(ENCODER, len(grid), LATENT, generator)) | _named(
        "decoder.", init_network(DECODER, LATENT, len(grid), generator)
    )
    both = tensors | weights

    def loss() -> torch.Tensor:
        aim, _ = population.measure(population.belonging(BATCH, rng), quiet, rng)
        x = population.add_noise(aim, nuisances, rng)
        return ((decode(both, encode(both, x)) - aim) / tensors["input_scale"]).square().mean()

    minimise(weights.values(), loss, recipe.domain.steps, LEARNING_RATE)
    draws = population.belonging(CLOUD, rng)
    x, truth = population.measure(draws, quiet, rng)
    with torch.inference_mode():
        cloud = encode(both, x)
        shown = torch.zeros(len(truth)) if column is None else truth[:, column]
        _to_principal_axes(weights, cloud, shown)
        cloud = encode(tensors | weights, x)
    return {k: v.half() for k, v in weights.items()} | {
        "latent_cloud": cloud.half(),
        "latent_target": torch.where(shown.isnan(), shown.nanmean().nan_to_num(), shown).half(),
    }


def _to_principal_axes(weights: Weights, cloud: torch.Tensor, target: torch.Tensor) -> None:
    """Turn latent coordinates in place: by falling spread, of unit spread, rising with the target.

    Rows whose target is not known (NaN) tell nothing of the sign.
    """
    mean = cloud.mean(0)
    _, singular, axes = torch.linalg.svd(cloud - mean, full_matrices=False)
    spread = (singular / len(cloud) ** 0.5).clamp_min(1e-6)
    above = (target - target.nanmean()).nan_to_num(nan=0.0)
    sign = torch.sign(((cloud - mean) @ axes.T * above[:, None]).sum(0))
    turn = (axes * torch.where(sign == 0, 1.0, sign)[:, None]).T / spread
    back = torch.linalg.inv(turn)
    last, first = f"encoder.layer{len(ENCODER.hidden)}", "decoder.layer0"
    weights[f"{first}.bias"] = weights[f"{first}.bias"] + mean @ weights[f"{first}.weight"]
    weights[f"{first}.weight"] = back @ weights[f"{first}.weight"]
    weights[f"{last}.bias"] = (weights[f"{last}.bias"] - mean) @ turn
    weights[f"{last}.weight"] = weights[f"{last}.weight"] @ turn


def _oxide_seen(
    tensors: Tensors,
    recipe: Recipe,
    population: Population,
    oxides: Oxides,
    nuisances: Nuisances,
    rng: np.random.Generator,
) -> Tensors:
    """The network that tells spectra with some oxide from those without, in half precision."""
    assert recipe.domain is not None
    weights = init_network(
        OXIDE_NETWORK, len(oxides.grid), 1, torch.Generator().manual_seed(recipe.schedule.seed + 1)
    )
    label = torch.cat([torch.zeros(BATCH), torch.ones(BATCH)])
    low, high = np.log(OXIDE_SHARE)

    def loss() -> torch.Tensor:
        x, _ = population.measure(population.belonging(2 * BATCH, rng), nuisances, rng)
        share = torch.from_numpy(np.exp(rng.uniform(low, high, (BATCH, 1)))).float()
        x[BATCH:] += share * oxides.draw(BATCH, rng)
        scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
        odds = network(OXIDE_NETWORK, weights, scaled)[0, :, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(odds, label)

    minimise(weights.values(), loss, recipe.domain.steps, LEARNING_RATE)
    return {k: v.half() for k, v in _named("oxide.", weights).items()}


def _named(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def widened(tensors: Tensors) -> Tensors:
    """As a bundle gives its tensors: half precision widened."""
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
