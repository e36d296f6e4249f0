"""Plans and plan stubs: scans, marks for the analysis, and scans that are repeated until they are enough."""

from xas_live.plans.marks import sweep_done
from xas_live.plans.repeats import Repeated, mean_of, repeat_until
from xas_live.plans.scans import quick_scan, step_scan

__all__ = ["Repeated", "mean_of", "quick_scan", "repeat_until", "step_scan", "sweep_done"]
