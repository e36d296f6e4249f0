"""Bluesky callbacks: documents in, predictions out.

What a user's own publisher needs is at hand here, and imported when asked for:
`from xas_live.callbacks import BasePublisher, SweepResult`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

_FROM = {
    "BasePublisher": "publishers.base",
    "ChannelMapping": "assembly",
    "LiveAnalysis": "live",
    "LiveStructurePlot": "publishers.plot",
    "PredictionWriter": "publishers.writer",
    "Publisher": "publishers.base",
    "SweepResult": "publishers.base",
}


def __getattr__(name: str) -> object:
    if name in _FROM:
        return getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
