"""Measured sweeps to network inputs: checks, edge, anchor, alignment, normalisation, grid."""

from xas_live.reduction.anchor import AnchorError, FoilAnchor, newest_anchor
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.standards import StandardError

__all__ = ["AnchorError", "FoilAnchor", "Reducer", "StandardError", "newest_anchor"]
