"""Predictions while a sweep is still running: the unmeasured rest is completed, the edge step marginalised.

The line under the edge comes from the pre-edge, anchor and energy shift from the sweeps before. Sample and
foil are compared before flattening: the polynomial behind the edge is not known yet, and the foil's is taken
for the sample's. See `models.sections.completion` for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.analysis.history import Earlier
from xas_live.flags import Flag
from xas_live.models.bundle import ModelError
from xas_live.models.ensemble import Ensemble, Judged
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.sections.completion import Completion
from xas_live.models.sections.preview import LAST_ENERGIES, partial_values, widening
from xas_live.prediction import Alignment
from xas_live.reduction.anchor import FoilAnchor, common_windows
from xas_live.reduction.grid import resample
from xas_live.reduction.holes import holes
from xas_live.reduction.normalize import Windows
from xas_live.reduction.quality import half_rise
from xas_live.reduction.reducer import LONG_PRE_EDGE, Reducer
from xas_live.reduction.stages import Plan, ReducedSweep
from xas_live.spectrum import Array, Spectrum

LEAST_POINTS = 4  # in the window of that line
AGREES = 0.15  # by which the step of earlier sweeps may differ from this sweep's own guess


@dataclass(frozen=True, eq=False)
class _Foil:
    """A foil as growing sweeps are compared with it: plan, and norm on the grid, (g,)."""

    plan: Plan
    norm: Array


class Preview:
    """Predictions of growing sweeps of one absorber by one model.

    Parameters
    ----------
    reducer, ensemble : those of an Analyzer, whose model has the section `preview`.
    """

    def __init__(self, reducer: Reducer, ensemble: Ensemble) -> None:
        bundle = ensemble.bundle
        self._reducer, self._ensemble = reducer, ensemble
        self._grid = reducer.target.grid
        if reducer.theory is None:
            raise ModelError(f"model {bundle.name} has previews, and no theory that they need")
        self._theory = reducer.theory
        self._widening = bundle.array("partial_widening")
        self._completion = Completion(bundle.array("train_mean"), bundle.array("train_covariance"))
        self._foils: dict[tuple[str, Windows, float], _Foil] = {}

    def find(self, spectrum: Spectrum, earlier: Earlier) -> tuple[ReducedSweep, Judged] | None:
        """The completed sweep and what the networks give for it; None as long as nothing can be said.

        Parameters
        ----------
        spectrum : the growing sweep, its points in any order.
        earlier : what the sweeps before tell.
        """
        step = earlier.step
        anchor, shift = self._expected(earlier)
        if anchor is None:
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
        if holes(energy, center, points[0], min(points[-1], energy[-1])):
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
        assert plan.gain is not None
        rising = (plan.gain[:measured] * rise)[None]
        fixed = (self._theory - plan.gain * foil.norm)[:measured]
        own = self._completion.first_guess(rising, fixed)[0]
        if not np.isfinite(own) or own <= 0:
            return None
        if step is None or abs(step[0] / own - 1.0) > AGREES:
            centre, width, later = own, None, False
        else:
            centre, width = step
        draws, factors = self._completion.draws(rising / centre, fixed, width)
        completed = draws.mean(1)
        assert plan.theory_error is not None
        judged = self._ensemble.judge(completed, plan.theory_error[None])
        mean, spread = partial_values(draws, self._ensemble.means)
        quantile = gaussian_quantile(self._ensemble.level)
        half = widening(self._widening, last, later=later) * np.hypot(judged.half, quantile * spread)
        sweep = ReducedSweep(
            index=0,
            spectrum=spectrum,
            flags=(Flag.PARTIAL,),
            normalised=plan.measured_as(completed[0], self._theory),
            edge_step=float(centre * factors.mean()),
            plan=plan,
            anchor=anchor,
            alignment=Alignment("earlier sweeps", center, shift),
            network_input=completed[0],
        )
        return sweep, judged._replace(mean=mean, half=half)

    def _expected(self, earlier: Earlier) -> tuple[FoilAnchor | None, float]:
        """Anchor and energy shift that the sweep is expected to have: those of the sweep before."""
        anchor, shift = self._reducer.first_alignment()
        before, theory = earlier.anchor, self._reducer.target.theory
        if before is None or theory is None or before.theory != theory.sha256:
            return anchor, shift
        if anchor is not None and before.sha256 == anchor.sha256:
            return anchor, earlier.shift  # `before` may be a copy, from another process
        if self._reducer.anchor != "reference":
            return anchor, shift  # the anchor was changed since
        return before, earlier.shift

    def _foil(self, anchor: FoilAnchor, shift: float, start: float) -> _Foil:
        """The foil, its line under the edge fitted where the sample's is."""
        theory, axis = self._reducer.target.theory, anchor.energy
        assert theory is not None
        reach = np.append(start - shift, axis[axis > start - shift])
        windows = common_windows(self._reducer.target.windows, [axis, reach], anchor.e0)
        key = (anchor.sha256, windows, shift)
        known = self._foils.get(key)
        if known is None:
            at = anchor.energies(self._grid)
            laid = anchor.on_grid(self._grid, theory, windows)
            norm = anchor.norm_on_grid(self._grid, windows)
            rise = half_rise(self._grid, laid.flat)
            plan = Plan(anchor.e0 + shift, windows, at + shift, laid.flat, laid.gain, laid.theory_error, rise)
            known = _Foil(plan, norm)
            self._foils = {key: known}  # the last one is enough: sweeps come one by one
        return known
