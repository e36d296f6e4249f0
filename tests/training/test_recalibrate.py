"""Intervals from a user's own standards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.models.kinds import (
    CLASSES,
    EDGE,
    bundle_of,
    chi_input,
    classifier_bundle,
    curve_bundle,
    mixed_bundle,
    mu_input,
    numbers_spec,
    sweeps,
)
from xas_live.analysis import Analyzer
from xas_live.cli import app
from xas_live.models.bundle import Bundle
from xas_live.models.card import Absorber
from xas_live.theory.sites import SiteLibrary
from xas_live.training.recalibrate import recalibrate_bundle, recalibrated
from xas_live.training.recipe import Nuisances, Schedule
from xas_live.training.simulate import Simulator, fcc_particles
from xas_live.training.transfer import Labelled, LabelledError, read_labelled, tune_bundle, tuned

QUICK = Schedule(steps=20, batch=16, learning_rate=1e-3, seed=1)


def labelled(au: Bundle, count: int, repeats: int = 1) -> Labelled:
    library = SiteLibrary.load("au_l3")
    chosen = np.random.default_rng(0).permutation(np.array(fcc_particles(library), dtype=object))[:count]
    rows = np.zeros((count, len(library.cn)))
    for row, particle in zip(rows, chosen, strict=True):
        row[particle.sites] = particle.share
    rows = np.repeat(rows, repeats, axis=0)
    x, y = Simulator(library, au.grid).measure(
        rows, Nuisances(noise=(0.005, 0.005)), np.random.default_rng(1)
    )
    group = np.repeat(np.arange(count), repeats)
    return Labelled(x, y, group, {"file": "x.h5", "sha256": "0", "spectra": len(x), "groups": count})


def test_intervals_become_the_standards_and_say_so(au, tmp_path):
    given = labelled(au, 12, repeats=2)
    bundle = recalibrated(au, given, "mine").save(tmp_path / "mine")
    assert bundle.card.calibration["calibrated_on"] == "standards (12 particles)"
    assert bundle.tensors["calibration_scores"].shape == (1, 12, 5)
    assert bundle.card.accuracy.coverage["CN1"] >= 0.75
    for name in ("layer0.weight", "encoder.layer0.weight", "domain_reference"):
        assert torch.equal(bundle.tensors[name], au.tensors[name])
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    assert size < 12 * 2**20


def test_many_standards_give_intervals_by_size(au):
    assert recalibrated(au, labelled(au, 60), "mine").tensors["calibration_scores"].shape == (3, 20, 5)


def test_too_few_are_refused_with_their_number(au):
    with pytest.raises(LabelledError, match="8 particles with every label are too few"):
        recalibrated(au, labelled(au, 8), "mine")


def of_classes(file: h5py.File, count: int) -> None:
    file["targets/environment"] = np.array([CLASSES[k % len(CLASSES)] for k in range(count)], dtype="S4")


def of_curves(file: h5py.File, count: int) -> None:
    x = np.array(curve_bundle().card.outputs[0].x)
    file["targets/g"] = np.exp(-0.5 * (x - np.linspace(2.0, 3.0, count)[:, None]) ** 2)
    file["targets/g"].attrs["unit"] = "1/Å"


def of_numbers(file: h5py.File, count: int) -> None:
    for target in numbers_spec().targets:
        file[f"targets/{target.name}"] = np.linspace(target.minimum, target.maximum, count)


def numbers_bundle() -> Bundle:
    return bundle_of("numbers", [numbers_spec()])


KINDS: dict[str, tuple[Callable[[], Bundle], Callable[[h5py.File, int], None]]] = {
    "environment.": (classifier_bundle, of_classes),
    "g.": (curve_bundle, of_curves),
    "numbers.": (numbers_bundle, of_numbers),
}


def measured(path: Path, write: Callable[[h5py.File, int], None], count: int = 12) -> Path:
    """Sweeps of Pt L3 as measured, without a foil."""
    taken = sweeps(count)
    with h5py.File(path, "w") as file:
        file["energy"], file["mu"] = taken[0].energy, np.stack([sweep.mu for sweep in taken])
        write(file, count)
    return path


@pytest.mark.parametrize("prefix", KINDS)
def test_a_model_of_one_output_of_any_kind_is_calibrated(prefix, tmp_path):
    make, write = KINDS[prefix]
    bundle = make()
    source = replace(bundle, tensors=bundle.stored).save(tmp_path / "source")
    path = measured(tmp_path / "standards.h5", write)
    arguments = [
        "models",
        "calibrate",
        str(source.folder),
        "--labelled",
        str(path),
        "-o",
        str(tmp_path / "mine"),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "standards (12 particles)" in result.output
    mine = Bundle.load(tmp_path / "mine")
    assert mine.tensors[f"{prefix}calibration_scores"].numel() in (12, 24)
    assert set(mine.tensors) == set(source.tensors)
    assert not torch.equal(
        mine.tensors[f"{prefix}calibration_scores"], source.tensors[f"{prefix}calibration_scores"]
    )
    for name in ("layer0.weight", "layer1.weight", "input_mean"):
        assert torch.equal(mine.tensors[name], source.tensors[name])
    coverage = mine.card.accuracy.coverage
    assert set(coverage) == set(mine.card.accuracy.mae)
    assert min(coverage.values()) >= 0.75
    (prediction,) = Analyzer(mine, device="cpu").analyze(sweeps(1))
    assert prediction.refused is None


def test_spectra_whose_class_is_not_known_do_not_count(tmp_path):
    bundle = classifier_bundle()
    path = measured(tmp_path / "standards.h5", of_classes, 14)
    with h5py.File(path, "r+") as file:
        file["targets/environment"][:3] = b""
    given = read_labelled(path, bundle)
    assert given.y[:3].isnan().all()
    assert given.y[3:].sum(1).tolist() == [1.0] * 11
    mine = recalibrated(bundle, given, "mine")
    assert len(mine.tensors["environment.calibration_scores"]) == 11
    with h5py.File(path, "r+") as file:
        file["targets/environment"][:6] = b""
    with pytest.raises(LabelledError, match=r"8 particles with every label are too few .* 90 % need 9"):
        recalibrated(bundle, read_labelled(path, bundle), "mine")
    with h5py.File(path, "r+") as file:
        file["targets/environment"][:] = b""
    with pytest.raises(LabelledError, match="targets/environment holds no label"):
        read_labelled(path, bundle)


def wrong_class(file: h5py.File) -> None:
    file["targets/environment"][:] = b"T9"


@pytest.mark.parametrize(
    ("prefix", "change", "said"),
    [
        ("environment.", wrong_class, "targets/environment has T9; the classes are T4"),
        ("environment.", lambda f: f.pop("targets/environment"), "environment is missing: sites gives"),
        ("g.", lambda f: f["targets/g"].attrs.modify("unit", "Å"), "has the unit 'Å'; the model"),
        ("g.", lambda f: f.pop("mu"), "mu is missing: give energy and mu as measured"),
        ("g.", lambda f: f.attrs.create("element", "Au"), "are of Au at any edge; pairs takes Pt L3"),
        ("g.", lambda f: f.create_dataset("element", data=["Pt", "Au"]), "element is Au, Pt: the spectra of"),
        ("numbers.", lambda f: f.create_group("input"), "input is missing"),
    ],
)  # fmt: skip
def test_standards_that_do_not_fit_are_refused(tmp_path, prefix, change, said):
    make, write = KINDS[prefix]
    path = measured(tmp_path / "standards.h5", write)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(LabelledError, match=re.escape(said)):
        read_labelled(path, make())


def test_chi_is_made_of_what_was_measured(tmp_path):
    bundle = curve_bundle(given=chi_input())
    given = read_labelled(measured(tmp_path / "standards.h5", of_curves), bundle)
    predictions = Analyzer(bundle, device="cpu").analyze(sweeps(12))
    np.testing.assert_allclose(given.x, [p.reduced.network_input for p in predictions], atol=1e-5)


def test_of_several_absorbers_the_file_says_which(tmp_path):
    one = mu_input()
    other = one.model_copy(update={"absorber": Absorber(element="Pd", edge="K", energy=24350.0)})
    alone = classifier_bundle()
    bundle = Bundle(alone.card.model_copy(update={"inputs": (other, one)}), alone.tensors, sha256="")
    path = measured(tmp_path / "standards.h5", of_classes)
    with pytest.raises(
        LabelledError, match="element is missing: sites takes Pd K, Pt L3; say in the file which"
    ):
        read_labelled(path, bundle)
    with h5py.File(path, "r+") as file:
        file.attrs["element"] = "Pt"
    with pytest.raises(LabelledError, match="edge is missing"):
        read_labelled(path, bundle)
    with h5py.File(path, "r+") as file:
        file["edge"] = "L3"
    assert one.absorber.energy == EDGE
    assert torch.equal(read_labelled(path, bundle).x, read_labelled(path, alone).x)


def test_models_that_cannot_be_are_refused_before_anything_is_read(tmp_path):
    none = tmp_path / "none.h5"
    with pytest.raises(LabelledError, match="mixed has 3 outputs: calibrate models of one output"):
        recalibrate_bundle(mixed_bundle(), none, tmp_path / "mine")
    for bundle in (mixed_bundle(), classifier_bundle(), curve_bundle()):
        with pytest.raises(LabelledError, match=f"{bundle.name} gives more than numbers"):
            tune_bundle(bundle, none, tmp_path / "mine")


@pytest.mark.parametrize("count", [8, 12])
def test_tuning_goes_by_the_names_of_the_output(tmp_path, count):
    bundle = numbers_bundle()
    floor = {"numbers.scale_floor": 0.01 * bundle.tensors["numbers.scale_floor"]}
    bundle = replace(bundle, tensors=bundle.tensors | floor)
    given = read_labelled(measured(tmp_path / "standards.h5", of_numbers, count), bundle)
    mine = tuned(bundle, given, "mine", frozen=0, schedule=QUICK)
    assert set(mine.tensors) == set(bundle.tensors)
    own = "numbers.calibration_scores"
    assert torch.equal(mine.tensors[own], bundle.tensors[own]) == (count == 8)
    assert not torch.equal(mine.tensors["numbers.scale_floor"], bundle.tensors["numbers.scale_floor"])
    assert mine.card.accuracy.half_width.keys() == {"oxidation_state", "bond"}
    assert mine.save(tmp_path / "mine").sha256


def test_a_defect_is_not_reported_as_wrong_standards(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("xas_live.training.recalibrate_bundle", broken)
    path = measured(tmp_path / "standards.h5", of_classes)
    result = CliRunner().invoke(app, ["models", "calibrate", "pt-l3", "--labelled", str(path)])
    assert type(result.exception) is ValueError
