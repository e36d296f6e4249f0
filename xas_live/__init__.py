"""Live structure of nanoparticles from streaming X-ray absorption scans.

``xas_live.attach(RE)`` is the one line for a beamline session. Importing the package alone loads neither
Bluesky nor torch, so that the core also runs on a bare machine with a GPU.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xas_live.analysis import AnalysisConfig, Analyzer, AnalyzerPool, AnalyzerProcess
    from xas_live.callbacks.assembly import ChannelMapping
    from xas_live.callbacks.publishers import BasePublisher
    from xas_live.models import load_model
    from xas_live.modes import DetectorMode, register_mode
    from xas_live.prediction import Prediction
    from xas_live.reduction import FoilAnchor
    from xas_live.session import attach
    from xas_live.spectrum import Spectrum

__version__ = "0.1.0"

__all__ = [
    "AnalysisConfig",
    "Analyzer",
    "AnalyzerPool",
    "AnalyzerProcess",
    "BasePublisher",
    "ChannelMapping",
    "DetectorMode",
    "FoilAnchor",
    "Prediction",
    "Spectrum",
    "attach",
    "load_model",
    "register_mode",
]

_ROOMS = {
    "AnalysisConfig": "xas_live.analysis",
    "Analyzer": "xas_live.analysis",
    "AnalyzerPool": "xas_live.analysis",
    "AnalyzerProcess": "xas_live.analysis",
    "BasePublisher": "xas_live.callbacks.publishers",
    "ChannelMapping": "xas_live.callbacks.assembly",
    "DetectorMode": "xas_live.modes",
    "FoilAnchor": "xas_live.reduction",
    "Prediction": "xas_live.prediction",
    "Spectrum": "xas_live.spectrum",
    "attach": "xas_live.session",
    "load_model": "xas_live.models",
    "register_mode": "xas_live.modes",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'xas_live' has no attribute {name!r}")
