"""SeriesWatch: tells the user when a series of sweeps drifts."""

from __future__ import annotations

from collections.abc import Callable

from xas_live.analysis.drift import SeriesMonitor
from xas_live.callbacks.live.several import Leads
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum


class SeriesWatch(BasePublisher):
    """A publisher that watches domain scores and energy shifts over the sweeps of each sample.

    What it goes by is kept in the stream `drift` of the derived runs: see `PredictionWriter`. Of several
    models the lead alone is heard: what drifts, drifts for all.

    Parameters
    ----------
    say : shows the user a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._monitor = SeriesMonitor()
        self._leads = Leads()

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """See `Publisher`."""
        if self._leads(spectrum, prediction):
            for line in self._monitor.add(prediction).said:
                self._say(line)
