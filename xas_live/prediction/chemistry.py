"""Chemistry: how much of a spectrum is no metal, and what it looks like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from xas_live.prediction.results import Columns, Json, Value, finite
from xas_live.spectrum import Array

KINDS = ("metal", "alloy", "oxide", "sulphide", "salt", "hydride")
"""Kinds of phases among which a spectrum is shared out."""

LOOKS = {
    "alloy": "looks alloyed",
    "oxide": "looks like an oxide, salt or complex",
    "sulphide": "looks like a thiolate or sulphide",
    "salt": "looks like an oxide, salt or complex",
    "hydride": "looks like a hydride",
}
"""What is said of a spectrum that looks like a phase of this kind; oxide and salt are not told apart."""

_UNKNOWN = Value(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Chemistry:
    """What a sample is besides metal, as far as its spectrum tells without a standard.

    Attributes
    ----------
    non_metal : share of the spectrum that phases without metal bonds explain (oxide, sulphide, salt), 0 to 1.
    adsorbates : share of the metal's atoms that carry adsorbates, 0 to 1; None where the model cannot say.
    shares : of the spectrum by kind of phase, among `KINDS`; they sum to 1.
    looks : what it looks like, in the words of `LOOKS`; empty where it looks like the metal.
    """

    non_metal: Value
    adsorbates: Value | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    looks: str = ""

    @property
    def level(self) -> float:
        """Nominal coverage of the intervals."""
        return self.non_metal.level

    def row(self, name: str = "") -> Columns:
        """Columns of a table: `non_metal` and `adsorbates` with their intervals, `looks`."""
        adsorbates = {} if self.adsorbates is None else self.adsorbates.row("adsorbates")
        return {**self.non_metal.row("non_metal"), **adsorbates, "looks": self.looks}

    def columns(self, name: str = "") -> Columns:
        """As in a table, with standard deviations, and the shares: `share_metal`.

        `adsorbates` is NaN where the model cannot say, so that all sweeps of a model have the same columns.
        """
        return {
            **self.non_metal.columns("non_metal"),
            **(self.adsorbates or _UNKNOWN).columns("adsorbates"),
            **{f"share_{kind}": float(share) for kind, share in self.shares.items()},
            "looks": self.looks,
        }

    def arrays(self, name: str = "") -> dict[str, Array]:
        """None."""
        return {}

    def units(self, name: str = "") -> dict[str, str]:
        """None: shares are pure numbers."""
        return {}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "non_metal": self.non_metal.to_json(),
            "adsorbates": None if self.adsorbates is None else self.adsorbates.to_json(),
            "shares": {kind: finite(share) for kind, share in self.shares.items()},
            "looks": self.looks,
        }
