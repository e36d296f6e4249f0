"""Transfer learning: a model goes on learning from labelled spectra of particles that it never knew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from xas_live.analysis import Analyzer
from xas_live.models.bundle import Bundle
from xas_live.models.card import Trust
from xas_live.models.networks import network
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import FoilAnchor
from xas_live.simulator import Sample
from xas_live.theory.sites import FCC_FAMILIES, SiteLibrary
from xas_live.training.recipe import Nuisances, Schedule
from xas_live.training.simulate import Simulator
from xas_live.training.transfer import Labelled, LabelledError, read_labelled, tune_bundle, tuned

QUICK = Schedule(steps=60, batch=32, learning_rate=1e-3, seed=1)


TRUST = Trust(
    coverage=0.9, particles=10, false_alarms=0.01, oxide_flagged={}, told_apart={}, half_perturbed_flagged=0.9
)


@pytest.fixture(scope="module")
def pt() -> Bundle:
    return load_model("pt-l3")


@pytest.fixture(scope="module")
def strange(pt: Bundle) -> Labelled:
    """The 13 particles that are not fcc."""
    library = SiteLibrary.load("pt_l3")
    particles = [p for p in library.particles.values() if p.family not in FCC_FAMILIES]
    weights = np.zeros((len(particles), len(library.cn)))
    for row, particle in zip(weights, particles, strict=True):
        row[particle.sites] = particle.share
    at = Nuisances(noise=(0.003, 0.003))
    x, y = Simulator(library, pt.grid).measure(weights, at, np.random.default_rng(0))
    group = np.arange(len(x))
    return Labelled(x, y, group, {"file": "x", "sha256": "0", "spectra": len(x), "groups": len(x)})


def write(path: Path, labelled: Labelled, bundle: Bundle, rows: slice = slice(None)) -> Path:
    with h5py.File(path, "w") as file:
        file["input"] = labelled.x[rows].numpy()
        for target, values in zip(bundle.card.targets, labelled.y[rows].T, strict=True):
            file[f"targets/{target.name}"] = values.numpy()
            file[f"targets/{target.name}"].attrs["unit"] = target.unit
    return path


def test_tuning_lowers_the_error_on_particles_not_tuned_on(pt, strange):
    t = pt.tensors
    scaled = (strange.x - t["input_mean"]) / t["input_scale"]
    before = network(pt.card.network, pt.network, scaled).mean(0) * t["target_scale"] + t["target_mean"]
    error = (before - strange.y).abs().mean(0)
    trusted = replace(pt, card=pt.card.model_copy(update={"trust": TRUST}))
    after = tuned(trusted, strange, "tuned", schedule=QUICK)
    mae = after.card.accuracy.mae
    assert np.mean([mae[f"CN{i}"] for i in (1, 2, 3, 4)]) < 0.9 * float(error[:4].mean())
    assert after.tensors["calibration_scores"].shape == (1, 13, 5)
    assert after.card.calibration["calibrated_on"] == "labelled spectra"
    assert after.card.training["from"] == {"name": "pt-l3", "sha256": pt.sha256}
    assert after.card.trust is None  # its figures are the old network's
    assert (after.tensors["domain_reference"] >= pt.tensors["domain_reference"] - 1e-9).all()


def test_frozen_layers_stay_and_the_others_move(pt, strange):
    quick = QUICK.model_copy(update={"steps": 3})
    after = tuned(pt, strange, "tuned", frozen=2, schedule=quick)
    for name, weights in pt.network.items():
        assert torch.equal(after.tensors[name].float(), weights) == name.startswith(("layer0", "layer1")), (
            name
        )
    assert after.card.training["frozen_layers"] == 2
    with pytest.raises(LabelledError, match=r"6 frozen layers of 5: freeze 0 to 4"):
        tuned(pt, strange, "tuned", frozen=6, schedule=quick)


def test_with_few_particles_the_intervals_are_the_sources_or_wider(pt, strange):
    few = Labelled(strange.x[:8], strange.y[:8], np.arange(8), {**strange.about, "spectra": 8, "groups": 8})
    after = tuned(pt, few, "tuned", schedule=QUICK)
    assert torch.equal(after.tensors["calibration_scores"], pt.tensors["calibration_scores"])
    assert (after.tensors["scale_floor"] >= pt.tensors["scale_floor"]).all()
    assert (after.tensors["scale_floor"] > pt.tensors["scale_floor"]).any()
    assert "too few particles" in after.card.calibration["tuned"]


def test_labels_that_are_not_known_teach_nothing_and_spoil_nothing(pt, strange):
    y = strange.y.clone()
    y[:, 4] = torch.nan
    y[0, 0] = torch.nan
    y[0, 4] = strange.y[0, 4]
    after = tuned(pt, Labelled(strange.x, y, strange.group, strange.about), "tuned", schedule=QUICK)
    assert all(torch.isfinite(v).all() for k, v in after.tensors.items() if k.startswith("layer"))
    assert np.isfinite(list(after.card.accuracy.mae.values())).all()


def test_a_file_becomes_a_bundle_that_analyses_and_repeats(pt, strange, tmp_path, scan_of):
    path = write(tmp_path / "labelled.h5", strange, pt)
    bundle = tune_bundle(pt, path, tmp_path / "icosahedra", schedule=QUICK)
    assert bundle.name == "icosahedra"
    assert tune_bundle(pt, path, tmp_path / "b" / "icosahedra", schedule=QUICK).sha256 == bundle.sha256
    (p,) = Analyzer(bundle, None, device="cpu").analyze(
        [scan_of(Sample({"cuboctahedron_5_2": 1.0}), "pt_l3")]
    )
    assert p.refused is None
    assert set(p.values) == set(pt.target_names)


def test_measured_spectra_are_reduced_as_every_sweep_is(pt, scan_of, tmp_path):
    scans = [
        scan_of(Sample({"cuboctahedron_5_2": 1.0}), "pt_l3", noise=0.001, seed=i, reference=None)
        for i in range(8)
    ]
    foil = scan_of(None, "pt_l3", reference=None)
    path = tmp_path / "measured.h5"
    with h5py.File(path, "w") as file:
        file["energy"], file["mu"] = scans[0].energy, np.stack([s.mu for s in scans])
        file["foil/energy"], file["foil/mu"] = foil.energy, foil.mu
        file["group"] = [0, 0, 1, 1, 2, 2, 3, 3]
        for name, value in {"CN1": 9.0, "CN2": 4.0, "CN3": 13.0, "CN4": 6.0, "R1": 2.75}.items():
            file[f"targets/{name}"] = np.full(8, value)
    labelled = read_labelled(path, pt)
    predictions = Analyzer(pt, FoilAnchor.fit(foil, pt), device="cpu").analyze(scans)
    expected = np.stack([p.reduced.network_input for p in predictions])
    np.testing.assert_allclose(labelled.x.numpy(), expected, atol=1e-6)
    assert labelled.about["groups"] == 4
    with h5py.File(path, "r+") as file:
        file["mu"][3] = 0.0
    with pytest.raises(LabelledError, match=r"mu\[3\] cannot be used: "):
        read_labelled(path, pt)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.pop("targets/CN2"), r"targets/CN2 is missing: pt-l3 gives CN1, CN2, CN3, CN4, R1"),
        (lambda f: f["targets/R1"].attrs.modify("unit", "nm"), r"targets/R1 has the unit 'nm'; .* 'Å'"),
        (lambda f: f["targets/R1"].write_direct(np.full(13, 0.277)), r"targets/R1\[0\] = 0.277 is far from"),
        (lambda f: f["targets/CN1"].write_direct(np.full(13, np.nan)), r"targets/CN1 holds no number"),
        (lambda f: f.pop("input"), r"energy is missing: give energy, mu, foil/energy and foil/mu"),
        (lambda f: f["input"].write_direct(np.full((13, 132), np.nan)), r"input\[0\] holds NaN"),
        (lambda f: f.create_dataset("group", data=np.zeros(13, int)), r"13 labelled spectra of 1 particles"),
        (lambda f: f.create_dataset("group", data=np.arange(5)), r"13 spectra, 13 labels and 5 group"),
    ],
)
def test_labelled_spectra_that_cannot_be_learned_from_are_refused(pt, strange, tmp_path, change, said):
    path = write(tmp_path / "bad.h5", strange, pt)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(LabelledError, match=said):
        read_labelled(path, pt)


def test_too_few_spectra_and_no_hdf5_are_refused(pt, strange, tmp_path):
    with pytest.raises(LabelledError, match="7 labelled spectra of 7 particles are too few"):
        read_labelled(write(tmp_path / "few.h5", strange, pt, slice(7)), pt)
    (tmp_path / "text.h5").write_text("CN1 = 9")
    with pytest.raises(LabelledError, match="cannot be read as HDF5"):
        read_labelled(tmp_path / "text.h5", pt)
