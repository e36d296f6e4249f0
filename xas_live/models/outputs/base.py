"""What every kind of output does: one class a kind, for prediction and for training alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

from xas_live.models.outputs.intervals import LevelError
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec, ScalarsSpec
from xas_live.prediction import Classes, Curve, Value
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

Tensors = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...] | None]
_SMOOTH = 0.3  # of the scaled error, from which its size counts and no longer its square


class Estimate(NamedTuple):
    """What an ensemble gives for one output, a row a spectrum, in the output's units.

    Attributes
    ----------
    mean : (batch, width) numbers or a curve; of classes their probabilities.
    half : (batch, width) half widths of intervals or band; of classes 1 for members of the set, else 0.
    disagreement : (batch, width) of the members, in units of the output's scale.
    """

    mean: Numbers
    half: Numbers
    disagreement: Numbers


class OutcomePart(NamedTuple):
    """What one output gives for one sweep; `beyond`: targets whose whole interval training did not reach."""

    values: Mapping[str, Value]
    classes: Mapping[str, Classes]
    curves: Mapping[str, Curve]
    beyond: tuple[str, ...] = ()


class OutputKind(Protocol):
    """One output of a model: its shapes, its loss, its calibration, and what is said of a sweep.

    The network's raw outputs are scaled: `decoded` brings them to the output's units.
    """

    @property
    def name(self) -> str:
        """Of the output."""
        ...

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, as in labelled spectra and accuracy figures."""
        ...

    @property
    def strata(self) -> str | None:
        """Target by whose prediction calibration is parted; None: it is not."""
        ...

    def tensors(self) -> Shapes:
        """Names and shapes of its tensors; None where a shape is free."""
        ...

    def check_level(self, tensors: NumbersByName, level: float) -> None:
        """Raise LevelError where the calibration set is too small for the level."""
        ...

    def decoded(self, tensors: NumbersByName, raw: Numbers) -> Numbers:
        """(members, batch, width) raw outputs in the output's units; of classes, probabilities."""
        ...

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """What is said of spectra, with calibrated uncertainty.

        Parameters
        ----------
        mean, spread : (batch, width) of the members' decoded outputs, and their standard deviation.
        stratum : (batch,) predicted value of the target `strata`.
        level : nominal coverage.
        """
        ...

    def widened(self, estimate: Estimate, change: Numbers, factor: Numbers) -> Estimate:
        """The estimate with what theory gets wrong for the foil.

        Parameters
        ----------
        change : (batch, width) size of its effect on the mean.
        factor : (batch, 1) what the half widths take of it, added in quadrature.
        """
        ...

    def scaled(self, tensors: NumbersByName, truth: torch.Tensor) -> torch.Tensor:
        """(..., width) truth as the network shall give it; of classes it stays shares that sum to 1."""
        ...

    def scaled_spread(self, tensors: NumbersByName, spread: Numbers) -> Numbers:
        """(batch, width) spread of decoded outputs in units of the output's scale."""
        ...

    def scaling(self, truth: torch.Tensor) -> Tensors:
        """Tensors of the scaling, from draws (..., width) of the truth; NaN is left out."""
        ...

    def loss(self, raw: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Mean loss of raw outputs (members, n, width); NaN in the aim teaches nothing."""
        ...

    def error(self, mean: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(n, width) errors, for accuracy figures."""
        ...

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """Return means over spectra, as a card states them: of errors, of coverage, of half widths.

        Parameters
        ----------
        of_columns : (n, width); NaN is left out.
        """
        ...

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """(n, width) whether the interval, set or band holds the truth; NaN where that does not apply.

        It does not where the truth is not known, nor, of classes, for all but the true one.
        """
        ...

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """Tensors of the calibration.

        Parameters
        ----------
        mean : (n, width) of the members that never saw the structure.
        spread : (n, width) of the whole ensemble, which scales the intervals.
        truth : (n, width); rows that hold NaN are left out.
        stratum : (n,) predicted value of the target `strata`, or None.
        draws : measurements of each structure: structures count, not measurements.
        bins : ranges of the stratum; None: the kind's own number.

        Raises
        ------
        LevelError : when too few rows of known truth remain.
        """
        ...

    def result(self, mean: Array, half: Array, level: float, quantile: float) -> OutcomePart:
        """Return what is reported of one sweep.

        Parameters
        ----------
        mean, half : (width,) one row of an `Estimate`.
        level : nominal coverage; `quantile` is its half width in standard deviations.
        """
        ...


SpecT = TypeVar("SpecT", ScalarsSpec, ClassesSpec, CurveSpec)


@dataclass(frozen=True)
class Output(Generic[SpecT]):
    """What all kinds take from the card.

    Parameters
    ----------
    spec : as the card states it.
    """

    spec: SpecT

    @property
    def name(self) -> str:
        """Of the output."""
        return self.spec.name

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        return self.spec.width

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.spec.columns

    @property
    def strata(self) -> str | None:
        """None, unless a kind calibrates by a target: all are calibrated together."""
        return None

    def known(self, truth: torch.Tensor, least: int, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows of which every label is known, of the truth and of what stands beside it.

        Raises
        ------
        LevelError : when they are fewer than `least`.
        """
        rows = ~truth.isnan().any(-1)
        count = int(rows.sum())
        if count < least:
            raise LevelError(
                f"{self.name}: {count} calibration spectra have all its labels, at least {least} are needed"
            )
        every = (truth, *others)
        return every if count == len(rows) else tuple(each[rows] for each in every)

    def tensor(self, tensors: NumbersByName, name: str) -> Numbers:
        """One of the output's own tensors, by its name without the prefix."""
        return tensors[self.spec.prefix + name]


class RegressionOutput(Output[SpecT]):
    """What numbers and curves have in common: a scale, an absolute error, half widths."""

    def decoded(self, tensors: NumbersByName, raw: Numbers) -> Numbers:
        """See `OutputKind`."""
        return raw * self.tensor(tensors, "target_scale") + self.tensor(tensors, "target_mean")

    def widened(self, estimate: Estimate, change: Numbers, factor: Numbers) -> Estimate:
        """See `OutputKind`."""
        return estimate._replace(half=library_of(change).hypot(estimate.half, factor * change))

    def scaled(self, tensors: NumbersByName, truth: torch.Tensor) -> torch.Tensor:
        """See `OutputKind`."""
        aim: torch.Tensor = (truth - self.tensor(tensors, "target_mean")) / self.tensor(
            tensors, "target_scale"
        )
        return aim

    def scaled_spread(self, tensors: NumbersByName, spread: Numbers) -> Numbers:
        """See `OutputKind`."""
        return spread / self.tensor(tensors, "target_scale")

    def loss(self, raw: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Smooth absolute error."""
        error = torch.where(aim.isnan(), 0.0, raw - aim)  # a label that is not known teaches nothing
        return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_SMOOTH)

    def error(self, mean: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Prediction less truth."""
        return mean - truth


def known_mean(rows: torch.Tensor) -> torch.Tensor:
    """(width,) mean of the known values of each column of (n, width); 0 where there are none."""
    known = ~rows.isnan()
    return torch.where(known, rows, 0.0).sum(0) / known.sum(0).clamp_min(1)


def known_std(rows: torch.Tensor) -> torch.Tensor:
    """(width,) standard deviation of the known values of each column; 0 where there are fewer than two."""
    known = ~rows.isnan()
    off = torch.where(known, rows - known_mean(rows), 0.0)
    return (off.square().sum(0) / (known.sum(0) - 1).clamp_min(1)).sqrt()
