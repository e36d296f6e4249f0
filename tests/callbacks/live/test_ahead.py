"""An analyzer that works by itself: its batches are published in order while it is at the next."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from tests.callbacks.edges import GRID, Edges, documents
from xas_live.callbacks.live import live_analysis
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher


class Ahead(Edges):
    """Made-up analyzer that can be asked ahead; a batch is ready when the test says so, or fails."""

    def __init__(self, fail: str = "", **rest) -> None:
        super().__init__(**rest)
        self.fail = fail
        self.log: list[tuple[str, int]] = []

    def analyze(self, spectra):
        self.log.append(("analyze", len(spectra)))
        return super().analyze(spectra)

    def submit(self, spectra):
        self.log.append(("submit", len(spectra)))
        if self.fail == "submit":
            raise RuntimeError("no thread can be started")
        future: Future = Future()
        if self.fail == "result":
            future.set_exception(RuntimeError("the other side is gone"))
        elif self.fail == "count":
            future.set_result([])
        else:
            future.set_result([[p] for p in super().analyze(spectra)])
        return future


class Told(BasePublisher):
    """Writes all down, once the test lets it begin; `log` says what the analyzer was asked meanwhile."""

    def __init__(self, log=()):
        self.begin = threading.Event()
        self.calls: list[tuple] = []
        self.log = log
        self.asked_before: list[int] = []

    def run_started(self, start):
        self.begin.wait(30)
        self.calls.append(("started", start["uid"]))

    def predicted(self, result):
        [prediction] = result.predictions
        assert result.spectrum.provenance is prediction.provenance
        where = prediction.provenance
        self.asked_before.append(sum(count for what, count in self.log if what == "submit"))
        self.calls.append(("predicted", where.run_uid, where.sweep, prediction.refused))

    def averaged(self, spectrum, prediction):
        self.calls.append(("averaged", prediction.provenance.run_uid, prediction.provenance.averaged))

    def run_stopped(self, stop):
        self.calls.append(("stopped", stop["run_start"]))

    def batch_finished(self):
        self.calls.append(("batch_finished",))


@pytest.fixture
def runs(monkeypatch):
    """Documents of five runs of two sweeps, and batches of four sweeps."""
    monkeypatch.setattr(live_analysis, "SWEEPS_AT_ONCE", 4)
    return [list(documents(np.tile(GRID, 2), page=[len(GRID)] * 2)) for _ in range(5)]


def analysed(analyzer, runs):
    """What a publisher is told of a backlog, which waits while it is held up at the first document."""
    told, held = Told(getattr(analyzer, "log", ())), list(documents(GRID[:1]))
    with LiveAnalysis(analyzer, [told]) as live:
        for document in [*held, *(doc for run in runs for doc in run)]:
            live(*document)
        told.begin.set()
        assert live.wait(30)
        return told, live.errors, live.status()


def without_batches(calls):
    return [call for call in calls if call != ("batch_finished",)]


def uids(runs):
    return {run[0][1]["uid"] for run in runs}


def test_all_is_told_in_the_order_of_the_documents(runs):
    expected, _, _ = analysed(Edges(), runs)
    analyzer = Ahead()
    told, errors, status = analysed(analyzer, runs)
    assert not errors
    assert status.sweeps == 10
    assert len(without_batches(told.calls)) == 2 + 5 * 5
    assert [call[0] for call in told.calls[2:7]] == [
        "started",
        "predicted",
        "predicted",
        "averaged",
        "stopped",
    ]
    of_runs = [[c for c in without_batches(each.calls) if c[1] in uids(runs)] for each in (told, expected)]
    assert of_runs[0] == of_runs[1]


def test_the_next_batch_is_asked_for_before_one_is_published(runs):
    analyzer = Ahead()
    told, _, _ = analysed(analyzer, runs)
    averages = ("analyze", 2)
    assert analyzer.log == [("submit", 4), averages] * 2 + [("analyze", 2), ("analyze", 1)]
    assert told.asked_before == [8] * 10, "of two full batches the first waits until the second is under way"


@pytest.mark.parametrize("fail", ["submit", "result", "count"])
def test_one_that_fails_ahead_is_asked_again_here(runs, fail):
    analyzer = Ahead(fail)
    told, errors, status = analysed(analyzer, runs)
    assert (status.sweeps, status.refused) == (10, 0)
    assert errors
    expected, _, _ = analysed(Edges(), runs)
    assert without_batches(told.calls)[2:] == without_batches(expected.calls)[2:]


def test_only_the_sweep_that_fails_is_refused(runs):
    told, _, status = analysed(Ahead("result", fail_on=1), runs)
    refused = [call[2] for call in told.calls if call[0] == "predicted" and call[3]]
    assert refused == [1] * 5
    assert status.refused == 5
