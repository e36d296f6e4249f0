"""What each kind of result is called in tables, archives and JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from xas_live.prediction import (
    Chemistry,
    Classes,
    Curve,
    Degree,
    Outcome,
    Prediction,
    Reduced,
    Size,
    Value,
    Verdict,
)

R = np.linspace(1.5, 6.0, 4)
NUMBER = Value(2.77, 0.01, 2.75, 2.79, unit="Å")
CLASSES = Classes({"T4": 0.25, "O6": 0.7, "C8": 0.05}, ("O6", "T4"))
CURVE = Curve(R, R, R - 1.0, R + 1.0, x_name="r", x_unit="Å", unit="1/Å")
OUTCOME = Outcome(
    values={"R1": NUMBER},
    classes={"site": CLASSES},
    curves={"g": CURVE},
    fractions={"oxide": Value(0.2, 0.05, 0.1, 0.3)},
)


def test_a_number_has_its_interval_beside_it():
    assert NUMBER.row("R1") == {"R1": 2.77, "R1_lower": 2.75, "R1_upper": 2.79}
    assert NUMBER.columns("R1") == NUMBER.row("R1") | {"R1_std": 0.01}
    assert NUMBER.parts("R1").keys() == {"R1_statistical", "R1_model"}
    assert NUMBER.units("R1") == dict.fromkeys(
        ("R1", "R1_lower", "R1_upper", "R1_std", "R1_statistical", "R1_model"), "Å"
    )
    told = Value(2.77, 0.01, 2.75, 2.79, statistical=0.012, model=0.016)
    assert told.row("R1") == NUMBER.row("R1") | {"R1_statistical": 0.012}
    assert told.parts("R1") == {"R1_statistical": 0.012, "R1_model": 0.016}
    assert Value(1.0, 0.1, 0.8, 1.2).units("CN1") == {}


def test_classes_are_a_text_a_set_and_probabilities():
    assert CLASSES.row("site") == {"site": "O6", "site_p": 0.7, "site_set": "O6, T4"}
    assert CLASSES.columns("site") == {
        "site": "O6", "site_set": "O6, T4", "site_T4": 0.25, "site_O6": 0.7, "site_C8": 0.05,
    }  # fmt: skip
    assert CLASSES.arrays("site") == CLASSES.units("site") == {}


def test_a_curve_is_arrays_and_has_no_place_in_a_row():
    assert CURVE.row("g") == CURVE.columns("g") == {}
    arrays = CURVE.arrays("g")
    assert list(arrays) == ["curve_g", "curve_g_lower", "curve_g_upper", "curve_g_x"]
    np.testing.assert_array_equal(arrays["curve_g_lower"], R - 1.0)
    np.testing.assert_array_equal(arrays["curve_g_x"], R)
    units = {"curve_g": "1/Å", "curve_g_lower": "1/Å", "curve_g_upper": "1/Å", "curve_g_x": "Å"}
    assert CURVE.units("g") == units
    assert str(CURVE) == "of 4 points, r = 1.5 to 6 Å"


def test_an_outcome_puts_them_together():
    assert list(OUTCOME.results) == ["R1", "site", "g"]
    assert OUTCOME.row() == NUMBER.row("R1") | CLASSES.row("site")
    columns = OUTCOME.columns()
    assert list(columns)[:5] == ["R1", "R1_lower", "R1_upper", "R1_std", "fraction_oxide"]
    assert columns["site_O6"] == 0.7
    assert OUTCOME.arrays().keys() == CURVE.arrays("g").keys()
    assert OUTCOME.units() == NUMBER.units("R1") | CURVE.units("g")


def test_json_holds_every_kind():
    odd = Curve(R, np.array([1.0, math.nan, 2.0, 3.0]), R, R)
    prediction = Prediction(
        "m", "", outcome=Outcome({"R1": NUMBER}, {"site": CLASSES}, {"g": CURVE, "h": odd})
    )
    record = json.loads(json.dumps(prediction.to_json(), allow_nan=False))
    assert record["values"]["R1"]["unit"] == "Å"
    assert record["classes"]["site"]["likeliest"] == "O6"
    assert record["classes"]["site"]["members"] == ["O6", "T4"]
    assert record["curves"]["g"]["x_unit"] == "Å"
    assert record["curves"]["h"]["y"][1] is None
    assert record["size"] == dict.fromkeys(("diameter_nm", "lower", "upper", "label"))
    sized = Prediction("m", "", outcome=Outcome(size=Size(1.8, 1.5, None, "1.8 nm")))
    assert sized.to_json()["size"] == {"diameter_nm": 1.8, "lower": 1.5, "upper": None, "label": "1.8 nm"}


def test_in_one_line():
    assert str(Prediction("m", "", outcome=OUTCOME)) == (
        "R1 2.770 [2.750, 2.790] Å, site O6 (70%; or T4), g of 4 points, r = 1.5 to 6 Å; not judged"
    )
    refused = Prediction("m", "", refused="no edge")
    assert str(refused) == "refused, no edge"
    looks = Outcome(chemistry=Chemistry(Value(0.1, 0.05, 0.0, 0.2), looks="looks alloyed"))
    doubtful = Prediction("m", "", outcome=looks, verdict=Verdict(Degree.CAUTION, ("a single point",)))
    assert str(doubtful) == "; caution (a single point); looks alloyed"
    assert "Pt" not in repr(doubtful)
    assert repr(doubtful).endswith(f": {doubtful}>")


@pytest.mark.parametrize(
    ("kind", "k_weight", "units"),
    [("flat", 0, ("eV", "")), ("norm", 0, ("eV", "")), ("chi", 2, ("1/Å", "1/Å²"))],
)
def test_a_reduced_spectrum_knows_its_units(kind, k_weight, units):
    reduced = Reduced(R, R, None, R, kind=kind, k_weight=k_weight)
    assert (reduced.x_unit, reduced.unit) == units
