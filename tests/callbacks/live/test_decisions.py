"""What may be acted on, and what was done: the latest prediction's age, and decisions on their way to all."""

from __future__ import annotations

import math
import sys
import threading
import time

import pytest
from bluesky import RunEngine
from bluesky import plans as bp

from tests.callbacks.edges import GRID, Counter, Edges, Energy
from xas_live.callbacks.live.current import SweepTimes
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.prediction import Decision, DecisionOutcome


class Diary(BasePublisher):
    def __init__(self) -> None:
        self.told: list[object] = []

    def predicted(self, result):
        self.told.append(result.primary.provenance.sweep)

    def decided(self, decision):
        self.told.append(decision)

    def run_stopped(self, stop):
        self.told.append("stop")


class Rule(BasePublisher):
    """Decides on every sweep, in the worker thread."""

    analysis: LiveAnalysis

    def predicted(self, result):
        where = result.primary.provenance
        self.analysis.decided(
            Decision("rule", "pause", DecisionOutcome.DONE, "big", where.run_uid, where.sweep)
        )


@pytest.fixture
def scan():
    energy = Energy(name="energy")
    detectors = [Counter(name=name, energy=energy) for name in ("i0", "it", "ir")]
    return lambda sweeps=1: bp.list_scan(
        detectors, energy, GRID.tolist() * sweeps, md={"element": "Pt", "edge": "L3"}
    )


def test_a_rules_decision_comes_after_its_sweep_to_all_publishers_and_the_user(scan, capsys):
    before, after, rule = Diary(), Diary(), Rule()
    RE = RunEngine({})
    with LiveAnalysis(Edges(), [before, rule, after]) as live:
        rule.analysis = live
        RE.subscribe(live)
        RE(scan(2))
        assert live.wait(20)
        first, second = live.decisions
        assert before.told == after.told == [0, first, 1, second, "stop"]
        assert (second.sweep, second.outcome) == (1, "done")
    assert "rule: pause; big" in capsys.readouterr().out


def test_a_decision_from_another_thread_is_told_by_the_worker(scan):
    diary = Diary()
    decision = Decision("plan", "set furnace to 553 K", DecisionOutcome.HELD, "the sample is not usable")
    with LiveAnalysis(Edges(), [diary]) as live:
        thread = threading.Thread(target=live.decided, args=(decision,))
        thread.start()
        thread.join()
        assert live.wait(20)
    assert diary.told == [decision]
    live.decided(decision)  # of a closed analysis it is kept, and said
    assert live.decisions == [decision] * 2
    assert str(decision) == "plan: set furnace to 553 K (held); the sample is not usable"


def test_what_is_current_says_why_it_must_not_be_acted_on(scan):
    RE = RunEngine({})
    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)
        nothing = live.current()
        assert (nothing.prediction, nothing.fresh) == (None, False)
        assert nothing.reason == "no sweep has been predicted so far"
        RE(scan())
        assert live.wait(20)
        now = live.current()
        assert now.fresh
        assert now.prediction is live.latest
        assert 0 <= now.age < now.limit
        time.sleep(0.05)
        old = live.current(max_age=0.01)
        assert not old.fresh
        assert old.prediction is live.latest
        assert "ended 0 s ago, and the limit is 0 s" in old.reason
    assert live.current().reason == "the analysis was closed"


def test_an_analysis_that_has_ended_by_an_error_is_not_current(scan):
    RE = RunEngine({})
    live = LiveAnalysis(Edges())
    RE.subscribe(live)
    RE(scan())
    assert live.wait(20)
    live._next_batch = sys.exit  # type: ignore[method-assign]
    RE(scan())
    live._worker.join(20)
    assert live.current().reason == "the analysis has ended by an error: attach again"
    assert live.current().prediction is not None


@pytest.mark.parametrize(
    ("events", "limit"),
    [
        ([], 2.0),
        ([("began", 100.0), ("completed", 107.0)], 14.0),
        ([("began", 100.0), ("completed", 107.0), ("completed", 112.0)], 14.0),
        # A pause between runs is no sweep time.
        ([("began", 0.0), ("completed", 5.0), ("began", 3600.0), ("completed", 3604.0)], 10.0),
        # Of the last three sweeps the longest counts.
        ([("began", 0.0), *[("completed", when) for when in (50.0, 54.0, 58.0, 62.0)]], 8.0),
        # The start document of the next run comes before the sweep that it completes was analysed.
        ([("began", 0.0), ("began", 9.0), ("completed", 8.0), ("completed", 20.0)], 22.0),
    ],
)
def test_the_limit_is_two_sweep_times(events, limit):
    times = SweepTimes()
    assert math.isnan(times.age())
    for what, when in events:
        getattr(times, what)(when)
    assert times.limit == limit
