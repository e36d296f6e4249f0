"""The unmeasured rest of a growing spectrum, from what training spectra do after such a beginning.

Training spectra are taken for one Gaussian: given the points up to the last one measured, the others are
Gaussian, too. The edge step that normalises the beginning is not known yet, and is hardly told from the
amplitude, hence from coordination: it is marginalised over a mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np

from xas_live.spectrum import Array

DRAWS = 32  # completions by which what is not known enters the prediction
STEP_RANGE = 0.2  # of the first guess of the edge step, to either side
STEP_MESH = 81
TEMPER = 8.0  # by which the Gaussians' likelihood is blunted: spectra are not quite Gaussian
LEAST_STEP_WIDTH = 0.03  # relative standard deviation of an edge step that earlier sweeps tell
NEAR_THE_END = 10  # last points measured, by which the step is first guessed
SEED = 20261124


@dataclass(frozen=True, eq=False)
class _Split:
    """The Gaussian, parted into m measured points and the rest."""

    whitening: Array  # (m, m): white = whitening @ (x - mean)
    gain: Array  # (g - m, m)
    spread: Array  # (g - m, g - m), a root of the rest's covariance


class Completion:
    """Completes network inputs of which the first points are known up to a factor.

    Parameters
    ----------
    mean, covariance : (g,) and (g, g) of training spectra, in edge steps.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        self._mean = mean
        self._covariance = covariance
        rng = np.random.default_rng(SEED)
        normal = rng.standard_normal((DRAWS // 2, len(mean)))
        self._normal = np.concatenate([normal, -normal])
        self._ranks = (rng.permutation(DRAWS) + 0.5) / DRAWS
        self._splits: dict[int, _Split] = {}
        self._lock = Lock()

    def first_guess(self, rising: Array, fixed: Array) -> Array:
        """(batch,) factors at which the last points measured are those of the mean training spectrum."""
        m = rising.shape[1]
        near = slice(max(0, m - NEAR_THE_END), m)
        return np.asarray(rising[:, near].mean(1) / (self._mean[:m] - fixed)[..., near].mean(-1))

    def draws(self, rising: Array, fixed: Array, width: float | None) -> tuple[Array, Array]:
        """Completed network inputs of growing spectra, by the edge steps that they may have.

        The network input of a spectrum whose step is r times the guess is `rising / r + fixed` at the points
        measured.

        Parameters
        ----------
        rising, fixed : (batch, m) and (batch, m) or (m,), m of the g points.
        width : relative standard deviation of the guess, where earlier sweeps tell the step; None where the
            guess is to be made from the spectra themselves.

        Returns
        -------
        (batch, draws, g) completed inputs, and (batch, draws) the factor r of each.
        """
        m = rising.shape[1]
        split = self._split(m)
        mesh = np.linspace(1.0 - STEP_RANGE, 1.0 + STEP_RANGE, STEP_MESH)
        if width is None:
            guess = self.first_guess(rising, fixed)
            prior = np.zeros(STEP_MESH)
        else:
            guess = np.ones(len(rising))
            prior = -0.5 * ((mesh - 1.0) / max(width, LEAST_STEP_WIDTH)) ** 2
        factors = guess[:, None] * mesh
        white_rising = rising @ split.whitening.T
        white_fixed = (fixed - self._mean[:m]) @ split.whitening.T
        off = white_rising[:, None] / factors[..., None] + np.atleast_2d(white_fixed)[:, None]
        likelihood = -0.5 * (off * off).sum(-1) - m * np.log(factors)
        posterior = likelihood / TEMPER + prior
        weight = np.exp(posterior - posterior.max(1, keepdims=True))
        share = np.cumsum(weight, axis=1) / weight.sum(1, keepdims=True)
        chosen = np.stack([np.interp(self._ranks, s, f) for s, f in zip(share, factors, strict=True)])
        out = np.empty((len(rising), DRAWS, len(self._mean)))
        out[..., :m] = rising[:, None] / chosen[..., None] + np.atleast_2d(fixed)[:, None]
        out[..., m:] = self._mean[m:] + (out[..., :m] - self._mean[:m]) @ split.gain.T
        out[..., m:] += self._normal[:, m:] @ split.spread.T
        return out, chosen

    def _split(self, m: int) -> _Split:
        with self._lock:
            if m not in self._splits:
                self._splits[m] = self._new_split(m)
            return self._splits[m]

    def _new_split(self, m: int) -> _Split:
        known, between = self._covariance[:m, :m], self._covariance[m:, :m]
        values, vectors = np.linalg.eigh(known)
        inverse_root = 1.0 / np.sqrt(np.maximum(values, 1e-9 * values[-1]))
        whitening = inverse_root[:, None] * vectors.T
        gain = between @ whitening.T @ whitening
        rest = self._covariance[m:, m:] - gain @ between.T
        spread, axes = np.linalg.eigh(0.5 * (rest + rest.T))
        return _Split(whitening, gain, axes * np.sqrt(np.maximum(spread, 0.0)))
