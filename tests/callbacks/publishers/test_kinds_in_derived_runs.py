"""Derived runs of models that give classes, curves, and numbers besides."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators, unpack_event_page

from tests.models.kinds import (
    CLASSES,
    RUN,
    chi_input,
    classifier_bundle,
    curve_bundle,
    mixed_bundle,
    sweeps,
)
from xas_live import Analyzer
from xas_live.analysis.drift import Drift
from xas_live.callbacks.publishers.base import SweepResult
from xas_live.callbacks.publishers.result_table import table
from xas_live.callbacks.publishers.results import Result
from xas_live.callbacks.publishers.writer import PredictionWriter
from xas_live.prediction import Outcome


class Documents(list):
    """Collects documents, checking each against its schema."""

    def __call__(self, name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        self.append((name, doc))

    def keys(self, stream):
        return next(doc["data_keys"] for name, doc in self if name == "descriptor" and doc["name"] == stream)

    def hints(self, stream):
        return next(
            doc["hints"]["xas_live"]["fields"]
            for name, doc in self
            if name == "descriptor" and doc["name"] == stream
        )

    def rows(self, stream):
        uids = {doc["uid"] for name, doc in self if name == "descriptor" and doc["name"] == stream}
        pages = [doc for name, doc in self if name == "event_page" and doc["descriptor"] in uids]
        return [event["data"] for page in pages for event in unpack_event_page(page)]


def publish(writer, spectrum, prediction):
    writer.predicted(SweepResult(spectrum, (prediction,), (Drift(1.0),)))


def finish_batch(writer):
    writer.batch_finished()


def write(bundle, count=3, refused=(0,), stop=True):
    """The documents of a derived run by this model, and its predictions."""
    documents, spectra = Documents(), sweeps(count, refused)
    writer = PredictionWriter(documents)
    writer.run_started({"uid": RUN, "time": 1.7e9, "scan_id": 17})
    predictions = Analyzer(bundle, device="cpu").analyze(spectra)
    assert [p.refused is not None for p in predictions] == [k in refused for k in range(count)]
    for spectrum, prediction in zip(spectra, predictions, strict=True):
        publish(writer, spectrum, prediction)
        finish_batch(writer)
    if stop:
        writer.run_stopped({"uid": "stop", "run_start": RUN, "time": 1.7e9 + 9, "exit_status": "success"})
    return documents, predictions


def test_classes_are_texts_and_probabilities_also_where_the_first_sweep_was_refused():
    documents, predictions = write(classifier_bundle())
    keys = documents.keys("predictions")
    assert keys["environment"]["dtype"] == keys["environment_set"]["dtype"] == "string"
    assert keys["environment_O6"]["dtype"] == "number"
    assert set(documents.hints("predictions")) == {f"environment_{name}" for name in CLASSES}
    refused, first, _ = documents.rows("predictions")
    assert (refused["environment"], refused["environment_set"]) == ("", "")
    assert math.isnan(refused["environment_T4"])
    given = predictions[1].classes["environment"]
    assert first["environment"] == given.likeliest
    assert first["environment_set"] == ", ".join(given.members)
    assert sum(first[f"environment_{name}"] for name in CLASSES) == pytest.approx(1.0)
    assert math.isnan(first["diameter"])
    assert math.isnan(first["domain_p"])


def test_curves_are_arrays_with_units_beside_their_spectrum():
    documents, predictions = write(curve_bundle())
    keys = documents.keys("spectra")
    assert (keys["curve_g"]["units"], keys["curve_g_x"]["units"], keys["energy"]["units"]) == (
        "1/Å", "Å", "eV",
    )  # fmt: skip
    assert keys["curve_g"]["shape"] == keys["curve_g_upper"]["shape"] == [45]
    assert "norm" in keys
    assert not {"flat", "foil"} & set(keys)
    refused, first, _ = documents.rows("spectra")
    assert np.isnan(refused["curve_g"]).all()
    curve = predictions[1].curves["g"]
    np.testing.assert_array_equal(first["curve_g"], curve.y)
    np.testing.assert_array_equal(first["curve_g_lower"], curve.lower)
    np.testing.assert_array_equal(first["curve_g_x"], curve.x)
    assert [row["refused"] != "" for row in documents.rows("predictions")] == [True, False, False]


def test_predictions_of_a_model_of_curves_alone_do_not_wait_for_numbers():
    documents, _ = write(curve_bundle(), stop=False)
    assert len(documents.rows("predictions")) == 3


def test_chi_is_stored_over_k():
    documents, predictions = write(curve_bundle(given=chi_input()))
    keys = documents.keys("spectra")
    assert (keys["k"]["units"], keys["chi"]["units"]) == ("1/Å", "1/Å²")
    assert "energy" not in keys
    np.testing.assert_array_equal(documents.rows("spectra")[1]["k"], predictions[1].reduced.grid)


def test_all_kinds_in_one_run():
    documents, _ = write(mixed_bundle(), refused=())
    assert {"bond", "bond_std", "environment", "environment_set"} < set(documents.keys("predictions"))
    assert documents.keys("predictions")["bond_lower"]["units"] == "Å"
    assert len(documents.rows("spectra")) == 3


def test_only_refused_sweeps_make_a_run_too():
    documents, _ = write(classifier_bundle(), count=2, refused=(0, 1))
    assert [row["refused"] != "" for row in documents.rows("predictions")] == [True, True]
    assert documents[-1][1]["num_events"] == {"predictions": 2, "drift": 2}


def test_classes_that_come_late_are_kept():
    """Texts among the values that the first sweep did not have."""
    documents, spectra = Documents(), sweeps(2)
    writer = PredictionWriter(documents)
    writer.run_started({"uid": RUN, "time": 1.7e9})
    first, second = Analyzer(mixed_bundle(), device="cpu").analyze(spectra)
    first = replace(first, outcome=Outcome(first.values), reduced=None)
    second = replace(second, outcome=Outcome(second.values, second.classes), reduced=None)
    for spectrum, prediction in zip(spectra, (first, second), strict=True):
        publish(writer, spectrum, prediction)
    finish_batch(writer)
    before, late = documents.rows("predictions")
    assert before["other_values"] == ""
    assert json.loads(late["other_values"])["environment"] == second.classes["environment"].likeliest


def test_the_table_has_columns_of_classes():
    spectra = sweeps(2, refused=(0,))
    results = [Result(p, 0.1) for p in Analyzer(mixed_bundle(), device="cpu").analyze(spectra)]
    found = table(results)
    of_results = ("oxidation_state", "bond", "environment")
    named = [name for name in found.columns if name.startswith(of_results)]
    assert [name for name in named if not name.endswith("_statistical")] == [
        "oxidation_state", "oxidation_state_lower", "oxidation_state_upper", "bond", "bond_lower",
        "bond_upper", "environment", "environment_p", "environment_set",
    ]  # fmt: skip
    assert found["environment"].tolist()[1] in CLASSES
    assert found["environment"].tolist()[0] == found["environment_set"].tolist()[0] == ""
    assert found["bond"].isna().tolist() == found["environment_p"].isna().tolist() == [True, False]
