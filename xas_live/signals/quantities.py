"""What is published of a prediction: names, units and limits of every signal and PV, in one table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from xas_live.errors import Refusal

NO_YES = ("no", "yes")
VERDICTS = ("none", "trusted", "caution", "not usable", "not judged")
"""Choices of the verdict; "none" stands for the empty text that signals have before a prediction."""


@dataclass(frozen=True)
class Target:
    """A number that a model predicts.

    Attributes
    ----------
    name : as the model's card names it.
    unit : "" for a pure number.
    low, high : ends of the axis on which it is shown; NaN where they are not known.
    precision : decimal places.
    description : in words.

    Raises
    ------
    Refusal : when the name is no identifier.
    """

    name: str
    unit: str = ""
    low: float = math.nan
    high: float = math.nan
    precision: int = 2
    description: str = "predicted by the model"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", self.name):
            raise Refusal(
                f"target {self.name!r}: give a name of up to 31 letters, digits and _, that begins with a "
                "letter, as 'CN1'"
            )


def _shell(number: int, order: str, bulk: int) -> Target:
    words = f"average coordination number of the {order} fcc shell"
    return Target(f"CN{number}", low=0.0, high=float(bulk), description=words)


KNOWN_TARGETS = {
    target.name: target
    for target in (
        _shell(1, "first", 12),
        _shell(2, "second", 6),
        _shell(3, "third", 24),
        _shell(4, "fourth", 12),
        Target("R1", "Å", 2.5, 3.0, 3, "nearest-neighbour distance, relative to the foil's"),
        Target("MSD", "Å²", 0.0, 0.03, 4, "mean-squared radial displacement from the bulk's distances"),
        Target("radial_variance", "Å²", 0.0, 0.03, 4, "variance of the radial displacements"),
    )
}
"""Targets of the shipped models, by name."""

DEFAULT_TARGETS = ("CN1", "CN2", "CN3", "CN4", "R1")


class Kind(Enum):
    """What a quantity holds."""

    NUMBER = "number"
    COUNT = "integer"
    CHOICE = "one of several words"
    YES_NO = "no or yes"
    NAME = "text of up to 39 characters"
    TEXT = "text"


@dataclass(frozen=True)
class Quantity:
    """One published quantity: a signal of the session and a PV of the IOC.

    Attributes
    ----------
    name : of the signal, as "cn1_lower".
    pv : of the PV, behind the prefix, as "CN1:LOWER".
    kind : what it holds.
    description : in words.
    unit, precision : of numbers.
    low, high : ends of the axis on which it is shown; NaN where it has none.
    judged : it belongs to the sweep, so that its alarm tells the verdict; else it is about the session.
    """

    name: str
    pv: str
    kind: Kind
    description: str
    unit: str = ""
    precision: int = 0
    low: float = math.nan
    high: float = math.nan
    judged: bool = True

    @property
    def empty(self) -> float | int | str:
        """Its value before anything is predicted."""
        if self.kind is Kind.NUMBER:
            return math.nan
        return 0 if self.kind in (Kind.COUNT, Kind.YES_NO) else ""


def chosen_targets(targets: Iterable[str | Target]) -> tuple[Target, ...]:
    """Return the targets chosen; a name that is not known is a pure number.

    Raises
    ------
    Refusal : for none, the same twice, and names that cannot be used.
    """
    if isinstance(targets, str):
        raise Refusal(f"targets={targets!r}: give a list of names, as ['CN1', 'R1']")
    chosen = tuple(each if isinstance(each, Target) else _known(each) for each in targets)
    names = [target.name.lower() for target in chosen]
    if not chosen or len(set(names)) < len(names):
        raise Refusal(f"targets={[t.name for t in chosen]!r}: give at least one, and each once")
    taken = {quantity.name for quantity in _BESIDE}
    if both := sorted({name for target in chosen for name in _names(target)} & taken):
        raise Refusal(f"targets: {', '.join(both)} is published of every sweep: give the target another name")
    return chosen


def quantities(targets: Iterable[Target]) -> tuple[Quantity, ...]:
    """Return all that is published, the targets first."""
    return tuple(quantity for target in targets for quantity in _of_target(target)) + _BESIDE


def _known(name: object) -> Target:
    if not isinstance(name, str):
        raise Refusal(f"target {name!r}: give its name, or a Target")
    return KNOWN_TARGETS.get(name) or Target(name)


_PARTS = {
    "": "{}",
    "_lower": "lower end of the interval of {}",
    "_upper": "upper end of the interval of {}",
    "_statistical": "half width of {} by the noise of the sweep, which repeats narrow",
    "_model": "half width of {} by the model, which repeats leave",
}


def _names(target: Target) -> list[str]:
    return [target.name.lower() + part for part in _PARTS]


def _of_target(target: Target) -> Iterable[Quantity]:
    for part, words in _PARTS.items():
        half_width = part in ("_statistical", "_model")
        span = target.high - target.low
        yield Quantity(
            name=target.name.lower() + part,
            pv=(target.name + part.replace("_", ":")).upper(),
            kind=Kind.NUMBER,
            description=words.format(target.name if part else target.description),
            unit=target.unit,
            precision=target.precision,
            low=0.0 * span if half_width else target.low,
            high=0.5 * span if half_width else target.high,
        )


def _share(name: str, pv: str, words: str) -> Quantity:
    return Quantity(name, pv, Kind.NUMBER, words, precision=2, low=0.0, high=1.0)


_NON_METAL = "share of the spectrum that is no metal"
_BESIDE = (
    _share("non_metal", "NON_METAL", _NON_METAL),
    _share("non_metal_lower", "NON_METAL:LOWER", "lower end of its interval"),
    _share("non_metal_upper", "NON_METAL:UPPER", "upper end of its interval"),
    Quantity("verdict", "VERDICT", Kind.CHOICE, "how far to believe the sweep"),
    Quantity("verdict_reason", "VERDICT:REASON", Kind.TEXT, "why, or why the sweep was refused"),
    Quantity("flags", "FLAGS", Kind.TEXT, "flags of the sweep, separated by commas"),
    Quantity("absorber", "ABSORBER", Kind.NAME, "element and edge"),
    Quantity("scan", "SCAN", Kind.COUNT, "scan id of the run; 0 where it has none"),
    Quantity("raw_uid", "RAW_UID", Kind.NAME, "uid of the run"),
    Quantity("sweeps", "SWEEPS", Kind.COUNT, "sweeps predicted so far in this session", judged=False),
    Quantity(
        "lag",
        "LAG",
        Kind.NUMBER,
        "from the end of the sweep to its prediction",
        unit="s",
        precision=3,
        low=0.0,
        high=10.0,
        judged=False,
    ),
    Quantity(
        "age",
        "AGE",
        Kind.NUMBER,
        "since the end of the sweep",
        unit="s",
        precision=1,
        low=0.0,
        high=600.0,
        judged=False,
    ),
    Quantity("fresh", "FRESH", Kind.YES_NO, "the prediction is young enough to be acted on", judged=False),
    Quantity("stale_reason", "STALE_REASON", Kind.TEXT, "why it is not; empty where it is", judged=False),
    Quantity(
        "actionable",
        "ACTIONABLE",
        Kind.YES_NO,
        "the prediction is fresh, trusted or under caution, and of a whole sweep",
        judged=False,
    ),
)
