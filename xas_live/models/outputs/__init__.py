"""What a network may give, how sure it is of it, and how it is trained and calibrated: one class a kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from xas_live.models.outputs.base import Estimate, OutcomePart, OutputKind
from xas_live.models.outputs.classes import ClassProbabilities
from xas_live.models.outputs.curves import Curves
from xas_live.models.outputs.intervals import (
    LevelError,
    conformal_rank,
    fit_intervals,
    gaussian_quantile,
    half_width,
)
from xas_live.models.outputs.scalars import Scalars, interval
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec, OutputSpec, ScalarsSpec, Target

__all__ = [
    "ClassProbabilities",
    "ClassesSpec",
    "CurveSpec",
    "Curves",
    "Estimate",
    "LevelError",
    "OutcomePart",
    "OutputKind",
    "OutputSpec",
    "Scalars",
    "ScalarsSpec",
    "Target",
    "columns_of",
    "conformal_rank",
    "fit_intervals",
    "gaussian_quantile",
    "half_width",
    "interval",
    "kinds_of",
]


def columns_of(kinds: Sequence[OutputKind]) -> list[slice]:
    """Return where each output's columns stand among those of all, side by side."""
    ends = list(accumulate(kind.width for kind in kinds))
    return [slice(end - kind.width, end) for end, kind in zip(ends, kinds, strict=True)]


def kinds_of(specs: Sequence[OutputSpec]) -> tuple[OutputKind, ...]:
    """The outputs that a card or a recipe states, as what computes them."""
    return tuple(_kind_of(spec) for spec in specs)


def _kind_of(spec: OutputSpec) -> OutputKind:
    if isinstance(spec, ScalarsSpec):
        return Scalars(spec)
    if isinstance(spec, ClassesSpec):
        return ClassProbabilities(spec)
    return Curves(spec)
