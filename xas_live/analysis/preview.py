"""Predictions while a sweep is still running: the unmeasured rest is completed, the edge step marginalised.

The line under the edge comes from the pre-edge, anchor and energy shift from the sweeps before. Sample and
foil are compared before flattening: the polynomial behind the edge is not known yet, and the foil's is taken
for the sample's. See `models.completion` for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.models.ensemble import Ensemble, Found
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.sections.completion import Completion
from xas_live.models.sections.preview import LAST_ENERGIES, partial_values, widening
from xas_live.reduction.anchor import FoilAnchor, common_windows
from xas_live.reduction.grid import resample
from xas_live.reduction.normalize import Windows
from xas_live.reduction.quality import half_rise
from xas_live.reduction.reducer import LONG_PRE_EDGE, Job, Plan, Reducer
from xas_live.spectrum import Array, Spectrum

LEAST_POINTS = 4  # in the window of that line
AGREES = 0.15  # by which the step of earlier sweeps may differ from this sweep's own guess


@dataclass(frozen=True, eq=False)
class _Foil:
    """A foil as growing sweeps are compared with it: plan, and norm on the grid, (g,)."""

    plan: Plan
    norm: Array


class Preview:
    """What one model and anchor make of growing sweeps.

    Parameters
    ----------
    reducer, ensemble : those of an Analyzer, whose model speaks of growing sweeps (`partial_widening`).
    """

    def __init__(self, reducer: Reducer, ensemble: Ensemble) -> None:
        bundle = ensemble.bundle
        self._reducer, self._ensemble = reducer, ensemble
        self._grid = bundle.grid
        self._widening = bundle.array("partial_widening")
        self._completion = Completion(bundle.array("train_mean"), bundle.array("train_covariance"))
        self._foils: dict[tuple[str, Windows, float], _Foil] = {}

    def find(self, spectrum: Spectrum, step: tuple[float, float] | None) -> tuple[Job, Found] | None:
        """The job and what the networks say of it; None as long as nothing can be said.

        Parameters
        ----------
        spectrum : the growing sweep, its points in any order.
        step : edge step of the sweeps before (units of mu) and its relative standard deviation, or None.
        """
        anchor, shift = self._reducer.latest_alignment
        absorber = self._reducer.bundle.card.absorber_of(spectrum.element, spectrum.edge)
        if anchor is None or absorber is None:
            return None
        good = np.isfinite(spectrum.energy) & np.isfinite(spectrum.mu)
        energy, first = np.unique(spectrum.energy[good], return_index=True)
        mu = spectrum.mu[good][first]
        points, center = anchor.energies(self._grid, shift), anchor.e0 + shift
        if not len(energy) or energy[0] > center - LONG_PRE_EDGE or energy[-1] < points[0]:
            return None
        measured = int(np.searchsorted(points, energy[-1], side="right"))
        last = float(self._grid[measured - 1])
        if last < LAST_ENERGIES[0]:
            return None
        foil = self._foil(anchor, shift, float(energy[0]))
        windows = foil.plan.windows
        assert windows.pre1 is not None
        assert windows.pre2 is not None
        before = (energy >= center + windows.pre1) & (energy <= center + windows.pre2)
        if before.sum() < LEAST_POINTS:
            return None
        line = np.polynomial.Polynomial.fit(energy[before], mu[before], windows.npre or 0)
        rise = resample(energy, (mu - line(energy))[None], points[:measured])[0]

        plan, later = foil.plan, step is not None
        fixed = (self._reducer.theory - plan.gain * foil.norm)[:measured]
        own = self._completion.first_guess(plan.gain * rise[None], fixed)[0]
        if not np.isfinite(own) or own <= 0:
            return None
        if step is None or abs(step[0] / own - 1.0) > AGREES:
            centre, width, later = own, None, False
        else:
            centre, width = step
        draws, factors = self._completion.draws(plan.gain * rise[None] / centre, fixed, width)
        completed = draws.mean(1)
        assert plan.theory_error is not None
        found = self._ensemble.judge(completed, plan.theory_error[None])
        mean, spread = partial_values(draws, self._ensemble.means)
        quantile = gaussian_quantile(self._ensemble.level)
        half = widening(self._widening, last, later=later) * np.hypot(found.half, quantile * spread)
        job = Job(0, spectrum, flags=["partial"], anchor=anchor, shift=shift, plan=plan)
        job.aligned, job.e0 = "earlier sweeps", center
        job.edge_step = float(centre * factors.mean())
        job.network_input = completed[0]
        job.flat = self._reducer.measured_as(job, completed[0])
        return job, found._replace(mean=mean, half=half)

    def _foil(self, anchor: FoilAnchor, shift: float, start: float) -> _Foil:
        """The foil, its line under the edge fitted where the sample's is."""
        theory, axis = self._reducer.theory, anchor.energy
        reach = np.append(start - shift, axis[axis > start - shift])
        windows = common_windows(self._reducer.bundle.card.input.fit_windows, [axis, reach], anchor.e0)
        key = (anchor.sha256, windows, shift)
        if key not in self._foils:
            at = anchor.energies(self._grid)
            flat, gain = anchor.on_grid(self._grid, theory, windows)
            norm = anchor.norm_on_grid(self._grid, windows)
            rise = half_rise(self._grid, flat)
            plan = Plan(anchor.e0 + shift, windows, at + shift, flat, gain, gain * flat - theory, rise)
            self._foils = {key: _Foil(plan, norm)}  # the last one is enough: sweeps come one by one
        return self._foils[key]
