"""Bundles, cards, the registry, and what is stored beside the weights."""

from __future__ import annotations

import copy
import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file

from xas_live.models import registry
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.card import NetworkSpec
from xas_live.models.cards_page import document
from xas_live.models.networks import init_network, network
from xas_live.models.outputs.intervals import conformal_rank, fit_intervals, half_width
from xas_live.models.sections.domain import DISTANCES, domain_p_value, fit_reference, fit_subspace, nearest
from xas_live.models.sections.latent import decode, encode, reconstruct


@pytest.mark.parametrize("name", ["au-l3", "pd-k", "pt-l3"])
def test_shipped_models_are_what_was_shipped(name):
    assert registry.verify_model(name) is None
    bundle = registry.load_model(name)
    assert bundle.target_names == ["CN1", "CN2", "CN3", "CN4", "R1"]
    assert bundle.card.accuracy.mae["CN1"] < 0.45
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    assert size < 12 * 2**20


def test_the_model_of_displacements_is_asked_for_by_name():
    bundle = registry.load_model("au-l3-msd")
    assert bundle.target_names == ["MSD", "radial_variance"]
    assert bundle.card.accuracy.mae["MSD"] < 0.001
    assert registry.find_model("Au", "L3") == "au-l3"


def test_an_altered_model_is_refused(tmp_path, monkeypatch):
    shutil.copytree(registry.SHIPPED_FOLDER / "au-l3", tmp_path / "au-l3")
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path)
    card = tmp_path / "au-l3" / "card.json"
    card.write_text(card.read_text().replace('"value": ', '"value":') + " ")
    assert "altered" in registry.verify_model("au-l3")


def test_models_that_cannot_be_had_say_why(tmp_path, au):
    with pytest.raises(ModelError, match="no model 'xx': shipped are au-l3"):
        registry.load_model("xx")
    with pytest.raises(ModelError, match=r"card\.json is missing"):
        registry.load_model(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(au.folder, folder)
    card = json.loads((folder / "card.json").read_text())
    wrong = copy.deepcopy(card)
    wrong["sections"]["domain"]["threshold"] = 7
    (folder / "card.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=r"sections\.domain\.threshold\s+Input should be less than 1"):
        registry.load_model(folder)
    card["network"]["members"] = 3
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"layer0.weight.*its card asks for \(3, "):
        registry.load_model(folder)
    card["network"]["members"] = 10
    (folder / "card.json").write_text(json.dumps(card))
    few = {k: v for k, v in au.tensors.items() if not k.startswith(("theory", "domain"))}
    save_file(few, folder / "weights.safetensors")
    with pytest.raises(ModelError, match="lack theory_energy, theory_bulk, theory_background, domain_mean"):
        registry.load_model(folder)
    (folder / "weights.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        registry.load_model(folder)


def test_a_bundle_survives_the_disk(au, tmp_path):
    again = Bundle(au.card, au.tensors, "").save(tmp_path / "b")
    for name, tensor in au.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("input_mean", lambda t: torch.full_like(t, float("nan")), "holds nan"),
        ("input_mean", lambda t: torch.full_like(t, float("-inf")), "holds inf"),
        ("layer1.weight", lambda t: t * 1e9, "weights are numbers up to"),
        ("input_scale", lambda t: -t, "not over 0"),
        ("input_mean", lambda t: t.long(), "is of type torch.int64"),
        ("theory_energy", lambda t: t.flip(0), "does not ascend"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(au, tmp_path, name, change, why):
    folder = tmp_path / "bundle"
    au.save(folder)
    tensors = {k: v.contiguous() for k, v in au.tensors.items()}
    name = next(k for k in tensors if k.startswith(name.partition(".")[0]))
    save_file(tensors | {name: change(tensors[name]).contiguous()}, folder / "weights.safetensors")
    with pytest.raises(ModelError, match=why):
        Bundle.load(folder)


CARDS = [
    "[" * 100_000,
    "[1]",
    "null",
    '{"schema_version": 1}',
    '{"schema_version": 1, "targets": 3}',
    "{",
    "\xff",
]


@pytest.mark.parametrize("text", CARDS)
def test_whatever_a_card_holds_the_error_is_the_models_own(au, tmp_path, text):
    au.save(tmp_path / "bundle")
    (tmp_path / "bundle" / "card.json").write_text(text)
    with pytest.raises(ModelError, match="not a valid card"):
        Bundle.load(tmp_path / "bundle")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_card_with_one_entry_changed_is_refused_or_read(au, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed")
    entries = json.loads(au.card.model_dump_json())
    place = entries
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if data.draw(st.booleans()) or not (isinstance(place[key], dict | list) and place[key]):
            break
        place = place[key]
    junk = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.just([]))
    place[key] = data.draw(junk)
    (folder / "card.json").write_text(json.dumps(entries))
    shutil.copy(au.folder / "weights.safetensors", folder)
    with suppress(ModelError):
        Bundle.load(folder)


def test_stacked_members_equal_single_networks():
    spec = NetworkSpec(hidden=(5, 4), members=3)
    weights = init_network(spec, 7, 2, torch.Generator().manual_seed(0))
    x = torch.randn(6, 7)
    together = network(spec, weights, x)
    for i in range(3):
        h = x
        for layer in range(3):
            h = h @ weights[f"layer{layer}.weight"][i] + weights[f"layer{layer}.bias"][i]
            h = torch.tanh(h) if layer < 2 else h
        torch.testing.assert_close(together[i], h)
    arrays = network(spec, {name: weight.numpy() for name, weight in weights.items()}, x.numpy())
    np.testing.assert_allclose(arrays, together.numpy(), atol=1e-6)


def test_a_convolutional_network_is_torchs_own():
    spec = NetworkSpec(kind="cnn", kernels=(3, 4), kernel_width=5, hidden=(6,), activation="relu", members=2)
    weights = init_network(spec, 20, 2, torch.Generator().manual_seed(0))
    x = torch.randn(2, 7, 20)
    together = network(spec, weights, x)
    for i in range(2):
        own = {name: value[i] for name, value in weights.items()}
        h = x[i][:, None]
        for layer in range(2):
            h = torch.relu(torch.conv1d(h, own[f"conv{layer}.weight"], own[f"conv{layer}.bias"]))
        h = torch.relu(h.flatten(1) @ own["layer0.weight"] + own["layer0.bias"])
        h = h @ own["layer1.weight"] + own["layer1.bias"]
        torch.testing.assert_close(together[i], h)


def test_networks_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="do not fit kind"):
        NetworkSpec(kind="cnn", hidden=(5,), members=1)
    with pytest.raises(ValidationError, match="do not fit kind"):
        NetworkSpec(kernels=(5,), hidden=(5,), members=1)
    wide = NetworkSpec(kind="cnn", kernels=(3, 4), kernel_width=30, hidden=(6,), members=2)
    with pytest.raises(ValueError, match="leave nothing of 40 points"):
        init_network(wide, 40, 2, torch.Generator())


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), level=st.sampled_from([0.7, 0.8, 0.9]))
def test_intervals_cover_new_particles_of_every_size_at_their_level(seed, level):
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        predicted = 5 + 7 * torch.rand(n, generator=generator)
        spread = 0.1 * torch.rand((n, 2), generator=generator)
        error = (13 - predicted)[:, None] * 0.1 * torch.randn((n, 2), generator=generator)
        return error, spread, predicted

    tensors = fit_intervals(*draw(2000))
    assert tensors["calibration_scores"].shape == (3, 666, 2)
    error, spread, predicted = draw(4000)
    inside = (error.abs() <= half_width(tensors, spread, predicted, level)).float()
    for small, large in ((5, 7), (7, 9), (9, 12)):
        of = (predicted > small) & (predicted < large)
        assert abs(inside[of].mean().item() - level) < 0.07


def test_a_calibration_set_too_small_for_the_level_is_refused():
    with pytest.raises(ValueError, match=r"at most 0\.909"):
        conformal_rank(10, 0.95)


def test_many_measurements_of_a_particle_count_as_one():
    generator = torch.Generator().manual_seed(1)
    error, spread = torch.randn((2400, 1), generator=generator), torch.ones((2400, 1))
    predicted = torch.rand(2400, generator=generator)
    every = fit_intervals(error, spread, predicted)["calibration_scores"]
    pooled = fit_intervals(error, spread, predicted, draws=8)["calibration_scores"]
    assert pooled.shape == (3, 100, 1)
    torch.testing.assert_close(pooled, every[:, 7::8])


def test_the_domain_holds_its_false_alarms_and_sees_what_is_new():
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        predicted = torch.rand(n, generator=generator)
        return (1.0 + predicted[:, None]) * torch.randn((n, 4), generator=generator), predicted

    tensors = fit_reference(*draw(6000))
    p, _ = domain_p_value(tensors, *draw(5000))
    for level in (0.01, 0.05, 0.2, 0.5):
        assert abs((p < level).float().mean().item() - level) < 0.02
    for k in range(len(DISTANCES)):
        distances, predicted = draw(50)
        distances[:, k] = 9.0
        p, scores = domain_p_value(tensors, distances, predicted)
        assert (p < 0.005).all()
        assert (scores[:, k] > 1).all()


def test_the_nearest_that_training_knows_is_drawn_into_its_spread():
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn((3, 20), generator=generator)
    train = torch.randn((2000, 3), generator=generator) @ basis
    tensors = fit_subspace(train, train)
    assert len(tensors["domain_components"]) == 3
    far = tensors["domain_mean"] + 10.0 * basis[:1]
    near = nearest(tensors, far)
    scores = (near - tensors["domain_mean"]) @ tensors["domain_components"].T
    assert (scores**2 / tensors["domain_variances"]).mean().sqrt().item() == pytest.approx(1.0, rel=1e-4)
    inside = train[:50] * 0.2 + tensors["domain_mean"] * 0.8
    torch.testing.assert_close(nearest(tensors, inside), inside)


@pytest.mark.parametrize("name", ["au-l3", "pd-k", "pt-l3"])
def test_latent_coordinates_are_principal_and_give_spectra_back(name):
    bundle = registry.load_model(name)
    cloud = bundle.tensors["latent_cloud"]
    assert cloud.mean(0).abs().max() < 0.05
    torch.testing.assert_close(torch.cov(cloud.T), torch.eye(8), atol=0.1, rtol=0)
    target = bundle.tensors["latent_target"]
    assert torch.corrcoef(torch.stack([cloud[:, 0], target]))[0, 1] > 0.3
    spectra = decode(bundle.tensors, cloud)
    latent, again = reconstruct(bundle.tensors, spectra)
    torch.testing.assert_close(latent, encode(bundle.tensors, spectra))
    noisy = spectra + 0.03 * torch.randn(spectra.shape, generator=torch.Generator().manual_seed(0))
    denoised = reconstruct(bundle.tensors, noisy)[1]
    assert (denoised - spectra).square().mean() < 0.25 * (noisy - spectra).square().mean()
    assert (again - spectra).square().mean().sqrt() < 0.02


def test_the_page_of_models_says_what_the_cards_say():
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"
    bundles = [registry.load_model(name) for name in registry.available_models()]
    assert page.read_text(encoding="utf-8") == document(bundles), (
        "run: xas-live models document > docs/reference/models.md"
    )


def test_an_altered_model_does_not_cost_the_others(tmp_path, monkeypatch):
    shutil.copytree(registry.SHIPPED_FOLDER, tmp_path / "models")
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "models")
    (tmp_path / "models" / "pt-l3" / "weights.safetensors").write_bytes(b"altered")
    registry._shipped.cache_clear()
    registry._by_absorber.cache_clear()
    try:
        assert registry.find_model("Au", "L3") == "au-l3"
        registry.load_model("au-l3")
        with pytest.raises(ModelError, match="pt-l3: card or weights were altered"):
            registry.load_model("pt-l3")
    finally:
        registry._shipped.cache_clear()
        registry._by_absorber.cache_clear()
