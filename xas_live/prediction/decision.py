"""Decision: what a rule or a plan did because of a prediction, or why it did nothing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum

from xas_live.prediction.prediction import Prediction


class DecisionOutcome(StrEnum):
    """What became of a decision: a member is its name in tables and archives."""

    DONE = "done"
    DRY_RUN = "dry run"
    HELD = "held"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Decision:
    """What a rule or a plan did because of a prediction, or why it did nothing: a record for the audit.

    Attributes
    ----------
    by : name of the rule or the plan.
    action : in words, as "pause" or "set furnace to 553 K".
    outcome : done; dry run: it would have been; held: the prediction may not be acted on; refused: the action
        is outside its limits; failed: it was tried.
    reason : in words: what was seen, or why nothing was done.
    run_uid, sweep : the sweep that it rests on; None where there is none.
    target, value, half_width : what was predicted, as "CN1", and how well it was known; "" and NaN where
        nothing was.
    time : seconds since the epoch.
    """

    by: str
    action: str
    outcome: DecisionOutcome
    reason: str
    run_uid: str | None = None
    sweep: int | None = None
    target: str = ""
    value: float = math.nan
    half_width: float = math.nan
    time: float = field(default_factory=time.time)

    @classmethod
    def resting_on(
        cls,
        prediction: Prediction | None,
        *,
        by: str,
        action: str,
        outcome: DecisionOutcome,
        reason: str,
        target: str = "",
        value: float = math.nan,
        half_width: float = math.nan,
    ) -> Decision:
        """Return the decision, made now, that rests on the sweep of a prediction, or on none."""
        where = None if prediction is None else prediction.provenance
        return cls(
            by=by,
            action=action,
            outcome=outcome,
            reason=reason,
            run_uid=None if where is None else where.run_uid,
            sweep=None if where is None else where.sweep,
            target=target,
            value=value,
            half_width=half_width,
        )

    def __str__(self) -> str:
        done = "" if self.outcome is DecisionOutcome.DONE else f" ({self.outcome})"
        return f"{self.by}: {self.action}{done}; {self.reason}"

    def columns(self) -> dict[str, float | int | str]:
        """Columns of tables and archives; a sweep that there is none of is -1."""
        return {
            "by": self.by,
            "action": self.action,
            "outcome": str(self.outcome),
            "reason": self.reason,
            "sweep": -1 if self.sweep is None else int(self.sweep),
            "target": self.target,
            "value": float(self.value),
            "half_width": float(self.half_width),
        }
