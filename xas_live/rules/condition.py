"""Condition: what a prediction must show, and how surely, before anything is done because of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from xas_live.flags import Flag
from xas_live.models.strict import Strict
from xas_live.prediction import Prediction, Value

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Verdicts = Literal["trusted", "caution", "not usable", "not judged"]
Beside = Literal["partial", "unanchored"]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"a band runs from its lower end to its upper, not from {pair[0]:g} to {pair[1]:g}")
    return pair


Band = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_ascending)]


class Admits(Strict):
    """Which predictions may be acted on, and which part of their error counts.

    Attributes
    ----------
    target : of the model, as "CN1".
    element : of the absorber; default: every one that the primary model of a sweep is for.
    error : "statistical" is what noise does, and what repeats narrow; "total" holds the model's part, too.
    on : verdicts that are acted on: "trusted", "caution", "not usable", "not judged" (of models that give
        none).
    also : "partial", sweeps that were aborted (never previews of growing ones); "unanchored", sweeps without
        a foil, whose verdict is "not usable", which must then stand in `on`.
    max_age : seconds after the end of a sweep up to which it is acted on; default: two sweep times, at least
        2 s.
    """

    target: Annotated[str, Field(min_length=1)]
    element: str | None = None
    error: Literal["statistical", "total"] = "statistical"
    on: Annotated[tuple[Verdicts, ...], Field(min_length=1)] = ("trusted",)
    also: tuple[Beside, ...] = ()
    max_age: Positive | None = None

    def unfit(self, prediction: Prediction) -> Unfit | None:
        """Return why a prediction that has the target may not be acted on; None where it may."""
        degree = str(prediction.verdict.degree or "not judged")
        beyond = Flag.BEYOND_TRAINING.of(self.target)
        if prediction.partial and "partial" not in self.also:
            return Unfit("partial", "the sweep is not whole")
        if Flag.UNANCHORED in prediction.flags and "unanchored" not in self.also:
            return Unfit("unanchored", "no foil ties it to this beamline")
        if degree not in self.on:
            why = f" ({prediction.because})" if prediction.because else ""
            return Unfit(degree, f"its verdict is {degree}{why}, and only {_listed(self.on)} is acted on")
        if beyond in prediction.flags:
            return Unfit("beyond", f"{self.target} lies beyond the model's training")
        return None

    def error_of(self, value: Value) -> float:
        """Return the half width of the error that counts, at the level of the value; NaN if not known."""
        return value.statistical if self.error == "statistical" else value.std * quantile(value.level)


class Condition(Admits):
    """What a prediction must show, and how surely.

    One of `above`, `below`, `inside` and `half_width` is given, in the unit of the target.

    Attributes
    ----------
    above, below, inside : where the target lies, with the probability `confidence` by the error that counts.
    half_width : the error that counts, as a half width at the level of the predictions, is at most this.
    confidence : probability; between 0.5 and 1.
    change_from : "first": not the target itself counts but its change since the first sweep of the sample
        that may be acted on, whose error is smaller.
    of : "sweep", or "average": the average over the sweeps of a run so far, from the second on.
    sweeps : so many running must show it.
    hysteresis : the target must leave by so much before it counts anew.
    hold_off : seconds after which it counts anew, at the earliest.
    """

    above: FiniteFloat | None = None
    below: FiniteFloat | None = None
    inside: Band | None = None
    half_width: Positive | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    change_from: Literal["first"] | None = None
    of: Literal["sweep", "average"] = "sweep"
    sweeps: Annotated[int, Field(ge=1)] = 1
    hysteresis: NotNegative = 0.0
    hold_off: NotNegative = 0.0

    @model_validator(mode="after")
    def _one(self) -> Condition:
        given = [name for name, value in self._bounds().items() if value is not None]
        if len(given) != 1:
            has = " and ".join(given) or "none"
            raise ValueError(f"give one of {', '.join(self._bounds())}, not {has}")
        return self

    def _bounds(self) -> dict[str, object]:
        return {
            "above": self.above,
            "below": self.below,
            "inside": self.inside,
            "half_width": self.half_width,
        }

    def evidence(self, value: Value) -> Evidence:
        """Return what a value says about this condition."""
        half = self.error_of(value)
        sigma = half / quantile(value.level)
        if self.half_width is not None:
            met, left = half <= self.half_width, half > self.half_width + self.hysteresis
            share = ""
        else:
            low, high = self._range()
            sure = _probability(value.value, sigma, low, high)
            met = sure >= self.confidence
            left = not low - self.hysteresis <= value.value <= high + self.hysteresis
            share = f" with {_percent(sure)}"
        n, unit = value.decimals, f" {value.unit}" if value.unit else ""
        seen = f"{self.subject} {value.value:.{n}f} ±{half:.{n}f}{unit} ({self.error} error)"
        return Evidence(met, left, f"{seen}: {self.where}{share}" if met else seen, half)

    def out_of_reach(self, value: Value) -> str:
        """Return why no sweep can show this, where the model's part of the error alone forbids it; or ""."""
        if self.error == "statistical" or math.isnan(value.model):
            return ""
        if self.half_width is not None and self.half_width < value.model:
            asked = f"a half width of {self.half_width:g}"
        elif self.inside is not None:
            half = 0.5 * (self.inside[1] - self.inside[0])
            if _probability(0.0, value.model / quantile(value.level), -half, half) >= self.confidence:
                return ""
            asked = f"to be {self.where} with {_percent(self.confidence)}"
        else:
            return ""
        return (
            f"the model's part of the error of {self.subject} is {value.model:.2g}, which no sweep and no "
            f'average narrows: {asked} cannot be reached. Ask for error = "statistical"'
        )

    @property
    def subject(self) -> str:
        """The target, or its change."""
        return self.target if self.change_from is None else f"change of {self.target}"

    @property
    def where(self) -> str:
        """In words, where the target must lie: "above 10"."""
        if self.half_width is not None:
            return f"known to {self.half_width:g}"
        if self.inside is not None:
            return f"between {self.inside[0]:g} and {self.inside[1]:g}"
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"

    def describe(self) -> str:
        """Return the condition in words, as they stand behind "when"."""
        of = "" if self.element is None else f" of {self.element}"
        sure = "" if self.half_width is not None else f" with {_percent(self.confidence)} confidence"
        sweeps = "a sweep" if self.sweeps == 1 else f"{self.sweeps} sweeps running"
        if self.of == "average":
            sweeps = "the average of a run" if self.sweeps == 1 else f"{self.sweeps} averages running"
        which = _listed([*self.on, *self.also])
        return f"{self.subject}{of} is {self.where}{sure} ({self.error} error) in {sweeps}, {which}"

    def _range(self) -> tuple[float, float]:
        if self.inside is not None:
            return self.inside
        return (
            -math.inf if self.above is None else self.above,
            math.inf if self.below is None else self.below,
        )


@dataclass(frozen=True)
class Unfit:
    """Why a prediction may not be acted on: of which kind, and in words."""

    kind: str
    words: str


@dataclass(frozen=True)
class Evidence:
    """What a value says about a condition.

    Attributes
    ----------
    met : whether it is met by this value; left : whether the value lies outside, by the hysteresis.
    words : what was seen.
    half_width : of the error that counts.
    """

    met: bool
    left: bool
    words: str
    half_width: float


def quantile(level: float) -> float:
    """Return the Gaussian quantile of a two-sided interval."""
    return NormalDist().inv_cdf(0.5 + 0.5 * level)


def _probability(value: float, sigma: float, low: float, high: float) -> float:
    """Return with which probability a quantity lies between two ends; NaN where its error is not known."""
    if sigma == 0.0:
        return 1.0 if low < value < high else 0.0
    if math.isnan(sigma) or math.isnan(value):
        return math.nan
    normal = NormalDist(value, sigma)
    below_high = 1.0 if high == math.inf else normal.cdf(high)
    return below_high - (0.0 if low == -math.inf else normal.cdf(low))


def _percent(share: float) -> str:
    """A share as a percentage that does not round up to all."""
    return f"{min(100.0 * share, 99.9):.3g} %"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
