"""Firing: one time that a rule does something, in a thread of its own, and what is recorded of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from xas_live.callbacks.live import Current
from xas_live.errors import Refusal
from xas_live.prediction import Decision, DecisionOutcome, Prediction
from xas_live.rules.actions import ActionFunction
from xas_live.rules.actuators import Actuator
from xas_live.rules.engine import NotRunningError, PlanControl, Suspension
from xas_live.rules.judge import Judgement
from xas_live.rules.rule import Rule

Tell = Callable[[DecisionOutcome, str, str], None]
"""Takes what became of an action, why, and the action in words where these are not the rule's."""


class Decides(Protocol):
    """What rules need of a `LiveAnalysis`."""

    def current(self, max_age: float | None = None) -> Current:
        """Return the latest prediction, and whether it may be acted on."""

    def decided(self, decision: Decision) -> None:
        """Record a decision."""


@dataclass(frozen=True)
class Means:
    """What rules act by.

    Attributes
    ----------
    plan : to pause, stop and suspend.
    actuators, functions : by name.
    dry_run : nothing is done.
    """

    plan: PlanControl
    actuators: Mapping[str, Actuator]
    functions: Mapping[str, ActionFunction]
    dry_run: bool


@dataclass(frozen=True)
class Firing:
    """A rule that does something because of a prediction.

    Attributes
    ----------
    rule : that fires.
    prediction : that it fires on.
    judged : what was seen.
    analysis : that the prediction comes from.
    means : what it acts by.
    """

    rule: Rule
    prediction: Prediction
    judged: Judgement
    analysis: Decides
    means: Means

    def act(self, tell: Tell, suspends: Callable[[Suspension], None]) -> None:
        """Do what the rule says. Nothing is raised: what came of it is told.

        Parameters
        ----------
        tell : takes what came of it.
        suspends : takes a suspension when it begins.
        """
        try:
            stale = self.analysis.current(self.rule.max_age).reason
            if stale:
                tell(DecisionOutcome.HELD, stale, "")
            elif self.rule.do == "set":
                self._set(tell)
            elif self._dry:
                tell(DecisionOutcome.DRY_RUN, "", "")
            elif self.rule.do == "call":
                self._call(tell)
            else:
                self._control_plan(tell, suspends)
        except NotRunningError as error:
            tell(DecisionOutcome.HELD, str(error), "")
        except Refusal as error:
            tell(DecisionOutcome.REFUSED, str(error), "")
        except BaseException as error:  # noqa: BLE001 whatever a device or a function raises, the user is told
            tell(DecisionOutcome.FAILED, said_by(error), "")

    @property
    def _dry(self) -> bool:
        return self.means.dry_run or self.rule.dry_run

    def _control_plan(self, tell: Tell, suspends: Callable[[Suspension], None]) -> None:
        rule, plan, run_uid = self.rule, self.means.plan, self.prediction.provenance.run_uid
        if rule.do == "pause":
            plan.pause(run_uid)
            how = "at the next checkpoint; RE.resume() goes on, RE.stop() or RE.abort() ends the plan"
            tell(DecisionOutcome.DONE, how, "")
        elif rule.do == "stop":
            plan.stop(run_uid)
            tell(DecisionOutcome.DONE, "", "")
        elif rule.for_s is not None:
            suspension = plan.suspend(run_uid, rule.for_s, f"rule {rule.name}: {self.judged.words}")
            suspends(suspension)
            how = "no sweep comes meanwhile; xas.rules.release() lets the plan go on at once"
            tell(DecisionOutcome.DONE, how, "")
            tell(DecisionOutcome.DONE, suspension.wait(), "go on")

    def _set(self, tell: Tell) -> None:
        rule = self.rule
        actuator = self.means.actuators[rule.actuator or ""]
        if not self._dry:
            self.means.plan.check_running(self.prediction.provenance.run_uid)
        current = self.analysis.current(rule.max_age)
        permit = actuator.permit(rule.to, by=rule.by, current=current, dry_run=self._dry)
        if permit.value is None:
            tell(permit.outcome, permit.reason, permit.action)
        elif self._dry:
            tell(DecisionOutcome.DRY_RUN, "", permit.action)
        else:
            try:
                actuator.move(permit.value)
            except Exception as error:  # noqa: BLE001 whatever the device raises is recorded with the move
                tell(DecisionOutcome.FAILED, said_by(error), permit.action)
            else:
                tell(DecisionOutcome.DONE, "", permit.action)

    def _call(self, tell: Tell) -> None:
        limit = self.rule.time_limit
        late = threading.Timer(
            limit, lambda: tell(DecisionOutcome.FAILED, f"it has not returned for {limit:g} s", "")
        )
        late.daemon = True
        late.start()
        try:
            said = self.means.functions[self.rule.call or ""](self.prediction)
        finally:
            late.cancel()
        tell(DecisionOutcome.DONE, said if isinstance(said, str) else "", "")

    def decision(self, outcome: DecisionOutcome, reason: str, action: str = "") -> Decision:
        """Return the record of what came of it."""
        judged = self.judged
        return Decision.resting_on(
            self.prediction,
            by=self.rule.name,
            action=action or self.rule.action,
            outcome=outcome,
            reason="; ".join(filter(None, (judged.words, reason))),
            target=self.rule.target,
            value=judged.value,
            half_width=judged.half_width,
        )


def said_by(error: BaseException) -> str:
    """Return an error in words, with its kind."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
