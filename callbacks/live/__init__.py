"""The analysis beside a running plan: queue, worker, the pipeline of sweeps, and what it tells the user.

Names are imported when asked for: replay needs the pipeline alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if TYPE_CHECKING:
    from xas_live.callbacks.live.current import Current
    from xas_live.callbacks.live.live_analysis import LiveAnalysis, Status
    from xas_live.callbacks.live.notices import ErrorRecord, Notices
    from xas_live.callbacks.live.pipeline import Completed, PipelineHooks, SweepPipeline

__all__ = [
    "Completed",
    "Current",
    "ErrorRecord",
    "LiveAnalysis",
    "Notices",
    "PipelineHooks",
    "Status",
    "SweepPipeline",
]

__getattr__ = lazily(
    __name__,
    {
        "current": ("Current",),
        "live_analysis": ("LiveAnalysis", "Status"),
        "notices": ("ErrorRecord", "Notices"),
        "pipeline": ("Completed", "PipelineHooks", "SweepPipeline"),
    },
)
