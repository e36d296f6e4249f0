"""Bluesky callbacks: documents in, predictions out.

What a user's own publisher needs is at hand here, and imported when asked for:
`from xas_live.callbacks import BasePublisher, SweepResult`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if __name__ == "callbacks":
    raise ImportError(
        "import xas_live.callbacks, not callbacks: a second copy of its classes would be loaded"
    )

if TYPE_CHECKING:
    from xas_live.callbacks.assembly import ChannelMapping
    from xas_live.callbacks.live import LiveAnalysis
    from xas_live.callbacks.publishers import (
        BasePublisher,
        LiveStructurePlot,
        PredictionWriter,
        Publisher,
        SweepResult,
    )

__all__ = [
    "BasePublisher",
    "ChannelMapping",
    "LiveAnalysis",
    "LiveStructurePlot",
    "PredictionWriter",
    "Publisher",
    "SweepResult",
]

__getattr__ = lazily(
    __name__,
    {
        "assembly": ("ChannelMapping",),
        "live": ("LiveAnalysis",),
        "publishers": (
            "BasePublisher",
            "LiveStructurePlot",
            "PredictionWriter",
            "Publisher",
            "SweepResult",
        ),
    },
)
