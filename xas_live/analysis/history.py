"""RunHistory: what earlier sweeps tell, in one place, and passed to whoever needs it.

The prediction of a completed sweep depends on nothing here. Previews, averages and the drift of a series do.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xas_live.analysis.averages import Averages
from xas_live.analysis.drift import Drift, SeriesMonitor
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.spectrum import Spectrum

SWEEPS = 5  # whose edge steps are remembered
SAMPLES = 64  # for so many runs and streams


@dataclass(frozen=True, eq=False)
class Earlier:
    """What the sweeps before a growing one tell of it.

    Attributes
    ----------
    anchor, shift : foil and energy shift (eV) of the sweep before, of the same absorber; None where there was
        none.
    step : edge step of the sweeps before, of the same run and stream (units of mu), and its relative standard
        deviation; None for a first sweep.
    """

    anchor: FoilAnchor | None = None
    shift: float = 0.0
    step: tuple[float, float] | None = None


class RunHistory:
    """Edge steps, alignments, averages and drift of the runs analysed so far.

    Attributes
    ----------
    averages : running averages of the open runs.
    """

    def __init__(self) -> None:
        self.averages = Averages()
        self._drift = SeriesMonitor()
        self._steps: OrderedDict[tuple[str | None, str], deque[float]] = OrderedDict()
        self._alignments: dict[tuple[str | None, str | None], tuple[FoilAnchor, float]] = {}

    def add(self, predictions: Sequence[Prediction]) -> tuple[Drift, ...]:
        """Take what all models say of a completed sweep, the primary model's first.

        Returns
        -------
        How the series of the sample stands, by each model.
        """
        primary = predictions[0]
        if primary.refused is None and not primary.partial and math.isfinite(primary.edge_step):
            where = (primary.provenance.run_uid, primary.provenance.stream)
            self._steps.setdefault(where, deque(maxlen=SWEEPS)).append(primary.edge_step)
            self._steps.move_to_end(where)
            while len(self._steps) > SAMPLES:
                self._steps.popitem(last=False)
        self.align(primary)
        return tuple(self._drift.add(prediction) for prediction in predictions)

    def align(self, prediction: Prediction) -> None:
        """Remember the foil and energy shift of the sweep, or average, analysed last."""
        if prediction.refused is None and prediction.anchor is not None:
            foil = prediction.anchor.foil
            if isinstance(foil, FoilAnchor):
                absorber = (prediction.element, prediction.edge)
                self._alignments.pop(absorber, None)  # the newest stands last
                self._alignments[absorber] = (foil, prediction.alignment.shift)

    def before(self, spectrum: Spectrum) -> Earlier:
        """What is known before a growing sweep is complete."""
        known = self._alignments.get((spectrum.element, spectrum.edge))
        if known is None and spectrum.element is None and self._alignments:
            known = list(self._alignments.values())[-1]
        anchor, shift = known or (None, 0.0)
        steps = self._steps.get((spectrum.provenance.run_uid, spectrum.provenance.stream))
        if not steps:
            return Earlier(anchor, shift)
        centre = float(np.median(steps))
        return Earlier(anchor, shift, (centre, float(np.std(steps)) / centre))

    def forget(self, run_uid: str) -> None:
        """Drop the averages of a run that has ended."""
        self.averages.forget(run_uid)
