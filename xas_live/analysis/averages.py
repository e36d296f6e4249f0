"""The average over the repeats of a run: each sweep is noisy, all together less so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xas_live.flags import Flag
from xas_live.prediction import Prediction
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.quality import Checked, check_all
from xas_live.spectrum import Array, Spectrum

LEAST_OVERLAP = 0.9  # of the first sweep's points that the average must keep


class RunningAverage:
    """Mean of sweeps on the energy axis of the first, by running sums: no sweep is kept.

    The others are interpolated linearly. The average holds where all overlap, so that none of them makes a
    step where it begins or ends; a sweep that leaves less than 90 % of the first one's points is not taken.

    Parameters
    ----------
    first : the first sweep, complete; what is known of the sample is taken from it.
    checked : the same, checked.

    Attributes
    ----------
    count : sweeps taken so far.
    newest : where the last of them comes from.
    """

    def __init__(self, first: Spectrum, checked: Checked) -> None:
        self.count = 0
        self._known = replace(
            first, energy=np.empty(0), mu=np.empty(0), reference=None, counts={}, mu_error=None
        )
        self.newest = first.provenance
        self._axis = checked.axis
        n = len(self._axis)
        self._inside = np.ones(n, dtype=bool)
        self._mu, self._scatter, self._reference = np.zeros(n), np.zeros(n), np.zeros(n)
        self._references = 0
        self._has_reference = False

    def add(self, spectrum: Spectrum, checked: Checked, *, reference_usable: bool = True) -> bool:
        """Take a sweep; False when it overlaps too little with those before it.

        Parameters
        ----------
        spectrum, checked : the sweep, and the same checked.
        reference_usable : whether its reference channel may enter.
        """
        first, last = checked.energy[0], checked.energy[-1]
        axis = self._axis.energy
        inside = self._inside & (axis >= first) & (axis <= last)
        if np.count_nonzero(inside) < LEAST_OVERLAP * len(axis):
            return False
        self._inside = inside
        self.count += 1
        change = self._laid_on_axis(checked, checked.mu) - self._mu
        self._mu += change / self.count
        # An offset of a whole sweep, which normalising takes out, is no noise.
        self._scatter += (change - change[inside].mean()) ** 2 * (self.count - 1) / self.count
        self._has_reference |= spectrum.reference is not None
        if reference_usable and checked.reference is not None:
            self._references += 1
            seen = self._laid_on_axis(checked, checked.reference)
            self._reference += (seen - self._reference) / self._references
        self.newest = spectrum.provenance
        return True

    def _laid_on_axis(self, checked: Checked, values: Array) -> Array:
        if checked.axis.key == self._axis.key:
            return values
        return np.interp(self._axis.energy, checked.energy, values)

    @property
    def spectrum(self) -> Spectrum:
        """The average of two sweeps or more, with the provenance of the newest and without counts."""
        inside, n = self._inside, self.count
        reference: Array | None = None
        if self._has_reference:  # no good one among them must look as it does in a sweep: there, but bad
            reference = self._reference[inside] if self._references else np.full(inside.sum(), np.nan)
        return replace(
            self._known,
            energy=self._axis.energy[inside],
            mu=self._mu[inside],
            mu_error=np.sqrt(self._scatter[inside] / (n * (n - 1))),
            reference=reference,
            provenance=replace(self.newest, averaged=n),
        )


class Averages:
    """Running averages of all open runs, one a stream and absorber; up and down sweeps together."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[tuple[str | None, ...], RunningAverage]] = {}
        self._axes = AxisCache()

    def add(self, spectra: Sequence[Spectrum], predictions: Sequence[Prediction]) -> dict[int, Spectrum]:
        """Take sweeps in the order measured, with what the analyzer said of each.

        Sweeps that were refused or are incomplete do not enter.

        Returns
        -------
        The newest average of every series that grew to two sweeps or more, by the index of the last sweep in
        it.
        """
        pairs = zip(spectra, predictions, strict=True)
        entering = [k for k, (spectrum, prediction) in enumerate(pairs) if _enters(spectrum, prediction)]
        # Of counts the analyzer has given its verdict.
        checked = check_all([spectra[k] for k in entering], self._axes, counts=False)
        grown: dict[int, tuple[int, RunningAverage]] = {}
        for k, of_sweep in zip(entering, checked, strict=True):
            if isinstance(of_sweep, Checked):
                average = self._add(spectra[k], predictions[k], of_sweep)
                if average is not None and average.count > 1:
                    grown[id(average)] = (k, average)
        return {k: average.spectrum for k, average in grown.values()}

    def forget(self, run_uid: str) -> None:
        """Drop what is known of a run that has ended."""
        self._runs.pop(run_uid, None)

    def _add(self, spectrum: Spectrum, prediction: Prediction, checked: Checked) -> RunningAverage | None:
        """The average that the sweep entered, or None."""
        where = spectrum.provenance
        series = self._runs.setdefault(str(where.run_uid), {})
        key = (where.stream, prediction.element, prediction.edge)
        average = series.get(key) or RunningAverage(spectrum, checked)
        if (
            average.count and where.sweep == average.newest.sweep
        ):  # it is judged again: it has entered already
            return None
        series[key] = average
        usable = Flag.BAD_REFERENCE not in prediction.flags
        return average if average.add(spectrum, checked, reference_usable=usable) else None


def _enters(spectrum: Spectrum, prediction: Prediction) -> bool:
    """Whether a sweep may enter the average of its run: it has one, is whole, and was analysed."""
    unfinished = prediction.partial or not spectrum.complete
    if {Flag.HOLE, Flag.DOCUMENTS_LOST} & set(prediction.flags):
        return False
    return spectrum.provenance.run_uid is not None and not unfinished and prediction.refused is None
