"""Predictions: results with their intervals, the chemistry beside them, and the verdict on them."""

from xas_live.prediction.change import change
from xas_live.prediction.chemistry import KINDS, LOOKS, Chemistry
from xas_live.prediction.decision import Decision, DecisionOutcome
from xas_live.prediction.outcome import Outcome
from xas_live.prediction.prediction import FAILED, Alignment, AnchorUsed, Foil, Prediction, Reduced
from xas_live.prediction.results import (
    INTERVAL_COLUMNS,
    Classes,
    Columns,
    Curve,
    Json,
    OutputResult,
    Size,
    Value,
    finite,
    nanometres,
)
from xas_live.prediction.verdict import SAID_BY_VERDICT, Degree, DomainVerdict, Verdict

__all__ = [
    "FAILED",
    "INTERVAL_COLUMNS",
    "KINDS",
    "LOOKS",
    "SAID_BY_VERDICT",
    "Alignment",
    "AnchorUsed",
    "Chemistry",
    "Classes",
    "Columns",
    "Curve",
    "Decision",
    "DecisionOutcome",
    "Degree",
    "DomainVerdict",
    "Foil",
    "Json",
    "Outcome",
    "OutputResult",
    "Prediction",
    "Reduced",
    "Size",
    "Value",
    "Verdict",
    "change",
    "finite",
    "nanometres",
]
