"""xas_live.predictions: one table over many stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import httpx
import numpy as np
import pandas as pd
import pytest
from tiled.client import from_uri
from tiled.structures.core import Spec

import xas_live
from xas_live.analysis import SeriesMonitor
from xas_live.archive import Archive, ArchiveError, open_archive
from xas_live.callbacks.publishers import PredictionWriter, SweepResult
from xas_live.callbacks.publishers.result_table import table
from xas_live.callbacks.publishers.results import Result
from xas_live.prediction import FAILED, Outcome, Prediction, Size, Value
from xas_live.spectrum import Provenance, Spectrum

RUNS = 50
BEGAN = datetime(2026, 3, 1, 12).timestamp()
HOUR = 3600.0


def _uid(run: int) -> str:
    return str(uuid5(NAMESPACE_OID, str(run)))


def _start(run: int) -> dict[str, Any]:
    """Run 0 an hour after noon, and one every hour; five samples in turn, told in different ways."""
    name = f"sample {run % 5}"
    told = [{"sample_name": name}, {"sample": name}, {"sample": {"name": name}}][run % 3]
    return {"uid": _uid(run), "time": BEGAN + run * HOUR, "scan_id": 100 + run, **told}


def _predictions(run: int, *, model: str = "pt-l3", refused: str | None = None) -> Iterator[Prediction]:
    """What a model says of the two sweeps of a run."""
    for sweep in range(2):
        where = Provenance(
            scan=str(100 + run), run_uid=_uid(run), sweep=sweep, time=BEGAN + run * HOUR + 60 * (sweep + 1)
        )
        values = {"CN1": Value(run + sweep / 10, 0.3, run - 0.5, run + 0.5)}
        outcome = Outcome() if refused and sweep else Outcome(values, size=Size(1.8, 1.5, 2.1, "1.8 nm"))
        yield Prediction(
            model=model,
            model_sha256="ab" * 32,
            element="Au" if run == 7 else "Pt",
            edge="L3",
            provenance=where,
            outcome=outcome,
            refused=refused if sweep else None,
        )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, list[Prediction]]]:
    """An archive with the predictions of fifty runs."""
    with open_archive(tmp_path_factory.mktemp("fifty")) as archive:
        writer = archive.derived_writer()
        publisher = PredictionWriter(writer, archive.next_attempt)
        expected = []
        for run in range(RUNS):
            expected += _publish(publisher, run, refused="no edge" if run == 3 else None)
        expected += _publish(publisher, 8, model="pt-other")
        assert writer.flush(300)
        yield archive, expected


def _publish(publisher: PredictionWriter, run: int, **options: Any) -> list[Prediction]:
    given = list(_predictions(run, **options))
    _publish_all(publisher, run, given)
    return given


def _publish_all(publisher: PredictionWriter, run: int, given: Sequence[Prediction]) -> None:
    publisher.run_started(_start(run))  # type: ignore[arg-type]
    monitor = SeriesMonitor()
    for prediction in given:
        axis = np.linspace(11500.0, 11600.0, 5)
        spectrum = Spectrum(axis, axis, provenance=prediction.provenance, temperature=300.0 + run)
        publisher.predicted(SweepResult(spectrum, (prediction,), (monitor.add(prediction),)))
    publisher.run_stopped({"uid": "x", "run_start": _uid(run), "time": BEGAN, "exit_status": "success"})


def test_fifty_runs_are_one_table_with_the_columns_of_the_session(stored: Any) -> None:
    archive, expected = stored
    live = table([Result(prediction, 0.0) for prediction in expected])
    rows = xas_live.predictions(archive)
    assert len(rows) == 2 * RUNS + 2
    assert [column for column in live.columns if column not in rows.columns] == ["averaged", "lag"]
    assert set(rows.columns) - set(live.columns) == {
        "uid", "temperature", "element", "edge", "derived_uid",
    }  # fmt: skip
    assert rows["time"].is_monotonic_increasing
    both = live.sort_values(["time", "model"]).reset_index(drop=True)
    mine = rows.sort_values(["time", "model"]).reset_index(drop=True)
    shared = [column for column in live.columns if column not in ("averaged", "lag", "sample")]
    pd.testing.assert_frame_equal(mine[shared], both[shared], check_dtype=False)
    first = rows.iloc[0]
    assert (first["uid"], first["sample"], first["temperature"]) == (_uid(0), "sample 0", 300.0)
    assert archive.derived[first["derived_uid"]].start["raw_uid"] == _uid(0)


@pytest.mark.slow
def test_a_sweep_on_which_the_analysis_failed_is_there_until_a_replay_predicts_it(tmp_path: Path) -> None:
    with open_archive(tmp_path) as archive:
        first, second = list(_predictions(0))
        failed = Prediction.refusal(
            Spectrum(np.ones(5), np.ones(5), element="Pt", edge="L3", provenance=second.provenance),
            f"{FAILED} (AnalysisProcessError: the analysis process was ended by SIGKILL)",
        )
        for said, refused in (((first, failed), ["", failed.refused]), ((first, second), ["", ""])):
            writer = archive.derived_writer()
            publisher = PredictionWriter(writer)
            _publish_all(publisher, 0, said)
            assert writer.flush(120)
            rows = xas_live.predictions(archive)
            assert list(rows["refused"]) == refused
            assert list(rows["sweep"]) == [0, 1]
        assert list(rows["CN1"]) == [0.0, 0.1]


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ({"sample": "sample 2"}, range(2, RUNS, 5)),
        ({"sample": "sample 2", "element": "Au"}, [7]),
        ({"sample": "no such"}, []),
        ({"element": "Au"}, [7]),
        ({"model": "pt-other"}, [8]),
        ({"since": "2026-03-03 12:00"}, [48, 49]),
        ({"until": datetime.fromtimestamp(BEGAN) + timedelta(hours=2)}, [0, 1]),
        ({"since": BEGAN + 3 * HOUR, "until": BEGAN + 5 * HOUR}, [3, 4]),
        ({"run": -1}, [49]),
        ({"run": -3}, [47]),
        ({"run": -1, "sample": "sample 3"}, [48]),
        ({"run": -2, "until": "2026-03-01 14:00"}, [0]),
        ({"run": -51}, []),
        ({"run": 108}, [8]),
        ({"run": _uid(9)}, [9]),
        ({"run": _uid(9)[:8]}, [9]),
        ({"run": 5}, []),
    ],
)
def test_runs_are_selected(stored: Any, query: dict[str, Any], runs: Any) -> None:
    archive, _ = stored
    rows = xas_live.predictions(archive, **query)
    assert list(dict.fromkeys(rows["scan"])) == [str(100 + run) for run in runs]
    assert {"CN1", "sample"} <= set(rows.columns) or not len(rows)


def test_a_refused_sweep_is_a_row_with_its_reason(stored: Any) -> None:
    archive, _ = stored
    good, bad = xas_live.predictions(archive, 103).to_dict("records")
    assert (good["refused"], bad["refused"]) == ("", "no edge")
    assert np.isnan(bad["CN1"])


def test_of_an_analysis_done_again_the_newest_is_given(stored: Any) -> None:
    archive, _ = stored
    before = xas_live.predictions(archive, 120)
    writer = archive.derived_writer()
    _publish(PredictionWriter(writer, archive.next_attempt), 20)
    assert writer.flush(60)
    after = xas_live.predictions(archive, 120)
    assert len(after) == len(before) == 2
    assert set(after["derived_uid"]).isdisjoint(before["derived_uid"])


def test_a_catalog_is_given_as_users_have_it(
    stored: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, _ = stored
    monkeypatch.setenv("TILED_API_KEY", archive.api_key)
    server = archive.uri.removesuffix("/raw")
    ui = server.replace("/api/v1/metadata", "/ui/browse/raw")
    clients = [from_uri(server), from_uri(server)["raw"], from_uri(server)["xas_live"]]
    for catalog in (archive.folder, str(archive.folder), server, ui, archive.derived.uri, *clients):
        assert len(xas_live.predictions(catalog, -1)) == 2
    empty = xas_live.predictions(tmp_path / "empty", sample="a")
    assert list(empty["uid"]) == []


def test_a_first_version_s_runs_among_raw_ones_are_read(facility: Any, stored: Any) -> None:
    archive, _ = stored
    root = from_uri(facility.many, api_key="facility")["open"].create_container("old")
    inner = root.create_container("xas_live")
    run = Spec("BlueskyRun", "3.0")
    inner.create_container("a", metadata={"start": archive.derived[-1].start}, specs=[run])
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xas_live.archive.table._frame", lambda run: asked.append(run.start["raw_uid"]))
        xas_live.predictions(root)
    assert asked == [archive.derived[-1].start["raw_uid"]]


def test_one_request_a_run_is_enough(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, _ = stored
    asked: list[str] = []
    send = httpx.Client.send

    def counted(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        asked.append(request.url.path)
        return send(self, request, **options)

    monkeypatch.setattr(httpx.Client, "send", counted)
    assert len(xas_live.predictions(archive, sample="sample 1")) == 20
    assert sum("/table/" in path for path in asked) == 10
    assert len(asked) < 30


def test_a_time_that_cannot_be_read_is_said(stored: Any) -> None:
    archive, _ = stored
    with pytest.raises(ArchiveError, match="since='next week' is no date"):
        xas_live.predictions(archive, since="next week")
