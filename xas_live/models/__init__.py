"""Models: their cards, bundles, networks and registry."""

from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.card import Card
from xas_live.models.ensemble import Ensemble
from xas_live.models.registry import available_models, find_model, load_model, load_models, verify_model

__all__ = [
    "Bundle",
    "Card",
    "Ensemble",
    "ModelError",
    "available_models",
    "find_model",
    "load_model",
    "load_models",
    "verify_model",
]
