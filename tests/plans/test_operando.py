"""operando follows a reaction, drives it within limits, and holds when it must not act."""

from __future__ import annotations

import math
import threading
import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from hypothesis import given
from hypothesis import strategies as st
from ophyd import SoftPositioner

from tests.rules.scripted import POINTS, Scripted, said, sweeping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.errors import Refusal
from xas_live.plans import hold_in_band, operando, step_when
from xas_live.plans.drives import carried_on
from xas_live.prediction import Degree
from xas_live.rules import Actuator, Condition, Limits

LIMITS = Limits(low=300, high=900, largest_step=20, rate=1e7, units="K")


class Reactor:
    """Particles that grow when hot and shrink when cold, and what an analysis says of them."""

    def __init__(self, cn1=7.0, noise=0.05, seed=1):
        self.furnace = SoftPositioner(name="furnace", init_pos=600.0)
        self.actuator = Actuator(self.furnace, LIMITS)
        self.cn1, self.noise = cn1, noise
        self.rng = np.random.default_rng(seed)
        self.truth, self.looks = [], {}

    def says(self, k):
        self.cn1 += 0.01 * (self.furnace.position - 580.0)
        self.truth.append(self.cn1)
        seen = self.cn1 + self.noise * self.rng.standard_normal()
        return said(seen, statistical=1.645 * self.noise, sweep=k, **self.looks.get(k, {}))


@pytest.fixture
def RE():
    return RunEngine({})


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def xas(RE, reactor):
    with LiveAnalysis(Scripted(reactor.says)) as live:
        RE.subscribe(live)
        yield live


@pytest.fixture
def scan():
    detectors, energy = sweeping()
    return lambda: bp.list_scan(detectors, energy, POINTS, md={"element": "Pt", "edge": "L3"})


def run(RE, plan):
    found = []

    def keep():
        found.append((yield from plan))

    RE(keep())
    return found[0]


def outcomes(xas):
    return [(decision.action, str(decision.outcome)) for decision in xas.decisions]


def test_a_target_is_brought_into_its_band_and_held_there(RE, reactor, xas, scan):
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    result = run(RE, operando(scan, xas, drive=drive, max_scans=40))
    assert (result.scans, len(result.uids), result.reason) == (40, 40, "40 scans are done")
    assert all(8.5 < cn1 < 9.5 for cn1 in reactor.truth[-20:]), reactor.truth
    assert 0 < len(result.moves) < 35
    done = [decision for decision in xas.decisions if decision.outcome == "done"]
    assert len(done) == len(result.moves)
    assert done[0].by == "operando"
    assert "on its way to" in done[0].reason
    assert done[0].reason.endswith("the band is 8.5 to 9.5")


def test_it_ends_when_its_condition_is_met(RE, reactor, xas, scan):
    until = Condition(target="CN1", above=7.5, sweeps=2)
    result = run(RE, operando(scan, xas, until=until, max_scans=40))
    assert result.reached
    assert result.scans < 10
    assert "above 7.5" in result.reason
    assert outcomes(xas) == [("end", "done")]


def test_an_actuator_is_stepped_when_a_condition_is_met(RE, reactor, xas, scan):
    drive = step_when(Condition(target="CN1", above=7.5), reactor.actuator, to=590)
    result = run(RE, operando(scan, xas, drive=drive, max_scans=6))
    assert [move.value for move in result.moves] == [590]
    assert reactor.furnace.position == 590


@pytest.mark.parametrize(
    ("looks", "word"),
    [
        ({"degree": Degree.NOT_USABLE}, "verdict is not usable"),
        ({"degree": Degree.CAUTION}, "verdict is caution"),
        ({"flags": ("unanchored",)}, "no foil ties it"),
        ({"refused": "dark"}, "refused: dark"),
    ],
)
def test_it_holds_on_what_may_not_be_acted_on_says_so_once_and_goes_on_scanning(
    RE, reactor, xas, scan, looks, word
):
    reactor.looks = dict.fromkeys(range(1, 4), looks)
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    result = run(RE, operando(scan, xas, drive=drive, max_scans=5))
    assert result.scans == 5
    assert len(result.moves) == 2
    [held] = [decision for decision in xas.decisions if decision.outcome == "held"]
    assert held.action == "hold"
    assert word in held.reason


def test_when_the_analysis_is_closed_it_holds_says_why_and_goes_on_scanning(RE, reactor, xas, scan):
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    scans = []

    def closing():
        scans.append(None)
        if len(scans) == 3:
            xas.close(10)
        return (yield from scan())

    began = time.monotonic()
    result = run(RE, operando(closing, xas, drive=drive, max_scans=6, timeout=60))
    assert time.monotonic() - began < 30
    assert result.scans == 6
    assert 0 < len(result.moves) < 3  # of the two scans before
    assert xas.decisions[-1].reason == "the analysis was closed"
    assert [outcome for outcome in outcomes(xas) if outcome[1] != "done"] == [("hold", "held")]


def test_a_dead_analysis_is_given_up(RE, reactor, xas, scan):
    xas.close(10)
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    result = run(RE, operando(scan, xas, drive=drive, duration=60, give_up_after=0.3))
    assert not result.moves
    assert "could be acted on: the analysis was closed" in result.reason


def test_a_slow_analysis_holds_and_its_late_predictions_count_once_they_are_fresh(RE, reactor, xas, scan):
    slow, says = threading.Event(), reactor.says

    def late(k):
        if k == 1:
            slow.wait(20)
        return says(k)

    xas.analyzer = Scripted(late)
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    scans = []

    def scanning():
        scans.append(None)
        if len(scans) == 4:
            slow.set()
        return (yield from scan())

    result = run(RE, operando(scanning, xas, drive=drive, max_scans=6, timeout=0.3))
    assert result.scans == 6
    [held] = [decision for decision in xas.decisions if decision.outcome == "held"]
    assert held.reason == "no prediction came within 0.3 s"
    assert result.moves


def test_a_device_that_fails_is_recorded_and_the_scans_go_on(RE, reactor, xas, scan):
    broken = SoftPositioner(name="broken", init_pos=600.0, limits=(0, 605))
    drive = hold_in_band("CN1", 8.5, 9.5, Actuator(broken, LIMITS), step=10)
    result = run(RE, operando(scan, xas, drive=drive, max_scans=3))
    assert (result.scans, result.moves) == (3, ())
    assert {outcome for _, outcome in outcomes(xas)} == {"failed"}
    assert "LimitError" in xas.decisions[0].reason


def test_a_device_whose_move_fails_later_is_recorded_and_the_scans_go_on(RE, reactor, xas, scan):
    class Sticks(SoftPositioner):
        def _setup_move(self, position, status):
            threading.Timer(0.05, status.set_exception, (RuntimeError("it sticks"),)).start()

    stuck = Sticks(name="stuck")
    stuck._set_position(600.0)
    drive = hold_in_band("CN1", 8.5, 9.5, Actuator(stuck, LIMITS), step=10)
    result = run(RE, operando(scan, xas, drive=drive, max_scans=3))
    assert (result.scans, result.moves) == (3, ())
    assert {outcome for _, outcome in outcomes(xas)} == {"failed"}


def test_it_can_be_paused_and_resumed(RE, reactor, xas, scan):
    drive = hold_in_band("CN1", 8.5, 9.5, reactor.actuator, step=10)
    scans = []

    def pausing():
        scans.append(None)
        if len(scans) == 2:
            yield from bps.deferred_pause()
        return (yield from scan())

    with pytest.raises(RunEngineInterrupted):
        RE(operando(pausing, xas, drive=drive, max_scans=4))
    RE.resume()
    assert RE.state == "idle"
    assert len(scans) == 4
    assert xas.wait(20)
    assert len(xas.predictions) == 4


def test_it_can_be_paused_at_once_while_it_waits_for_a_prediction(RE, reactor, xas, scan):
    says = reactor.says

    def pausing(k):
        if k == 1:
            RE.request_pause()
        return says(k)

    xas.analyzer = Scripted(pausing)
    stops = []
    RE.subscribe(lambda name, doc: stops.append((doc["exit_status"], doc["num_events"])), "stop")
    with pytest.raises(RunEngineInterrupted):
        RE(operando(scan, xas, max_scans=3))
    RE.resume()
    assert RE.state == "idle"
    assert stops == [("success", {"primary": len(POINTS)})] * 3


@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
def test_after_it_was_ended_nothing_drives_on(RE, reactor, xas, scan, how):
    class Slow(SoftPositioner):
        stopped = False

        def _setup_move(self, position, status):
            """It never arrives."""
            RE.loop.call_soon_threadsafe(RE.loop.create_task, RE._request_pause_coro())

        def stop(self, *, success=False):
            self.stopped = True
            super().stop(success=success)

    slow = Slow(name="slow")
    slow._set_position(600.0)
    drive = hold_in_band("CN1", 8.5, 9.5, Actuator(slow, LIMITS), step=10)
    stops = []
    RE.subscribe(lambda name, doc: stops.append(doc["exit_status"]), "stop")
    with pytest.raises(RunEngineInterrupted):
        RE(operando(scan, xas, drive=drive, max_scans=4))
    assert RE.state == "paused"
    getattr(RE, how)()
    assert RE.state == "idle"
    assert slow.stopped
    assert stops == ["success"]
    assert slow.position == 600.0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "nothing would end this plan"),
        ({"max_scans": 0}, "max_scans=0: give a positive number"),
        ({"until": Condition(target="CN1", above=1, of="average")}, "judged by single sweeps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(RE, xas, scan, settings, word):
    with pytest.raises(Refusal, match=word):
        RE(operando(scan, xas, **settings))


@given(start=st.floats(-5, 5), slope=st.floats(-1, 1), steps=st.floats(0, 10), count=st.integers(2, 3))
def test_a_straight_way_is_carried_on_exactly(start, slope, steps, count):
    seen = [(k, start + slope * k, 0.1) for k in range(count)]
    ahead, doubt = carried_on(seen, steps)
    assert ahead == pytest.approx(start + slope * (count - 1 + steps), abs=1e-6)
    assert doubt >= 0.1 / math.sqrt(count)


@pytest.mark.parametrize("slowness", [0.001, 0.003, 0.01])
@pytest.mark.parametrize("settles", [True, False])
def test_slow_and_fast_samples_are_held_whether_they_settle_or_grow_on(slowness, settles):
    """Without a RunEngine: particles that grow with temperature, or whose size follows it."""
    furnace = SoftPositioner(name="furnace", init_pos=600.0)
    drive = hold_in_band("CN1", 8.5, 9.5, Actuator(furnace, LIMITS), step=10)
    rng, cn1, truth = np.random.default_rng(4), 8.0, []
    for k in range(120):
        hot = furnace.position - 580.0
        cn1 = cn1 + 0.15 * (8.5 + slowness * hot - cn1) if settles else cn1 + slowness * hot
        truth.append(cn1)
        wish = drive.wish(said(cn1 + 0.05 * rng.standard_normal(), statistical=0.08, sweep=k), "")
        if wish.by is not None:
            furnace.set(min(900.0, max(300.0, furnace.position + wish.by))).wait(1)
    assert np.mean([8.4 < cn1 < 9.6 for cn1 in truth[-60:]]) > 0.9, truth


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"low": 9, "high": 8}, "lower end to its upper"),
        ({"step": 0}, "step=0: give a number that is not 0"),
        ({"step": 30}, "up to the largest step, 20 K"),
        ({"look_ahead": -1}, "look_ahead=-1"),
        ({"on": ["not usable"]}, "give 'trusted', 'caution' or both"),
    ],
)
def test_bands_that_make_no_sense_are_refused(reactor, settings, word):
    given = {"low": 8.5, "high": 9.5, "step": 10} | settings
    with pytest.raises(Refusal, match=word):
        hold_in_band("CN1", given.pop("low"), given.pop("high"), reactor.actuator, **given)
