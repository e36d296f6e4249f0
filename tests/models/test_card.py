"""Cards: what does not hold together is refused, and the message names the place."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from pydantic import ValidationError

from xas_live.models.bundle import ModelError, read_card
from xas_live.models.card import Card
from xas_live.models.registry import SHIPPED_FOLDER

GRID = [{"start": -8.0, "stop": 32.0, "step": 0.5}]
WINDOWS = [-150.0, -50.0, 75.0, 600.0]


def absorber(element="Au", edge="L3", energy=11919.0):
    return {"element": element, "edge": edge, "energy": energy}


def target(name):
    return {"name": name, "minimum": 0.0, "maximum": 12.0, "description": name}


def flat(**more):
    return {"absorber": absorber(), "grid": GRID, "origin": "", "windows": WINDOWS, "anchor": "none", **more}


def scalars(*names, **more):
    return {"kind": "scalars", "name": "structure", "targets": [target(name) for name in names], **more}


def classes(*names, **more):
    return {"kind": "classes", "name": "phase", "prefix": "phase.", "classes": list(names), **more}


def curve(**more):
    return {"kind": "curve", "name": "g", "prefix": "g.", "x_name": "r", "x": [1.0, 2.0, 3.0], **more}


def card(**changed):
    entries = {
        "name": "test",
        "version": "1",
        "summary": "",
        "inputs": [flat()],
        "outputs": [scalars("CN1", "CN2")],
        "network": {"hidden": [4], "members": 2},
        "training": {},
        "calibration": {},
    }
    return Card.model_validate_json(json.dumps(entries | changed))


def test_a_card_needs_no_sections():
    bare = card()
    assert bare.sections.tensors(bare.points, 1, bare.width) == {}
    assert (bare.points, bare.width) == (80, 2)
    np.testing.assert_allclose(bare.inputs[0].points[[0, -1]], [-8.0, 31.5])


def test_outputs_of_every_kind_stand_side_by_side():
    found = card(outputs=[scalars("CN1", stratify_by="CN1"), classes("metal", "oxide"), curve()])
    assert found.width == 1 + 2 + 3
    assert [output.columns for output in found.outputs] == [
        ("CN1",), ("metal", "oxide"), ("g(1)", "g(2)", "g(3)"),
    ]  # fmt: skip
    assert [t.name for t in found.targets] == ["CN1"]


def test_inputs_are_found_by_absorber():
    two = card(inputs=[flat(), flat(absorber=absorber("Pt", "L3", 11564.0))])
    assert [(a.element, a.edge) for a in two.absorbers] == [("Au", "L3"), ("Pt", "L3")]
    assert two.absorbers == tuple(each.absorber for each in two.inputs)


CHI = {"kind": "chi", "unit": "1/Å", "grid": [{"start": 2.0, "stop": 12.0, "step": 0.125}]}
WRONG = {
    "unknown target to stratify by": (
        {"outputs": [scalars("CN1", "CN2", stratify_by="CN7")]},
        "outputs.structure.stratify_by = 'CN7', but the targets are CN1, CN2",
    ),
    "nothing to stratify by": (
        {"outputs": [classes("metal", "oxide", stratify_by="CN1")]},
        "outputs.0.classes.stratify_by",
    ),
    "two outputs with one prefix": (
        {"outputs": [scalars("CN1"), classes("metal", "oxide", prefix="")]},
        "outputs must have different prefixes, not ['', '']",
    ),
    "two outputs with one name": (
        {"outputs": [scalars("CN1", name="g"), curve()]},
        "outputs must differ, not ['g', 'g']",
    ),
    "two targets with one name": (
        {"outputs": [scalars("CN1"), scalars("CN1", name="more", prefix="more.")]},
        "targets, classes and curves must have different names, not ['CN1', 'CN1']",
    ),
    "a target named as a column": (
        {"outputs": [scalars("scan")]},
        "scan: the name has another meaning in tables and archives",
    ),
    "a class named as the set's column": (
        {"outputs": [classes("oxide", "set")]},
        "no class may be called 'set'",
    ),
    "two classes with one name": (
        {"outputs": [classes("oxide", "oxide")]},
        "classes must have different names, not ['oxide', 'oxide']",
    ),
    "one class": ({"outputs": [classes("oxide")]}, "outputs.0.classes.classes"),
    "another kind of output": ({"outputs": [curve(kind="picture")]}, "'scalars', 'classes', 'curve'"),
    "no outputs": ({"outputs": []}, "outputs"),
    "two inputs of one absorber": (
        {"inputs": [flat(), flat()]},
        "inputs must differ, not [('Au', 'L3'), ('Au', 'L3')]",
    ),
    "inputs of unlike points": (
        {"inputs": [flat(), flat(absorber=absorber("Pt"), grid=[{"start": 0.0, "stop": 9.0, "step": 1.0}])]},
        "inputs must have equally many points, not [9, 80]",
    ),
    "no inputs": ({"inputs": []}, "inputs"),
    "a chi grid in eV": ({"inputs": [flat(**{**CHI, "unit": "eV"})]}, "the grid of chi is not in eV"),
    "a flat grid in 1/Å": ({"inputs": [flat(unit="1/Å")]}, "the grid of flat is not in 1/Å"),
    "a grid that does not ascend": (
        {"inputs": [flat(grid=[*GRID, {"start": 10.0, "stop": 40.0, "step": 1.0}])]},
        "grid must ascend over at least two points",
    ),
    "a grid of one point": (
        {"inputs": [flat(grid=[{"start": 0.0, "stop": 1.0, "step": 1.0}])]},
        "grid must ascend over at least two points",
    ),
    "a grid without steps": (
        {"inputs": [flat(grid=[{"start": 0.0, "stop": 1.0, "step": 0.0}])]},
        "inputs.0.grid.0.step",
    ),
    "an anchor for norm": (
        {"inputs": [flat(kind="norm", anchor="optional")]},
        "a foil is laid on flat spectra; for norm set anchor = 'none'",
    ),
    "an anchor for chi": (
        {"inputs": [flat(**CHI, anchor="required")]},
        "a foil is laid on flat spectra; for chi set anchor = 'none'",
    ),
    "an anchor and no theory": (
        {"inputs": [flat(anchor="optional")]},
        "a foil is laid on theory: add sections.theory, or set anchor = 'none'",
    ),
    "k to the fourth power": ({"inputs": [flat(**CHI, k_weight=4)]}, "inputs.0.k_weight"),
    "theory by an unknown target": (
        {"sections": {"theory": {"missing_from": "CN9"}}},
        "sections.theory.missing_from = 'CN9', but the targets are CN1, CN2",
    ),
    "domain by an unknown target": (
        {"sections": {"domain": {"threshold": 0.01, "stratify_by": "MSD"}}},
        "sections.domain.stratify_by = 'MSD', but the targets are CN1, CN2",
    ),
    "a map shaded by an unknown target": (
        {"sections": {"latent": {"shown_by": "size"}}},
        "sections.latent.shown_by = 'size', but the targets are CN1, CN2",
    ),
    "phases led by an unknown target": (
        {"sections": {"theory": {}, "phases": {"leading": "R1"}}},
        "sections.phases.leading = 'R1', but the targets are CN1, CN2",
    ),
    "size from an unknown shell": (
        {"sections": {"theory": {}, "size": {"shells": ["CN1", "CN5"]}}},
        "sections.size.shells[1] = 'CN5', but the targets are CN1, CN2",
    ),
    "size without shells": ({"sections": {"theory": {}, "size": {"shells": []}}}, "sections.size.shells"),
    "size without theory": (
        {"sections": {"size": {"shells": ["CN1"]}}},
        "sections.size needs sections.theory",
    ),
    "previews alone": (
        {"sections": {"preview": {}}},
        "sections.preview needs sections.theory and sections.domain",
    ),
    "previews without a domain": (
        {"sections": {"theory": {}, "preview": {}}},
        "sections.preview needs sections.domain",
    ),
    "shares of phases without theory": (
        {"sections": {"phases": {"leading": "CN1"}}},
        "sections.phases needs sections.theory",
    ),
    "oxide without a domain": ({"sections": {"oxide": {}}}, "sections.oxide needs sections.domain"),
    "previews of classes": (
        {
            "outputs": [classes("metal", "oxide")],
            "sections": {"theory": {}, "domain": {"threshold": 0.01}, "preview": {}},
        },
        "sections.preview is for models of numbers alone",
    ),
    "a target named as a class's column": (
        {"outputs": [scalars("phase_oxide"), classes("metal", "oxide")]},
        "two outputs would have the column phase_oxide: rename one",
    ),
    "a target named as another's interval": (
        {"outputs": [scalars("CN1", "CN1_lower")]},
        "two outputs would have the column CN1_lower: rename one",
    ),
    "a prefix of a section's tensors": (
        {"outputs": [classes("metal", "oxide", prefix="oxide.")]},
        "no prefix may begin with",
    ),
    "a threshold that is none": ({"sections": {"domain": {"threshold": 1.5}}}, "sections.domain.threshold"),
    "an unknown section": ({"sections": {"weather": {}}}, "sections.weather"),
    "an unknown entry": ({"colour": "gold"}, "colour"),
    "kernels of a perceptron": (
        {"network": {"hidden": [4], "members": 2, "kernels": [3]}},
        "kernels = [3] do not fit kind = 'mlp'",
    ),
    "no members": ({"network": {"hidden": [4], "members": 0}}, "network.members"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_does_not_hold_together_is_named(what):
    changed, words = WRONG[what]
    with pytest.raises(ValidationError) as refused:
        card(**changed)
    assert words in str(refused.value)


def test_on_disk_it_is_refused_by_model_error_with_the_file(tmp_path):
    entries = json.loads((SHIPPED_FOLDER / "au-l3" / "card.json").read_text(encoding="utf-8"))
    wrong = copy.deepcopy(entries)
    wrong["outputs"][0]["stratify_by"] = "CN7"
    (tmp_path / "card.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=r"card\.json is not a valid card") as refused:
        read_card(tmp_path)
    assert refused.match("stratify_by = 'CN7', but the targets are CN1, CN2, CN3, CN4, R1")


def test_a_card_says_the_same_after_a_round_on_disk(au, tmp_path):
    (tmp_path / "card.json").write_text(au.card.model_dump_json(indent=2), encoding="utf-8")
    assert read_card(tmp_path) == au.card
