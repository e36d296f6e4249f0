"""Training: what mixtures hold, that folds keep environments apart, and that a recipe becomes a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xas_live.training
from xas_live.models.registry import load_model
from xas_live.training.build import build_bundle, used_sites
from xas_live.training.recipe import Nuisances, RecipeError, read_recipe
from xas_live.training.simulate import Mixtures, Simulator, fcc_particles
from xas_live.training.sites import SiteLibrary, extend_below
from xas_live.training.train import held_out_particles, site_folds

RECIPES = Path(xas_live.training.__file__).parent / "recipes"
NONE = dict.fromkeys(Nuisances.model_fields, 0.0) | {"mismatch_length": 6.0, "edge_end": 13.0}


@pytest.fixture(scope="module")
def library() -> SiteLibrary:
    return SiteLibrary.load("au_l3")


@pytest.fixture(scope="module")
def recipe():
    return read_recipe(RECIPES / "au-l3.toml")


def test_folds_keep_environments_apart(library, recipe):
    particles = fcc_particles(library, recipe.structures.left_out)
    fold = site_folds(particles, len(library.cn), library.bulk_site, recipe.folds)
    used = np.isin(np.arange(len(fold)), used_sites(particles))
    tested = 0
    for k in range(recipe.folds):
        training = Mixtures.of(library, particles, used & (fold != k), recipe.structures)
        drawn = training.draw(3000, np.random.default_rng(k)).any(axis=0)
        for particle in held_out_particles(particles, fold, k):
            assert not drawn[np.setdiff1d(particle.sites, library.bulk_site)].any()
            tested += 1
        assert drawn[used & (fold != k)].mean() > 0.95
    assert fold[library.bulk_site] == -1
    assert tested > 300


def test_mixtures_use_allowed_sites_only(library, recipe):
    allowed = np.zeros(len(library.cn), dtype=bool)
    allowed[::2] = True
    allowed[library.bulk_site] = True
    source = Mixtures.of(library, fcc_particles(library), allowed, recipe.structures)
    weights = source.draw(500, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(1), 1.0)
    assert (weights >= 0).all()
    assert not weights[:, ~allowed].any()
    cn1 = weights @ library.cn[:, 0]
    assert cn1.max() == pytest.approx(12.0)
    assert cn1.min() < 6


def test_particles_left_out_by_a_wrong_name_are_refused(library):
    with pytest.raises(ValueError, match=r"no particles .*nonsense"):
        fcc_particles(library, ("nonsense",))


def test_without_nuisances_a_measurement_is_the_theory(library, recipe):
    simulator = Simulator(library, load_model("au-l3").grid)
    weights = np.zeros((1, len(library.cn)))
    weights[0, library.bulk_site] = 1.0
    x = simulator.measure(weights, Nuisances(**NONE), np.random.default_rng(0))[0].double().numpy()
    energy, mu = extend_below(library.energy, library.mu[1.0][library.bulk_site], -20.0)
    np.testing.assert_allclose(x, np.interp(simulator.grid, energy, mu), atol=5e-3)


@pytest.mark.parametrize("name", sorted(set(Nuisances.model_fields) - {"mismatch_length", "edge_end"}))
def test_every_nuisance_changes_the_spectrum(library, name):
    simulator = Simulator(library, load_model("au-l3").grid)
    particle = library.particles["cuboctahedron_7_3"]
    weights = np.zeros((50, len(library.cn)))
    weights[:, particle.sites] = particle.share
    size = {"shift": 0.3, "contraction": 0.05, "disorder": 0.01, "broadening": 1.0}.get(name, 0.01)
    plain, changed = (
        simulator.measure(weights, Nuisances(**(NONE | extra)), np.random.default_rng(0))
        for extra in ({}, {name: size})
    )
    assert (plain - changed).abs().max() > 1e-4
    assert torch.isfinite(changed).all()


def test_the_tail_below_the_edge_is_smooth_and_falls(library):
    energy, mu = extend_below(library.energy, library.mu[1.0], -40.0)
    below = mu[:, energy <= library.energy[0] + 0.5]
    assert (np.diff(below, axis=1) > 0).all()
    assert (below[:, 0] < 0.05).all()


def test_a_recipe_becomes_a_bundle_that_learned(tmp_path):
    text = (RECIPES / "au-l3.toml").read_text()
    text = text.replace("hidden = [400, 400, 200, 200, 100]", "hidden = [64, 32]")
    text = text.replace("members = 10", "members = 5").replace("steps = 4000", "steps = 250")
    path = tmp_path / "small.toml"
    path.write_text(text.replace('name = "au-l3"', 'name = "small"'))
    stages = []
    bundle = build_bundle(path, tmp_path / "small", lambda *said: stages.append(said[0]))
    assert load_model(tmp_path / "small").sha256 == bundle.sha256
    assert bundle.card.accuracy.mae["CN1"] < 1.0  # guessing the mean gives about 1.6
    assert bundle.card.accuracy.particles > 50
    assert set(stages) == {"train", "calibrate"}
    assert build_bundle(path, tmp_path / "again").sha256 == bundle.sha256


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 4000", "steps = -1", "schedule.steps = -1"),
        ("noise = 0.01", 'noise = "loud"', "nuisances.noise = 'loud'"),
        ("folds = 5", "floods = 5", "floods"),
        ("folds = 5", "folds = ", "not valid TOML"),
        ("members = 10", "members = 3", "members = 3 are fewer than folds = 5"),
        ("random_sites = 0.35", "random_sites = 0.9", "over 1"),
        ("mismatch_length = 4.0", "mismatch_length = 0.0", "mismatch_length"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_entry(tmp_path, old, new, said):
    path = tmp_path / "bad.toml"
    text = (RECIPES / "au-l3.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RecipeError, match=said):
        read_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
