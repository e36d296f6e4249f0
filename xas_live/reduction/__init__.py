"""Measured sweeps to network inputs: checks, edge, anchor, alignment, normalisation, grid."""

from xas_live.reduction.anchor import AnchorError, FoilAnchor, common_windows
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.normalize import Windows
from xas_live.reduction.quality import Checked, check_all, half_rise
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.saved_anchors import (
    SavedAnchor,
    known_foils,
    newest_anchor,
    saved_anchor,
    saved_anchors,
)
from xas_live.reduction.stages import Plan, ReducedSweep, RefusedSweep
from xas_live.reduction.standards import StandardError, standards_of
from xas_live.reduction.target import BulkTheory, InputTarget, listed

__all__ = [
    "AnchorError",
    "AxisCache",
    "BulkTheory",
    "Checked",
    "FoilAnchor",
    "InputTarget",
    "Plan",
    "ReducedSweep",
    "Reducer",
    "RefusedSweep",
    "SavedAnchor",
    "StandardError",
    "Windows",
    "check_all",
    "common_windows",
    "half_rise",
    "known_foils",
    "listed",
    "newest_anchor",
    "saved_anchor",
    "saved_anchors",
    "standards_of",
]
