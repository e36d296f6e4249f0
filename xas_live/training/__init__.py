"""From calculated and labelled spectra to trained, calibrated bundles."""

from xas_live.training.accept import Accepted, AcceptError, accept_bundle, accepted
from xas_live.training.build import build_bundle
from xas_live.training.recalibrate import recalibrate_bundle
from xas_live.training.recipe import Recipe, RecipeError, read_recipe
from xas_live.training.transfer import LabelledError, tune_bundle

__all__ = [
    "AcceptError",
    "Accepted",
    "LabelledError",
    "Recipe",
    "RecipeError",
    "accept_bundle",
    "accepted",
    "build_bundle",
    "read_recipe",
    "recalibrate_bundle",
    "tune_bundle",
]
