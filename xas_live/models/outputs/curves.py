"""Curves on an axis of their own, with a band that holds the whole curve.

The score of a calibration curve is the largest |truth - prediction| / scale along it, with scale² = spread² +
floor² at each point; the band is prediction ± q scale (Diquigiovanni et al., J. Multivar. Anal. 189, 104879,
2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xas_live.models.outputs.base import Estimate, Said, Shapes, Tensors
from xas_live.models.outputs.intervals import conformal_rank
from xas_live.models.outputs.specs import CurveSpec
from xas_live.prediction import Curve
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

_SMOOTH = 0.3  # as of numbers
_LEAST_FLOOR = 1e-6


@dataclass(frozen=True)
class Curves:
    """An `OutputKind` of one curve.

    Parameters
    ----------
    spec : as the card states it.
    """

    spec: CurveSpec

    @property
    def name(self) -> str:
        """Of the output."""
        return self.spec.name

    @property
    def width(self) -> int:
        """One column a point."""
        return self.spec.width

    @property
    def columns(self) -> tuple[str, ...]:
        """The points, as "g(2.8)"."""
        return self.spec.columns

    @property
    def strata(self) -> str | None:
        """None: all are calibrated together."""
        return None

    def tensors(self) -> Shapes:
        """Scaling and calibration."""
        n, prefix = self.width, self.spec.prefix
        names = ("target_mean", "target_scale", "scale_floor")
        fixed: Shapes = {f"{prefix}{name}": (n,) for name in names}
        return fixed | {f"{prefix}calibration_scores": None}

    def check_level(self, tensors: NumbersByName, level: float) -> None:
        """See `OutputKind`."""
        conformal_rank(len(tensors[f"{self.spec.prefix}calibration_scores"]), level)

    def decoded(self, tensors: NumbersByName, raw: Numbers) -> Numbers:
        """See `OutputKind`."""
        prefix = self.spec.prefix
        return raw * tensors[f"{prefix}target_scale"] + tensors[f"{prefix}target_mean"]

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """The mean, and half the width of the band."""
        prefix = self.spec.prefix
        scores = tensors[f"{prefix}calibration_scores"]
        scale = library_of(spread).hypot(spread, tensors[f"{prefix}scale_floor"])
        half = scores[conformal_rank(len(scores), level)] * scale
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
        """Mean of each point, and one scale for all: parts that hardly vary count for little."""
        rows, prefix = truth.flatten(0, -2), self.spec.prefix
        scale = rows.std(0).square().mean().sqrt().clamp_min(1e-6)
        return {
            f"{prefix}target_mean": rows.mean(0),
            f"{prefix}target_scale": scale.expand(self.width).clone(),
        }

    def loss(self, raw: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Smooth absolute error, mean over the points."""
        error = torch.where(aim.isnan(), 0.0, raw - aim)
        return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_SMOOTH)

    def error(self, mean: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Prediction less truth, a point."""
        return mean - truth

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """One figure: the mean over the points."""
        return {self.name: float(of_columns.nanmean())}

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """Of every point whether the band holds the whole curve."""
        inside = ((truth - estimate.mean).abs() <= estimate.half).all(-1, keepdim=True).float()
        return inside.expand_as(truth)

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """The errors' robust standard deviation at each point, and the largest scaled error of each curve."""
        error = (mean - truth).abs()
        floor = (1.4826 * error.median(0).values).clamp_min(_LEAST_FLOOR)
        scores = (error / torch.hypot(spread, floor)).amax(-1).sort().values
        prefix = self.spec.prefix
        return {f"{prefix}scale_floor": floor, f"{prefix}calibration_scores": scores[draws - 1 :: draws]}

    def say(self, mean: Array, half: Array, level: float, quantile: float) -> Said:
        """The curve with its band."""
        s = self.spec
        curve = Curve(
            np.array(s.x), mean, mean - half, mean + half, x_name=s.x_name, x_unit=s.x_unit, unit=s.unit,
            level=level,
        )  # fmt: skip
        return Said({}, {}, {self.name: curve})
