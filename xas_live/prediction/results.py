"""Results: numbers with intervals, sizes, classes and curves, as tables, archives and JSON hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from xas_live.spectrum import Array

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What `json.dumps` takes."""

Columns: TypeAlias = dict[str, float | str]
"""Numbers and texts by the names of their columns."""

_INTERVAL = ("", "_lower", "_upper", "_std")
_PARTS = ("_statistical", "_model")
INTERVAL_COLUMNS = (*_INTERVAL, *_PARTS)
"""Ends of the names of a target's columns."""

_BAND = ("", "_lower", "_upper", "_x")


class OutputResult(Protocol):
    """What a model gives for one output: the columns it has in tables and archives, and its JSON.

    `name` is that of the target or output; the names of all columns begin with it, or hold it.
    """

    @property
    def level(self) -> float:
        """Nominal coverage of the interval, set or band."""
        ...

    def row(self, name: str) -> Columns:
        """Columns of a table of results."""
        ...

    def columns(self, name: str) -> Columns:
        """Columns of an archive, but for arrays."""
        ...

    def arrays(self, name: str) -> dict[str, Array]:
        """Columns of an archive that are arrays."""
        ...

    def units(self, name: str) -> dict[str, str]:
        """Units of those columns of an archive that have one."""
        ...

    def to_json(self) -> dict[str, Json]:
        """The result as JSON can hold it; NaN becomes None."""
        ...


@dataclass(frozen=True)
class Value:
    """One predicted quantity with its interval, and the two parts of its error.

    Both parts are half widths at `level`; their root sum of squares is that of the interval, before it is cut
    where the quantity ends.

    Attributes
    ----------
    value : the prediction.
    std : standard deviation: the half width of the interval divided by the Gaussian quantile of its level.
    lower, upper : ends of the interval.
    level : nominal coverage of the interval, as 0.9.
    unit : "" for a pure number, else e.g. "Å".
    statistical : the part that the noise of the sweep causes, and that averaging n repeats divides by the
        root of n; NaN where it is not known.
    model : the part that averaging leaves: what theory, training and anchor get wrong; NaN likewise.
    """

    value: float
    std: float
    lower: float
    upper: float
    level: float = 0.9
    unit: str = ""
    statistical: float = math.nan
    model: float = math.nan

    def __str__(self) -> str:
        unit, n = f" {self.unit}" if self.unit else "", self.decimals
        return f"{self.value:.{n}f} [{self.lower:.{n}f}, {self.upper:.{n}f}]{unit}"

    @property
    def plus_minus(self) -> str:
        """The value with half the width of its interval, as "9.04 ±0.61"."""
        half = max(self.upper - self.value, self.value - self.lower)  # one end may be cut off
        return f"{self.value:.{self.decimals}f} ±{half:.{self.decimals}f}"

    @property
    def decimals(self) -> int:
        """Decimal places worth showing, at least two: the interval's half width with two figures."""
        half = 0.5 * (self.upper - self.lower)
        if not math.isfinite(half) or half <= 0:
            return 2
        return min(max(2, 1 - math.floor(math.log10(half))), 6)

    def row(self, name: str) -> Columns:
        """Value, interval and statistical part: `CN1`, `CN1_lower`, `CN1_upper`, `CN1_statistical`."""
        cells: Columns = {name: self.value, f"{name}_lower": self.lower, f"{name}_upper": self.upper}
        if not math.isnan(self.statistical):
            cells[f"{name}_statistical"] = self.statistical
        return cells

    def columns(self, name: str) -> Columns:
        """Value, interval and standard deviation: `CN1_std`."""
        numbers = (self.value, self.lower, self.upper, self.std)
        return {f"{name}{end}": float(x) for end, x in zip(_INTERVAL, numbers, strict=True)}

    def arrays(self, name: str) -> dict[str, Array]:
        """None."""
        return {}

    def units(self, name: str) -> dict[str, str]:
        """The value's unit, for all its columns."""
        return {f"{name}{end}": self.unit for end in INTERVAL_COLUMNS} if self.unit else {}

    def parts(self, name: str) -> Columns:
        """The two parts of its error: `CN1_statistical`, `CN1_model`; NaN where they are not known."""
        return dict(zip((f"{name}{end}" for end in _PARTS), (self.statistical, self.model), strict=True))

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "value": finite(self.value),
            "std": finite(self.std),
            "lower": finite(self.lower),
            "upper": finite(self.upper),
            "level": self.level,
            "unit": self.unit,
            "statistical": finite(self.statistical),
            "model": finite(self.model),
        }


@dataclass(frozen=True)
class Size:
    """Diameter of the particle, from its coordination numbers.

    Attributes
    ----------
    diameter_nm, lower, upper : nm; None where the coordination numbers no longer tell sizes apart.
    label : in words, as "1.8 nm", "> 1.5 nm" where its upper end is not known, or "bulk-like".
    """

    diameter_nm: float | None
    lower: float | None
    upper: float | None
    label: str

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "diameter_nm": finite(self.diameter_nm),
            "lower": finite(self.lower),
            "upper": finite(self.upper),
            "label": self.label,
        }


@dataclass(frozen=True, eq=False)
class Classes:
    """Which of several classes a sweep belongs to.

    Attributes
    ----------
    probabilities : by class, calibrated; they sum to 1.
    members : the classes that cannot be excluded at `level`, the likeliest first (a conformal set); empty
        where the sweep is like none of them.
    level : nominal share of sweeps whose true class is among `members`.
    """

    probabilities: Mapping[str, float]
    members: tuple[str, ...]
    level: float = 0.9

    @property
    def likeliest(self) -> str:
        """The class of the largest probability."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def __str__(self) -> str:
        best = self.likeliest
        others = [name for name in self.members if name != best]
        also = f"; or {', '.join(others)}" if others else ""
        return f"{best} ({self.probabilities[best]:.0%}{also})"

    def row(self, name: str) -> Columns:
        """The likeliest class, its probability, and the set: `site`, `site_p`, `site_set`."""
        best = self.likeliest
        return {name: best, f"{name}_p": self.probabilities[best], f"{name}_set": ", ".join(self.members)}

    def columns(self, name: str) -> Columns:
        """The likeliest class, the set, and all probabilities: `site`, `site_set`, `site_T4`, `site_O6`."""
        each = {f"{name}_{one}": float(p) for one, p in self.probabilities.items()}
        return {name: self.likeliest, f"{name}_set": ", ".join(self.members), **each}

    def arrays(self, name: str) -> dict[str, Array]:
        """None."""
        return {}

    def units(self, name: str) -> dict[str, str]:
        """None: probabilities are pure numbers."""
        return {}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "likeliest": self.likeliest,
            "probabilities": {name: finite(p) for name, p in self.probabilities.items()},
            "members": list(self.members),
            "level": self.level,
        }


@dataclass(frozen=True, eq=False)
class Curve:
    """A predicted curve with its band.

    Attributes
    ----------
    x : (n,) the axis, in `x_unit`; `x_name` names it.
    y, lower, upper : (n,) the curve and the ends of its band, in `unit`.
    level : nominal share of curves that lie in the band as a whole.
    """

    x: Array
    y: Array
    lower: Array
    upper: Array
    x_name: str = "x"
    x_unit: str = ""
    unit: str = ""
    level: float = 0.9

    def __str__(self) -> str:
        unit = f" {self.x_unit}" if self.x_unit else ""
        return f"of {len(self.x)} points, {self.x_name} = {self.x[0]:g} to {self.x[-1]:g}{unit}"

    def row(self, name: str) -> Columns:
        """None: a curve has no place in a row."""
        return {}

    def columns(self, name: str) -> Columns:
        """None: see `arrays`."""
        return {}

    def arrays(self, name: str) -> dict[str, Array]:
        """The curve, the ends of its band, and its axis: `curve_g`, `curve_g_lower`, `curve_g_x`."""
        parts = (self.y, self.lower, self.upper, self.x)
        return {f"curve_{name}{end}": part for end, part in zip(_BAND, parts, strict=True)}

    def units(self, name: str) -> dict[str, str]:
        """Those of the curve and of its axis."""
        units = (self.unit, self.unit, self.unit, self.x_unit)
        return {f"curve_{name}{end}": unit for end, unit in zip(_BAND, units, strict=True) if unit}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        parts = {"x": self.x, "y": self.y, "lower": self.lower, "upper": self.upper}
        points: dict[str, Json] = {
            name: [finite(value) for value in part.tolist()] for name, part in parts.items()
        }
        about: dict[str, Json] = {
            "x_name": self.x_name,
            "x_unit": self.x_unit,
            "unit": self.unit,
            "level": self.level,
        }
        return points | about


def nanometres(diameter: float) -> str:
    """A diameter (nm) as text, without its unit: titles, tables and figures round it alike."""
    return f"{diameter:.1f}"


def finite(x: float | None) -> float | None:
    """The number as JSON can hold it: None for NaN and infinities."""
    return None if x is None or not math.isfinite(x) else float(x)
