"""`xas-live models accept`, on files as a beamline writes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.good_samples import good, strength_of, sweep
from xas_live.models import load_model
from xas_live.models.bundle import Bundle
from xas_live.spectrum import Spectrum


def write(path: Path, spectrum: Spectrum) -> Path:
    np.savetxt(path, np.column_stack([spectrum.energy, spectrum.mu]), header="energy mu", fmt="%.8g")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A foil, eight good samples, one of the same sample measured later, and one of it with oxide."""
    folder = tmp_path_factory.mktemp("files")
    spectra = {f"good_{i}": spectrum for i, spectrum in enumerate(good(8, 1, strength_of()))}
    spectra["later"] = good(1, 2, strength_of())[0]
    spectra["oxidised"] = good(1, 3, strength_of(), oxide=0.4)[0]
    spectra["foil"] = sweep(None)
    return {name: write(folder / f"{name}.dat", spectrum) for name, spectrum in spectra.items()}


@pytest.fixture
def accept(run, files):
    """The command on the first files, with what else is asked of it."""

    def run_it(*more, count=8):
        given = [files[f"good_{i}"] for i in range(count)]
        return run("models", "accept", "pt-l3", *given, "--anchor", files["foil"], *more)

    return run_it


def test_good_samples_are_accepted_and_later_ones_are_trusted(accept, run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = accept("--name", "pt-ours")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.strip().startswith("good_")]
    assert len(rows) == 8
    assert sum("trusted" in row for row in rows) >= 7
    assert "before" in result.output
    assert "pt-ours in pt-ours: " in result.output
    bundle = Bundle.load(tmp_path / "pt-ours")
    assert f"sha256 {bundle.sha256}" in result.output
    assert bundle.name == "pt-ours"
    (sample,) = bundle.card.sections.accepted.samples
    digest = hashlib.sha256(files["good_3"].read_bytes()).hexdigest()
    assert sample.files[str(files["good_3"])] == digest
    assert len(sample.files) == sample.spectra == 8
    assert sample.sha256 == load_model("pt-l3").sha256

    def verdicts(model):
        later = (files["later"], files["oxidised"])
        told = run("replay", *later, "--model", model, "--anchor", files["foil"], "--json", "out.json")
        assert told.exit_code == 0, told.output
        return [record["verdict"] for record in json.loads(Path("out.json").read_text())]

    assert verdicts("pt-l3")[0] != "trusted"
    later, oxidised = verdicts("pt-ours")
    assert later == "trusted"
    assert oxidised != "trusted"
    shown = run("models", "show", "pt-ours")
    assert "sections.accepted.samples" in shown.output


def test_the_folder_gives_the_name(accept, tmp_path):
    assert accept("-o", tmp_path / "elsewhere").exit_code == 0
    assert Bundle.load(tmp_path / "elsewhere").name == "elsewhere"


def test_too_few_are_refused_and_nothing_is_written(accept, tmp_path):
    result = accept("-o", tmp_path / "mine", count=4)
    assert result.exit_code == 2
    assert "4 spectra are too few: give at least 5" in result.output
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--name", "a/b"), "--name 'a/b' is no name"),
        (("nothing.dat",), "nothing.dat: no such file"),
        (("--anchor", "none"), "has no foil: give the foil of its beamline as the anchor"),
        (("--align", "by ear"), "--align: 'by ear' is no alignment"),
    ],
)
def test_what_cannot_be_used_is_named(accept, more, said):
    result = accept(*more)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
