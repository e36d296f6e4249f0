"""Outcome: what the networks say of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from xas_live.prediction.chemistry import Chemistry
from xas_live.prediction.results import Classes, Columns, Curve, OutputResult, Size, Value
from xas_live.spectrum import Array


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the networks say of a sweep.

    Attributes
    ----------
    values : numbers with intervals, by target.
    classes, curves : by output.
    fractions : shares of the metal and of each standard, where standards were fitted.
    correlation : of the leading target with the metal's share; NaN without standards.
    size : of the particle; None where the model gives none.
    chemistry : what the sample is besides metal; None where the model does not say.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    classes: Mapping[str, Classes] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    fractions: Mapping[str, Value] = field(default_factory=dict)
    correlation: float = math.nan
    size: Size | None = None
    chemistry: Chemistry | None = None

    @property
    def results(self) -> dict[str, OutputResult]:
        """Numbers, classes and curves together, by target or output."""
        return {**self.values, **self.classes, **self.curves}

    def row(self) -> Columns:
        """Columns of a table of results."""
        shown = {**self.results, **self._beside}
        return {column: cell for name, each in shown.items() for column, cell in each.row(name).items()}

    def columns(self) -> Columns:
        """Columns of an archive, but for arrays."""
        found = {k: v for name, each in self._stored.items() for k, v in each.columns(name).items()}
        return found | {k: v for name, each in self.values.items() for k, v in each.parts(name).items()}

    def arrays(self) -> dict[str, Array]:
        """Columns of an archive that are arrays."""
        return {k: v for name, each in self._stored.items() for k, v in each.arrays(name).items()}

    def units(self) -> dict[str, str]:
        """Units of those columns of an archive that have one."""
        return {k: v for name, each in self._stored.items() for k, v in each.units(name).items()}

    @property
    def _stored(self) -> dict[str, OutputResult]:
        """All that an archive keeps, by name."""
        shares = {f"fraction_{name}": share for name, share in self.fractions.items()}
        return {**self.values, **shares, **self.classes, **self.curves, **self._beside}

    @property
    def _beside(self) -> dict[str, OutputResult]:
        return {} if self.chemistry is None else {"chemistry": self.chemistry}
