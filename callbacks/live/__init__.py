"""The analysis beside a running plan: queue, worker, the pipeline of sweeps, and what it tells the user."""

from xas_live.callbacks.live.live_analysis import LiveAnalysis, Status
from xas_live.callbacks.live.notices import ErrorRecord, Notices
from xas_live.callbacks.live.pipeline import Completed, PipelineHooks, SweepPipeline

__all__ = [
    "Completed",
    "ErrorRecord",
    "LiveAnalysis",
    "Notices",
    "PipelineHooks",
    "Status",
    "SweepPipeline",
]
