"""Models trained on labelled spectra of which some labels are not known; structures seen at two edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.labelled_recipes import CURVE, DOMAIN, NUMBERS, SITES, known, recipe, write
from xas_live.models.bundle import Bundle
from xas_live.models.outputs import kinds_of
from xas_live.training.build import build_bundle
from xas_live.training.domain import _to_principal_axes
from xas_live.training.labelled import LabelledSpectra
from xas_live.training.recipe import Nuisances, RecipeError, read_recipe

EVERY = NUMBERS + SITES + CURVE


def with_unknown(labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of every label, a few that are not known."""
    given = {name: values.copy() for name, values in labels.items()}
    given["height"][:4] = given["place"][4:7] = given["shape"][7:9, 1] = np.nan
    given["site"][9:12] = b""
    return given


@pytest.fixture(scope="module")
def labels() -> dict[str, np.ndarray]:
    return known(120)


@pytest.fixture(scope="module")
def partly_known(labels, tmp_path_factory) -> Bundle:
    """All kinds at once, with a domain, from labels of which some are not known."""
    folder = tmp_path_factory.mktemp("partly")
    write(folder / "a.h5", labels, given=with_unknown(labels))
    return build_bundle(recipe(folder / "small.toml", EVERY, domain=DOMAIN), folder / "small")


def test_unknown_labels_spoil_nothing(partly_known):
    assert all(torch.isfinite(tensor).all() for tensor in partly_known.tensors.values())
    card = partly_known.card
    for figures in (card.accuracy.mae, card.accuracy.coverage, card.accuracy.half_width):
        assert set(figures) == {"height", "place", "site", "shape"}
        assert np.isfinite(list(figures.values())).all()
    assert card.accuracy.mae["height"] < 0.1  # guessing the mean gives 0.2
    assert card.accuracy.mae["site"] < 0.3
    assert Bundle.load(partly_known.folder).sha256 == partly_known.sha256


def test_a_mixture_lacks_the_labels_that_one_of_it_lacks(labels, tmp_path):
    given = with_unknown(labels)
    write(tmp_path / "a.h5", labels, given=given)
    population = LabelledSpectra(read_recipe(recipe(tmp_path / "small.toml", EVERY)), tmp_path)
    weights = np.zeros((3, 120))
    weights[0, 20] = 1.0
    weights[1, [0, 20]] = 0.5
    weights[2, [9, 20]] = 0.25, 0.75
    y = population.measure(weights, Nuisances(), np.random.default_rng(0))[1]
    assert torch.isfinite(y[0]).all()
    assert y[1].isnan().tolist() == [True] + [False] * 10
    assert y[2].isnan().tolist() == [False, False] + [True] * 3 + [False] * 6
    assert y[1, 1] == pytest.approx(0.5 * (labels["place"][0] + labels["place"][20]))


def test_where_all_is_known_labels_mix_as_a_plain_product(labels, tmp_path):
    write(tmp_path / "a.h5", labels)
    population = LabelledSpectra(read_recipe(recipe(tmp_path / "small.toml", EVERY)), tmp_path)
    rng = np.random.default_rng(1)
    weights = population.draw(0, 50, rng)
    y = population.measure(weights, Nuisances(), rng)[1]
    alone = population.measure(np.eye(120), Nuisances(), rng)[1]
    assert torch.equal(y, torch.from_numpy(weights).float() @ alone)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_scaling_and_calibration_are_those_of_the_known_rows(partly_known, output):
    kind = kinds_of(partly_known.card.outputs)[output]
    chance = torch.Generator().manual_seed(0)
    raw = torch.rand((40, kind.width), generator=chance)
    truth = torch.nn.functional.one_hot(raw.argmax(1), kind.width).float() if output == 1 else raw
    mean, spread = (torch.rand((40, kind.width), generator=chance) for _ in range(2))
    gaps = truth.clone()
    gaps[30:] = torch.nan
    by = mean[:, 0] if kind.strata is not None else None
    one = kind.scaling(gaps) | kind.calibrate(mean, spread, gaps, by)
    few = None if by is None else by[:30]
    other = kind.scaling(truth[:30]) | kind.calibrate(mean[:30], spread[:30], truth[:30], few)
    assert set(one) == set(other)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name])
    covered = kind.covered(kind.estimate(one, mean, spread, by, 0.8), gaps)
    assert covered[30:].isnan().all()
    assert torch.isfinite(covered[:30]).any(1).all()
    assert kind.error(mean, gaps)[30:].isnan().all()
    with pytest.raises(ValueError, match=f"{kind.name}: 0 calibration spectra have all its labels"):
        kind.calibrate(mean, spread, torch.full_like(truth, torch.nan), by)


def test_a_column_that_was_never_drawn_has_a_scale(partly_known):
    numbers = kinds_of(partly_known.card.outputs)[0]
    truth = torch.rand((2, 10, 2))
    truth[..., 1] = torch.nan
    scaling = numbers.scaling(truth)
    assert all(torch.isfinite(tensor).all() for tensor in scaling.values())
    torch.testing.assert_close(scaling["target_mean"][0], truth[..., 0].mean())
    torch.testing.assert_close(scaling["target_scale"][0], truth[..., 0].std())


def test_too_few_known_labels_are_refused_before_training(labels, tmp_path):
    given = with_unknown(labels)
    given["place"][30:] = np.nan
    write(tmp_path / "a.h5", labels, given=given)
    said = (
        r"line \d+, structures.files.*outside fold \d, \d+ spectra .* output 'numbers': 27 are needed .* 90 %"
    )
    with pytest.raises(RecipeError, match=said):
        build_bundle(recipe(tmp_path / "small.toml", EVERY), tmp_path / "small")
    given["place"][:] = np.nan
    write(tmp_path / "a.h5", labels, given=given)
    with pytest.raises(RecipeError, match="labels/place holds no number"):
        build_bundle(recipe(tmp_path / "small.toml", EVERY), tmp_path / "small")


def test_a_file_without_spectra_is_refused(tmp_path):
    write(tmp_path / "a.h5", known(0))
    with pytest.raises(RecipeError, match=r"a\.h5 holds no spectrum"):
        build_bundle(recipe(tmp_path / "small.toml", SITES), tmp_path / "small")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": np.array([b"low"] * 119 + [b"lower"])}, "labels/site has lower; the classes are low, mid"),
        ({"shape": np.zeros((120, 3))}, r"labels/shape has shape \(120, 3\); the curve has 6 points"),
        ({"height": np.array([b"tall"] * 120)}, "labels/height holds .*, not numbers"),
        ({"height": np.full(120, np.inf)}, "labels/height holds infinity"),
        ({"height": np.zeros(7)}, "labels differ in length"),
        ({"group": np.full(120, 0.5)}, "group must hold whole numbers"),
        ({"group": np.zeros(7, int)}, r"group \(7,\) do not match"),
    ],
)
def test_files_that_do_not_fit_are_refused(labels, tmp_path, given, said):
    write(tmp_path / "a.h5", labels, given=given)
    with pytest.raises(RecipeError, match=f"structures.files.0 = 'a.h5': a.h5: .*{said}"):
        build_bundle(recipe(tmp_path / "small.toml", EVERY), tmp_path / "small")


def test_a_structure_seen_at_two_edges_lies_in_one_fold(tmp_path):
    group = np.arange(40) // 2
    for seed, name in enumerate(("a.h5", "b.h5")):
        write(tmp_path / name, known(40, seed), given={"group": group[:: 1 - 2 * seed].copy()})
    path = recipe(tmp_path / "small.toml", SITES, ("a.h5", "b.h5"))
    first, second = np.split(LabelledSpectra(read_recipe(path), tmp_path).fold, 2)
    np.testing.assert_array_equal(first, second[::-1])
    np.testing.assert_array_equal(first[::2], first[1::2])
    assert set(first) == {0, 1}


def test_spectra_without_groups_are_structures_of_their_own(tmp_path):
    write(tmp_path / "a.h5", known(40))
    write(tmp_path / "b.h5", known(40, 1), given={"group": np.zeros(40, int)})
    path = recipe(tmp_path / "small.toml", SITES, ("a.h5", "b.h5"))
    first, second = np.split(LabelledSpectra(read_recipe(path), tmp_path).fold, 2)
    assert len(set(second)) == 1
    assert np.bincount(first).tolist() in ([20, 20], [21, 19], [19, 21])


def test_the_map_is_shown_by_the_target_that_the_card_names(labels, partly_known, tmp_path):
    latent = partly_known.card.sections.latent
    assert latent.shown_by == "height"
    assert torch.isfinite(partly_known.tensors["latent_target"]).all()
    write(tmp_path / "a.h5", labels)
    outputs = SITES.replace('prefix = "site."\n', "") + NUMBERS.replace(
        'name = "numbers"', 'name = "n"\nprefix = "n."'
    )
    by_place = DOMAIN + 'stratify_by = "place"\n'
    path = recipe(tmp_path / "small.toml", outputs, domain=by_place, steps=5)
    bundle = build_bundle(path, tmp_path / "small")
    assert bundle.card.sections.latent.shown_by == "place"
    assert 5.0 < bundle.tensors["latent_target"].mean() < 11.0
    bundle = build_bundle(recipe(path, SITES, domain=DOMAIN, steps=5), tmp_path / "without")
    assert bundle.card.sections.latent.shown_by is None
    assert not bundle.tensors["latent_target"].any()


def test_latent_coordinates_rise_with_the_target_where_it_is_known(partly_known):
    chance = torch.Generator().manual_seed(3)
    cloud = torch.randn((50, 8), generator=chance)
    target = cloud @ torch.randn(8, generator=chance)
    gaps = torch.where(torch.arange(50) < 10, torch.nan, target)
    turned = []
    for each in (target, gaps):
        weights = {name: tensor.clone() for name, tensor in partly_known.tensors.items()}
        _to_principal_axes(weights, cloud, each)
        turned.append({name: t for name, t in weights.items() if name.startswith(("encoder", "decoder"))})
    assert all(torch.isfinite(tensor).all() for tensor in turned[1].values())
    one, other = (part["encoder.layer3.weight"] for part in turned)
    torch.testing.assert_close(one.abs(), other.abs())
    assert (one.sign() == other.sign()).float().mean() > 0.7
