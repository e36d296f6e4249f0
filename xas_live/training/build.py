"""From a recipe to a bundle: train, calibrate, measure, store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from xas_live.models.bundle import Bundle
from xas_live.models.card import Card
from xas_live.models.networks import weight_shapes
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.specs import ScalarsSpec
from xas_live.models.sections.specs import (
    ChangeSection,
    DomainSection,
    EdgeRiseSection,
    LatentSection,
    OxideSection,
    PhasesSection,
    PreviewSection,
    Sections,
    SizeSection,
    TheorySection,
)
from xas_live.training.calibrate import Unseen, accuracy, measure_unseen
from xas_live.training.change import simulate_changes
from xas_live.training.chemistry import chemistry_section, chemistry_tensors
from xas_live.training.cost import cost_section, cost_tensors, depart
from xas_live.training.domain import domain_tensors, oxides_of, widened
from xas_live.training.labelled import LabelledSpectra
from xas_live.training.partial import partial_scores
from xas_live.training.population import Particles, Population
from xas_live.training.radial import Displaced
from xas_live.training.recipe import (
    LabelledStructures,
    RadialStructures,
    Recipe,
    RecipeError,
    WrongEntry,
    read_recipe,
)
from xas_live.training.rules import check_recipe
from xas_live.training.train import Trained, one_thread, train_ensemble

SHELL_TARGETS = ("CN1", "CN2", "CN3", "CN4")
FEFF = "FEFF10: Kas et al., J. Synchrotron Rad. 28, 1801 (2021)"

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
    try:
        check_recipe(recipe)
        population = population_of(recipe, recipe_path.parent)
        _check_fits(recipe, population)
    except WrongEntry as error:
        text = recipe_path.read_text(encoding="utf-8")
        raise RecipeError.at(recipe_path, text, [(error.where, str(error))]) from error
    with one_thread():
        trained = _as_stored(
            train_ensemble(recipe, population, lambda s, n, loss: progress("train", s, n, loss))
        )
        progress("calibrate", 0, 1, trained.loss)
        bundle = calibrated(recipe, population, trained).save(folder)
    progress("calibrate", 1, 1, trained.loss)
    return bundle


def _check_fits(recipe: Recipe, population: Population) -> None:
    """Hold what will be trained to the rules of cards and networks, which else would speak only after it.

    Raises
    ------
    WrongEntry : naming the entry where that is known.
    """
    oxides_of(recipe, population)
    try:
        card = Card(
            name=recipe.name,
            version=recipe.version,
            summary=recipe.summary,
            inputs=population.inputs,
            outputs=population.outputs,
            sections=_sections(recipe, population, population.tables()),
            network=recipe.network,
            training={},
            calibration={},
        )
    except ValidationError as error:
        raise WrongEntry.of(error) from error
    try:
        weight_shapes(recipe.network, card.points, card.width)
    except ValueError as error:
        raise WrongEntry(("network",), str(error)) from error


def population_of(recipe: Recipe, folder: Path) -> Population:
    """Return the structures that a recipe trains on.

    Parameters
    ----------
    folder : of the recipe, from which its own files are found.

    Raises
    ------
    WrongEntry : for entries that do not fit the spectra.
    FileNotFoundError : when spectra are missing.
    """
    if isinstance(recipe.structures, RadialStructures):
        return Displaced(recipe)
    if isinstance(recipe.structures, LabelledStructures):
        return LabelledSpectra(recipe, folder)
    return Particles(recipe)


def calibrated(recipe: Recipe, population: Population, trained: Trained) -> Bundle:
    """The bundle of a trained ensemble: with intervals, domain and measured accuracy, not yet stored."""
    rng = np.random.default_rng(recipe.schedule.seed + 1)
    grid = population.inputs[0].points
    unseen = measure_unseen(recipe, population, trained, rng)
    tensors = {k: v.half() for k, v in trained.weights.items()} | trained.scaling.tensors
    if population.bulk is not None:
        tensors |= {
            "theory_energy": torch.from_numpy(population.bulk.energy),
            "theory_bulk": population.bulk.mu.double(),
            "bulk_r1": torch.tensor([population.bulk.r1], dtype=torch.float64),
        }
        if population.bulk.background is not None:
            tensors["theory_background"] = population.bulk.background.double()
    tensors |= {**population.tables(), **unseen.intervals()}
    if recipe.domain is not None:
        tensors |= domain_tensors(recipe, population, grid, trained, rng)
    if recipe.domain is not None and recipe.domain.chemistry_steps and isinstance(population, Particles):
        column = unseen.column(recipe.domain.stratify_by or "CN1")
        scaling = trained.scaling.tensors
        tensors |= chemistry_tensors(recipe, population, scaling, trained, column, rng)
    card = _card(recipe, population, unseen, trained, tensors)
    bundle = Bundle(card=card, tensors=tensors, sha256="")
    if recipe.domain is not None and recipe.domain.limit is not None and isinstance(population, Particles):
        bundle = with_cost(recipe, population, trained, bundle)
    if card.sections.latent is not None and isinstance(population, Particles):
        bundle = with_change(recipe, population, trained, bundle)
    return bundle if not _can_preview(card) else with_partial(recipe, population, trained, bundle)


def with_cost(recipe: Recipe, population: Particles, trained: Trained, bundle: Bundle) -> Bundle:
    """The bundle with what departures from its training spectra cost."""
    rng = np.random.default_rng(recipe.schedule.seed + 4)
    readable = replace(bundle, tensors=widened(bundle.tensors))
    section = cost_section(recipe, readable)
    assert recipe.domain is not None
    drawn = depart(recipe, population, trained, readable, recipe.domain.departures, rng)
    tensors = {**bundle.tensors, **cost_tensors(section, readable, drawn)}
    sections = bundle.card.sections.model_copy(update={"cost": section})
    return Bundle(card=bundle.card.model_copy(update={"sections": sections}), tensors=tensors, sha256="")


def with_change(recipe: Recipe, population: Particles, trained: Trained, bundle: Bundle) -> Bundle:
    """The bundle with how far it is off in changes."""
    rng = np.random.default_rng(recipe.schedule.seed + 5)
    domain = recipe.domain
    nuisances = recipe.nuisances if domain is None else domain.nuisances(recipe.nuisances)
    changes = simulate_changes(population, trained, widened(bundle.tensors), nuisances, rng)
    tensors = {**bundle.stored, "change_scores": torch.from_numpy(changes.scores()).float()}
    sections = bundle.card.sections.model_copy(update={"change": ChangeSection()})
    return Bundle(card=bundle.card.model_copy(update={"sections": sections}), tensors=tensors, sha256="")


def with_partial(recipe: Recipe, population: Population, trained: Trained, bundle: Bundle) -> Bundle:
    """The bundle with what the intervals of growing sweeps are widened by."""
    rng = np.random.default_rng(recipe.schedule.seed + 2)
    factors = partial_scores(recipe, population, trained, bundle, rng).factors()
    tensors = {**bundle.stored, "partial_widening": torch.from_numpy(factors).float()}
    sections = bundle.card.sections.model_copy(update={"preview": PreviewSection()})
    return Bundle(card=bundle.card.model_copy(update={"sections": sections}), tensors=tensors, sha256="")


def _can_preview(card: Card) -> bool:
    """Whether growing sweeps can be completed: by training spectra, and a foil to compare with."""
    sections = card.sections
    numbers_only = len(card.outputs) == 1 and isinstance(card.outputs[0], ScalarsSpec)
    return sections.theory is not None and sections.domain is not None and numbers_only


def _sections(recipe: Recipe, population: Population, tensors: Tensors) -> Sections:
    """What the tensors allow."""
    domain, bulk, names = recipe.domain, population.bulk, [t.name for t in recipe.targets]
    leading = recipe.shown_target
    shells = tuple(name for name in SHELL_TARGETS if name in names)
    sized = "particle_cn" in tensors and shells[:1] == SHELL_TARGETS[:1]
    phases = None
    if "metal_mean" in tensors and leading is not None:
        phases = PhasesSection(leading=leading, sample="CN1_sample" if leading == "CN1" else None)
    return Sections(
        theory=None
        if bulk is None
        else TheorySection(missing_from=bulk.missing_from, background=bulk.background is not None),
        domain=None
        if domain is None
        else DomainSection(threshold=domain.threshold, stratify_by=domain.stratify_by),
        chemistry=chemistry_section(population, domain.stratify_by or "CN1")
        if domain is not None and isinstance(population, Particles) and "chemistry_none" in tensors
        else None,
        oxide=OxideSection() if any(name.startswith("oxide.") for name in tensors) else None,
        latent=LatentSection(shown_by=leading) if "latent_cloud" in tensors else None,
        phases=phases,
        size=SizeSection(shells=shells) if sized else None,
        edge_rise=EdgeRiseSection() if "edge_rise_limit" in tensors else None,
    )


def _as_stored(trained: Trained) -> Trained:
    """The ensemble after rounding to the half precision in which it is kept."""
    return replace(trained, weights={k: v.half().float() for k, v in trained.weights.items()})


def _card(recipe: Recipe, population: Population, unseen: Unseen, trained: Trained, tensors: Tensors) -> Card:
    strata = next((kind.strata for kind in unseen.kinds if kind.strata is not None), None)
    by = "" if strata is None else f", by predicted {strata}"
    domain = {} if recipe.domain is None else {"domain": recipe.domain.model_dump(mode="json")}
    return Card(
        name=recipe.name,
        version=recipe.version,
        summary=recipe.summary,
        inputs=population.inputs,
        outputs=population.outputs,
        sections=_sections(recipe, population, tensors),
        network=recipe.network,
        training={
            **population.about,
            "structures": recipe.structures.model_dump(mode="json"),
            "nuisances": recipe.nuisances.model_dump(mode="json"),
            **domain,
            "schedule": recipe.schedule.model_dump(),
            "final_loss": float(f"{trained.loss:.4g}"),
        },
        calibration={
            "method": f"split conformal, normalised by ensemble spread{by}",
            "set": population.test_set,
            "particles": unseen.particles,
            "calibrated_on": "simulation",
        },
        accuracy=accuracy(population, unseen, trained.scaling.tensors, recipe.nuisances.noise),
        limits=(
            *population.limits,
            "Intervals are calibrated on simulated measurements; no beamline's own standards are in them.",
        ),
        references=tuple(
            filter(
                None,
                (
                    *population.references,
                    recipe.network.source,
                    FEFF if population.bulk is not None else "",
                ),
            )
        ),
    )
