"""Where predictions go: the figure, the archive, the table, and whatever a user adds.

Names are imported when asked for: a publisher of one's own needs neither matplotlib nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if TYPE_CHECKING:
    from xas_live.callbacks.publishers.base import BasePublisher, Publisher, SweepResult
    from xas_live.callbacks.publishers.drift import SeriesWatch
    from xas_live.callbacks.publishers.plot import LiveStructurePlot, is_headless
    from xas_live.callbacks.publishers.registered import checked_publisher, registered_publishers
    from xas_live.callbacks.publishers.results import (
        LastAverages,
        PrimaryPredictions,
        Result,
        anchor_of,
        table,
    )
    from xas_live.callbacks.publishers.writer import COPIED, PredictionWriter

__all__ = [
    "COPIED",
    "BasePublisher",
    "LastAverages",
    "LiveStructurePlot",
    "PredictionWriter",
    "PrimaryPredictions",
    "Publisher",
    "Result",
    "SeriesWatch",
    "SweepResult",
    "anchor_of",
    "checked_publisher",
    "is_headless",
    "registered_publishers",
    "table",
]

__getattr__ = lazily(
    __name__,
    {
        "base": ("BasePublisher", "Publisher", "SweepResult"),
        "drift": ("SeriesWatch",),
        "plot": ("LiveStructurePlot", "is_headless"),
        "registered": ("checked_publisher", "registered_publishers"),
        "results": ("LastAverages", "PrimaryPredictions", "Result", "anchor_of", "table"),
        "writer": ("COPIED", "PredictionWriter"),
    },
)
