"""Live structure of nanoparticles from streaming X-ray absorption scans.

``xas_live.attach(RE)`` is the one line for a beamline session. Importing the package alone loads neither
Bluesky nor torch, so that the core also runs on a bare machine with a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if TYPE_CHECKING:
    from xas_live.analysis import AnalysisConfig, Analyzer, AnalyzerPool, AnalyzerProcess
    from xas_live.archive import predictions
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
    "predictions",
    "register_mode",
]

__getattr__ = lazily(
    __name__,
    {
        "analysis": ("AnalysisConfig", "Analyzer", "AnalyzerPool", "AnalyzerProcess"),
        "archive": ("predictions",),
        "callbacks.assembly": ("ChannelMapping",),
        "callbacks.publishers": ("BasePublisher",),
        "models": ("load_model",),
        "modes": ("DetectorMode", "register_mode"),
        "prediction": ("Prediction",),
        "reduction": ("FoilAnchor",),
        "session": ("attach",),
        "spectrum": ("Spectrum",),
    },
)
