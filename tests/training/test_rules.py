"""Recipes whose entries do not go together are refused with their line, before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import xas_live.training
from tests.training.labelled_recipes import CURVE, DOMAIN, NUMBERS, SITES, known, recipe, write
from xas_live.cli import app
from xas_live.training import build
from xas_live.training.build import build_bundle
from xas_live.training.recipe import RecipeError, read_recipe

RECIPES = Path(xas_live.training.__file__).parent / "recipes"


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch):
    def train(*_):
        pytest.fail("training began")

    monkeypatch.setattr(build, "train_ensemble", train)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    there = tmp_path_factory.mktemp("labelled")
    for seed, name in enumerate(("a.h5", "b.h5")):
        write(there / name, known(60, seed))
    return there


def refused(folder: Path, text: str, old: str, new: str) -> str:
    """What is said of a recipe with one entry changed; lines count from 1."""
    assert text.count(old), old
    path = folder / "changed.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        build_bundle(path, folder / "never")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not (folder / "never").exists()
    message = str(error.value)
    if "line " in message:
        line = int(message.split("line ")[1].split(",")[0])
        return f"{lines[line - 1]} | {message}"
    return message


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('"height"\nt', '"hight"\nt', "strat", "0.stratify_by = 'hight': no such target: .* height, p"),
        ("steps = 20", 'steps = 20\nstratify_by = "site"', "strat", "domain.stratify_by = 'site': no such"),
        ('classes = ', 'stratify_by = "height"\nclasses = ', "strat", "1.stratify_by = 'height': Extra"),
        ('name = "height"', 'name = "energy"', "energy", "0.name = 'energy': the name has another"),
        ('name = "site"', 'name = "scan"', "scan", "outputs.1.name = 'scan': the name has another"),
        ('name = "place"', 'name = "height"', "height", "targets.1.name = 'height': a target is named"),
        ('name = "site"', 'name = "height"', "height", "outputs.1.name = 'height': a target is named once"),
        ('name = "site"', 'name = "numbers"', "numbers", "1.name = 'numbers': an output is named once"),
        ('prefix = "site."', 'prefix = ""', "prefix", "outputs.1.prefix = '': .* not '' twice"),
        ('kind = "norm"', 'kind = "chi"', "inputs", "inputs.0.unit: the grid of chi is in 1/Å: set unit"),
        ('kind = "norm"', 'kind = "norm"\nunit = "1/Å"', "unit", "unit = '1/Å': the grid of norm is in eV"),
        ('kind = "norm"', 'kind = "norm"\nk_weight = 2', "k_weight", "k_weight = 2: chi is multiplied"),
        ('anchor = "none"', "", "inputs", "inputs.0.anchor: a foil is laid on flat spectra; for norm set"),
        ("stop = 40.0", "stop = -9.0", "grid", "inputs.0.grid = .*: a grid has at least two points"),
        ("hidden = [24]", "kind = 'cnn'\nkernels = [4]\nkernel_width = 99\nhidden = [24]", "net", "of 25"),
        ("steps = 20", 'steps = 20\noxides = ["PtO"]', "oxides", "domain.oxides = .*: it does noth"),
        ("steps = 20", "steps = 20\nedge_response = 0.1", "edge_r", "domain.edge_response = 0.1: it do"),
        *(
            ("gain", f"{name} = {value}\ngain", name, f"nuisances.{name} = .*: it does nothing to label")
            for name, value in {
                "contraction": [0.0, 0.1], "lattice": [0.0, 0.1], "disorder": 0.1, "disorder_spread": 0.1,
                "edge_response": 0.1, "mismatch_per_u": 0.1, "edge_mismatch_per_u": 0.1, "edge_end": 20.0,
            }.items()
        ),
    ],
)  # fmt: skip
def test_entries_that_do_not_go_together(folder, old, new, line, said):
    text = recipe(folder / "small.toml", NUMBERS + SITES + CURVE, domain=DOMAIN).read_text(encoding="utf-8")
    heard = refused(folder, text, old, new)
    assert line in heard.partition(" | ")[0]
    assert re.search(said, heard), heard


def test_inputs_that_do_not_go_together(folder):
    text = recipe(folder / "small.toml", SITES, ("a.h5", "b.h5")).read_text(encoding="utf-8")
    heard = refused(folder, text, 'element = "Cu"', 'element = "Fe"')
    assert "inputs.1.element = 'Fe': Fe K is an input already" in heard
    text = text[::-1].replace("0.04 = pots", "0.03 = pots", 1)[::-1]  # of the second input
    heard = refused(folder, text, "version", "version")
    assert "it has 20 points, that of the first input 25: they must be equally many" in heard


@pytest.mark.parametrize("name", ["shift", "slope", "broadening", "mismatch", "glitch", "i0_noise"])
def test_of_chi_gain_and_noise_are_the_only_nuisances(folder, name):
    text = recipe(folder / "small.toml", SITES).read_text(encoding="utf-8")
    text = text.replace('kind = "norm"', 'kind = "chi"\nunit = "1/Å"')
    heard = refused(folder, text, "gain", f"{name} = 0.1\ngain")
    assert heard.startswith(f"{name} = 0.1 | ")
    assert "it does nothing to chi(k): leave it out" in heard


@pytest.mark.parametrize(
    ("recipe_name", "old", "new", "said"),
    [
        ("au-l3-msd", '"PtO2"', '"PtO9"', r"domain.oxides.1 = 'PtO9': no such spectrum"),
        ("au-l3-msd", "shift", "disorder = 0.1\nshift", "nuisances.disorder = 0.1: it does nothing to"),
        ("au-l3", "edge_energy", 'kind = "norm"\nanchor = "required"\nedge_energy', "inputs.0.anchor = "),
        ("au-l3", "edge_e", 'kind = "chi"\nunit = "1/Å"\nanchor = "none"\nedge_e', "inputs.0.kind = 'chi'"),
        ("au-l3", '"CN1"\nthreshold', '"CN9"\nthreshold', "domain.stratify_by = 'CN9'"),
    ],
)  # fmt: skip
def test_recipes_of_simulated_spectra(folder, recipe_name, old, new, said):
    text = (RECIPES / f"{recipe_name}.toml").read_text(encoding="utf-8")
    heard = refused(folder, text, old, new)
    assert re.search(rf"line \d+, {said}", heard), heard


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_recipes_keep_the_rules(path):
    wanted = read_recipe(path)
    build.check_recipe(wanted)
    build._check_fits(wanted, build.population_of(wanted, path.parent))


def test_what_no_rule_foresaw_is_said_by_the_card(folder, monkeypatch):
    monkeypatch.setattr(build, "check_recipe", lambda recipe: None)
    text = recipe(folder / "small.toml", NUMBERS + SITES).read_text(encoding="utf-8")
    heard = refused(folder, text, 'prefix = "site."', 'prefix = ""')
    assert "outputs must have different prefixes" in heard


def test_a_defect_is_not_reported_as_a_wrong_recipe(folder, monkeypatch):
    def broken(*_):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(build, "population_of", broken)
    result = CliRunner().invoke(app, ["train", str(recipe(folder / "small.toml", SITES))])
    assert type(result.exception) is ValueError
    monkeypatch.undo()
    result = CliRunner().invoke(app, ["train", str(recipe(folder / "small.toml", SITES, ("none.h5",)))])
    assert result.exit_code == 2
    assert "structures.files.0 = 'none.h5'" in result.output
