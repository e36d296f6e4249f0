"""Curves on an axis of their own, with a band that holds the whole curve.

The score of a calibration curve is the largest |truth - prediction| / scale along it, with scale² = spread² +
floor² at each point; the band is prediction ± q scale (Diquigiovanni et al., J. Multivar. Anal. 189, 104879,
2022).
"""

from __future__ import annotations

import numpy as np
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
from xas_live.models.outputs.intervals import conformal_rank
from xas_live.models.outputs.specs import CurveSpec
from xas_live.prediction import Curve
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

_LEAST_FLOOR = 1e-6


class Curves(RegressionOutput[CurveSpec]):
    """An `OutputKind` of one curve."""

    def tensors(self) -> Shapes:
        """Scaling and calibration."""
        n, prefix = self.width, self.spec.prefix
        names = ("target_mean", "target_scale", "scale_floor")
        fixed: Shapes = {f"{prefix}{name}": (n,) for name in names}
        return fixed | {f"{prefix}calibration_scores": None}

    def check_level(self, tensors: NumbersByName, level: float) -> None:
        """See `OutputKind`."""
        conformal_rank(len(self.tensor(tensors, "calibration_scores")), level)

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """The mean, and half the width of the band."""
        prefix = self.spec.prefix
        scores = tensors[f"{prefix}calibration_scores"]
        scale = library_of(spread).hypot(spread, tensors[f"{prefix}scale_floor"])
        half = scores[conformal_rank(len(scores), level)] * scale
        return Estimate(mean, half, self.scaled_spread(tensors, spread))

    def scaling(self, truth: torch.Tensor) -> Tensors:
        """Mean of each point, and one scale for all: parts that hardly vary count for little."""
        rows, prefix = truth.flatten(0, -2), self.spec.prefix
        complete = not rows.isnan().any()
        mean, std = (rows.mean(0), rows.std(0)) if complete else (known_mean(rows), known_std(rows))
        scale = std.square().mean().sqrt().clamp_min(1e-6)
        return {
            f"{prefix}target_mean": mean,
            f"{prefix}target_scale": scale.expand(self.width).clone(),
        }

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """One figure: the mean over the points."""
        return {self.name: float(of_columns.nanmean())}

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """Of every point whether the band holds the whole curve."""
        inside = ((truth - estimate.mean).abs() <= estimate.half).all(-1, keepdim=True).float()
        return torch.where(truth.isnan().any(-1, keepdim=True), torch.nan, inside).expand_as(truth)

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """The errors' robust standard deviation at each point, and the largest scaled error of each curve."""
        truth, mean, spread = self.known(truth, draws, mean, spread)
        error = (mean - truth).abs()
        floor = (1.4826 * error.median(0).values).clamp_min(_LEAST_FLOOR)
        scores = (error / torch.hypot(spread, floor)).amax(-1).sort().values
        prefix = self.spec.prefix
        return {f"{prefix}scale_floor": floor, f"{prefix}calibration_scores": scores[draws - 1 :: draws]}

    def result(self, mean: Array, half: Array, level: float, quantile: float) -> OutcomePart:
        """The curve with its band."""
        s = self.spec
        curve = Curve(
            np.array(s.x), mean, mean - half, mean + half, x_name=s.x_name, x_unit=s.x_unit, unit=s.unit,
            level=level,
        )  # fmt: skip
        return OutcomePart({}, {}, {self.name: curve})
