"""Where predictions go: the figure, the archive, the table, and whatever a user adds."""

from xas_live.callbacks.publishers.base import BasePublisher, Publisher, SweepResult
from xas_live.callbacks.publishers.drift import SeriesWatch
from xas_live.callbacks.publishers.plot import LiveStructurePlot
from xas_live.callbacks.publishers.writer import PredictionWriter

__all__ = [
    "BasePublisher",
    "LiveStructurePlot",
    "PredictionWriter",
    "Publisher",
    "SeriesWatch",
    "SweepResult",
]
