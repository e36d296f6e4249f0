"""RuleWatch: the publisher that acts on predictions by rules, and records every decision."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from bluesky import RunEngine

from xas_live.callbacks.publishers import BasePublisher, SweepResult
from xas_live.prediction import DecisionOutcome, Prediction
from xas_live.rules.actions import ActionFunction, actions
from xas_live.rules.actuators import Actuator
from xas_live.rules.engine import PlanControl, Suspension
from xas_live.rules.firing import Decides, Firing, Means, said_by
from xas_live.rules.judge import Judge, Judgement, Step
from xas_live.rules.rule import Rule, RuleError, checked_rules
from xas_live.spectrum import Spectrum


class RuleWatch(BasePublisher):
    """A publisher that acts on predictions of the primary model by rules.

    Rules are judged in the analysis' worker thread; what they do is done in threads of its own, one at a time
    for each rule, so that neither the plan nor the analysis waits for it. Every firing is recorded as a
    decision (`LiveAnalysis.decisions`, and the stream `decisions` of derived runs), and so is every time
    that a rule was held, refused or failed. Rules act on a plan, and on actuators, only while the plan runs
    that measured the sweep.

    Parameters
    ----------
    RE : the RunEngine whose plans are paused, stopped and suspended.
    rules : in this order.
    actuators : that rules may set, by their names.
    functions : that rules may call, by name, besides those that `register_action` knows.
    dry_run : record what all rules would do, and do nothing.

    Raises
    ------
    RuleError : for two rules of one name, and rules that name an actuator or a function that there is not.
    """

    def __init__(
        self,
        RE: RunEngine,
        rules: Sequence[Rule],
        *,
        actuators: Iterable[Actuator] = (),
        functions: Mapping[str, ActionFunction] | None = None,
        dry_run: bool = False,
    ) -> None:
        by_name = {actuator.name: actuator for actuator in actuators}
        self._means = Means(PlanControl(RE), by_name, actions(functions), dry_run)
        self._analysis: Decides | None = None
        self._followed = [_Followed(rule) for rule in checked_rules(rules)]
        for rule in self.rules:
            _check(rule, self._means)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In the order in which they are judged."""
        return tuple(followed.rule for followed in self._followed)

    def bind(self, analysis: Decides) -> None:
        """Act on the predictions of this analysis, which has it among its publishers; nothing acts before."""
        self._analysis = analysis

    def describe(self) -> list[str]:
        """Return in one sentence each what the rules do."""
        dry = ["Dry run: the rules say what they would do, and do nothing."] if self._means.dry_run else []
        return dry + [rule.describe() for rule in self.rules]

    def release(self) -> None:
        """Let a plan go on that a rule has suspended."""
        for followed in self._followed:
            followed.release("it was released")

    def predicted(self, result: SweepResult) -> None:
        """Judge a sweep by all rules of sweeps."""
        self._judge_all("sweep", result.primary)

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Judge an average by all rules of averages."""
        self._judge_all("average", prediction)

    def close(self) -> None:
        """Act no more, and let a plan go on that a rule has suspended: no prediction will."""
        self._analysis = None
        for followed in self._followed:
            followed.release("the analysis was closed")

    def _judge_all(self, of: str, prediction: Prediction) -> None:
        if self._analysis is None:
            return
        for followed in self._followed:
            if followed.rule.of == of:
                followed.take(prediction, self._analysis, self._means)


class _Followed:
    """A rule, and how it stands."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._judge = Judge(rule)
        self._suspension: Suspension | None = None
        self._thread: threading.Thread | None = None
        self._held = ""

    def take(self, prediction: Prediction, analysis: Decides, means: Means) -> None:
        """Judge a prediction, and act on it where the rule fires; in the worker thread."""
        try:
            judged = self._judge.judge(prediction, analysis.current(self.rule.max_age).reason)
        except Exception as error:  # noqa: BLE001 the other rules are judged all the same
            firing = Firing(self.rule, prediction, Judgement(Step.NOTHING), analysis, means)
            analysis.decided(firing.decision(DecisionOutcome.FAILED, said_by(error)))
            return
        firing = Firing(self.rule, prediction, judged, analysis, means)
        if judged.step is Step.HELD:
            analysis.decided(firing.decision(DecisionOutcome.HELD, ""))
        elif judged.step is Step.REFUSED:
            analysis.decided(firing.decision(DecisionOutcome.REFUSED, ""))
        elif judged.step is Step.LEFT:
            self.release(f"{judged.words}, no longer {self.rule.where}")
        elif judged.step is Step.FIRES:
            if self._thread is not None and self._thread.is_alive():
                self._tell(firing, DecisionOutcome.HELD, "its last action has not ended")
            else:
                self._start(firing)

    def release(self, why: str) -> None:
        """End a suspension."""
        if self._suspension is not None:
            self._suspension.release(why)

    def _start(self, firing: Firing) -> None:
        """Act in a thread of its own."""

        def tell(outcome: DecisionOutcome, reason: str, action: str) -> None:
            self._tell(firing, outcome, reason, action)

        self._thread = threading.Thread(
            target=firing.act,
            args=(tell, self._suspends),
            name=f"xas_live rule {self.rule.name}",
            daemon=True,
        )
        self._thread.start()

    def _suspends(self, suspension: Suspension) -> None:
        self._suspension = suspension

    def _tell(self, firing: Firing, outcome: DecisionOutcome, reason: str, action: str = "") -> None:
        """Record what became of an action; what holds it is told once, and the next sweep may fire."""
        held = outcome is DecisionOutcome.HELD
        if held:
            self._judge.again(firing.prediction)
        told, self._held = self._held, reason if held else ""
        if not held or reason != told:
            firing.analysis.decided(firing.decision(outcome, reason, action))


def _check(rule: Rule, means: Means) -> None:
    """Refuse what a rule names and is not there."""
    for kind, name, known in (
        ("actuator", rule.actuator, list(means.actuators)),
        ("function", rule.call, list(means.functions)),
    ):
        if name is not None and name not in known:
            there = ", ".join(map(repr, known)) or "none"
            raise RuleError(f"rule {rule.name!r}: there is no {kind} {name!r}; there is {there}")
