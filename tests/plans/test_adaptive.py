"""adaptive scans where a recommender says, and nothing that is slow or raises breaks it."""

from __future__ import annotations

import threading

import bluesky.plans as bp
import pytest
from bluesky import RunEngine

from tests.rules.scripted import POINTS, Scripted, said, sweeping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.errors import Refusal
from xas_live.plans import adaptive
from xas_live.prediction import Degree


@pytest.fixture
def RE():
    return RunEngine({})


@pytest.fixture
def scan_at():
    detectors, energy = sweeping()
    return lambda where: bp.list_scan(
        detectors, energy, POINTS, md={"element": "Pt", "edge": "L3", "at": where}
    )


@pytest.fixture
def attached(RE):
    opened = []

    def attach(tells):
        live = LiveAnalysis(Scripted(tells))
        RE.subscribe(live)
        opened.append(live)
        return live

    yield attach
    for live in opened:
        live.close(10)


def run(RE, plan):
    found = []

    def keep():
        found.append((yield from plan))

    RE(keep())
    return found[0]


def hotter(where, predictions):
    return None if predictions[-1].values["CN1"].value > 8.5 else where + 10


def test_the_recommender_chooses_where_and_when_it_ends(RE, attached, scan_at):
    xas = attached(lambda k: said(7 + k))
    result = run(RE, adaptive(scan_at, 300, hotter, xas, max_scans=10))
    assert result.settings == (300, 310, 320)
    assert len(result.uids) == 3
    assert result.reason == "the recommender has ended it"
    assert [decision.action for decision in xas.decisions] == ["scan at 310", "scan at 320"]


def test_a_slow_recommender_breaks_nothing_and_its_answer_is_used_when_it_comes(RE, attached, scan_at):
    xas, go, told = attached(lambda k: said(7)), threading.Event(), []

    def slow(where, predictions):
        told.append(len(predictions))
        if len(told) == 1:
            go.wait(20)
        return where + 10

    scans = []

    def scanning(where):
        scans.append(where)
        if len(scans) == 3:
            go.set()
        return (yield from scan_at(where))

    result = run(RE, adaptive(scanning, 300, slow, xas, max_scans=5, timeout=0.5))
    assert result.settings == (300, 300, 300, 310, 320)
    assert told == [1, 1, 1]  # what was measured at 300 meanwhile says nothing of 310
    assert result.reason == "5 scans are done"


def test_a_slow_or_dead_analysis_breaks_nothing(RE, attached, scan_at):
    xas = attached(lambda k: said(7))
    xas.close(10)
    result = run(RE, adaptive(scan_at, 300, hotter, xas, max_scans=3))
    assert result.settings == (300, 300, 300)
    assert xas.decisions[-1].reason == "the analysis was closed"


def test_what_is_not_usable_is_not_recommended_from(RE, attached, scan_at):
    looks = [{"degree": Degree.NOT_USABLE}, {"refused": "dark"}, {"partial": True}, {}]
    xas = attached(lambda k: said(9, **looks[k]))
    result = run(RE, adaptive(scan_at, 300, hotter, xas, max_scans=6))
    assert (len(result.settings), result.reason) == (4, "the recommender has ended it")


def test_a_recommender_that_raises_ends_it_and_says_so(RE, attached, scan_at):
    xas = attached(lambda k: said(7))
    result = run(RE, adaptive(scan_at, 300, lambda where, predictions: 1 / 0, xas, max_scans=6))
    assert result.reason == "the recommender failed, ZeroDivisionError: division by zero"
    assert xas.decisions[-1].outcome == "failed"
    assert RE.state == "idle"


def test_settings_that_make_no_sense_are_refused(RE, attached, scan_at):
    xas = attached(lambda k: said(7))
    with pytest.raises(Refusal, match="at least one scan"):
        RE(adaptive(scan_at, 300, hotter, xas, max_scans=0))
    with pytest.raises(Refusal, match="positive number of seconds"):
        RE(adaptive(scan_at, 300, hotter, xas, max_scans=1, timeout=0))
