"""Models: their cards, bundles, networks and registry."""

from xas_live.models.bundle import Bundle, ModelError, read_card
from xas_live.models.card import Absorber, Accuracy, Card, GridSegment, InputSpec
from xas_live.models.ensemble import Ensemble, Judged
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import network
from xas_live.models.registry import (
    available_models,
    find_model,
    load_model,
    load_models,
    models_by_absorber,
    verify_model,
)

__all__ = [
    "Absorber",
    "Accuracy",
    "Bundle",
    "Card",
    "Ensemble",
    "GridSegment",
    "InputSpec",
    "Judged",
    "ModelError",
    "NetworkSpec",
    "available_models",
    "find_model",
    "load_model",
    "load_models",
    "models_by_absorber",
    "network",
    "read_card",
    "verify_model",
]
