"""Training: what mixtures hold, that folds keep environments apart, and that a recipe becomes a bundle."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import xas_live.training
from xas_live.models.registry import load_model
from xas_live.theory.sites import SiteLibrary, extend_below
from xas_live.training import radial
from xas_live.training.build import build_bundle
from xas_live.training.population import held_out_particles, site_folds, used_sites
from xas_live.training.recipe import Nuisances, RecipeError, read_recipe
from xas_live.training.simulate import Admixture, Mixtures, Simulator, fcc_particles

RECIPES = Path(xas_live.training.__file__).parent / "recipes"


def altered(path: Path, old: str, new: str) -> Path:
    """The recipe of au-l3 with one entry changed."""
    text = (RECIPES / "au-l3.toml").read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


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
    beyond = replace(source, structures=recipe.structures.model_copy(update={"reach": 0.5}))
    far = beyond.draw(500, np.random.default_rng(0))
    np.testing.assert_allclose(far.sum(1), 1.0)
    assert (far < 0).any()
    assert not far[:, ~allowed].any()
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
    x, truth = simulator.measure(weights, Nuisances(), np.random.default_rng(0))
    energy, mu = extend_below(library.energy, library.mu[1.0][library.bulk_site], -20.0)
    np.testing.assert_allclose(x[0], np.interp(load_model("au-l3").grid, energy, mu), atol=5e-3)
    np.testing.assert_allclose(truth[0], [12, 6, 24, 12, library.r1[1.0]], rtol=1e-5)


def test_r1_is_the_distance_that_was_simulated(library):
    simulator = Simulator(library, load_model("au-l3").grid)
    weights = np.zeros((2, len(library.cn)))
    weights[0, library.bulk_site] = weights[1, library.particles["cuboctahedron_5_2"].sites[0]] = 1.0
    at = Nuisances(lattice=(-0.03, -0.03), contraction=(0.1, 0.1))
    x, truth = simulator.measure(weights, at, np.random.default_rng(0))
    assert truth[0, 4] == pytest.approx(library.r1[0.97], rel=1e-5)
    energy, mu = extend_below(library.energy, library.mu[0.97][library.bulk_site], -20.0)
    np.testing.assert_allclose(x[0], np.interp(load_model("au-l3").grid, energy, mu), atol=5e-3)
    assert truth[1, 4] < truth[0, 4]  # what lacks neighbours contracts more


@pytest.mark.parametrize("name", sorted(set(Nuisances.model_fields) - {"mismatch_length", "edge_end"}))
def test_every_nuisance_changes_the_spectrum(name):
    library = SiteLibrary.load("pt_l3")  # with calculated adsorbates
    simulator = Simulator(library, load_model("pt-l3").grid)
    particle = library.particles["cuboctahedron_7_3"]
    weights = np.zeros((50, len(library.cn)))
    weights[:, particle.sites] = particle.share
    sizes = {
        "shift": 0.3,
        "contraction": (0.0, 0.05),
        "broadening": 1.0,
        "lattice": (0.0, 0.01),
        "noise": (0, 0.01),
        "thermal": (0.0, 0.003),
        "resolution": 1.5,
        "adsorbed": 0.5,
    }
    before = {"adsorbed": 0.5} if name == "adsorbed_atoms" else {}
    plain, changed = (
        simulator.measure(weights, Nuisances(**before, **extra), np.random.default_rng(0))[0]
        for extra in ({}, {name: sizes.get(name, 0.01)})
    )
    assert (plain - changed).abs().max() > 1e-4
    assert torch.isfinite(changed).all()


def test_what_carries_adsorbates_is_what_lies_on_the_surface():
    library = SiteLibrary.load("pt_l3")
    simulator = Simulator(library, load_model("pt-l3").grid)
    weights = np.zeros((400, len(library.cn)))
    particle = library.particles["cuboctahedron_5_2"]
    weights[:200, particle.sites] = particle.share
    weights[200:, library.bulk_site] = 1.0
    surface = float(particle.share[library.cn[particle.sites, 0] < 12].sum())
    found = simulator.measure_mixed(weights, Nuisances(adsorbed=1.0), np.random.default_rng(0))
    assert 0.0 < found.adsorbed[:200].min() < found.adsorbed[:200].max() <= surface + 1e-6
    assert found.adsorbed[:200].mean() == pytest.approx(surface / 2.0, rel=0.1)
    assert not found.adsorbed[200:].any()
    as_many = Nuisances(adsorbed=1.0, adsorbed_atoms=0.6)
    free = simulator.measure_mixed(weights[:200], as_many, np.random.default_rng(0))
    assert free.adsorbed.max() == pytest.approx(0.6, abs=0.02)  # whatever the surface has room for


def test_an_admixture_takes_its_share_of_the_spectrum_and_leaves_the_truth(library):
    simulator = Simulator(library, load_model("au-l3").grid)
    weights = np.zeros((2, len(library.cn)))
    weights[:, library.bulk_site] = 1.0
    other = torch.full((2, len(simulator.mesh)), 0.3)
    found = simulator.measure_mixed(
        weights, Nuisances(), np.random.default_rng(0), Admixture(other, torch.tensor([0.0, 0.25]))
    )
    np.testing.assert_allclose(found.x[1], 0.75 * found.x[0] + 0.25 * 0.3, atol=1e-5)
    np.testing.assert_allclose(found.truth[0], found.truth[1])


def test_the_tail_below_the_edge_is_smooth_and_falls(library):
    energy, mu = extend_below(library.energy, library.mu[1.0], -40.0)
    below = mu[:, energy <= library.energy[0] + 0.5]
    assert (np.diff(below, axis=1) > 0).all()
    assert (below[:, 0] < 0.05).all()


def small(path: Path, name: str, steps: int, **entries: object) -> Path:
    """A shipped recipe with a coarser grid, a smaller network and fewer steps, built within seconds."""
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    grid = [{"start": -8.0, "stop": 30.0, "step": 1.5}, {"start": 30.0, "stop": 85.5, "step": 4.0}]
    for key, value in {
        "name": '"small"',
        "grid": str(grid).replace("'", "").replace(":", " ="),
        "learning_rate": 0.004,
        "hidden": [64, 32],
        "batch": 64,
        **entries,
    }.items():
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert found
    fewer = {"8000": steps, "10500": steps, "3000": 10, "4000": 10}  # of network, domain and chemistry
    for many, few in fewer.items():
        text = text.replace(f"steps = {many}", f"steps = {few}")
    text = text.replace("departures = 24000", "departures = 1000").replace("cycles = 3", "cycles = 1")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_becomes_a_bundle_that_learned(tmp_path):
    path = small(tmp_path / "small.toml", "au-l3", 80, members=5)
    stages = []
    bundle = build_bundle(path, tmp_path / "small", lambda *said: stages.append(said[0]))
    assert load_model(tmp_path / "small").sha256 == bundle.sha256
    assert bundle.card.accuracy.mae["CN1"] < 1.0  # guessing the mean gives about 1.6
    assert bundle.card.accuracy.particles > 50
    assert set(stages) == {"train", "calibrate"}


def test_a_recipe_gives_the_same_bundle_every_time(tmp_path):
    path = small(tmp_path / "small.toml", "au-l3", 3, members=5)
    once, again = (build_bundle(path, tmp_path / folder).sha256 for folder in ("once", "again"))
    assert once == again


def test_a_radial_recipe_becomes_a_bundle_that_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(radial, "TESTED", 200)  # distributions that judge
    path = small(tmp_path / "small.toml", "au-l3-msd", 80, members=2)
    bundle = build_bundle(path, tmp_path / "small")
    assert bundle.target_names == ["MSD", "radial_variance"]
    assert "particle_cn" not in bundle.tensors
    assert bundle.card.accuracy.mae["MSD"] < 0.003  # guessing the mean gives about 0.006
    assert bundle.card.accuracy.coverage["MSD"] == pytest.approx(0.9, abs=0.06)
    assert [t.unit for t in bundle.card.targets] == ["Å²", "Å²"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 10500", "steps = -1", "line 78, schedule.steps = -1"),
        ("noise = [0.001, 0.01]", 'noise = "loud"', "line 47, nuisances.noise = 'loud'"),
        ("noise = [0.001, 0.01]", "noise = [0.01, 0.001]", "line 47, .*not from 0.01 to 0.001"),
        ("folds = 5", "floods = 5", "line 4, floods = 5"),
        ("folds = 5", "folds = ", "not valid TOML"),
        ("members = 10", "members = 3", "line 70, network = .*members = 3 are fewer than folds = 5"),
        ("random_sites = 0.35", "random_sites = 0.9", "line 29, structures.particles = 0.62: .*over 1"),
        ('sites = "au_l3"\n', "", "line 23, structures.sites: Field required"),
        ('kind = "mixtures"', 'kind = "fixtures"', "line 23, structures = "),
        ("mismatch_length = 0.5", "mismatch_length = 0.0", "line 52, nuisances.mismatch_length"),
        ("start = 30.0", "start = 20.0", "line 8, inputs.0.grid = .*begins at 20 eV"),
        ("step = 0.5", "step = 0.0", "line 8, inputs.0.grid.0.step = 0.0"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_line(tmp_path, old, new, said):
    path = altered(tmp_path / "bad.toml", old, new)
    with pytest.raises(RecipeError, match=said):
        read_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('unit = "Å"', 'unit = "nm"', "line 20, outputs.0.targets.4.unit = 'nm': the unit of R1 is 'Å'"),
        (
            'name = "R1", unit = "Å"',
            'name = "R1"',
            "line 20, outputs.0.targets.4.unit: the unit of R1 is ",
        ),
        ('name = "CN3"', 'name = "CN5"', "line 18, outputs.0.targets.2.name = 'CN5': no such target"),
        ('name = "CN3"', 'name = "CN1"', "line 18, outputs.0.targets.2.name = 'CN1': a target is named once"),
        ("stop = 85.5", "stop = 850.5", "line 8, inputs.0.grid = .*theory reaches from -30 to 90 eV"),
        ("cuboctahedron_3_1", "cuboctahedron_3_9", "line 26, structures.left_out = .*cuboctahedron_3_9"),
    ],
)
def test_a_recipe_that_does_not_fit_its_spectra_is_refused_with_its_line(tmp_path, old, new, said):
    path = altered(tmp_path / "bad.toml", old, new)
    with pytest.raises(RecipeError, match=said):
        build_bundle(path, tmp_path / "bad")
