"""Rules on a real RunEngine: what they do to a plan, what they record, and that they never harm either."""

from __future__ import annotations

import threading
import time

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from bluesky.utils import RunEngineInterrupted
from ophyd import SoftPositioner

from tests.callbacks.edges import result_of
from tests.rules.scripted import POINTS, Fresh, Scripted, said, sweeping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.plans import sweep_done
from xas_live.prediction import Degree
from xas_live.rules import Actuator, Limits, Rule, RuleError, RuleWatch, register_action
from xas_live.spectrum import Spectrum

GROWN = {"name": "grown", "target": "CN1", "above": 10}


def eventually(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@pytest.fixture
def RE():
    return RunEngine({})


@pytest.fixture
def documents(RE):
    kept = []
    RE.subscribe(lambda name, doc: kept.append((name, doc)))
    return kept


@pytest.fixture
def session(RE):
    """Attach an analysis that says what a function tells of each sweep, with rules; close it afterwards."""
    opened = []

    def attach(tells, *rules, **rest):
        watch = RuleWatch(RE, rules, **rest)
        live = LiveAnalysis(Scripted(tells), [watch])
        watch.bind(live)
        RE.subscribe(live)
        opened.append(live)
        return live, watch

    yield attach
    for live in opened:
        live.close(10)


def sweeps(count, stay=lambda: True):
    """Sweeps of one run, which goes on until something is true: what rules do takes its time."""
    detectors, energy = sweeping()

    @bp.bpp.run_decorator(md={"element": "Pt", "edge": "L3"})
    def plan():
        for _ in range(count):
            for point in POINTS:
                yield from bps.checkpoint()
                yield from bps.mv(energy, point)
                yield from bps.trigger_and_read([*detectors, energy])
            yield from sweep_done()
            yield from bps.checkpoint()
        while not stay():
            yield from bps.checkpoint()
            yield from bps.sleep(0.01)

    return plan()


def stops(documents):
    return [doc["exit_status"] for name, doc in documents if name == "stop"]


def test_a_rule_pauses_at_a_checkpoint_and_the_user_resumes(RE, session, documents):
    live, _ = session(lambda k: said([9, 11, 11, 11][k]), Rule(do="pause", sweeps=2, **GROWN))
    with pytest.raises(RunEngineInterrupted):
        RE(sweeps(4, stay=lambda: live.decisions))
    assert RE.state == "paused"
    eventually(lambda: live.decisions)
    [decision] = live.decisions
    assert (decision.by, decision.action, decision.outcome, decision.sweep) == ("grown", "pause", "done", 2)
    assert decision.reason.startswith("CN1 11.00 ±0.10 (statistical error): above 10 with 99.9 %, in 2")
    assert decision.value == 11
    RE.resume()
    assert stops(documents) == ["success"]
    assert live.wait(20)
    assert len(live.predictions) == 4
    assert not live.errors


def test_after_a_pause_the_user_aborts(RE, session, documents):
    live, _ = session(lambda k: said(11), Rule(do="pause", **GROWN))
    with pytest.raises(RunEngineInterrupted):
        RE(sweeps(3, stay=lambda: live.decisions))
    RE.abort("enough")
    assert (RE.state, stops(documents)) == ("idle", ["abort"])
    eventually(lambda: live.decisions)


def test_a_rule_stops_the_plan_and_its_run_ends_well(RE, session, documents):
    live, _ = session(lambda k: said(11), Rule(do="stop", **GROWN))
    with pytest.raises(RunEngineInterrupted):
        RE(sweeps(50, stay=lambda: live.decisions))
    assert (RE.state, stops(documents)) == ("idle", ["success"])
    eventually(lambda: live.decisions)
    assert live.decisions[0].outcome == "done"


def test_a_suspended_plan_goes_on_after_the_time_or_when_released(RE, session, documents):
    rule = Rule(do="suspend", for_s=0.5, **GROWN)
    live, _ = session(lambda k: said([11, 9][k]), rule)
    RE(sweeps(2, stay=lambda: live.decisions))
    assert stops(documents) == ["success"]
    eventually(lambda: len(live.decisions) == 2)
    assert [decision.action for decision in live.decisions] == ["suspend for 0.5 s", "go on"]
    assert live.decisions[1].reason.endswith("the 0.5 s are over")


def test_who_is_suspended_for_long_is_released_at_once(RE, session, documents):
    live, watch = session(lambda k: said([11, 9][k]), Rule(do="suspend", for_s=3600, **GROWN))
    releaser = threading.Thread(target=lambda: (eventually(lambda: live.decisions), watch.release()))
    releaser.start()
    RE(sweeps(2, stay=lambda: live.decisions))
    releaser.join()
    assert stops(documents) == ["success"]
    eventually(lambda: len(live.decisions) == 2)
    assert live.decisions[1].reason.endswith("it was released")


def test_a_closed_analysis_releases_a_suspended_plan(RE, session):
    live, _ = session(lambda k: said([11, 9][k]), Rule(do="suspend", for_s=3600, **GROWN))
    closer = threading.Thread(target=lambda: (eventually(lambda: live.decisions), live.close(10)))
    closer.start()
    RE(sweeps(2, stay=lambda: live.decisions))
    closer.join()
    assert RE.state == "idle"


def test_a_rule_sets_an_actuator_within_its_limits_while_the_plan_runs(RE, session):
    furnace = SoftPositioner(name="furnace", init_pos=500.0)
    actuator = Actuator(furnace, Limits(low=300, high=900, largest_step=20, rate=1e6, units="K"))
    rule = Rule(do="set", actuator="furnace", to=400, **GROWN)
    live, _ = session(lambda k: said([9, 11, 9, 11][k]), rule, actuators=[actuator])
    RE(sweeps(4, stay=lambda: len(live.decisions) == 2))
    assert furnace.position == 460
    assert live.decisions[0].action == "set furnace to 480 K (asked for 400 K; its largest step is 20 K)"
    assert {decision.outcome for decision in live.decisions} == {"done"}


def test_a_device_that_fails_is_recorded_and_the_plan_goes_on(RE, session, documents):
    furnace = SoftPositioner(name="furnace", init_pos=500.0, limits=(0, 505))
    actuator = Actuator(furnace, Limits(low=300, high=900, largest_step=20, rate=1e6))
    live, _ = session(
        lambda k: said(11), Rule(do="set", actuator="furnace", by=20, **GROWN), actuators=[actuator]
    )
    RE(sweeps(2, stay=lambda: live.decisions))
    assert live.decisions[0].outcome == "failed"
    assert "LimitError" in live.decisions[0].reason
    assert stops(documents) == ["success"]


def test_a_function_is_called_with_the_prediction_and_what_it_raises_is_recorded(RE, session, documents):
    called = []

    @register_action("note it")
    def note(prediction):
        called.append(prediction.values["CN1"].value)
        return "noted"

    def broken(prediction):
        raise KeyError("log book")

    live, _ = session(
        lambda k: said(11),
        Rule(do="call", call="note it", **GROWN),
        Rule(do="call", call="broken", **(GROWN | {"name": "bad"})),
        functions={"broken": broken},
    )
    RE(sweeps(2))
    eventually(lambda: len(live.decisions) == 2)
    by = {decision.by: decision for decision in live.decisions}
    assert called == [11]
    assert by["grown"].reason.endswith("; noted")
    assert (by["bad"].outcome, stops(documents)) == ("failed", ["success"])
    assert "KeyError: 'log book'" in by["bad"].reason
    assert not live.errors


def test_a_function_that_does_not_return_is_told_and_holds_up_nobody(RE, session):
    hangs = threading.Event()
    live, _ = session(
        lambda k: said([11, 9, 11][k]),
        Rule(do="call", call="hang", time_limit=0.1, **GROWN),
        functions={"hang": lambda prediction: hangs.wait(20) and "at last"},
    )
    RE(sweeps(3))
    assert live.wait(20)
    eventually(lambda: len(live.decisions) == 2)
    hangs.set()
    eventually(lambda: len(live.decisions) == 3)
    reasons = sorted(decision.reason.partition("; ")[2] for decision in live.decisions)
    assert reasons == ["at last", "it has not returned for 0.1 s", "its last action has not ended"]


@pytest.mark.parametrize("everything", [True, False])
def test_a_dry_run_says_what_it_would_do_and_does_nothing(RE, session, documents, everything):
    rules = [
        Rule(do=do, dry_run=not everything, name=do, target="CN1", above=10, **rest)
        for do, rest in (("pause", {}), ("stop", {}), ("suspend", {"for_s": 60}))
    ]
    live, watch = session(lambda k: said(11), *rules, dry_run=everything)
    RE(sweeps(2))
    assert stops(documents) == ["success"]
    eventually(lambda: len(live.decisions) == 3)
    assert {decision.outcome for decision in live.decisions} == {"dry run"}
    assert any("ry run" in line for line in watch.describe())


def test_it_never_acts_on_what_may_not_be_acted_on(RE, session, documents):
    looks = [
        {"degree": Degree.NOT_USABLE},
        {"degree": Degree.CAUTION},
        {"flags": ("unanchored",)},
        {"partial": True},
        {"refused": "no edge"},
    ]
    live, _ = session(lambda k: said(11, **looks[k]), Rule(do="stop", **GROWN))
    RE(sweeps(len(looks)))
    assert live.wait(20)
    assert stops(documents) == ["success"]
    assert [decision.outcome for decision in live.decisions] == ["held"] * 4


def test_a_sweep_that_is_analysed_late_is_held(RE, session, documents):
    def slowly(k):
        time.sleep(0.5)
        return said(11)

    live, _ = session(slowly, Rule(do="stop", max_age=0.1, **GROWN))
    RE(sweeps(2))
    assert live.wait(20)
    assert stops(documents) == ["success"]
    assert [decision.outcome for decision in live.decisions] == ["held"]
    assert "ago, and the limit is" in live.decisions[0].reason


def test_what_comes_after_the_plan_has_ended_does_nothing_to_the_next_plan(RE, documents):
    live = Fresh()
    watch = RuleWatch(RE, [Rule(do="stop", **GROWN)])
    watch.bind(live)
    detectors, _ = sweeping()
    (first,) = RE(bp.count(detectors, 1))

    def told(run_uid):
        spectrum = Spectrum(energy=POINTS, mu=[0.0] * len(POINTS))
        watch.predicted(result_of(spectrum, said(11, run_uid=run_uid)))

    told(first)
    eventually(lambda: live.decisions)
    assert live.decisions[0].reason.endswith("no plan runs (the RunEngine is idle)")

    def late():
        told(first)
        yield from bps.sleep(0.2)

    RE(bp.count(detectors, 1, per_shot=lambda *_, **__: late()))
    eventually(lambda: len(live.decisions) == 2)
    assert live.decisions[1].reason.endswith("the plan that made this run has ended")
    assert {decision.outcome for decision in live.decisions} == {"held"}
    assert stops(documents) == ["success", "success"]


def test_a_plan_without_a_checkpoint_is_not_paused_which_would_abort_it(RE, session, documents):
    live, _ = session(lambda k: said(11), Rule(do="pause", **GROWN))
    detectors, energy = sweeping()

    @bp.bpp.run_decorator(md={"element": "Pt", "edge": "L3"})
    def plan():
        yield from bps.clear_checkpoint()
        for point in POINTS:
            yield from bps.mv(energy, point)
            yield from bps.trigger_and_read([*detectors, energy])
        yield from sweep_done()
        while not live.decisions:
            yield from bps.sleep(0.02)

    RE(plan())
    assert live.decisions[0].outcome == "refused"
    assert "cannot be paused here" in live.decisions[0].reason
    assert stops(documents) == ["success"]


def test_averages_have_rules_of_their_own(RE, session):
    rule = Rule(do="call", call="done", of="average", name="known", target="CN1", above=1, error="total")
    live, _ = session(lambda k: said(11), rule, functions={"done": lambda prediction: "known"})
    RE(sweeps(3))
    eventually(lambda: live.decisions)
    assert live.decisions[0].reason.endswith("known")
    assert live.decisions[0].value == len(POINTS)


def test_rules_that_name_what_is_not_there_are_refused(RE):
    with pytest.raises(RuleError, match="no actuator 'oven'; there is none"):
        RuleWatch(RE, [Rule(do="set", actuator="oven", by=1, **GROWN)])
    with pytest.raises(RuleError, match=r"no function 'shout'; there is .*'whisper'"):
        RuleWatch(RE, [Rule(do="call", call="shout", **GROWN)], functions={"whisper": print})
