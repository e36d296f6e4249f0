"""SeriesWatch: tells the user when a series of sweeps drifts."""

from __future__ import annotations

from collections.abc import Callable

from xas_live.callbacks.publishers.base import BasePublisher, SweepResult


class SeriesWatch(BasePublisher):
    """A publisher that watches domain scores and energy shifts over the sweeps of each sample.

    What it goes by is kept in the stream `drift` of the derived runs: see `PredictionWriter`. Of several
    models only the primary one counts: what drifts, drifts for all.

    Parameters
    ----------
    say : shows the user a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def predicted(self, result: SweepResult) -> None:
        """Show the lines that the series of the sweep gives, if any."""
        for line in result.drift[0].said:
            self._say(line)
