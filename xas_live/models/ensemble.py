"""What the networks of one model say of a batch of their inputs: values, intervals, domain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.networks import network
from xas_live.models.outputs.intervals import conformal_rank, gaussian_quantile, half_width
from xas_live.models.sections.domain import domain_distances, domain_p_value, nearest
from xas_live.models.sections.latent import give_back
from xas_live.reduction.arrays import Numbers, library_of, standard_deviation
from xas_live.spectrum import Array

MISMATCH_STEP = 0.25  # of the foil's theory error, by which its effect on predictions is measured


class Found(NamedTuple):
    """Of a batch, one row a spectrum, in float64: targets, intervals' half widths, domain, autoencoder.

    `mean`, `half` (batch, targets); `p` (batch,); `scores` (batch, distances); `latent` (batch, 8); `off` and
    `given_back` (batch, g), the input less the nearest that training knows, and what the autoencoder makes
    of it.
    """

    mean: Array
    half: Array
    p: Array
    scores: Array
    latent: Array
    off: Array
    given_back: Array


class Ensemble:
    """A bundle's networks on one device: numpy's arithmetic on the CPU, torch's elsewhere.

    Parameters
    ----------
    bundle : the model.
    device : where its tensors lie.
    level : nominal coverage of the intervals.

    Raises
    ------
    ValueError : when the level is beyond what the model's calibration set allows.
    """

    def __init__(self, bundle: Bundle, device: torch.device, level: float) -> None:
        self.bundle = bundle
        self.device = device
        self.level = level
        conformal_rank(bundle.tensors["calibration_scores"].shape[1], level)
        self._tensors = {name: self._here(tensor) for name, tensor in bundle.tensors.items()}
        self._network = {name: self._here(tensor) for name, tensor in bundle.network.items()}
        self._quantile = gaussian_quantile(level)

    def judge(self, inputs: Numbers, wrong: Numbers | None = None) -> Found:
        """Targets with intervals, and domain, of network inputs.

        Parameters
        ----------
        inputs : (batch, g) in edge steps; an array, or a tensor on the device.
        wrong : (batch, g) what theory gets wrong for the foils of these spectra, of unknown share and sign
            where neighbours are missing; None where there is no foil.
        """
        t, x = self._tensors, self._taken(inputs)
        xp = library_of(x)
        with torch.inference_mode():
            if wrong is None:
                out = self._targets(x)
            else:
                # In one pass: reading the weights takes as long as another spectrum does.
                both = self._targets(xp.concatenate([x, x + MISMATCH_STEP * self._taken(wrong)]))
                out, moved = both[:, : len(x)], both[:, len(x) :]
            mean, spread = out.mean(0), standard_deviation(out)
            predicted = out[:, :, 0].mean(0)
            half = half_width(t, spread, predicted, self.level)
            if wrong is not None:
                # For the bulk it cancels; it returns with the share of missing neighbours.
                per_u = xp.abs((moved - out).mean(0)) / MISMATCH_STEP
                half = xp.hypot(half, self._quantile * self._missing(mean) * per_u)
            latent, given_back = give_back(t, x)
            disagreement = (spread / t["target_scale"]).mean(1)
            p, scores = domain_p_value(t, domain_distances(t, x, given_back, disagreement), predicted)
            off = x - nearest(t, x, given_back)
        return Found(*(_float64(v) for v in (mean, half, p, scores, latent, off, given_back)))

    def means(self, inputs: Numbers) -> Array:
        """Targets (batch, targets) alone."""
        with torch.inference_mode():
            return _float64(self._targets(self._taken(inputs)).mean(0))

    def values(self, inputs: Numbers) -> tuple[Array, Array]:
        """Targets and their standard deviations, each (batch, targets), without anything else."""
        x = self._taken(inputs)
        with torch.inference_mode():
            out = self._targets(x)
            half = half_width(self._tensors, standard_deviation(out), out[:, :, 0].mean(0), self.level)
        return _float64(out.mean(0)), _float64(half) / self._quantile

    def _targets(self, x: Numbers) -> Numbers:
        """(members, batch, targets)."""
        t = self._tensors
        out = network(self.bundle.card.network, self._network, (x - t["input_mean"]) / t["input_scale"])
        return out * t["target_scale"] + t["target_mean"]

    def _missing(self, mean: Numbers) -> Numbers:
        """(batch, 1) share of missing neighbours; zero for models that do not give it."""
        if self.bundle.target_names[0] != "CN1":
            return 0.0 * mean[:, :1]
        return library_of(mean).clip(1.0 - mean[:, :1] / 12.0, 0.0, 1.0)

    def _here(self, tensor: torch.Tensor) -> Numbers:
        return tensor.numpy() if self.device.type == "cpu" else tensor.to(self.device)

    def _taken(self, inputs: Numbers) -> Numbers:
        """The inputs in float32, where the tensors are."""
        if self.device.type == "cpu":
            return np.asarray(inputs, dtype=np.float32)
        given = torch.from_numpy(inputs) if isinstance(inputs, np.ndarray) else inputs
        return given.to(self.device, torch.float32)


def _float64(values: Numbers) -> Array:
    array = values if isinstance(values, np.ndarray) else values.cpu().numpy()
    return array.astype(np.float64)
