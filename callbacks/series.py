"""SeriesWatch: tells the user when a series of sweeps drifts."""

from __future__ import annotations

from collections.abc import Callable

from xas_live.callbacks.publisher import BasePublisher
from xas_live.prediction import Prediction
from xas_live.series import SeriesMonitor
from xas_live.spectrum import Spectrum


class SeriesWatch(BasePublisher):
    """A publisher that watches domain scores and energy shifts over the sweeps of each sample.

    What it goes by is kept in the stream `drift` of the derived runs: see `PredictionWriter`.

    Parameters
    ----------
    say : shows the user a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._monitor = SeriesMonitor()

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """See `Publisher`."""
        for line in self._monitor.add(prediction).said:
            self._say(line)
