"""From a recipe to a bundle: train, calibrate, measure, store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Absorber, Accuracy, Card, InputSpec, Target
from xas_live.models.domain import fit_domain
from xas_live.models.uncertainty import conformal_quantile, conformal_scale
from xas_live.training.recipe import Nuisances, Recipe, read_recipe
from xas_live.training.simulate import Mixtures, Simulator, fcc_particles
from xas_live.training.sites import Indices, Particle, SiteLibrary
from xas_live.training.train import Trained, held_out_particles, site_folds, train_ensemble

SHELLS = ("first", "second", "third", "fourth")
LEVEL = 0.9  # of the intervals whose coverage the card states
DRAWS = 8  # simulated measurements of each held-out particle
PER_CN1_BIN = (
    30  # held-out particles kept from each unit of CN1, so that large ones do not outnumber the rest
)
DOMAIN_DRAWS = 6000

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
    held = _held_out(recipe, library, simulator, trained, particles, fold, rng)
    everything = Mixtures.of(
        library, particles, np.isin(np.arange(len(fold)), _used(particles)), recipe.structures
    )
    return Bundle(
        card=_card(recipe, library, held, trained),
        tensors=_tensors(recipe, library, simulator, trained, held, everything, rng),
        sha256="",
    )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Simulated measurements of particles, each predicted by the members that never saw its environments.

    Attributes
    ----------
    truth, mean : (rows, targets).
    spread : (rows, targets) of the whole ensemble, as a user's prediction will have it: the scale of an
        interval must be the same function of the spectrum in calibration and in use.
    particle, fold : (rows,) index of the particle and its fold.
    """

    truth: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    particle: Indices
    fold: Indices

    @property
    def floor(self) -> torch.Tensor:
        """(targets,) floor under the spread: the errors' robust standard deviation.

        The members share what they cannot know (noise, disorder against contraction), so their spread alone
        would be too sure of itself where they agree.
        """
        return 1.4826 * (self.truth - self.mean).abs().median(0).values

    def scores(self) -> torch.Tensor:
        """(particles, targets) nonconformity: one number a particle, that of its measurement drawn first."""
        ratio = (self.truth - self.mean).abs() / conformal_scale(self.spread, self.floor)
        return ratio[np.unique(self.particle, return_index=True)[1]]

    def scored_fold(self) -> Indices:
        """(particles,) fold of each row of `scores`."""
        return np.asarray(self.fold[np.unique(self.particle, return_index=True)[1]])


def _used(particles: list[Particle]) -> Indices:
    return np.unique(np.concatenate([p.sites for p in particles]))


def _as_stored(trained: Trained) -> Trained:
    """The ensemble after rounding to the half precision in which it is kept."""
    return Trained(
        **{**trained.__dict__, "weights": {k: v.half().float() for k, v in trained.weights.items()}}
    )


def _held_out(
    recipe: Recipe,
    library: SiteLibrary,
    simulator: Simulator,
    trained: Trained,
    particles: list[Particle],
    fold: Indices,
    rng: np.random.Generator,
) -> HeldOut:
    truth, mean, spread = [], [], []
    index: list[Indices] = []
    folds: list[Indices] = []
    for k in range(recipe.folds):
        members = np.flatnonzero(trained.member_fold == k)
        chosen = _spread_over_cn1(library, held_out_particles(particles, fold, k), rng)
        if not chosen:
            continue
        weights = np.zeros((len(chosen), len(library.cn)))
        for row, particle in zip(weights, chosen, strict=True):
            row[particle.sites] = particle.share
        repeated = np.repeat(weights, DRAWS, axis=0)
        x = simulator.measure(repeated, recipe.nuisances, rng)
        truth.append((torch.from_numpy(repeated) @ simulator.cn).float())
        mean.append(trained.predict(x, members).mean(0))
        spread.append(trained.predict(x).std(0, correction=0))
        start = 0 if not index else int(index[-1].max()) + 1
        index.append(np.repeat(np.arange(len(chosen)), DRAWS) + start)
        folds.append(np.full(len(repeated), k))
    return HeldOut(
        torch.cat(truth), torch.cat(mean), torch.cat(spread), np.concatenate(index), np.concatenate(folds)
    )


def _spread_over_cn1(
    library: SiteLibrary, particles: list[Particle], rng: np.random.Generator
) -> list[Particle]:
    bins: dict[int, list[Particle]] = {}
    for particle in particles:
        bins.setdefault(int(library.particle_cn(particle)[0]), []).append(particle)
    chosen = []
    for members in bins.values():
        order = rng.permutation(len(members))[:PER_CN1_BIN]
        chosen += [members[i] for i in sorted(order)]
    return chosen


def _tensors(
    recipe: Recipe,
    library: SiteLibrary,
    simulator: Simulator,
    trained: Trained,
    held: HeldOut,
    everything: Mixtures,
    rng: np.random.Generator,
) -> dict[str, torch.Tensor]:
    noiseless = recipe.nuisances.model_copy(
        update=dict.fromkeys(("noise", "mismatch", "mismatch_per_u", "edge_mismatch_per_u"), 0.0)
    )

    def inputs(nuisances: Nuisances) -> torch.Tensor:
        return simulator.measure(everything.draw(DOMAIN_DRAWS, rng), nuisances, rng)

    clean, train, calibration = inputs(noiseless), inputs(recipe.nuisances), inputs(recipe.nuisances)
    out = trained.predict(calibration)
    disagreement = (out.std(0, correction=0) / trained.target_scale).mean(1)
    table = fcc_particles(library)
    tensors = {k: v.half() for k, v in trained.weights.items()}
    tensors |= {
        "input_mean": trained.input_mean,
        "input_scale": trained.input_scale,
        "target_mean": trained.target_mean,
        "target_scale": trained.target_scale,
        "scale_floor": held.floor,
        "calibration_scores": held.scores().sort(dim=0).values,
        "theory_energy": torch.from_numpy(simulator.mesh),
        "theory_bulk": simulator.bulk,
        "train_mean": train.mean(0),
        "train_covariance": torch.cov(train.T),
        "bulk_r1": torch.tensor([library.r1[1.0]], dtype=torch.float64),
        "particle_cn": torch.from_numpy(np.stack([library.particle_cn(p) for p in table])),
        "particle_atoms": torch.tensor([float(p.n_atoms) for p in table], dtype=torch.float64),
        **fit_domain(clean, train, calibration, out.mean(0)[:, 0], disagreement),
    }
    return tensors


def _card(recipe: Recipe, library: SiteLibrary, held: HeldOut, trained: Trained) -> Card:
    cn = library.cn[_used(fcc_particles(library))]
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
            "lattice scales 0.97 and 1.00",
            "data_sha256": library.sha256,
            "site_environments": len(_used(fcc_particles(library))),
            "left_out_particles": list(recipe.structures.left_out),
            "structures": recipe.structures.model_dump(mode="json"),
            "nuisances": z.model_dump(),
            "schedule": recipe.schedule.model_dump(),
            "final_loss": round(trained.loss, 5),
            "folds": f"{recipe.folds} of site environments; each member was trained without one of them",
        },
        calibration={
            "method": "split conformal, normalised by ensemble spread",
            "set": "whole particles, predicted by the members that never saw any of their environments",
            "particles": len(held.scores()),
            "calibrated_on": "simulation",
        },
        domain_threshold=recipe.domain_threshold,
        accuracy=_accuracy(names, held, z.noise),
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


def _accuracy(names: list[str], held: HeldOut, noise: float) -> Accuracy:
    """Errors and coverage; a fold's quantile comes from the particles of the other folds."""
    scores, of = held.scores(), held.scored_fold()
    inside, halves = [], []
    for k in np.unique(of):
        rows = held.fold == k
        others = scores[of != k].sort(dim=0).values
        if len(others) < 10:
            others = scores.sort(dim=0).values
        half = conformal_quantile(others, LEVEL) * conformal_scale(held.spread[rows], held.floor)
        inside.append(((held.truth[rows] - held.mean[rows]).abs() <= half).float())
        halves.append(half)
    error = held.mean - held.truth
    figures = {
        "mae": error.abs().mean(0),
        "bias": error.mean(0),
        "coverage": torch.cat(inside).mean(0),
        "half_width": torch.cat(halves).mean(0),
    }
    return Accuracy(
        **{
            key: dict(zip(names, [round(x, 3) for x in value.tolist()], strict=True))
            for key, value in figures.items()
        },
        level=LEVEL,
        particles=len(scores),
        folds=len(np.unique(of)),
        conditions="simulated measurements with every nuisance of the recipe, noise of "
        f"{noise / 10:g} to {noise:g} edge steps a point",
    )
