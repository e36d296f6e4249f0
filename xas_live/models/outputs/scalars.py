"""Numbers with conformal intervals (see intervals.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from xas_live.models.outputs.base import Estimate, Said, Shapes, Tensors
from xas_live.models.outputs.intervals import BINS, conformal_rank, fit_intervals, half_width
from xas_live.models.outputs.specs import ScalarsSpec
from xas_live.prediction import Value
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

_CALIBRATION = ("calibration_scores", "calibration_edges", "scale_floor")
_SMOOTH = 0.3  # of the scaled error, from which its size counts and no longer its square


@dataclass(frozen=True)
class Scalars:
    """An `OutputKind` of numbers.

    Parameters
    ----------
    spec : as the card states it.
    """

    spec: ScalarsSpec

    @property
    def name(self) -> str:
        """Of the output."""
        return self.spec.name

    @property
    def width(self) -> int:
        """One column a target."""
        return self.spec.width

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self.spec.columns

    @property
    def strata(self) -> str | None:
        """Target by whose prediction intervals are calibrated."""
        return self.spec.stratify_by

    def tensors(self) -> Shapes:
        """Scaling and calibration."""
        fixed: Shapes = {"target_mean": (self.width,), "target_scale": (self.width,)}
        return {
            self.spec.prefix + name: shape for name, shape in (fixed | dict.fromkeys(_CALIBRATION)).items()
        }

    def check_level(self, tensors: NumbersByName, level: float) -> None:
        """See `OutputKind`."""
        conformal_rank(tensors[f"{self.spec.prefix}calibration_scores"].shape[1], level)

    def decoded(self, tensors: NumbersByName, raw: Numbers) -> Numbers:
        """See `OutputKind`."""
        prefix = self.spec.prefix
        return raw * tensors[f"{prefix}target_scale"] + tensors[f"{prefix}target_mean"]

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """Half widths by split-conformal prediction at the stratum."""
        by = library_of(mean).zeros_like(mean[:, 0]) if stratum is None else stratum
        half = half_width(self._own(tensors), spread, by, level)
        return Estimate(mean, half, self.scaled_spread(tensors, spread))

    def widened(self, estimate: Estimate, change: Numbers, factor: Numbers) -> Estimate:
        """See `OutputKind`."""
        return estimate._replace(half=library_of(change).hypot(estimate.half, factor * change))

    def scaled(self, tensors: NumbersByName, truth: torch.Tensor) -> torch.Tensor:
        """See `OutputKind`."""
        prefix = self.spec.prefix
        aim: torch.Tensor = (truth - tensors[f"{prefix}target_mean"]) / tensors[f"{prefix}target_scale"]
        return aim

    def scaled_spread(self, tensors: NumbersByName, spread: Numbers) -> Numbers:
        """See `OutputKind`."""
        return spread / tensors[f"{self.spec.prefix}target_scale"]

    def scaling(self, truth: torch.Tensor) -> Tensors:
        """Mean and standard deviation of each target."""
        rows = truth.flatten(0, -2)
        prefix = self.spec.prefix
        return {
            f"{prefix}target_mean": truth.mean((0, 1)) if truth.ndim == 3 else rows.mean(0),
            f"{prefix}target_scale": (truth.std((0, 1)) if truth.ndim == 3 else rows.std(0)).clamp_min(1e-6),
        }

    def loss(self, raw: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Smooth absolute error."""
        error = torch.where(aim.isnan(), 0.0, raw - aim)  # a label that is not known teaches nothing
        return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_SMOOTH)

    def error(self, mean: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Prediction less truth."""
        return mean - truth

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """Of every target."""
        return dict(zip(self.columns, of_columns.nanmean(0).tolist(), strict=True))

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """Whether the interval holds the truth."""
        inside: torch.Tensor = ((truth - estimate.mean).abs() <= estimate.half).float()
        return inside

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """Scores and floors by the stratum; all together where there is none."""
        by = torch.zeros(len(mean)) if stratum is None else stratum
        count = 1 if stratum is None else BINS if bins is None else bins
        found = fit_intervals(mean - truth, spread, by, count, draws)
        return {self.spec.prefix + name: tensor for name, tensor in found.items()}

    def say(self, mean: Array, half: Array, level: float, quantile: float) -> Said:
        """Values with intervals, cut where the quantity ends."""
        values, beyond = {}, []
        for target, value, width in zip(self.spec.targets, mean.tolist(), half.tolist(), strict=True):
            if value - width > target.maximum or value + width < target.minimum:
                beyond.append(target.name)
            values[target.name] = interval(
                value, width, level, quantile, unit=target.unit, non_negative=target.non_negative
            )
        return Said(values, {}, {}, tuple(beyond))

    def _own(self, tensors: NumbersByName) -> NumbersByName:
        """The calibration under the names that intervals.py knows."""
        if not self.spec.prefix:
            return tensors
        return {name: tensors[self.spec.prefix + name] for name in _CALIBRATION}


def interval(
    value: float, half: float, level: float, quantile: float, *, unit: str = "",
    non_negative: bool = False, top: float = math.inf,
) -> Value:  # fmt: skip
    """A value with its interval, cut where the quantity ends.

    Parameters
    ----------
    half : half width at `level`, whose Gaussian quantile is `quantile`.
    top : the largest that the quantity can be.
    """
    low = 0.0 if non_negative else -math.inf
    return Value(
        value=min(max(value, low), top),
        std=half / quantile,
        lower=min(max(value - half, low), top),
        upper=max(min(value + half, top), low),
        level=level,
        unit=unit,
    )
