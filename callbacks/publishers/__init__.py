"""Where predictions go: the figure, the archive, the table, and whatever a user adds.

Names are imported when asked for: a publisher of one's own needs neither matplotlib nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if TYPE_CHECKING:
    from xas_live.callbacks.publishers.base import BasePublisher, Publisher, SweepResult
    from xas_live.callbacks.publishers.drawing import (
        LiveFigure,
        draw_while_plans_run,
        why_no_window,
        windowless_figure,
    )
    from xas_live.callbacks.publishers.drift import SeriesWatch
    from xas_live.callbacks.publishers.picture import PictureFile, picture_path
    from xas_live.callbacks.publishers.plot import LiveStructurePlot
    from xas_live.callbacks.publishers.registered import checked_publisher, registered_publishers
    from xas_live.callbacks.publishers.result_table import ResultTable, table
    from xas_live.callbacks.publishers.results import (
        LastAverages,
        PrimaryPredictions,
        Result,
        anchor_of,
    )
    from xas_live.callbacks.publishers.writer import COPIED, PredictionWriter

__all__ = [
    "COPIED",
    "BasePublisher",
    "LastAverages",
    "LiveFigure",
    "LiveStructurePlot",
    "PictureFile",
    "PredictionWriter",
    "PrimaryPredictions",
    "Publisher",
    "Result",
    "ResultTable",
    "SeriesWatch",
    "SweepResult",
    "anchor_of",
    "checked_publisher",
    "draw_while_plans_run",
    "picture_path",
    "registered_publishers",
    "table",
    "why_no_window",
    "windowless_figure",
]

__getattr__ = lazily(
    __name__,
    {
        "base": ("BasePublisher", "Publisher", "SweepResult"),
        "drawing": ("LiveFigure", "draw_while_plans_run", "why_no_window", "windowless_figure"),
        "drift": ("SeriesWatch",),
        "picture": ("PictureFile", "picture_path"),
        "plot": ("LiveStructurePlot",),
        "registered": ("checked_publisher", "registered_publishers"),
        "result_table": ("ResultTable", "table"),
        "results": ("LastAverages", "PrimaryPredictions", "Result", "anchor_of"),
        "writer": ("COPIED", "PredictionWriter"),
    },
)
