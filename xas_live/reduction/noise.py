"""What the noise of a sweep's points does to what is predicted of it: the statistical error.

Normalisation and resampling are linear in mu but for the division by the edge step. Their transpose brings
the gradient of a prediction by the network's input back to the measured points, whose noise is known (law of
propagation of uncertainty, JCGM 100:2008). Points are taken to scatter alike and independently; by how much
their third differences tell (`quality.point_noises`).
"""

from __future__ import annotations

import numpy as np

from xas_live.reduction.align import RANGE, WIDEST
from xas_live.reduction.normalize import point_gradients
from xas_live.reduction.quality import Checked, point_noise
from xas_live.reduction.stages import CheckedSweep, ReducedSweep
from xas_live.spectrum import Array

_SLOPES_OVER = 2.0  # eV


def statistical_errors(
    sweep: ReducedSweep, checked: CheckedSweep, gradients: Array, *, own_foil: bool, flat: bool
) -> Array:
    """Return the standard deviations, (outputs,), that the noise of a sweep's points gives its predictions.

    Parameters
    ----------
    sweep, checked : reduced, and as its points are known.
    gradients : (outputs, g) of the predictions by the network's input.
    own_foil : its reference channel is its foil, whose noise counts as well.
    flat : the network takes flattened spectra, else normalised ones.
    """
    plan, data = sweep.plan, checked.data
    wanted = gradients if plan.gain is None else gradients * plan.gain
    if plan.unmeasured is not None:
        wanted = np.where(plan.unmeasured, 0.0, wanted)
    relative = _relative_noise(data)

    def by_points(mu: Array, wanted: Array) -> Array:
        found = point_gradients(data.energy, mu, plan.center, plan.windows, plan.points, wanted, flat=flat)
        return found * relative

    by_mu = by_points(data.mu, wanted)
    variance = _noise_of_mu(checked) ** 2 * (by_mu**2).sum(axis=1)
    if data.reference is not None and (own_foil or sweep.alignment.by == "reference"):
        moved = sweep.normalised
        if own_foil and plan.foil is not None:
            by_reference = by_points(data.reference, -wanted)
            noise, shared = _noise_of_reference(checked, data.reference)
            variance += noise**2 * (by_reference**2).sum(axis=1)
            variance += 2.0 * shared * (by_mu * by_reference).sum(axis=1)
            moved = moved - plan.foil  # sample and foil are laid on theory together
        by_shift = (wanted * np.gradient(moved, plan.points)).sum(axis=1)
        variance += (by_shift * _shift_error(checked, data.reference)) ** 2
    return np.asarray(np.sqrt(np.clip(variance, 0.0, None)))


def _relative_noise(data: Checked) -> Array:
    """(n,) noise of each point over that of most: bins of a dense sweep average unlike many points."""
    if data.weights is None:
        return np.ones(len(data.mu))
    return np.asarray(np.sqrt(np.median(data.weights[data.axis.judged]) / data.weights))


def _noise_of_mu(checked: CheckedSweep) -> float:
    """Noise of a point; of an average that of the scatter between its sweeps, where it is larger.

    Drifts and beam movements scatter sweeps more than the points of each tell.
    """
    error = checked.spectrum.mu_error
    if error is None:
        return checked.noise
    return max(checked.noise, float(np.sqrt(np.mean(error**2))))


def _noise_of_reference(checked: CheckedSweep, reference: Array) -> tuple[float, float]:
    """Noise of a point of the reference, and its covariance with that of mu: they share a detector."""
    judged = checked.data.axis.judged
    noise = point_noise(reference[judged])
    of_sum = point_noise((checked.data.mu + reference)[judged])
    return noise, 0.5 * (of_sum**2 - checked.noise**2 - noise**2)


def _shift_error(checked: CheckedSweep, reference: Array) -> float:
    """Standard deviation of the shift (eV) that the noise of the reference gives the alignment.

    That of the least-squares estimate of a shift: noise over the root of the sum of the squared slopes. These
    are taken between means of 2 eV: between neighbouring points the noise of a weak sweep would pass for
    slopes. At most the widest shift that is looked for.
    """
    energy, e0 = checked.data.energy, checked.e0
    near = (energy >= e0 + RANGE[0]) & (energy <= e0 + RANGE[1])
    _, bins, count = np.unique(np.floor(energy[near] / _SLOPES_OVER), return_inverse=True, return_counts=True)
    if len(count) < 3:
        return 0.0
    x, mu = (np.bincount(bins, each[near]) / count for each in (energy, reference))
    noise = point_noise(reference[checked.data.axis.judged])
    of_slopes = 0.5 * (noise / np.gradient(x)) ** 2 / count
    total = (count * (np.gradient(mu, x) ** 2 - of_slopes)).sum()  # less what noise itself adds to the slopes
    return float(min(noise / np.sqrt(total), WIDEST)) if total > 0 else WIDEST
