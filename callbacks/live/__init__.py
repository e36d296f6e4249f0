"""The analysis beside a running plan: queue, worker, and what it tells the user."""

from xas_live.callbacks.live.live_analysis import LiveAnalysis, Status
from xas_live.callbacks.live.notices import ErrorRecord, Notices

__all__ = ["ErrorRecord", "LiveAnalysis", "Notices", "Status"]
