"""Plans and plan stubs: scans of an edge, marks for the analysis, and plans that act on what is predicted."""

from xas_live.plans.adaptive import Adapted, End, adaptive
from xas_live.plans.anchoring import anchor_scan
from xas_live.plans.drives import Drive, HoldInBand, StepWhen, Wish, hold_in_band, step_when
from xas_live.plans.marks import sweep_done
from xas_live.plans.operando import Followed, Move, operando
from xas_live.plans.optimizers import OptimizerRecommender
from xas_live.plans.repeats import Repeated, mean_of, repeat_until
from xas_live.plans.scans import quick_scan, step_scan
from xas_live.plans.waiting import wait_for_prediction

__all__ = [
    "Adapted",
    "Drive",
    "End",
    "Followed",
    "HoldInBand",
    "Move",
    "OptimizerRecommender",
    "Repeated",
    "StepWhen",
    "Wish",
    "adaptive",
    "anchor_scan",
    "hold_in_band",
    "mean_of",
    "operando",
    "quick_scan",
    "repeat_until",
    "step_scan",
    "step_when",
    "sweep_done",
    "wait_for_prediction",
]
