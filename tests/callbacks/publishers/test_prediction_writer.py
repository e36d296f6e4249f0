import json
import math
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators, unpack_event_page
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.analysis.drift import SeriesMonitor
from xas_live.callbacks.publishers.base import SweepResult
from xas_live.callbacks.publishers.writer import NotWrittenError, PredictionWriter, derived_uid
from xas_live.prediction import (
    Alignment,
    AnchorUsed,
    Chemistry,
    Classes,
    Curve,
    Decision,
    DecisionOutcome,
    Degree,
    DomainVerdict,
    Outcome,
    Prediction,
    Reduced,
    Size,
    Value,
    Verdict,
)
from xas_live.spectrum import Provenance, Spectrum

GRID = np.linspace(-20, 90, 50)
RAW = "0f3d3b1e-5d3c-4c57-9d2f-3f4a0d9c1a11"


def sweep(i, raw=RAW):
    return Provenance(scan="17", run_uid=raw, scan_id=17, sweep=i, time=1_700_000_000.0 + i)


def spectrum(i, raw=RAW):
    return Spectrum(energy=11500 + GRID, mu=np.ones(50), element="Pt", edge="L3", provenance=sweep(i, raw))


class Foil(NamedTuple):
    """A foil as a prediction names it."""

    source: str = "foil.xdi"
    sha256: str = "ef" * 32


VALUES = {"CN1": Value(9.5, 0.3, 9.0, 10.0), "R1": Value(2.75, 0.01, 2.73, 2.77, unit="Å")}
SIZE = Size(1.8, 1.5, 2.1, "1.8 nm")


def good(i, raw=RAW, *, values=None, classes=None, curves=None, score=math.nan, shift=-0.3, **changes):
    numbers = VALUES | {"CN1": replace(VALUES["CN1"], value=9.5 + i)} if values is None else values
    prediction = Prediction(
        model="pt-l3",
        model_sha256="ab" * 32,
        element="Pt",
        edge="L3",
        provenance=sweep(i, raw),
        outcome=Outcome(numbers, classes or {}, curves or {}, size=SIZE),
        domain=DomainVerdict(inside=True, p=0.4, score=score),
        alignment=Alignment("reference", 11564.2, shift),
        anchor=AnchorUsed("reference", Foil()),
        flags=("edge_step_drift", "hot"),
        edge_step=1.1,
        seconds={"reduce": 0.001, "infer": 0.002, "total": 0.003},
        reduced=Reduced(GRID, np.ones(50), None, np.full(50, 0.5)),
        configuration={"level": 0.9, "align": "reference", "anchor": None},
    )
    return replace(prediction, **changes)


def refused(i, raw=RAW):
    return good(i, raw, outcome=Outcome(), refused="no edge", domain=DomainVerdict(), reduced=None)


def result(i, *predictions, raw=RAW, monitor=None):
    """A sweep with what models say of it; without a monitor each is the first of its series."""
    monitor = monitor or SeriesMonitor()
    return SweepResult(spectrum(i, raw), predictions, tuple(map(monitor.add, predictions)))


def raw_start(uid=RAW):
    return {"uid": uid, "time": 1_699_999_999.0, "scan_id": 17}


def raw_stop(uid=RAW, status="success"):
    return {"uid": "stop", "run_start": uid, "time": 1_700_000_100.0, "exit_status": status, "reason": ""}


class Documents(list):
    """Collects documents, checking each against its schema."""

    def __call__(self, name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        self.append((name, doc))

    def of(self, name):
        return [doc for n, doc in self if n == name]

    def events(self, stream):
        return [event for page in self.pages(stream) for event in unpack_event_page(page)]

    def pages(self, stream):
        of_stream = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == stream}
        return [doc for doc in self.of("event_page") if doc["descriptor"] in of_stream]


def write(predictions, stop=raw_stop, **options):
    documents = Documents()
    writer = PredictionWriter(documents, **options)
    writer.run_started(raw_start())
    for prediction in predictions:
        writer.predicted(result(prediction.provenance.sweep, prediction))
    if stop:
        writer.run_stopped(stop())
    return documents, writer


def test_a_raw_run_becomes_one_linked_run():
    documents, _ = write([good(0), good(1)])
    (start,) = documents.of("start")
    assert start["raw_uid"] == RAW
    assert start["scan_id"] == 17
    assert (start["model"], start["element"], start["edge"]) == ("pt-l3", "Pt", "L3")
    assert start["configuration"] == good(0).configuration
    assert start["time"] == raw_start()["time"]
    keys = {doc["name"]: doc["data_keys"] for doc in documents.of("descriptor")}
    assert keys["predictions"]["R1_upper"]["units"] == "Å"
    assert keys["predictions"]["e0"]["units"] == "eV"
    assert keys["spectra"]["flat"]["shape"] == [50]
    rows = documents.events("predictions")
    assert [row["data"]["CN1"] for row in rows] == [9.5, 10.5]
    assert [row["time"] for row in rows] == [1_700_000_000.0, 1_700_000_001.0]
    assert rows[0]["data"]["flags"] == "edge_step_drift,hot"
    assert rows[0]["data"]["diameter"] == 1.8
    assert np.isnan(documents.events("spectra")[0]["data"]["foil"]).all()
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert stop["num_events"] == {"predictions": 2, "spectra": 2, "drift": 2}


def test_refused_sweeps_wait_for_the_columns_and_keep_their_place():
    documents, _ = write([refused(0), refused(1), good(2), refused(3)])
    rows = documents.events("predictions")
    assert [row["data"]["sweep"] for row in rows] == [0, 1, 2, 3]
    assert [math.isnan(row["data"]["CN1"]) for row in rows] == [True, True, False, True]
    assert rows[0]["data"]["refused"] == "no edge"
    spectra = documents.events("spectra")
    assert [np.isnan(row["data"]["flat"]).all() for row in spectra] == [True, True, False, True]
    assert all(doc["time"] <= 1_700_000_000.0 for doc in documents.of("descriptor"))


def test_a_run_of_refused_sweeps_only_is_written_too():
    documents, _ = write([refused(0), refused(1)])
    assert [row["data"]["refused"] for row in documents.events("predictions")] == ["no edge"] * 2
    assert documents.events("spectra") == []
    assert documents.of("stop")[0]["num_events"] == {"predictions": 2, "drift": 2}


def test_a_quantity_that_comes_late_is_kept():
    late = good(1, values={"CN1": Value(9.0, 0.3, 8.5, 9.5), "CN1_sample": Value(7.0, 0.5, 6.0, 8.0)})
    documents, _ = write([good(0), late])
    first, second = (row["data"] for row in documents.events("predictions"))
    assert first["other_values"] == ""
    assert json.loads(second["other_values"])["CN1_sample"] == 7.0
    assert math.isnan(second["R1"])


CHEMISTRY = Chemistry(Value(0.3, 0.05, 0.2, 0.4), None, {"metal": 0.7, "oxide": 0.3}, "looks oxidised")
DOUBT = Verdict(Degree.CAUTION, ("white line higher than any particle's", "looks oxidised"), 1.4)


def test_verdict_and_chemistry_are_columns():
    adsorbed = replace(CHEMISTRY, adsorbates=Value(0.5, 0.1, 0.3, 0.7), looks="")
    outcomes = [replace(good(i).outcome, chemistry=c) for i, c in enumerate((CHEMISTRY, adsorbed))]
    told = [good(0, outcome=outcomes[0], verdict=DOUBT), good(1, outcome=outcomes[1])]
    documents, _ = write([refused(0), *told])
    none, first, second = (row["data"] for row in documents.events("predictions"))
    assert (none["verdict"], none["verdict_reason"], none["looks"]) == ("not usable", "no edge", "")
    assert math.isnan(none["non_metal"])
    assert (first["verdict"], first["verdict_reason"]) == ("caution", "; ".join(DOUBT.reasons))
    assert (first["widening"], first["non_metal_upper"], first["share_oxide"]) == (1.4, 0.4, 0.3)
    assert first["looks"] == "looks oxidised"
    assert math.isnan(first["adsorbates"])
    assert (second["verdict"], second["adsorbates"], second["other_values"]) == ("", 0.5, "")
    keys = {doc["name"]: doc["data_keys"] for doc in documents.of("descriptor")}["predictions"]
    assert keys["verdict"]["dtype"] == keys["looks"]["dtype"] == "string"
    assert "units" not in keys["non_metal"]
    documents, _ = write([good(0)])
    assert "non_metal" not in documents.events("predictions")[0]["data"]


def test_chemistry_alone_waits_for_the_columns_and_is_kept():
    """Where standards cannot be told from the metal there may be no value, but there is chemistry."""
    alone = good(0, outcome=Outcome(chemistry=CHEMISTRY))
    whole = good(1, outcome=replace(good(1).outcome, chemistry=CHEMISTRY))
    documents, _ = write([alone, whole])
    first, second = (row["data"] for row in documents.events("predictions"))
    assert (first["non_metal"], first["looks"]) == (0.3, "looks oxidised")
    assert math.isnan(first["CN1"])
    assert second["CN1"] == 10.5
    documents, _ = write([refused(0), alone])
    none, first = (row["data"] for row in documents.events("predictions"))
    assert (first["share_metal"], none["looks"]) == (0.7, "")


def test_a_curve_of_another_length_is_named():
    documents, writer = write([good(0)], stop=None)
    other = good(1, reduced=Reduced(GRID[:9], GRID[:9], None, GRID[:9]))
    beside = good(1, model_sha256="cd" * 32)
    with pytest.raises(NotWrittenError, match=r"energy has \[9\] points and \[50\] in earlier sweeps"):
        writer.predicted(result(1, other, beside))
    writer.batch_finished()
    assert [row["data"]["sweep"] for row in documents.events("spectra")] == [0, 1]  # that of the other model
    assert len(documents.events("predictions")) == 3


def averaged(i, count, raw=RAW, **changes):
    where = replace(sweep(i, raw), averaged=count)
    mean = replace(spectrum(i), provenance=where, mu_error=np.full(50, 0.011))
    return mean, good(i, provenance=where, **changes)


def drift_of(predictions):
    monitor = SeriesMonitor()
    return [monitor.add(prediction) for prediction in predictions]


def test_averages_are_a_stream_of_their_own():
    documents, writer = write([good(0), good(1)], stop=None)
    failed = {"outcome": Outcome(), "refused": "no edge", "reduced": None, "edge_step": math.nan}
    writer.averaged(*averaged(1, 2, **failed))
    writer.predicted(result(2, good(2)))
    rdf = Curve(*(np.arange(4.0) + k for k in range(4)))
    writer.averaged(*averaged(2, 3, curves={"rdf": rdf}))
    writer.run_stopped(raw_stop())
    first, second = (row["data"] for row in documents.events("averages"))
    assert (first["sweep"], first["averaged"], first["refused"]) == (1, 2, "no edge")
    assert math.isnan(first["CN1"])
    assert math.isnan(first["noise"])
    assert (second["sweep"], second["averaged"], second["CN1"]) == (2, 3, 11.5)
    assert second["noise"] == pytest.approx(0.01)
    np.testing.assert_array_equal(second["curve_rdf"], np.arange(4.0) + 1)
    np.testing.assert_array_equal(second["curve_rdf_x"], np.arange(4.0))
    np.testing.assert_array_equal(second["energy"], GRID)
    assert documents.of("stop")[0]["num_events"] == {
        "predictions": 3,
        "spectra": 3,
        "drift": 3,
        "averages": 2,
    }


def test_an_average_never_opens_or_closes_a_derived_run():
    documents, writer = write([good(0), good(1)], stop=None)
    with pytest.raises(NotWrittenError, match="average of 2 sweeps of scan 17 was not analysed as its"):
        writer.averaged(*averaged(1, 2, configuration={"level": 0.95}))
    with pytest.raises(NotWrittenError, match="not written"):
        writer.averaged(*averaged(1, 2, element="Pd", edge="K"))
    writer.run_stopped(raw_stop())
    assert len(documents.of("start")) == len(documents.of("stop")) == 1
    assert documents.events("averages") == []


def test_a_drift_over_runs_is_kept_with_each_sweep():
    """Two runs of one sample: the stake goes on from one to the next, and a refused sweep leaves it."""
    documents, rng = Documents(), np.random.default_rng(0)
    writer, monitor, judged = PredictionWriter(documents), SeriesMonitor(), []
    scores = iter(np.concatenate([rng.standard_normal(20), 10.0 + np.arange(20)]))
    for k in range(2):
        raw = str(UUID(int=k))
        writer.run_started(raw_start(raw))
        for i in range(20):
            prediction = good(i, raw, score=next(scores), shift=0.5 * k)
            writer.predicted(result(i, prediction, raw=raw, monitor=monitor))
            judged.append(prediction)
        writer.predicted(result(20, refused(20, raw), raw=raw, monitor=monitor))
        writer.run_stopped(raw_stop(raw))
    said = drift_of(judged)
    rows = [row["data"] for row in documents.events("drift")]
    refusals = [row for row in rows if row["sweep"] == 20]
    rows = [row for row in rows if row["sweep"] != 20]
    assert [row["stake"] for row in rows] == [drift.stake for drift in said]
    assert [row["alarm"] for row in rows] == [drift.alarm for drift in said]
    assert [row["sweeps"] for row in rows] == list(range(1, 41))
    assert any(row["alarm"] for row in rows[20:])
    assert not any(row["alarm"] for row in rows[:20])
    assert [row["energy_alarm"] for row in rows] == [False] * 20 + [True] * 20
    assert [row["energy_drift"] for row in rows[20:]] == [0.5] * 20
    assert [row["sweeps"] for row in refusals] == [20, 40]
    assert refusals[0]["stake"] == rows[19]["stake"]
    keys = next(doc for doc in documents.of("descriptor") if doc["name"] == "drift")["data_keys"]
    assert keys["energy_drift"]["units"] == "eV"


KINDS = {
    "good": good,
    "refused": refused,
    "late": lambda i: good(i, classes={"phase": Classes({"oxide": 0.25, "metal": 0.75}, ("metal",))}),
    "other": lambda i: good(i, configuration={"level": 0.95}),
    "palladium": lambda i: good(i, model="pd-k", element="Pd", edge="K"),
}


def told(kinds, cuts, average_after):
    """The documents of sweeps of these kinds, in batches that end at `cuts`, one with an average."""
    documents = Documents()
    writer, monitor = PredictionWriter(documents), SeriesMonitor()
    writer.run_started(raw_start())
    for i, kind in enumerate(kinds):
        writer.predicted(result(i, KINDS[kind](i), monitor=monitor))
        if i == average_after and kind == "good":
            writer.averaged(*averaged(i, 2))
        if i + 1 in cuts:
            writer.batch_finished()
    writer.run_stopped(raw_stop())
    return documents


def without_chance(documents):
    """All that two runs must have in common, without random uids and the time of the analysis."""
    runs = [{k: v for k, v in doc.items() if k != "analysed_at"} for doc in documents.of("start")]
    keys = [
        (doc["run_start"], doc["name"], doc["data_keys"], doc["time"]) for doc in documents.of("descriptor")
    ]
    stops = [(doc["run_start"], doc["exit_status"], doc["num_events"]) for doc in documents.of("stop")]
    of_stream = {doc["uid"]: (doc["run_start"], doc["name"]) for doc in documents.of("descriptor")}
    rows = {stream: [] for stream in of_stream.values()}
    for page in documents.of("event_page"):
        for event in unpack_event_page(page):
            row = {k: np.asarray(v).tolist() for k, v in event["data"].items()}
            rows[of_stream[page["descriptor"]]].append((event["seq_num"], event["time"], row))
    # NaN is no neighbour of itself, but its text is.
    return repr((runs, keys, stops, rows))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kinds=st.lists(st.sampled_from(["good", "good", *KINDS]), min_size=1, max_size=9),
    cuts=st.sets(st.integers(1, 9)),
    average_after=st.integers(0, 8),
)
def test_batches_are_written_as_their_sweeps_one_by_one(kinds, cuts, average_after):
    alone = told(kinds, set(range(1, 10)), average_after)
    batches = told(kinds, cuts, average_after)
    assert without_chance(batches) == without_chance(alone)
    uids = [uid for page in batches.of("event_page") for uid in page["uid"]]
    assert len(set(uids)) == len(uids) == sum(sum(doc["num_events"].values()) for doc in batches.of("stop"))


def test_a_batch_is_one_page_a_stream_and_is_written_when_it_ends():
    documents = told(["refused", "good", "good", "refused", "good"], {4}, average_after=2)
    for stream, sizes in {"predictions": [4, 1], "spectra": [4, 1], "drift": [4, 1], "averages": [1]}.items():
        assert [len(page["seq_num"]) for page in documents.pages(stream)] == sizes
    order = [name for name, _ in documents]
    assert order == ["start", *["descriptor"] * 4, *["event_page"] * 7, "stop"]
    assert documents.pages("averages")[0] is documents.of("event_page")[3]  # after the sweeps of its batch


def test_a_page_does_not_cross_a_change_of_model():
    documents = told(["good", "good", "other", "other", "good"], set(), average_after=99)
    starts, stops = documents.of("start"), documents.of("stop")
    assert [doc["num_events"]["predictions"] for doc in stops] == [2, 2, 1]
    assert [doc["configuration"]["level"] for doc in starts] == [0.9, 0.95, 0.9]
    assert [event["data"]["sweep"] for event in documents.events("predictions")] == [0, 1, 2, 3, 4]
    names = [name for name, _ in documents if name != "descriptor"]
    assert names == ["start", *["event_page"] * 3, "stop"] * 3


def test_another_configuration_is_another_run():
    changed = {"level": 0.95}
    documents, _ = write([good(0), good(1, configuration=changed), good(2)])
    uids = [doc["uid"] for doc in documents.of("start")]
    assert uids == [
        derived_uid(RAW, good(0)),
        derived_uid(RAW, good(0, configuration=changed)),
        derived_uid(RAW, good(0), attempt=2),
    ]
    assert [doc["run_start"] for doc in documents.of("stop")] == uids


def test_two_absorbers_do_not_close_each_other():
    palladium = {"model": "pd-k", "element": "Pd", "edge": "K"}
    documents, _ = write([good(0), good(1, **palladium), good(2), good(3, **palladium)])
    assert len(documents.of("start")) == len(documents.of("stop")) == 2


def test_several_models_of_one_sweep_are_runs_side_by_side():
    beside = {"model_sha256": "cd" * 32, "values": {"MSD": Value(0.008, 0.001, 0.006, 0.01, unit="Å²")}}
    nobody = Prediction.refusal(spectrum(1), "the analysis failed", model="", model_sha256="")
    documents, writer = write([], stop=None)
    for i, said in ((0, (good(0), good(0, **beside))), (1, (nobody,)), (2, (good(2), good(2, **beside)))):
        writer.predicted(result(i, *said))
    writer.averaged(*averaged(2, 2))
    writer.averaged(*averaged(2, 2, **beside))
    writer.run_stopped(raw_stop())
    first, second, third = documents.of("start")
    assert [start["model_sha256"] for start in (first, second, third)] == ["ab" * 32, "cd" * 32, ""]
    assert [start["attempt"] for start in (first, second, third)] == [1, 1, 1]
    rows = {start["uid"]: 0 for start in (first, second, third)}
    for stop in documents.of("stop"):
        rows[stop["run_start"]] = (stop["num_events"]["predictions"], stop["num_events"].get("averages", 0))
    assert list(rows.values()) == [(2, 1), (2, 1), (1, 0)]


def test_the_same_analysis_is_the_same_run_and_a_forced_one_is_not():
    first, again = write([good(0)])[0], write([good(0)])[0]
    forced = write([good(0)], attempt=lambda raw_uid: 4)[0]
    assert first.of("start")[0]["uid"] == again.of("start")[0]["uid"]
    assert forced.of("start")[0]["uid"] == derived_uid(RAW, good(0), attempt=4)
    assert forced.of("start")[0]["attempt"] == 4
    assert derived_uid(RAW, good(0)) != derived_uid(RAW, good(0, model_sha256="cd" * 32))


def test_exit_statuses():
    assert write([good(0)], stop=lambda: raw_stop(status="abort"))[0].of("stop")[0]["exit_status"] == "abort"
    documents, writer = write([good(0)], stop=None)
    writer.close()
    assert documents.of("stop")[0]["exit_status"] == "abort"
    assert "before its raw run" in documents.of("stop")[0]["reason"]


def test_a_prediction_that_cannot_be_linked_is_named():
    with pytest.raises(ValueError, match="no run uid"):
        PredictionWriter(Documents()).predicted(result(0, good(0, None), raw=None))


def test_derived_runs_in_the_archive(archive, raw_writer, derived_writer, make_run):
    documents = make_run([1.0], metadata={"scan_id": 99})
    for name, doc in documents:
        raw_writer(name, doc)
    raw = documents[0][1]["uid"]
    predictions = [
        refused(0, raw),
        *(good(i, raw, outcome=replace(good(i).outcome, chemistry=CHEMISTRY)) for i in (1, 2)),
    ]
    predictions[1] = replace(predictions[1], verdict=DOUBT)

    def analyse(attempt=None):
        writer, monitor = PredictionWriter(derived_writer, attempt), SeriesMonitor()
        writer.run_started(documents[0][1])
        for prediction in predictions:
            writer.predicted(result(prediction.provenance.sweep, prediction, raw=raw, monitor=monitor))
        writer.averaged(*averaged(2, 2, raw=raw))
        writer.run_stopped(documents[-1][1])
        writer.close()
        assert derived_writer.flush(30)

    analyse()
    assert raw_writer.flush(30)
    run = archive.derived[derived_uid(raw, good(0, raw))]
    table = run["predictions"].read()
    np.testing.assert_array_equal(table["CN1"], [np.nan, 10.5, 11.5])
    assert [str(reason) for reason in table["refused"].values] == ["no edge", "", ""]
    assert [str(word) for word in table["verdict"].values] == ["not usable", "caution", ""]
    assert str(table["verdict_reason"].values[1]).split("; ") == [*DOUBT.reasons]
    np.testing.assert_array_equal(table["widening"], [1.0, 1.4, 1.0])
    np.testing.assert_array_equal(table["non_metal"], [np.nan, 0.3, 0.3])
    np.testing.assert_array_equal(table["share_oxide"], [np.nan, 0.3, 0.3])
    assert np.isnan(table["adsorbates"]).all()
    assert [str(word) for word in table["looks"].values] == ["", "looks oxidised", "looks oxidised"]
    np.testing.assert_array_equal(run["spectra"].read()["energy"][1], GRID)
    drift = run["drift"].read()
    np.testing.assert_array_equal(drift["sweep"], [0, 1, 2])
    np.testing.assert_array_equal(drift["sweeps"], [0, 1, 2])
    np.testing.assert_array_equal(drift["alarm"], [False] * 3)
    np.testing.assert_allclose(drift["stake"], [1.0, 1.0, drift_of(predictions)[-1].stake])
    means = run["averages"].read()
    np.testing.assert_array_equal(means["averaged"], [2])
    np.testing.assert_array_equal(means["CN1"], [11.5])
    np.testing.assert_allclose(means["noise"], [0.01])
    np.testing.assert_array_equal(means["flat"][0], np.ones(50))
    assert archive.client[run.metadata["start"]["raw_uid"]].metadata["start"]["scan_id"] == 99
    assert [name for name, _ in run.documents()][:2] == ["start", "descriptor"]

    analyse()
    assert archive.next_attempt(raw) == 2
    analyse(archive.next_attempt)
    assert archive.next_attempt(raw) == 3
    assert derived_writer.status().runs_failed == 0


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {"sample_name": "a", "cycle": "2026-3", "data_session": "pass-1", "tiled_access_tags": ["t"]}),
        ({"copied": ("beamline",)}, {"beamline": "7-BM"}),
        ({"copied": ()}, {}),
    ],
)
def test_a_derived_run_has_what_facilities_search_and_guard_by(options, kept):
    given = {"sample_name": "a", "cycle": "2026-3", "data_session": "pass-1", "tiled_access_tags": ["t"],
             "beamline": "7-BM", "model": "not this one"}  # fmt: skip
    documents = Documents()
    writer = PredictionWriter(documents, **options)
    writer.run_started({**raw_start(), **given})
    writer.predicted(result(0, good(0)))
    writer.run_stopped(raw_stop())
    (start,) = documents.of("start")
    assert {key: start[key] for key in given if key in start and key != "model"} == kept
    assert start["model"] == "pt-l3"


def test_a_derived_run_says_what_was_understood_and_what_was_left_out():
    read = {"channels": {"energy": "mono"}, "energy_unit": "keV", "left_out": ["2 events are lost", "a row"]}
    prediction = good(0)
    where = replace(prediction.provenance, read=read)
    documents, _ = write([replace(prediction, provenance=where), good(1)])
    (start,) = documents.of("start")
    assert start["read"] == {"channels": {"energy": "mono"}, "energy_unit": "keV"}
    assert [e["data"]["left_out"] for e in documents.events("predictions")] == [
        "2 events are lost; a row",
        "",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"sample": "Pt/Al2O3"}, "Pt/Al2O3"),
        ({"sample": {"name": "Pt/Al2O3", "mass": 3}}, "Pt/Al2O3"),
        ({"sample": {"name": "b"}, "sample_name": "a"}, "a"),
        ({"sample": 17}, "17"),
        ({"sample": ["a", "b"]}, "['a', 'b']"),
        ({"sample": {"id": 3}}, None),
        ({}, None),
    ],
)
def test_sample_and_temperature_are_searched_by_one_key_each(given, expected):
    documents = Documents()
    writer = PredictionWriter(documents)
    writer.run_started({**raw_start(), **given})
    prediction = good(0)
    for i, temperature in enumerate((523.0, 573.0)):
        measured = replace(spectrum(i), temperature=temperature)
        drift = SeriesMonitor().add(prediction)
        writer.predicted(SweepResult(measured, (replace(prediction, provenance=sweep(i)),), (drift,)))
    writer.run_stopped(raw_stop())
    (start,) = documents.of("start")  # valid, whatever the raw run's sample was
    assert start.get("sample_name") == expected
    assert start["temperature"] == 523.0
    rows = [event["data"] for event in documents.events("predictions")]
    assert [row["temperature"] for row in rows] == [523.0, 573.0]
    assert [row["anchor"] for row in rows] == ["reference"] * 2


def decision(sweep=1, raw=RAW, **changes):
    made = Decision("growth", "pause", DecisionOutcome.DONE, "CN1 10.5", raw, sweep, "CN1", 10.5, 0.4, 1.7e9)
    return replace(made, **changes)


def test_a_decision_is_stored_with_the_sweeps_that_it_rests_on():
    documents, writer = write([good(0), good(1)], stop=None)
    writer.decided(decision())
    writer.decided(decision(outcome=DecisionOutcome.HELD, sweep=None))
    writer.run_stopped(raw_stop())
    assert len(documents.of("start")) == 1
    first, second = documents.events("decisions")
    assert first["time"] == 1.7e9
    assert first["data"] == decision().columns()
    assert (second["data"]["outcome"], second["data"]["sweep"]) == ("held", -1)
    assert documents[-1][0] == "stop"


def test_a_decision_after_its_run_has_a_run_of_its_own_guarded_as_the_raw_run():
    documents = Documents()
    writer = PredictionWriter(documents)
    writer.run_started({**raw_start(), "tiled_access_tags": ["group"], "sample_name": "Pt/C"})
    writer.predicted(result(0, good(0)))
    writer.run_stopped(raw_stop())
    writer.decided(decision(sweep=0))
    writer.decided(decision(raw=None, sweep=None))
    _, late, of_none = documents.of("start")
    assert (late["raw_uid"], late["purpose"], late["scan_id"]) == (RAW, "decisions", 17)
    assert (late["tiled_access_tags"], late["sample_name"]) == (["group"], "Pt/C")
    assert "raw_uid" not in of_none
    assert len(documents.events("decisions")) == 2
    assert len(documents.of("stop")) == 3
