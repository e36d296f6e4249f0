"""Classes: calibrated probabilities and a conformal set.

The members' mean probabilities are raised to a power, fitted on calibration spectra, so that they say how
often they are right (temperature scaling: Guo et al., Proc. ICML 2017). The set holds every class whose
probability is at least 1 - q, with q the conformal quantile of 1 - p(true class) (Sadinle et al., J. Am.
Stat. Assoc. 114, 223, 2019): it holds the true class of new sweeps in a share `level`.
"""

from __future__ import annotations

import numpy as np
import torch

from xas_live.models.outputs.base import Estimate, OutcomePart, Output, Shapes, Tensors
from xas_live.models.outputs.intervals import conformal_rank
from xas_live.models.outputs.specs import ClassesSpec
from xas_live.prediction import Classes
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of
from xas_live.spectrum import Array

_POWERS = torch.logspace(-1.0, 1.0, 81)
_TINY = 1e-7


class ClassProbabilities(Output[ClassesSpec]):
    """An `OutputKind` of one of several classes."""

    def tensors(self) -> Shapes:
        """The power of the probabilities, and the scores of calibration."""
        return {f"{self.spec.prefix}power": (1,), f"{self.spec.prefix}calibration_scores": None}

    def check_level(self, tensors: NumbersByName, level: float) -> None:
        """See `OutputKind`."""
        conformal_rank(len(self.tensor(tensors, "calibration_scores")), level)

    def decoded(self, tensors: NumbersByName, raw: Numbers) -> Numbers:
        """Probabilities, of each member."""
        xp = library_of(raw)
        top = raw.max(-1, keepdims=True) if isinstance(raw, np.ndarray) else raw.amax(-1, keepdim=True)
        odds = xp.exp(raw - top)
        return odds / odds.sum(-1)[..., None]

    def estimate(
        self, tensors: NumbersByName, mean: Numbers, spread: Numbers, stratum: Numbers | None, level: float
    ) -> Estimate:
        """Calibrated probabilities, and which classes belong to the set."""
        prefix = self.spec.prefix
        p = _raised(mean, tensors[f"{prefix}power"])
        scores = tensors[f"{prefix}calibration_scores"]
        limit = scores[conformal_rank(len(scores), level)]
        members = (1.0 - p) <= limit
        return Estimate(p, members * library_of(p).ones_like(p), spread)

    def widened(self, estimate: Estimate, change: Numbers, factor: Numbers) -> Estimate:
        """The estimate itself: probabilities have no half widths."""
        return estimate

    def scaled(self, tensors: NumbersByName, truth: torch.Tensor) -> torch.Tensor:
        """Shares of the classes, as they are."""
        return truth

    def scaled_spread(self, tensors: NumbersByName, spread: Numbers) -> Numbers:
        """The spread itself: probabilities have no scale."""
        return spread

    def scaling(self, truth: torch.Tensor) -> Tensors:
        """Power 1: the calibration fits it."""
        return {f"{self.spec.prefix}power": torch.ones(1)}

    def loss(self, raw: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Cross-entropy with the shares of the classes."""
        known = ~aim.isnan().any(-1)
        entropy = -(torch.where(aim.isnan(), 0.0, aim) * raw.log_softmax(-1)).sum(-1)
        return (entropy * known).sum() / known.sum().clamp_min(1)

    def figures(self, of_columns: torch.Tensor) -> dict[str, float]:
        """One figure: the mean over spectra of what their columns sum to."""
        known = ~of_columns.isnan().all(-1)
        return {self.name: float(of_columns.nansum(-1)[known].mean())}

    def error(self, mean: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Of the true class 1 where another is likelier, else 0; NaN for the others."""
        wrong = (mean.argmax(-1) != truth.argmax(-1)).float()[:, None].expand_as(truth)
        return torch.where(_true(truth), wrong, torch.nan)

    def covered(self, estimate: Estimate, truth: torch.Tensor) -> torch.Tensor:
        """Of the true class whether the set holds it; NaN for the others."""
        half: torch.Tensor = estimate.half
        return torch.where(_true(truth), half, torch.nan)

    def calibrate(
        self, mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor, stratum: torch.Tensor | None,
        *, draws: int = 1, bins: int | None = None,
    ) -> Tensors:  # fmt: skip
        """The power of least log loss, and the scores 1 - p(true class), every `draws`-th of them."""
        truth, mean = self.known(truth, draws, mean)
        true = truth.argmax(-1, keepdim=True)
        losses = [-_raised(mean, power).gather(1, true).clamp_min(_TINY).log().mean() for power in _POWERS]
        power = _POWERS[int(torch.stack(losses).argmin())][None]
        scores = (1.0 - _raised(mean, power).gather(1, true)[:, 0]).sort().values
        prefix = self.spec.prefix
        return {f"{prefix}power": power, f"{prefix}calibration_scores": scores[draws - 1 :: draws]}

    def result(self, mean: Array, half: Array, level: float, quantile: float) -> OutcomePart:
        """Probabilities, and the set with its likeliest class first."""
        names, order = self.spec.classes, np.argsort(-mean, kind="stable")
        members = tuple(names[k] for k in order if half[k] > 0)
        classes = Classes(dict(zip(names, mean.tolist(), strict=True)), members, level)
        return OutcomePart({}, {self.name: classes}, {})


def _raised(p: Numbers, power: Numbers) -> Numbers:
    """Probabilities raised to a power, summing to 1 again."""
    raised = library_of(p).clip(p, _TINY, 1.0) ** power
    return raised / raised.sum(-1)[..., None]


def _true(truth: torch.Tensor) -> torch.Tensor:
    """(n, classes) whether the class is the one with the largest share; none is where it is not known."""
    largest = torch.nn.functional.one_hot(truth.argmax(-1), truth.shape[-1]).bool()
    return largest & ~truth.isnan().any(-1, keepdim=True)
