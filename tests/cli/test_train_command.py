"""`xas-live train`: what it asks for, and that tuning writes a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import Result

from xas_live.models.registry import load_model

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either a recipe, or --from MODEL with --labelled FILE.h5"),
        (("a.toml", "--from", "pt-l3", "--labelled", "b.h5"), "give either a recipe"),
        (("--from", "pt-l3"), "give either a recipe"),
        (("none.toml",), "there is no file none.toml"),
        (("--from", "pt-l3", "--labelled", "none.h5"), "there is no file none.h5"),
    ],
)
def test_what_is_asked_for_must_be_whole(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run("train", *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_a_wrong_recipe_and_wrong_labels_are_refused(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text('name = "x"\nfolds = 1\n')
    result = run("train", recipe)
    assert result.exit_code == 2
    assert "line 2, folds = 1" in result.output
    labelled = tmp_path / "labelled.h5"
    h5py.File(labelled, "w").close()
    result = run("train", "--from", "pt-l3", "--labelled", labelled)
    assert result.exit_code == 2
    assert "targets/CN1 is missing" in result.output
    assert run("train", "--from", "nothing", "--labelled", labelled).exit_code == 2


def test_tuning_writes_a_model(run: Run, tmp_path: Path) -> None:
    pt = load_model("pt-l3")
    labelled, folder = tmp_path / "labelled.h5", tmp_path / "mine"
    rng = np.random.default_rng(0)
    with h5py.File(labelled, "w") as file:
        file["input"] = pt.array("theory_bulk")[:132] + 0.01 * rng.standard_normal((10, 132))
        for target in pt.card.targets:
            file[f"targets/{target.name}"] = np.full(10, target.maximum)
    result = run("train", "--from", "pt-l3", "--labelled", labelled, "--freeze", 3, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "mine in" in result.output
    assert load_model(folder).card.training["frozen_layers"] == 3


def test_calibrating_on_standards_writes_a_model_that_says_so(run: Run, tmp_path: Path) -> None:
    pt = load_model("pt-l3")
    labelled, folder = tmp_path / "standards.h5", tmp_path / "mine"
    rng = np.random.default_rng(0)
    with h5py.File(labelled, "w") as file:
        file["input"] = pt.array("train_mean") + 0.01 * rng.standard_normal((12, len(pt.grid)))
        for target in pt.card.targets:
            file[f"targets/{target.name}"] = rng.uniform(target.minimum, target.maximum, 12)
    result = run("models", "calibrate", "pt-l3", "--labelled", labelled, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "standards (12 particles)" in result.output
    assert load_model(folder).card.calibration["from"] == {"name": "pt-l3", "sha256": pt.sha256}
    assert run("models", "calibrate", "pt-l3", "--labelled", tmp_path / "none.h5").exit_code == 2
