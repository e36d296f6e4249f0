"""RecentSteps: the edge steps of the sweeps before, for what is foreseen of the one being measured."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

import numpy as np

from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum

SWEEPS = 5  # whose steps are remembered
SAMPLES = 64  # for so many samples


class RecentSteps:
    """Edge steps of the last sweeps of each run and stream."""

    def __init__(self) -> None:
        self._steps: OrderedDict[tuple[str | None, str], deque[float]] = OrderedDict()

    def add(self, prediction: Prediction) -> None:
        """Remember a completed sweep, unless it was refused."""
        if prediction.refused is not None or prediction.partial or not math.isfinite(prediction.edge_step):
            return
        where = prediction.provenance
        self._steps.setdefault((where.run_uid, where.stream), deque(maxlen=SWEEPS)).append(
            prediction.edge_step
        )
        while len(self._steps) > SAMPLES:
            self._steps.popitem(last=False)

    def of(self, spectrum: Spectrum) -> tuple[float, float] | None:
        """Edge step and its relative standard deviation, by the sweeps before; None for a first sweep."""
        steps = self._steps.get((spectrum.provenance.run_uid, spectrum.provenance.stream))
        if not steps:
            return None
        centre = float(np.median(steps))
        return centre, float(np.std(steps)) / centre
