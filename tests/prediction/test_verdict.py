"""The verdict in degrees and the chemistry beside it: words, columns and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xas_live.models.card import RESERVED
from xas_live.prediction import (
    INTERVAL_COLUMNS,
    KINDS,
    LOOKS,
    Chemistry,
    Degree,
    Outcome,
    Prediction,
    Value,
    Verdict,
)
from xas_live.spectrum import Spectrum

REASON = "white line higher than any particle's"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict(), "not judged"),
        (Verdict(Degree.TRUSTED), "trusted"),
        (Verdict(Degree.CAUTION, (REASON,), 1.42), f"caution ({REASON}; interval 1.4 times wider)"),
        (Verdict(Degree.CAUTION, ("a", "b"), 1.02), "caution (a; b)"),
        (Verdict(Degree.NOT_USABLE, (LOOKS["salt"],)), "NOT USABLE (looks like an oxide, salt or complex)"),
        (Verdict(Degree.NOT_USABLE, widening=math.inf), "NOT USABLE"),
    ],
)
def test_a_verdict_in_words(verdict, said):
    assert str(verdict) == said
    assert verdict.usable is ("NOT" not in said)


def test_what_it_looks_like_is_said_once():
    chemistry = Chemistry(Value(0.1, 0.05, 0.0, 0.2), looks=LOOKS["alloy"])
    of = Prediction("m", "", outcome=Outcome(chemistry=chemistry))
    assert replace(of, verdict=Verdict(Degree.CAUTION, (REASON,))).why == f"{REASON}; looks alloyed"
    again = Verdict(Degree.CAUTION, ("it looks alloyed",), 2.0)
    assert replace(of, verdict=again).why == "it looks alloyed; interval 2.0 times wider"


def test_every_refusal_is_not_usable_for_its_reason():
    energy = np.linspace(11500.0, 11700.0, 50)
    spectrum = Spectrum(energy=energy, mu=np.ones(50), element="Pt", edge="L3")
    verdict = Verdict(Degree.NOT_USABLE, ("no edge",))
    assert Prediction.refusal(spectrum, "no edge").verdict == verdict
    assert Prediction("m", "", refused="no edge", verdict=Verdict(Degree.TRUSTED)).verdict == verdict
    later = replace(Prediction("m", "", verdict=Verdict(Degree.TRUSTED)), refused="no edge")
    assert later.verdict == verdict
    assert later.to_json()["verdict"] == "not usable"
    assert later.to_json()["verdict_reason"] == "no edge"


texts = st.text(st.characters(exclude_characters=";", codec="utf-8"), min_size=1).map(str.strip).filter(bool)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.builds(Value, numbers, numbers, numbers, numbers, st.just(0.9))
verdicts = st.builds(
    Verdict,
    st.none() | st.sampled_from(Degree),
    st.lists(texts, max_size=4).map(tuple),
    st.floats(1.0, 50.0),
)
chemistries = st.builds(
    Chemistry,
    values,
    st.none() | values,
    st.dictionaries(st.sampled_from(KINDS), st.floats(0.0, 1.0)),
    st.sampled_from(("", *LOOKS.values())),
)


def verdict_in(columns: Mapping[str, Any]) -> Verdict:
    """The verdict that JSON, a row or an archive holds."""
    degree, reason = columns["verdict"], columns["verdict_reason"]
    return Verdict(
        Degree(degree) if degree else None, tuple(reason.split("; ")) if reason else (), columns["widening"]
    )


def value_in(columns: Mapping[str, Any], name: str) -> Value | None:
    """The value with its interval that an archive holds; None for NaN."""
    parts = [columns[f"{name}{end}"] for end in ("", "_std", "_lower", "_upper")]
    return None if math.isnan(parts[0]) else Value(*parts)


@given(verdicts)
def test_verdicts_come_back_from_columns_and_json(verdict):
    assert verdict_in(verdict.columns()) == verdict
    assert verdict_in(json.loads(json.dumps(Prediction("m", "", verdict=verdict).to_json()))) == verdict


@given(chemistries)
def test_chemistry_comes_back_from_columns_and_json(chemistry):
    outcome = Outcome({"CN1": Value(9.0, 0.3, 8.5, 9.5)}, chemistry=chemistry)
    columns = outcome.columns()
    assert value_in(columns, "non_metal") == chemistry.non_metal
    assert value_in(columns, "adsorbates") == chemistry.adsorbates
    assert columns["looks"] == chemistry.looks
    assert {k: columns[f"share_{k}"] for k in chemistry.shares} == chemistry.shares
    assert columns.keys() - RESERVED == {f"CN1{end}" for end in INTERVAL_COLUMNS}
    assert chemistry.units() == chemistry.arrays() == {}
    row = outcome.row()
    assert row.keys() <= columns.keys()
    assert ("adsorbates" in row) is (chemistry.adsorbates is not None)
    record = json.loads(json.dumps(Prediction("m", "", outcome=outcome).to_json(), allow_nan=False))
    found = record["chemistry"]
    assert found["non_metal"]["value"] == chemistry.non_metal.value
    assert (found["adsorbates"] is None) is (chemistry.adsorbates is None)
    assert found["shares"] == chemistry.shares
    assert found["looks"] == chemistry.looks


def test_a_model_without_chemistry_has_no_columns_of_it():
    outcome = Outcome({"CN1": Value(9.0, 0.3, 8.5, 9.5)})
    assert not {"non_metal", "looks", "adsorbates"} & outcome.columns().keys()
    assert Prediction("m", "", outcome=outcome).to_json()["chemistry"] is None


def test_columns_of_verdicts_are_reserved():
    assert Verdict().columns().keys() <= RESERVED
    assert "chemistry" in RESERVED
