"""What the user may choose about the analysis."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from xas_live.errors import Refusal

MAX_SHIFT = 50.0  # eV between sample and foil that can be asked for

Alignment = Literal["auto", "reference", "none", "e0"]


class SettingsError(Refusal):
    """A setting that does not exist or cannot be used; the message says what can be."""


class AnalysisConfig(BaseModel):
    """What the user may choose about the analysis.

    Attributes
    ----------
    align : how the sample's energy scale is laid on the foil's. "reference": by the sweep's own reference
        channel; "none": both were calibrated alike; "e0": by the sample's edge, which hides its own shift
        (flagged); a number: the sample lies so many eV above the foil, -50 to 50. "auto" takes the reference
        channel where there is one, else "none".
    level : nominal coverage of the intervals, 0.5 to 0.99.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    align: Alignment | Annotated[float, Field(ge=-MAX_SHIFT, le=MAX_SHIFT, allow_inf_nan=False)] = "auto"
    level: float = Field(default=0.9, ge=0.5, le=0.99)


def checked_alignment(align: str | float) -> Alignment | float:
    """Return the alignment that a word, a number or the text of a number asks for.

    Raises
    ------
    SettingsError : for anything else, and for a shift over 50 eV.
    """
    if align in get_args(Alignment):
        return align  # type: ignore[return-value]
    try:
        shift = float(align)
    except (TypeError, ValueError):
        shift = math.nan
    if not abs(shift) <= MAX_SHIFT:
        raise SettingsError(
            f"{align!r} is no alignment: use {', '.join(get_args(Alignment))}, or a number of eV, "
            f"{-MAX_SHIFT:g} to {MAX_SHIFT:g}"
        )
    return shift
