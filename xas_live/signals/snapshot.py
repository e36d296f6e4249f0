"""Snapshot: what is published of the newest prediction at one moment; signals and PVs show it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from xas_live.prediction import Degree, Prediction, Value
from xas_live.signals.quantities import VERDICTS

if TYPE_CHECKING:
    from xas_live.callbacks.live import Current

LONGEST_TEXT = 500
"""Characters of a reason; what is longer is cut."""

LONGEST_NAME = 39
"""Characters of a name: what a string PV holds."""

LARGEST = 2**31 - 1
"""Integer that a PV holds."""

Words = Annotated[str, Field(max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]

JUDGED = (Degree.TRUSTED, Degree.CAUTION)
"""Degrees under which a prediction may be acted on."""


def _number(value: object) -> object:
    """JSON has no NaN: there it is null."""
    return math.nan if value is None else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


Number = Annotated[float, BeforeValidator(_number), PlainSerializer(_or_none, when_used="json")]


class Interval(BaseModel):
    """A number with its interval and the parts of its error, as `prediction.Value`; NaN where not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Number = math.nan
    lower: Number = math.nan
    upper: Number = math.nan
    statistical: Number = math.nan
    model: Number = math.nan

    @classmethod
    def of(cls, value: Value) -> Interval:
        """Return what is published of a value."""
        numbers = (value.value, value.lower, value.upper, value.statistical, value.model)
        return cls(**dict(zip(cls.model_fields, map(_known, numbers), strict=True)))


class Snapshot(BaseModel):
    """What is published of the newest prediction.

    Attributes
    ----------
    time : Unix time of the sweep's last point (s); None where there is none.
    sweeps : predicted so far in the session.
    scan, raw_uid : of the run; 0 and "" where it has none.
    absorber : as "Pt L3".
    verdict : "" before anything is predicted, "not judged" by a model that does not judge.
    verdict_reason : why; of a refused sweep why it was refused.
    whole : the sweep is complete.
    in_domain : nothing speaks against its belonging to what the model knows.
    flags : separated by commas.
    values : by target; empty where the numbers must not be used.
    non_metal : share of the spectrum, 0 to 1.
    lag : from the end of the sweep to its prediction (s).
    age, limit : since the end of the sweep, and from when on it is too old (s).
    stale_reason : why it must not be acted on by its age, in words; "" where it may.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: float | None = None
    sweeps: int = Field(default=0, ge=0, le=LARGEST)
    scan: int = Field(default=0, ge=-LARGEST, le=LARGEST)
    raw_uid: Name = ""
    absorber: Name = ""
    verdict: Annotated[str, Field(pattern=f"^(|{'|'.join(VERDICTS)})$")] = ""
    verdict_reason: Words = ""
    whole: bool = True
    in_domain: bool = True
    flags: Words = ""
    values: Annotated[dict[str, Interval], Field(max_length=100)] = Field(default_factory=dict)
    non_metal: Interval = Interval()
    lag: Number = math.nan
    age: Number = math.nan
    limit: Number = math.nan
    stale_reason: Words = "no analysis is watched"

    @classmethod
    def of(cls, prediction: Prediction, sweeps: int) -> Snapshot:
        """Return what is published of a prediction; of one that is not usable no values."""
        where, verdict = prediction.provenance, prediction.verdict
        chemistry, scan = prediction.chemistry, where.scan_id or 0
        values = prediction.values if verdict.usable else {}
        return cls(
            time=where.time,
            sweeps=sweeps,
            scan=scan if abs(scan) <= LARGEST else 0,
            raw_uid=short(where.run_uid or "", LONGEST_NAME),
            absorber=short(" ".join(filter(None, (prediction.element, prediction.edge))), LONGEST_NAME),
            verdict=str(verdict.degree or "not judged"),
            verdict_reason=short(verdict.reason),
            whole=not prediction.partial,
            in_domain=prediction.in_domain,
            flags=short(", ".join(prediction.flags)),
            values={name: Interval.of(value) for name, value in values.items()},
            non_metal=Interval() if chemistry is None else Interval.of(chemistry.non_metal),
        )

    def at(self, current: Current) -> Snapshot:
        """Return the same with its age, and whether it may be acted on, as the analysis says."""
        return self.model_copy(
            update={
                "age": _known(current.age),
                "limit": _known(current.limit),
                "stale_reason": short(current.reason),
            }
        )

    @property
    def fresh(self) -> bool:
        """Whether it may be acted on by its age."""
        return not self.stale_reason

    @property
    def actionable(self) -> bool:
        """Whether it is fresh, trusted or under caution, and of a whole sweep."""
        return self.fresh and self.whole and self.verdict in JUDGED

    def columns(self) -> dict[str, float | int | str]:
        """Return the value of each quantity that it has, by the name of `Quantity`."""
        found: dict[str, float | int | str] = {}
        for target, of in self.values.items():
            name = target.lower()
            found[name] = of.value
            found[f"{name}_lower"], found[f"{name}_upper"] = of.lower, of.upper
            found[f"{name}_statistical"], found[f"{name}_model"] = of.statistical, of.model
        return found | {
            "non_metal": self.non_metal.value,
            "non_metal_lower": self.non_metal.lower,
            "non_metal_upper": self.non_metal.upper,
            "verdict": self.verdict,
            "verdict_reason": self.verdict_reason,
            "flags": self.flags,
            "absorber": self.absorber,
            "scan": self.scan,
            "raw_uid": self.raw_uid,
            "sweeps": self.sweeps,
            "lag": self.lag,
            "age": self.age,
            "fresh": int(self.fresh),
            "stale_reason": self.stale_reason,
            "actionable": int(self.actionable),
        }


def short(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text that can be sent, of so many characters at most, cut at its end."""
    sendable = text.encode(errors="replace").decode()  # names of files may hold what is no text
    return sendable if len(sendable) <= longest else f"{sendable[: longest - 3]}..."


def _known(number: float) -> float:
    return float(number) if math.isfinite(number) else math.nan
