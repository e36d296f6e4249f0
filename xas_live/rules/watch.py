"""RuleWatch: the publisher that acts on predictions by rules, and records every decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from bluesky import RunEngine

from xas_live.callbacks.live import Current
from xas_live.callbacks.publishers import BasePublisher, SweepResult
from xas_live.errors import Refusal
from xas_live.prediction import Decision, DecisionOutcome, Prediction
from xas_live.rules.actions import ActionFunction, actions
from xas_live.rules.actuators import Actuator
from xas_live.rules.engine import NotRunningError, PlanControl, Suspension
from xas_live.rules.judge import Judge, Judgement, Step
from xas_live.rules.rule import Rule, RuleError, checked_rules
from xas_live.spectrum import Spectrum


class Decides(Protocol):
    """What rules need of a `LiveAnalysis`."""

    def current(self, max_age: float | None = None) -> Current:
        """Return the latest prediction, and whether it may be acted on."""

    def decided(self, decision: Decision) -> None:
        """Record a decision."""


class RuleWatch(BasePublisher):
    """A publisher that acts on predictions of the primary model by rules.

    Rules are judged in the analysis' worker thread; what they do is done in threads of its own, one at a time
    for each rule, so that neither the plan nor the analysis waits for it. Every firing is recorded as a
    decision (`LiveAnalysis.decisions`, and the stream `decisions` of derived runs), and so is every time
    that a rule was held, refused or failed. Rules act on a plan, and on actuators, only while it runs.

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
        self.rules = tuple(checked_rules(rules))
        self.dry_run = dry_run
        self._plan = PlanControl(RE)
        self._actuators = {actuator.name: actuator for actuator in actuators}
        self._functions = actions(functions)
        self._analysis: Decides | None = None
        self._followed = [_Followed(rule) for rule in self.rules]
        for rule in self.rules:
            self._check(rule)

    def bind(self, analysis: Decides) -> None:
        """Act on the predictions of this analysis, which has it among its publishers; nothing acts before."""
        self._analysis = analysis

    def describe(self) -> list[str]:
        """Return in one sentence each what the rules do."""
        dry = ["Dry run: the rules say what they would do, and do nothing."] if self.dry_run else []
        return dry + [rule.describe() for rule in self.rules]

    def release(self) -> None:
        """Let a plan go on that a rule has suspended."""
        for followed in self._followed:
            followed.release("it was released")

    def predicted(self, result: SweepResult) -> None:
        """Judge a sweep by all rules of sweeps."""
        self._judge_all("sweep", result.primary)

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:
        """Judge a growing sweep by the rules that say so."""
        if preview is not None:
            self._judge_all("sweep", preview, only=lambda rule: "partial" in rule.also)

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Judge an average by all rules of averages."""
        self._judge_all("average", prediction)

    def close(self) -> None:
        """Let a plan go on that a rule has suspended: no prediction will."""
        for followed in self._followed:
            followed.release("the analysis was closed")

    # --- in the worker thread -----------------------------------------------------------------------------

    def _judge_all(
        self, of: str, prediction: Prediction, only: Callable[[Rule], bool] = lambda rule: True
    ) -> None:
        if self._analysis is None:
            return
        for followed in self._followed:
            rule = followed.rule
            if rule.of != of or not only(rule):
                continue
            try:
                self._judge(self._analysis, followed, prediction)
            except Exception as error:  # noqa: BLE001 the other rules are judged all the same
                what = Judgement(Step.REFUSED)
                self._tell(self._analysis, rule, prediction, what, DecisionOutcome.FAILED, _words(error))

    def _judge(self, analysis: Decides, followed: _Followed, prediction: Prediction) -> None:
        rule = followed.rule
        judged = followed.judge.judge(prediction, _stale(analysis, rule, prediction))
        if judged.step is Step.HELD:
            self._tell(analysis, rule, prediction, judged, DecisionOutcome.HELD, judged.words)
        elif judged.step is Step.REFUSED:
            self._tell(analysis, rule, prediction, judged, DecisionOutcome.REFUSED, judged.words)
        elif judged.step is Step.LEFT:
            followed.release(f"{judged.words} is no longer {rule.where}")
        elif judged.step is Step.FIRES and not followed.start(
            lambda: self._act(analysis, followed, prediction, judged)
        ):
            followed.judge.again(prediction)
            busy = f"{judged.words}; its last action has not ended"
            self._tell(analysis, rule, prediction, judged, DecisionOutcome.HELD, busy)

    # --- in a thread of the rule --------------------------------------------------------------------------

    def _act(self, analysis: Decides, followed: _Followed, prediction: Prediction, judged: Judgement) -> None:
        """Do what the rule says, and record what came of it."""
        rule = followed.rule

        def tell(outcome: DecisionOutcome, reason: str = "", action: str = rule.action) -> None:
            if outcome is DecisionOutcome.HELD:
                followed.judge.again(prediction)
            if followed.says(outcome, reason):
                words = "; ".join(filter(None, (judged.words, reason)))
                self._tell(analysis, rule, prediction, judged, outcome, words, action)

        late = threading.Timer(
            rule.time_limit,
            lambda: tell(DecisionOutcome.FAILED, f"it has not returned for {rule.time_limit:g} s"),
        )
        late.daemon = True
        try:
            stale = _stale(analysis, rule, prediction)
            if stale:
                tell(DecisionOutcome.HELD, stale)
                return
            late.start()
            self._do(analysis, followed, prediction, tell)
        except NotRunningError as error:
            tell(DecisionOutcome.HELD, str(error))
        except Refusal as error:
            tell(DecisionOutcome.REFUSED, str(error))
        except BaseException as error:  # noqa: BLE001 a rule never ends what it runs in
            tell(DecisionOutcome.FAILED, _words(error))
        finally:
            late.cancel()

    def _do(
        self, analysis: Decides, followed: _Followed, prediction: Prediction, tell: Callable[..., None]
    ) -> None:
        rule, dry = followed.rule, self.dry_run or followed.rule.dry_run
        if rule.do == "set":
            self._set(analysis, followed, prediction, tell, dry=dry)
        elif dry:
            tell(DecisionOutcome.DRY_RUN)
        elif rule.do == "pause":
            self._plan.pause(prediction.provenance.run_uid)
            tell(
                DecisionOutcome.DONE,
                "at its next checkpoint; RE.resume() goes on, RE.stop() or RE.abort() ends",
            )
        elif rule.do == "stop":
            self._plan.stop(prediction.provenance.run_uid)
            tell(DecisionOutcome.DONE)
        elif rule.do == "suspend":
            self._suspend(followed, prediction, tell)
        else:
            said = self._functions[rule.call or ""](prediction)
            tell(DecisionOutcome.DONE, said if isinstance(said, str) else "")

    def _set(
        self,
        analysis: Decides,
        followed: _Followed,
        prediction: Prediction,
        tell: Callable[..., None],
        *,
        dry: bool,
    ) -> None:
        rule = followed.rule
        actuator = self._actuators[rule.actuator or ""]
        if not dry:
            self._plan.check_running(prediction.provenance.run_uid)
        current = analysis.current(rule.max_age)
        permit = actuator.permit(rule.to, by=rule.by, current=current, dry_run=dry)
        if permit.value is None:
            tell(permit.outcome, permit.reason, permit.action)
        elif dry:
            tell(DecisionOutcome.DRY_RUN, "", permit.action)
        else:
            try:
                actuator.move(permit.value)
            except Exception as error:  # noqa: BLE001 whatever the device raises is recorded with the move
                tell(DecisionOutcome.FAILED, _words(error), permit.action)
            else:
                tell(DecisionOutcome.DONE, "", permit.action)

    def _suspend(self, followed: _Followed, prediction: Prediction, tell: Callable[..., None]) -> None:
        rule = followed.rule
        why = f"rule {rule.name}: {rule.describe_condition()}"
        suspension = self._plan.suspend(prediction.provenance.run_uid, rule.for_s or 0.0, why)
        followed.suspension = suspension
        tell(DecisionOutcome.DONE, "no sweep comes meanwhile; xas.rules.release() goes on at once")
        tell(DecisionOutcome.DONE, suspension.wait(), "go on")

    def _check(self, rule: Rule) -> None:
        """Refuse what a rule names and is not there."""
        for kind, name, known in (
            ("actuator", rule.actuator, self._actuators),
            ("function", rule.call, self._functions),
        ):
            if name is not None and name not in known:
                there = ", ".join(map(repr, known)) or "none"
                raise RuleError(f"rule {rule.name!r}: there is no {kind} {name!r}; there is {there}")

    @staticmethod
    def _tell(
        analysis: Decides,
        rule: Rule,
        prediction: Prediction,
        judged: Judgement,
        outcome: DecisionOutcome,
        reason: str,
        action: str = "",
    ) -> None:
        where = prediction.provenance
        decision = Decision(
            by=rule.name,
            action=action or rule.action,
            outcome=outcome,
            reason=reason,
            run_uid=where.run_uid,
            sweep=where.sweep,
            target=rule.target,
            value=judged.value,
            half_width=judged.half_width,
        )
        analysis.decided(decision)


class _Followed:
    """A rule, and how it stands."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.judge = Judge(rule)
        self.suspension: Suspension | None = None
        self._thread: threading.Thread | None = None
        self._held = ""

    def start(self, act: Callable[[], None]) -> bool:
        """Do something in a thread of its own; return False while the last has not ended."""
        if self._thread is not None and self._thread.is_alive():
            return False
        self._thread = threading.Thread(target=act, name=f"xas_live rule {self.rule.name}", daemon=True)
        self._thread.start()
        return True

    def says(self, outcome: DecisionOutcome, reason: str) -> bool:
        """Return whether an outcome is worth telling: what holds a rule is told once."""
        told, self._held = self._held, reason if outcome is DecisionOutcome.HELD else ""
        return outcome is not DecisionOutcome.HELD or reason != told

    def release(self, why: str) -> None:
        """End a suspension."""
        if self.suspension is not None:
            self.suspension.release(why)


def _stale(analysis: Decides, rule: Rule, prediction: Prediction) -> str:
    """Return why a prediction is too old to be acted on, or the analysis is dead; else ""."""
    current = analysis.current(rule.max_age)
    if current.prediction is prediction or not prediction.partial:
        return current.reason
    # A growing sweep is no older than its last point.
    age = time.time() - (prediction.provenance.time or 0.0)
    return (
        f"its last point is {age:.0f} s old, and the limit is {current.limit:.0f} s"
        if age > current.limit
        else ""
    )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
