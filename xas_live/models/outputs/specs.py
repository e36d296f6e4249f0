"""Outputs as a card states them: numbers, classes and curves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from xas_live.models.strict import Strict

_TAKEN = (
    "conv", "layer", "encoder", "decoder", "oxide", "chemistry", "cost", "domain", "latent", "metal",
    "theory", "train",
)  # fmt: skip
"""Beginnings of names that other tensors of a bundle have."""


class Target(Strict):
    """A number that the network gives.

    Attributes
    ----------
    minimum, maximum : range of its training labels.
    non_negative : whether it cannot be below zero, so that intervals end there.
    """

    name: str
    unit: str = ""
    minimum: float
    maximum: float
    non_negative: bool = False
    description: str


class _Spec(Strict):
    """What all outputs have.

    Attributes
    ----------
    name : of the output, as "structure".
    prefix : of its tensors' names in the bundle.
    """

    name: str
    prefix: str = ""

    @field_validator("prefix")
    @classmethod
    def _is_free(cls, prefix: str) -> str:
        if prefix.startswith(_TAKEN):
            raise ValueError(f"no prefix may begin with {', '.join(_TAKEN)}, as {prefix!r} does")
        return prefix


class ScalarsSpec(_Spec):
    """Numbers, each with an interval.

    Attributes
    ----------
    stratify_by : target by which calibration is parted into ranges; None: it is not.
    """

    kind: Literal["scalars"] = "scalars"
    stratify_by: str | None = None
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        return len(self.targets)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(target.name for target in self.targets)


class ClassesSpec(_Spec):
    """One of several classes, with calibrated probabilities and a conformal set."""

    kind: Literal["classes"]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    description: str = ""

    @model_validator(mode="after")
    def _differ(self) -> ClassesSpec:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must have different names, not {list(self.classes)}")
        if "set" in self.classes:
            raise ValueError("no class may be called 'set': the column of the conformal set is")
        return self

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        return len(self.classes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.classes


class CurveSpec(_Spec):
    """A curve on an axis of its own, with a band.

    Attributes
    ----------
    x_name, x_unit, x : the axis, as "r" and "Å", and its points.
    unit : of the curve.
    """

    kind: Literal["curve"]
    x_name: str
    x_unit: str = ""
    x: Annotated[tuple[float, ...], Field(min_length=2)]
    unit: str = ""
    description: str = ""

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        return len(self.x)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(f"{self.name}({x:g})" for x in self.x)


OutputSpec = Annotated[ScalarsSpec | ClassesSpec | CurveSpec, Field(discriminator="kind")]
