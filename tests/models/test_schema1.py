"""Cards of schema 1, as models trained before schema 2 have them, are read as schema 2 states them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from xas_live.analysis import Analyzer
from xas_live.models.bundle import Bundle, ModelError, read_card
from xas_live.models.registry import SHIPPED_FOLDER, available_models
from xas_live.models.sections.specs import OxideSection

# As the entries stood in the cards of schema 1 that shipped; the others are the same in both schemas.
AU = {
    "schema_version": 1,
    "absorbers": [{"element": "Au", "edge": "L3", "energy": 11919.0}],
    "input": {
        "kind": "flat",
        "grid": [
            {"start": -8.0, "stop": 30.0, "step": 0.5},
            {"start": 30.0, "stop": 85.5, "step": 1.0},
        ],
        "origin": "Fermi level of the theory; the foil's anchor places it on the measured scale",
        "windows": [-150.0, -50.0, 75.0, 600.0],
        "needs_anchor": True,
    },
    "output": "scalars",
    "domain_threshold": 0.015,
}
COUNTS = [
    {"name": f"CN{i}", "unit": "", "minimum": low, "maximum": high, "non_negative": True,
     "description": f"average coordination number of the {which} fcc shell"}
    for i, (low, high, which) in enumerate(
        [(3.0, 12.0, "first"), (0.0, 6.0, "second"), (0.0, 24.0, "third"), (0.0, 12.0, "fourth")], start=1
    )
]  # fmt: skip
DISTANCE = {
    "name": "R1", "unit": "Å", "minimum": 2.701, "maximum": 2.894, "non_negative": False,
    "description": "nearest-neighbour distance, relative to the foil's",
}  # fmt: skip
MSD = [
    {"name": "MSD", "unit": "Å²", "minimum": 0.0003863, "maximum": 0.02992, "non_negative": True,
     "description": "mean-squared radial displacement from the bulk's distances"},
    {"name": "radial_variance", "unit": "Å²", "minimum": 0.0003496, "maximum": 0.02161, "non_negative": True,
     "description": "variance of the radial displacements about their own mean"},
]  # fmt: skip
CARDS = {
    "au-l3": {**AU, "targets": [*COUNTS, DISTANCE]},
    "au-l3-msd": {**AU, "targets": MSD},
}
IN_BOTH = (
    "name", "version", "summary", "network", "training", "calibration", "accuracy", "trust", "limits",
    "references", "licence",
)  # fmt: skip


def old_card(name):
    """The card as schema 1 had it."""
    shipped = json.loads((SHIPPED_FOLDER / name / "card.json").read_text(encoding="utf-8"))
    return {**CARDS[name], **{entry: shipped[entry] for entry in IN_BOTH}}


@pytest.fixture
def stored(tmp_path):
    """Store the weights of a shipped model beside a card."""

    def store(card, name="au-l3", without=()):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
        weights = old_weights(name)
        save_file({k: v for k, v in weights.items() if k not in without}, folder / "weights.safetensors")
        return folder

    return store


def old_weights(name):
    """The weights as schema 1 had them: with a network that sees oxide, and its distance among the others."""
    weights, of_msd = (
        load_file(SHIPPED_FOLDER / each / "weights.safetensors") for each in (name, "au-l3-msd")
    )
    if "oxide.layer0.weight" in weights:
        return weights
    reference = weights["domain_reference"]
    return {
        **weights,
        **{k: v for k, v in of_msd.items() if k.startswith("oxide.")},
        "domain_reference": torch.cat([reference, reference[..., -1:]], dim=-1),
    }


def as_schema_1_could(name):
    """The shipped card without what schema 1 did not know."""
    card = read_card(SHIPPED_FOLDER / name)
    theory = card.sections.theory.model_copy(update={"background": False})
    of_schema_1 = {"theory": theory, "chemistry": None, "cost": None, "change": None, "oxide": OxideSection()}
    return card.model_copy(update={"sections": card.sections.model_copy(update=of_schema_1)})


@pytest.mark.parametrize("name", sorted(CARDS))
def test_it_reads_as_the_card_that_ships(stored, name):
    folder = stored(old_card(name), name)
    shipped = as_schema_1_could(name)
    assert read_card(folder) == shipped
    assert shipped.schema_version == 2
    again = Bundle.load(folder).save(folder.parent / "again")
    assert read_card(again.folder) == shipped


def test_all_that_ships_is_of_schema_2():
    for name in available_models():
        assert '"schema_version": 2' in (SHIPPED_FOLDER / name / "card.json").read_text(encoding="utf-8")


def test_it_predicts_what_the_same_model_of_schema_2_predicts(stored, au_anchor, scan_of):
    old = Bundle.load(stored(old_card("au-l3")))
    new = replace(old, card=as_schema_1_could("au-l3"))
    scan = scan_of(None, noise=0.002)
    (then,), (now,) = (Analyzer(bundle, au_anchor).analyze([scan]) for bundle in (old, new))
    assert then.values == now.values
    assert then.domain == now.domain
    assert then.size == now.size


def test_what_schema_1_could_leave_out_may_be_missing(stored):
    card = old_card("au-l3")
    del card["output"], card["input"]["kind"], card["input"]["needs_anchor"]
    assert read_card(stored(card)) == as_schema_1_could("au-l3")
    free = {**card, "input": {**card["input"], "needs_anchor": False}}
    assert read_card(stored(free)).inputs[0].anchor == "optional"


def test_a_tuned_model_without_previews_is_read_without_them(stored, au_anchor, scan_of):
    """Tuning left out what the intervals of growing sweeps were widened by: no entry of its card says so."""
    bundle = Bundle.load(stored(old_card("au-l3"), without=["partial_widening"]))
    shipped = as_schema_1_could("au-l3")
    assert bundle.card.sections == shipped.sections.model_copy(update={"preview": None})
    scan = scan_of(None)
    assert Analyzer(bundle, au_anchor).analyze([scan])[0].refused is None
    assert Analyzer(bundle, au_anchor).preview(replace(scan, complete=False)) is None


BROKEN = {
    "input": ({"input": ...}, r"input\s+Field required"),
    "no grid": ({"input": {"origin": "", "windows": [-150, -50, 75, 600]}}, r"input\.grid\s+Field required"),
    "input of another type": ({"input": 3}, r"input\s+Input should be a valid dictionary"),
    "classes": ({"output": "classes"}, r"output\s+Input should be 'scalars'"),
    "no targets": ({"targets": []}, r"targets\s+Tuple should have at least 1 item"),
    "a target without a name": ({"targets": [{"unit": "Å"}]}, r"targets\.0\.name\s+Field required"),
    "a target without a range": (
        {"targets": [{"name": "CN1", "description": ""}]},
        r"targets\.0\.minimum\s+Field required",
    ),
    "threshold": ({"domain_threshold": 7}, r"domain_threshold\s+Input should be less than 1"),
    "no threshold": ({"domain_threshold": ...}, r"domain_threshold\s+Field required"),
    "no absorber": ({"absorbers": []}, r"absorbers\s+Tuple should have at least 1 item"),
    "absorber": ({"absorbers": [{"element": "Au"}]}, r"inputs\.0\.absorber\.edge\s+Field required"),
    "unknown entry": ({"colour": "gold"}, r"colour\s+Extra inputs are not permitted"),
    "no network": ({"network": ...}, r"network\s+Field required"),
    "anchored norm": (
        {"input": {**AU["input"], "kind": "norm"}},
        "a foil is laid on flat spectra; for norm set anchor = 'none'",
    ),
    "falling grid": (
        {"input": {**AU["input"], "grid": [{"start": 3, "stop": 4, "step": 0.5}] * 2}},
        "grid must ascend over at least two points",
    ),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_broken_one_is_refused_by_name(stored, what):
    change, words = BROKEN[what]
    card = {k: v for k, v in (old_card("au-l3") | change).items() if v is not ...}
    with pytest.raises(ModelError, match=r"card\.json is not a valid card") as refused:
        Bundle.load(stored(card))
    assert refused.match(words)


def test_of_an_unknown_schema_nothing_is_guessed(stored):
    for version in (0, 3, "1"):
        with pytest.raises(ModelError, match=r"schema_version\s+Input should be 2"):
            Bundle.load(stored(old_card("au-l3") | {"schema_version": version}))
    for text in ("[1]", "{", "null"):
        folder = stored({})
        (folder / "card.json").write_text(text)
        with pytest.raises(ModelError, match=r"card\.json is not a valid card"):
            Bundle.load(folder)


def test_weights_that_cannot_be_read_are_named_not_the_card(stored):
    folder = stored(old_card("au-l3"))
    (folder / "weights.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match=r"weights\.safetensors cannot be read"):
        Bundle.load(folder)


def test_a_defect_of_the_upgrade_is_no_wrong_card(stored, monkeypatch):
    def defect(*_, **__):
        raise KeyError("defect")

    monkeypatch.setattr("xas_live.models.bundle.upgraded", defect)
    with pytest.raises(KeyError, match="defect"):
        Bundle.load(stored(old_card("au-l3")))


def test_a_card_that_is_no_text_is_refused(stored):
    folder = stored({})
    (folder / "card.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelError, match=r"card\.json is not a valid card"):
        Bundle.load(folder)
