"""Verdict: how far to believe a prediction, in degrees and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from xas_live.flags import Flag
from xas_live.prediction.results import Json, finite

SAID_BY_VERDICT = frozenset((Flag.OUT_OF_DOMAIN, Flag.NOT_USABLE, Flag.NON_METAL, Flag.OTHER_PHASE))
"""Flags whose content verdict and chemistry give in words."""

_WORTH_SAYING = 1.05  # from here a widening rounds to 1.1


class Degree(StrEnum):
    """How far to believe a prediction: a member is its name in tables, JSON and archives."""

    TRUSTED = "trusted"
    CAUTION = "caution"
    NOT_USABLE = "not usable"


@dataclass(frozen=True)
class Verdict:
    """How far to believe a prediction.

    Attributes
    ----------
    degree : trusted: as good as the model's stated accuracy. caution: usable, with an interval that is
        widened by what the departure from the training spectra is known to cost. not usable: the numbers must
        not be used. None where the model does not judge.
    reasons : in words, the gravest first, each without a semicolon.
    widening : factor by which the interval of the leading target was widened because of departures; 1: not.
    """

    degree: Degree | None = None
    reasons: tuple[str, ...] = ()
    widening: float = 1.0

    @property
    def usable(self) -> bool:
        """Whether nothing forbids using the numbers: they are trusted, under caution, or not judged."""
        return self.degree is not Degree.NOT_USABLE

    @property
    def reason(self) -> str:
        """All reasons, joined by "; "."""
        return "; ".join(self.reasons)

    @property
    def wider(self) -> str:
        """How much wider the interval is, in words; empty where it is not, or the numbers are not usable."""
        worth = self.usable and _WORTH_SAYING <= self.widening < math.inf
        return f"interval {self.widening:.1f} times wider" if worth else ""

    def __str__(self) -> str:
        if self.degree is None:
            return "not judged"
        name = self.degree if self.usable else self.degree.upper()
        why = "; ".join(filter(None, (self.reason, self.wider)))
        return f"{name} ({why})" if why else str(name)

    def columns(self) -> dict[str, float | str]:
        """Columns of tables and archives: `verdict` ("" where not judged), `verdict_reason`, `widening`."""
        return {
            "verdict": str(self.degree or ""),
            "verdict_reason": self.reason,
            "widening": float(self.widening),
        }

    def to_json(self) -> dict[str, Json]:
        """The same as JSON can hold it; `verdict` is None where not judged."""
        degree = None if self.degree is None else str(self.degree)
        return {
            "verdict": degree,
            "verdict_reason": self.reason,
            "widening": finite(self.widening),
        }


@dataclass(frozen=True)
class DomainVerdict:
    """Whether a sweep belongs to what the model was trained on: a part of what the verdict rests on.

    Attributes
    ----------
    inside : whether it does; None where the model does not judge it.
    p : share of in-domain spectra that lie at least as far out.
    score : how far out it lies: 0 as the median, 1 at the rim.
    reason : in words what is unlike them, when it is out.
    latent : coordinates in the autoencoder of the training spectra, in units of their spread.
    """

    inside: bool | None = None
    p: float = math.nan
    score: float = math.nan
    reason: str = ""
    latent: tuple[float, ...] = ()
