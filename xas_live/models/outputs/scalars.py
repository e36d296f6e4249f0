"""Numbers with conformal intervals (see intervals.py)."""

from __future__ import annotations

import math

import torch

from xas_live.models.outputs.base import (
    Estimate,
    OutcomePart,
    RegressionOutput,
    Shapes,
    Tensors,
    known_mean,
    known_std,
)
from xas_live.models.outputs.intervals import BINS, conformal_rank, fit_intervals, half_width
from xas_live.models.outputs.specs import ScalarsSpec
from xas_live.prediction import Value
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

_CALIBRATION = ("calibration_scores", "calibration_edges", "scale_floor")


class Scalars(RegressionOutput[ScalarsSpec]):
    """An `OutputKind` of numbers."""

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
        conformal_rank(self.tensor(tensors, "calibration_scores").shape[1], level)

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """Half widths by split-conformal prediction at the stratum."""
        by = library_of(mean).zeros_like(mean[:, 0]) if stratum is None else stratum
        half = half_width(self._own(tensors), spread, by, level)
        return Estimate(mean, half, self.scaled_spread(tensors, spread))

    def scaling(self, truth: torch.Tensor) -> Tensors:
        """Mean and standard deviation of each target."""
        rows = truth.flatten(0, -2)
        prefix = self.spec.prefix
        if truth.isnan().any():
            mean, std = known_mean(rows), known_std(rows)
        elif truth.ndim == 3:
            mean, std = truth.mean((0, 1)), truth.std((0, 1))
        else:
            mean, std = rows.mean(0), rows.std(0)
        return {f"{prefix}target_mean": mean, f"{prefix}target_scale": std.clamp_min(1e-6)}

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """Of every target."""
        return dict(zip(self.columns, of_columns.nanmean(0).tolist(), strict=True))

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """Whether the interval holds the truth."""
        inside: torch.Tensor = ((truth - estimate.mean).abs() <= estimate.half).float()
        return torch.where(truth.isnan(), torch.nan, inside)

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """Scores and floors by the stratum; all together where there is none."""
        by = torch.zeros(len(mean)) if stratum is None else stratum
        count = 1 if stratum is None else BINS if bins is None else bins
        truth, mean, spread, by = self.known(truth, count * draws, mean, spread, by)
        found = fit_intervals(mean - truth, spread, by, count, draws)
        return {self.spec.prefix + name: tensor for name, tensor in found.items()}

    def result(self, mean: Array, half: Array, level: float, quantile: float) -> OutcomePart:
        """Values with intervals, cut where the quantity ends."""
        values, beyond = {}, []
        for target, value, width in zip(self.spec.targets, mean.tolist(), half.tolist(), strict=True):
            if value - width > target.maximum or value + width < target.minimum:
                beyond.append(target.name)
            values[target.name] = interval(
                value, width, level, quantile, unit=target.unit, non_negative=target.non_negative
            )
        return OutcomePart(values, {}, {}, tuple(beyond))

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
