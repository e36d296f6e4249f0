"""Rules that fire in any state of the RunEngine, and raise, never leave it stuck."""

from __future__ import annotations

import threading
import time

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from bluesky import plans as bp
from bluesky.utils import RunEngineInterrupted
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ophyd import SoftPositioner

from tests.callbacks.edges import result_of
from tests.rules.scripted import POINTS, Fresh, said
from xas_live.rules import Actuator, Limits, Rule, RuleWatch
from xas_live.spectrum import Spectrum

LONGEST_S = 20.0
SPECTRUM = Spectrum(energy=POINTS, mu=[0.0] * len(POINTS))
WAYS = {
    "pause": {},
    "stop": {},
    "suspend": {"for_s": 0.05},
    "set": {"actuator": "furnace", "by": 1.0},
    "call": {"call": "raise"},
}
firings = st.lists(st.sampled_from(sorted(WAYS)), max_size=3)


def broken(prediction):
    raise RuntimeError("log book")


class AnyState(RuleBasedStateMachine):
    """A user runs plans, resumes and ends them, while rules fire at any time."""

    @initialize()
    def begin(self):
        self.RE = RunEngine({})
        self.open_runs: set[str] = set()
        self.RE.subscribe(self.document)
        self.analysis = Fresh()
        self.furnace = SoftPositioner(name="furnace", init_pos=0.0)
        self.uid = ""
        self.sweep = 0
        self.stuck = False
        limits = Limits(low=-1e6, high=1e6, largest_step=2, rate=1e9)
        rules = [Rule(name=do, do=do, target="CN1", above=10, **rest) for do, rest in WAYS.items()]
        self.watches = {
            rule.do: RuleWatch(
                self.RE, [rule], actuators=[Actuator(self.furnace, limits)], functions={"raise": broken}
            )
            for rule in rules
        }
        for watch in self.watches.values():
            watch.bind(self.analysis)

    def document(self, name, doc):
        if name == "start":
            self.uid = doc["uid"]
            self.open_runs.add(doc["uid"])
        elif name == "stop":
            self.open_runs.discard(doc["run_start"])

    def fire(self, ways):
        """As the worker thread does: each rule leaves its condition, and meets it again."""
        for do in ways:
            for cn1 in (9, 11):
                self.sweep += 1
                self.watches[do].predicted(result_of(SPECTRUM, said(cn1, run_uid=self.uid, sweep=self.sweep)))

    def plan(self, shots):
        @bp.bpp.run_decorator(md={})
        def inner():
            for ways in shots:
                yield from bps.checkpoint()
                threading.Thread(target=self.fire, args=(ways,)).start()
                yield from bps.mv(self.furnace, 0.0)
                yield from bps.sleep(0.01)
                yield from bps.checkpoint()

        return (yield from inner())

    def user_does(self, call):
        """Call something that must return, whatever rules do meanwhile."""
        guard = threading.Timer(LONGEST_S, self.rescue)
        guard.start()
        try:
            call()
        except RunEngineInterrupted:
            pass
        finally:
            guard.cancel()
        assert not self.stuck, f"the RunEngine was stuck: {list(map(str, self.analysis.decisions))}"

    def rescue(self):
        self.stuck = True
        self.RE.halt()

    @precondition(lambda self: self.RE.state == "idle")
    @rule(shots=st.lists(firings, min_size=1, max_size=3))
    def run(self, shots):
        self.user_does(lambda: self.RE(self.plan(shots)))

    @precondition(lambda self: self.RE.state == "paused")
    @rule(how=st.sampled_from(["resume", "stop", "abort", "halt"]))
    def go_on(self, how):
        self.user_does(getattr(self.RE, how))

    @rule(ways=firings)
    def fire_while_nothing_runs(self, ways):
        before = self.RE.state
        self.fire(ways)
        self.settle()
        assert self.RE.state == before

    @invariant()
    def a_user_can_go_on(self):
        self.settle()
        assert self.RE.state in ("idle", "paused")
        if self.RE.state == "idle":
            assert not self.open_runs

    def settle(self):
        """Wait for the threads of rules."""
        deadline = time.monotonic() + LONGEST_S
        while any(thread.name.startswith("xas_live rule") for thread in threading.enumerate()):
            assert time.monotonic() < deadline, "the action of a rule has not ended"
            time.sleep(0.005)

    def teardown(self):
        if self.RE.state == "paused":
            self.RE.abort()
        assert self.RE.state == "idle"
        assert not self.open_runs
        self.RE(bp.count([self.furnace], 1))  # it takes another plan


AnyState.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_the_run_engine_never_gets_stuck = AnyState.TestCase
