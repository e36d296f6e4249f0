"""What operando plans drive by: a target held in a band by an actuator, or a step when a condition is met."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from xas_live.errors import Refusal
from xas_live.prediction import Prediction
from xas_live.rules import Actuator, Admits, Condition, Judge, Step, series_of

_INNER = 0.5  # share of the band around its middle within which nothing is moved
_SWEEPS = 3  # that the line of a trend is drawn through


@dataclass(frozen=True)
class Wish:
    """What a drive would do because of a sweep.

    Attributes
    ----------
    by, to : change of the actuator, or where to; both None where it stays.
    reason : what was seen; where the sweep may not be acted on, why not.
    held : "", or in short why the sweep may not be acted on.
    value, half_width : of the target; NaN where there is none.
    """

    by: float | None
    reason: str
    held: str = ""
    value: float = math.nan
    half_width: float = math.nan
    to: float | None = None

    @property
    def moves(self) -> bool:
        """Whether the actuator is to be moved."""
        return self.by is not None or self.to is not None


class Drive(Protocol):
    """What an operando plan drives by."""

    @property
    def actuator(self) -> Actuator:
        """What is moved."""

    @property
    def target(self) -> str:
        """What is controlled."""

    @property
    def max_age(self) -> float | None:
        """Seconds up to which a prediction is acted on; None: two sweep times."""

    def wish(self, prediction: Prediction, stale: str) -> Wish:
        """Return what to do because of a sweep; called with every sweep, in order.

        Where it is stale, for the reason given, nothing is moved.
        """

    def again(self) -> None:
        """Take note that the last wish was held."""


def hold_in_band(
    target: str,
    low: float,
    high: float,
    actuator: Actuator,
    *,
    step: float,
    look_ahead: float = 5.0,
    on: Sequence[Literal["trusted", "caution"]] = ("trusted",),
    max_age: float | None = None,
) -> HoldInBand:
    """Hold a target in a band by an actuator, for `operando`.

    A line through the last three sweeps is carried on by some sweeps. By how far it then is from the middle
    of the band, each sweep moves the actuator by up to one step; the steps add up until it is back. So a
    target on its way back is left alone, and one on its way out is met early. Nothing is moved while that
    point is within the inner half of the band, or within its statistical error of the middle, unless it is
    outside of the band.

    Parameters
    ----------
    target : as "CN1".
    low, high : ends of the band, in the unit of the target.
    actuator : that is moved.
    step : change of the actuator that makes the target grow, in the actuator's unit; negative where it grows
        when the actuator falls. It moves by a whole one once the target is about to leave the band.
    look_ahead : sweeps that the line is carried on by. More where the target goes on changing at one setting
        of the actuator, as particles that grow; 0 to 2 where each setting has its own target.
    on : verdicts that are acted on.
    max_age : seconds up to which a sweep is acted on; default: two sweep times.

    Raises
    ------
    Refusal : for settings that make no sense.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Refusal(f"a band runs from its lower end to its upper, not from {low!r} to {high!r}")
    if not (step and math.isfinite(step)) or abs(step) > actuator.limits.largest_step:
        largest = f"{actuator.limits.largest_step:g} {actuator.limits.units}".rstrip()
        raise Refusal(f"step={step!r}: give a number that is not 0, up to the largest step, {largest}")
    if not (look_ahead >= 0 and math.isfinite(look_ahead)):
        raise Refusal(f"look_ahead={look_ahead!r}: give a number of sweeps")
    if not set(on) <= {"trusted", "caution"} or not on:
        raise Refusal(f"on={on!r}: give 'trusted', 'caution' or both")
    admits = Admits(target=target, on=tuple(on), max_age=max_age)
    return HoldInBand(admits, low, high, actuator, step, look_ahead)


def step_when(
    condition: Condition, actuator: Actuator, *, to: float | None = None, by: float | None = None
) -> StepWhen:
    """Set an actuator each time that a condition is met, for `operando`.

    Parameters
    ----------
    condition : or a rule, of which only the condition counts.
    actuator : that is moved.
    to, by : where to, or by how much, in the actuator's unit: one of them.

    Raises
    ------
    Refusal : when not one of them is given.
    """
    if (to is None) == (by is None):
        raise Refusal("give either to or by")
    return StepWhen(condition, actuator, to, by)


class StepWhen:
    """Sets an actuator each time that a condition is met; see `step_when`, which makes it."""

    def __init__(self, condition: Condition, actuator: Actuator, to: float | None, by: float | None) -> None:
        self.actuator = actuator
        self.target = condition.target
        self.max_age = condition.max_age
        self._condition = condition
        self._judge = Judge(condition)
        self._to, self._by = to, by
        self._last: Prediction | None = None

    def again(self) -> None:
        """Take note that the last wish was held: it stands."""
        if self._last is not None:
            self._judge.again(self._last)

    def wish(self, prediction: Prediction, stale: str) -> Wish:
        """Return the step, where a sweep meets the condition."""
        self._last = prediction
        judged = self._judge.judge(prediction, stale)
        if prediction.refused is not None:
            return Wish(None, f"the sweep was refused: {prediction.refused}", held="refused")
        if judged.step is Step.REFUSED:
            return Wish(None, judged.words, held="condition")
        if unfit := self._condition.unfit(prediction):
            return Wish(None, unfit.words, unfit.kind)
        if judged.step is not Step.FIRES:
            return Wish(None, judged.words)
        return Wish(self._by, judged.words, "", judged.value, judged.half_width, self._to)


class HoldInBand:
    """Holds a target in a band; see `hold_in_band`, which makes it."""

    def __init__(
        self, admits: Admits, low: float, high: float, actuator: Actuator, step: float, look_ahead: float
    ) -> None:
        self.actuator = actuator
        self.target = admits.target
        self.max_age = admits.max_age
        self._admits = admits
        self._low, self._high = low, high
        self._step = step
        self._look_ahead = look_ahead
        self._sample: object = None
        self._count = 0
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=_SWEEPS)

    def again(self) -> None:
        """Take note that the last wish was held: the next sweep tells anew."""

    def wish(self, prediction: Prediction, stale: str) -> Wish:
        """Return by how much to move because of a sweep."""
        self._count += 1
        if prediction.refused is not None:
            return Wish(None, f"the sweep was refused: {prediction.refused}", held="refused")
        value = prediction.values.get(self.target)
        if value is None:
            given = ", ".join(prediction.values) or "no numbers"
            return Wish(None, f"{prediction.model} gives no {self.target!r}: {given}", held="target")
        error = self._admits.error_of(value)
        unfit = self._admits.unfit(prediction)
        if unfit is not None:
            return Wish(None, unfit.words, unfit.kind, value.value, error)
        if math.isnan(error):
            return Wish(None, "the noise of the sweep is not known", "noise", value.value)
        if (sample := series_of(prediction)) != self._sample:
            self._sample = sample
            self._seen.clear()
        self._seen.append((self._count, value.value, error))
        ahead, doubt = carried_on(self._seen, self._look_ahead)
        half = 0.5 * (self._high - self._low)
        off = ahead - 0.5 * (self._low + self._high)
        n = value.decimals
        seen = f"{self.target} {value.value:.{n}f} ±{error:.{n}f}, on its way to {ahead:.{n}f}"
        if abs(off) <= min(half, max(_INNER * half, doubt)):
            return Wish(None, seen, value=value.value, half_width=error)
        by = -self._step * max(-1.0, min(1.0, off / half))
        reason = f"{seen}; the band is {self._low:g} to {self._high:g}"
        return Wish(by, reason, value=value.value, half_width=error)


def carried_on(seen: Sequence[tuple[int, float, float]], steps: float) -> tuple[float, float]:
    """Return where a line through values is after some steps more, and its error.

    Parameters
    ----------
    seen : number, value and error of each; of a single one the value stays.
    steps : after the last number.
    """
    count = len(seen)
    values, errors = [value for _, value, _ in seen], [error for *_, error in seen]
    doubt = math.sqrt(sum(error**2 for error in errors) / count)
    if count == 1:
        return values[0], doubt
    middle = sum(number for number, *_ in seen) / count
    spread = sum((number - middle) ** 2 for number, *_ in seen)
    slope = sum((number - middle) * value for number, value, _ in seen) / spread
    away = seen[-1][0] + steps - middle
    return sum(values) / count + slope * away, doubt * math.sqrt(1.0 / count + away**2 / spread)
