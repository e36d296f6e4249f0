"""From a recipe to a bundle: train, calibrate, measure, store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Absorber, Card, InputSpec
from xas_live.training.calibrate import Unseen, accuracy, measure_unseen
from xas_live.training.domain import domain_tensors
from xas_live.training.partial import partial_scores
from xas_live.training.population import Particles, Population
from xas_live.training.radial import Displaced
from xas_live.training.recipe import RadialStructures, Recipe, RecipeError, WrongEntry, read_recipe
from xas_live.training.train import Trained, train_ensemble

Progress = Callable[[str, int, int, float], None]


def build_bundle(
    recipe_path: Path, folder: Path, progress: Progress = lambda stage, done, total, loss: None
) -> Bundle:
    """Train a recipe's ensemble and write its bundle.

    Parameters
    ----------
    recipe_path : TOML file, see `Recipe`.
    folder : where the bundle is written.
    progress : called with stage, done, total and loss.

    Returns
    -------
    The bundle as stored: weights in half precision, and every figure of its card measured on them.

    Raises
    ------
    RecipeError : when the recipe cannot be used, with the line that is wrong.
    FileNotFoundError : when its spectra are missing.
    """
    recipe = read_recipe(recipe_path)
    grid = InputSpec(grid=recipe.grid, origin="", windows=recipe.windows).points
    kind = Displaced if isinstance(recipe.structures, RadialStructures) else Particles
    try:
        population: Population = kind(recipe, grid)
    except WrongEntry as error:
        text = recipe_path.read_text(encoding="utf-8")
        raise RecipeError.at(recipe_path, text, [(error.where, str(error))]) from error
    with _one_thread():
        trained = _as_stored(
            train_ensemble(recipe, population, lambda s, n, loss: progress("train", s, n, loss))
        )
        progress("calibrate", 0, 1, trained.loss)
        bundle = calibrated(recipe, population, trained).save(folder)
    progress("calibrate", 1, 1, trained.loss)
    return bundle


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come in one order, however many cores there are; networks this small are no faster on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def calibrated(recipe: Recipe, population: Population, trained: Trained) -> Bundle:
    """The bundle of a trained ensemble: with intervals, domain and measured accuracy, not yet stored."""
    rng = np.random.default_rng(recipe.schedule.seed + 1)
    grid = InputSpec(grid=recipe.grid, origin="", windows=recipe.windows).points
    unseen = measure_unseen(recipe, population, trained, rng)
    scaling = trained.scaling
    tensors = {k: v.half() for k, v in trained.weights.items()} | {
        "input_mean": scaling.input_mean,
        "input_scale": scaling.input_scale,
        "target_mean": scaling.target_mean,
        "target_scale": scaling.target_scale,
        "theory_energy": torch.from_numpy(population.mesh),
        "theory_bulk": population.bulk.double(),
        "bulk_r1": torch.tensor([population.r1], dtype=torch.float64),
        **population.tables(),
        **unseen.intervals(),
        **domain_tensors(recipe, population, grid, trained, rng),
    }
    bundle = Bundle(card=_card(recipe, population, unseen, trained), tensors=tensors, sha256="")
    return with_partial(recipe, population, trained, bundle)


def with_partial(recipe: Recipe, population: Population, trained: Trained, bundle: Bundle) -> Bundle:
    """The bundle with what the intervals of growing sweeps are widened by."""
    rng = np.random.default_rng(recipe.schedule.seed + 2)
    factors = partial_scores(recipe, population, trained, bundle, rng).factors()
    tensors = {**bundle.stored, "partial_widening": torch.from_numpy(factors).float()}
    return Bundle(card=bundle.card, tensors=tensors, sha256="")


def _as_stored(trained: Trained) -> Trained:
    """The ensemble after rounding to the half precision in which it is kept."""
    return replace(trained, weights={k: v.half().float() for k, v in trained.weights.items()})


def _card(recipe: Recipe, population: Population, unseen: Unseen, trained: Trained) -> Card:
    return Card(
        name=recipe.name,
        version=recipe.version,
        summary=recipe.summary,
        absorbers=(Absorber(element=population.element, edge=population.edge, energy=recipe.edge_energy),),
        input=InputSpec(
            kind="flat",
            grid=recipe.grid,
            origin="Fermi level of the theory; the foil's anchor places it on the measured scale",
            windows=recipe.windows,
            needs_anchor=True,
        ),
        targets=population.targets,
        network=recipe.network,
        training={
            **population.about,
            "structures": recipe.structures.model_dump(mode="json"),
            "nuisances": recipe.nuisances.model_dump(mode="json"),
            "domain": recipe.domain.model_dump(mode="json"),
            "schedule": recipe.schedule.model_dump(),
            "final_loss": float(f"{trained.loss:.4g}"),
        },
        calibration={
            "method": "split conformal, normalised by ensemble spread, by predicted "
            f"{population.targets[0].name}",
            "set": population.test_set,
            "particles": unseen.particles,
            "calibrated_on": "simulation",
        },
        domain_threshold=recipe.domain.threshold,
        accuracy=accuracy(population, unseen, recipe.nuisances.noise),
        limits=(
            *population.limits,
            "Intervals are calibrated on simulated measurements; no beamline's own standards are in them.",
        ),
        references=(
            *population.references,
            recipe.network.source,
            "FEFF10: Kas et al., J. Synchrotron Rad. 28, 1801 (2021)",
        ),
    )
