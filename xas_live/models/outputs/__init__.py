"""What a network may give, how sure it is of it, and how it is trained and calibrated: one class a kind."""

from __future__ import annotations

from collections.abc import Sequence

from xas_live.models.outputs.base import Estimate, OutputKind, Said
from xas_live.models.outputs.classes import ClassProbabilities
from xas_live.models.outputs.curves import Curves
from xas_live.models.outputs.scalars import Scalars, interval
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec, OutputSpec, ScalarsSpec, Target

__all__ = [
    "ClassProbabilities",
    "ClassesSpec",
    "CurveSpec",
    "Curves",
    "Estimate",
    "OutputKind",
    "OutputSpec",
    "Said",
    "Scalars",
    "ScalarsSpec",
    "Target",
    "interval",
    "kinds_of",
]


def kinds_of(specs: Sequence[OutputSpec]) -> tuple[OutputKind, ...]:
    """The outputs that a card or a recipe states, as what computes them."""
    return tuple(_kind_of(spec) for spec in specs)


def _kind_of(spec: OutputSpec) -> OutputKind:
    if isinstance(spec, ScalarsSpec):
        return Scalars(spec)
    if isinstance(spec, ClassesSpec):
        return ClassProbabilities(spec)
    return Curves(spec)
