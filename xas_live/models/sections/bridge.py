"""What a sweep with a hole may have there, from what training spectra have between such sides.

Training spectra are taken for one Gaussian, as for growing sweeps: given the points on both sides, those in
the hole are Gaussian, too.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xas_live.models.sections.completion import DRAWS, SEED
from xas_live.spectrum import Array

NOISE = 1e-3  # edge steps of a known point, that no training spectrum explains


class Bridge:
    """Completes network inputs of which some points are not known.

    Parameters
    ----------
    mean, covariance : (g,) and (g, g) of training spectra, in edge steps.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        self._mean, self._covariance = mean, covariance
        normal = np.random.default_rng(SEED).standard_normal((DRAWS // 2, len(mean)))
        self._normal = np.concatenate([normal, -normal])
        self._parts: dict[bytes, tuple[Array, Array]] = {}
        self._lock = Lock()

    def draws(self, network_input: Array, missing: NDArray[np.bool_]) -> Array:
        """Return (draws, g) inputs that a spectrum may have; their mean is the most probable one.

        Parameters
        ----------
        network_input : (g,) what is there at missing points does not count.
        missing : (g,) True where the spectrum is not known.
        """
        gain, spread = self._part(missing)
        out = np.repeat(network_input[None], DRAWS, axis=0)
        expected = self._mean[missing] + gain @ (network_input - self._mean)[~missing]
        out[:, missing] = expected + self._normal[:, missing] @ spread.T
        return out

    def _part(self, missing: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Gain (m, g - m) from known to missing points, and a root (m, m) of the covariance that remains."""
        key = missing.tobytes()
        with self._lock:
            if key not in self._parts:
                self._parts = {
                    key: self._new_part(missing)
                }  # sweeps of a series share their hole, or have none
            return self._parts[key]

    def _new_part(self, missing: NDArray[np.bool_]) -> tuple[Array, Array]:
        known = ~missing
        between = self._covariance[np.ix_(missing, known)]
        of_known = self._covariance[np.ix_(known, known)] + NOISE**2 * np.eye(int(known.sum()))
        gain = np.asarray(np.linalg.solve(of_known, between.T).T)
        rest = self._covariance[np.ix_(missing, missing)] - gain @ between.T
        values, axes = np.linalg.eigh(0.5 * (rest + rest.T))
        return gain, np.asarray(axes * np.sqrt(np.maximum(values, 0.0)))
