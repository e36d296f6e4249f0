"""From a recipe to a bundle: train, calibrate, measure, store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Absorber, Card, InputSpec, Target
from xas_live.training.calibrate import Unseen, accuracy, domain_tensors, measure_unseen
from xas_live.training.recipe import Recipe, read_recipe
from xas_live.training.simulate import Mixtures, Simulator, fcc_particles
from xas_live.training.sites import Indices, Particle, SiteLibrary
from xas_live.training.train import Trained, site_folds, train_ensemble

SHELLS = ("first", "second", "third", "fourth")

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
    RecipeError : when the recipe cannot be used.
    FileNotFoundError : when its site spectra are missing.
    """
    recipe = read_recipe(recipe_path)
    library = SiteLibrary.load(recipe.structures.sites)
    grid = InputSpec(grid=recipe.grid, origin="", windows=recipe.windows).points
    simulator = Simulator(library, grid)
    particles = fcc_particles(library, recipe.structures.left_out)
    fold = site_folds(particles, len(library.cn), library.bulk_site, recipe.folds)
    torch.manual_seed(recipe.schedule.seed)
    trained = _as_stored(
        train_ensemble(
            recipe, library, simulator, particles, fold, lambda s, n, loss: progress("train", s, n, loss)
        )
    )
    progress("calibrate", 0, 1, trained.loss)
    bundle = calibrated(recipe, library, simulator, trained).save(folder)
    progress("calibrate", 1, 1, trained.loss)
    return bundle


def calibrated(recipe: Recipe, library: SiteLibrary, simulator: Simulator, trained: Trained) -> Bundle:
    """The bundle of a trained ensemble: with intervals, domain and measured accuracy, not yet stored."""
    particles = fcc_particles(library, recipe.structures.left_out)
    fold = site_folds(particles, len(library.cn), library.bulk_site, recipe.folds)
    rng = np.random.default_rng(recipe.schedule.seed + 1)
    unseen = measure_unseen(recipe, library, simulator, trained, particles, fold, rng)
    sites = used_sites(particles)
    everything = Mixtures.of(library, particles, np.isin(np.arange(len(fold)), sites), recipe.structures)
    table = fcc_particles(library)
    tensors = {k: v.half() for k, v in trained.weights.items()} | {
        "input_mean": trained.input_mean,
        "input_scale": trained.input_scale,
        "target_mean": trained.target_mean,
        "target_scale": trained.target_scale,
        "theory_energy": torch.from_numpy(simulator.mesh),
        "theory_bulk": simulator.bulk,
        "bulk_r1": torch.tensor([library.r1[1.0]], dtype=torch.float64),
        "particle_cn": torch.from_numpy(np.stack([library.particle_cn(p) for p in table])),
        "particle_atoms": torch.tensor([float(p.n_atoms) for p in table], dtype=torch.float64),
        **unseen.intervals(),
        **domain_tensors(recipe, simulator, trained, everything, rng),
    }
    return Bundle(card=_card(recipe, library, unseen, trained, sites), tensors=tensors, sha256="")


def used_sites(particles: list[Particle]) -> Indices:
    """Environments that these particles have."""
    return np.unique(np.concatenate([p.sites for p in particles]))


def _as_stored(trained: Trained) -> Trained:
    """The ensemble after rounding to the half precision in which it is kept."""
    return replace(trained, weights={k: v.half().float() for k, v in trained.weights.items()})


def _card(recipe: Recipe, library: SiteLibrary, unseen: Unseen, trained: Trained, sites: Indices) -> Card:
    cn = library.cn[sites]
    names = [f"CN{i + 1}" for i in range(4)]
    targets = tuple(
        Target(
            name=name,
            minimum=round(float(cn[:, i].min()), 2),
            maximum=round(float(cn[:, i].max()), 2),
            non_negative=True,
            description=f"average coordination number of the {SHELLS[i]} fcc shell",
        )
        for i, name in enumerate(names)
    )
    z = recipe.nuisances
    return Card(
        name=recipe.name,
        version=recipe.version,
        summary=recipe.summary,
        absorbers=(Absorber(element=library.element, edge=library.edge, energy=recipe.edge_energy),),
        input=InputSpec(
            kind="flat",
            grid=recipe.grid,
            origin="Fermi level of the theory; the foil's anchor places it on the measured scale",
            windows=recipe.windows,
            needs_anchor=True,
        ),
        targets=targets,
        network=recipe.network,
        training={
            "data": f"FEFF10.0 site spectra of {library.element} {library.edge}, fcc environments, "
            f"lattice scales {' and '.join(f'{scale:g}' for scale in sorted(library.mu))}",
            "data_sha256": library.sha256,
            "site_environments": len(sites),
            "left_out_particles": list(recipe.structures.left_out),
            "structures": recipe.structures.model_dump(mode="json"),
            "nuisances": z.model_dump(),
            "schedule": recipe.schedule.model_dump(),
            "final_loss": round(trained.loss, 5),
            "folds": f"{recipe.folds} of site environments; each member was trained without one of them",
        },
        calibration={
            "method": "split conformal, normalised by ensemble spread, by predicted CN1",
            "set": "particles, whole or cut down to environments of one fold, predicted by the members that "
            "never saw any of these environments",
            "particles": unseen.particles,
            "calibrated_on": "simulation",
        },
        domain_threshold=recipe.domain_threshold,
        accuracy=accuracy(names, unseen, z.noise),
        limits=(
            "Bare, unrelaxed fcc particles of one metal: oxide, alloys, adsorbates and icosahedral order "
            "are outside.",
            "The sample's temperature must be near the foil's: a hotter sample looks smaller.",
            "Intervals are calibrated on simulated measurements; no beamline's own standards are in them.",
        ),
        references=(
            "Timoshenko et al., J. Phys. Chem. Lett. 8, 5091 (2017)",
            recipe.network.source,
            "FEFF10: Kas et al., J. Synchrotron Rad. 28, 1801 (2021)",
        ),
    )
