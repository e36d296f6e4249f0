"""Judge: tells sweep by sweep whether a condition is met, and whether it may be acted on."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum, auto

from xas_live.errors import Refusal
from xas_live.prediction import Prediction, Value, change
from xas_live.rules.condition import Condition, Evidence


class Step(Enum):
    """What a sweep means for a condition."""

    NOTHING = auto()
    FIRES = auto()
    HELD = auto()
    """It is met, and the sweep may not be acted on."""
    LEFT = auto()
    """It had fired, and the target has left since."""
    REFUSED = auto()
    """No sweep can meet it."""


@dataclass(frozen=True)
class Judgement:
    """What a sweep means for a condition, and why.

    Attributes
    ----------
    step : what it means.
    words : what was seen, or why it may not be acted on.
    value, half_width : of the target, and of the error that counts; NaN where there is none.
    """

    step: Step
    words: str = ""
    value: float = math.nan
    half_width: float = math.nan


_NOTHING = Judgement(Step.NOTHING)


@dataclass
class _Series:
    """How the sweeps of one sample stand.

    Attributes
    ----------
    armed : it fires when it is met.
    met : number of sweeps running that met it; before : the same without the last sweep.
    last : which sweep was the last.
    first : that a change is counted from.
    held : of which kind it was last held.
    fired_at : on the monotonic clock (s).
    """

    armed: bool = True
    met: int = 0
    before: int = 0
    last: object = None
    first: Prediction | None = None
    held: str = ""
    fired_at: float = -math.inf


@dataclass
class Judge:
    """Tells sweep by sweep whether a condition is met.

    Series of different samples, absorbers and models are counted apart. A sweep that is judged again counts
    once. A sweep that was refused, or may not be acted on, ends a row of sweeps.

    Parameters
    ----------
    condition : what must be shown.
    """

    condition: Condition
    _series: defaultdict[object, _Series] = field(default_factory=lambda: defaultdict(_Series))
    _told: set[str] = field(default_factory=set)

    def judge(self, prediction: Prediction, stale: str = "") -> Judgement:
        """Take the prediction of a sweep, or of an average; in order.

        Parameters
        ----------
        stale : why it must not be acted on by its age, or "".
        """
        wanted = self.condition
        if wanted.element is not None and prediction.element != wanted.element:
            return _NOTHING
        series, where = self._series[series_of(prediction)], prediction.provenance
        sweep = (where.run_uid, where.stream, where.sweep, where.averaged)
        if sweep != series.last:
            series.before, series.last = series.met, sweep
        series.met = 0
        if prediction.refused is not None or not prediction.values:
            return _NOTHING
        if wanted.target not in prediction.values:
            given = ", ".join(prediction.values)
            return self._refused(
                "target", f"{prediction.model} gives no {wanted.target!r}: choose from {given}"
            )
        unfit = wanted.unfit(prediction)
        try:
            value = self._value(series, prediction, fit=unfit is None)
        except Refusal as problem:
            return self._refused("change", str(problem))
        if value is None:
            return _NOTHING
        if reason := wanted.out_of_reach(value):
            return self._refused("reach", reason)
        evidence = wanted.evidence(value)
        if math.isnan(evidence.half_width):
            return self._refused(
                "noise",
                f"the noise of the sweep is not known, so that the statistical error of {wanted.target} is "
                'not: ask for error = "total"',
            )
        if not evidence.met:
            series.held = ""
            if evidence.left and not series.armed and unfit is None and not stale:
                series.armed = True
                return Judgement(Step.LEFT, evidence.words, value.value, evidence.half_width)
            return _NOTHING
        kind, words = ("stale", stale) if stale else (unfit.kind, unfit.words) if unfit else ("", "")
        if kind:
            return self._held(series, kind, words, value, evidence)
        series.held = ""
        series.met = series.before + 1
        due = series.met >= wanted.sweeps and series.armed
        if not due or time.monotonic() - series.fired_at < wanted.hold_off:
            return _NOTHING
        series.armed, series.fired_at = False, time.monotonic()
        words = evidence.words
        if wanted.sweeps > 1:
            words += f", in {series.met} sweeps running"
        return Judgement(Step.FIRES, words, value.value, evidence.half_width)

    def again(self, prediction: Prediction) -> None:
        """Let the next sweep of the series fire: nothing has been done yet."""
        series = self._series[series_of(prediction)]
        series.armed, series.fired_at = True, -math.inf

    def _value(self, series: _Series, prediction: Prediction, *, fit: bool) -> Value | None:
        """Return the value that counts; None of the first sweep, from which changes are counted."""
        wanted = self.condition
        if wanted.change_from is None:
            return prediction.values[wanted.target]
        if series.first is None:
            series.first = prediction if fit else None
            return None
        return None if prediction.partial else change(series.first, prediction).get(wanted.target)

    def _held(self, series: _Series, kind: str, words: str, value: Value, evidence: Evidence) -> Judgement:
        """Say so once, where it would have counted."""
        if not series.armed or series.held == kind:
            return _NOTHING
        series.held = kind
        return Judgement(Step.HELD, f"{evidence.words}; {words}", value.value, evidence.half_width)

    def _refused(self, kind: str, words: str) -> Judgement:
        """Say once that no sweep can meet it."""
        if kind in self._told:
            return _NOTHING
        self._told.add(kind)
        return Judgement(Step.REFUSED, words)


def series_of(prediction: Prediction) -> object:
    """Return which series a prediction belongs to: that of its sample, absorber and model."""
    return prediction.element, prediction.edge, prediction.provenance.sample, prediction.model_sha256
