"""Plans and plan stubs: marks for the analysis, and scans that are repeated until they are enough."""

from xas_live.plans.marks import sweep_done
from xas_live.plans.repeats import Repeated, mean_of, repeat_until
from xas_live.plans.waiting import wait_for_prediction

__all__ = ["Repeated", "mean_of", "repeat_until", "sweep_done", "wait_for_prediction"]
