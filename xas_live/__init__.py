"""Live structure of nanoparticles from streaming X-ray absorption scans.

``xas_live.attach(RE)`` is the one line for a beamline session. Importing the package alone loads neither
Bluesky nor torch, so that the core also runs on a bare machine with a GPU.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xas_live.analysis import AnalysisConfig, Analyzer, AnalyzerPool
    from xas_live.analysis_process import AnalyzerProcess
    from xas_live.anchor import FoilAnchor
    from xas_live.models.registry import load_model
    from xas_live.prediction import Prediction
    from xas_live.session import attach
    from xas_live.spectrum import Spectrum

__version__ = "0.1.0"

__all__ = [
    "AnalysisConfig",
    "Analyzer",
    "AnalyzerPool",
    "AnalyzerProcess",
    "FoilAnchor",
    "Prediction",
    "Spectrum",
    "attach",
    "load_model",
]

# In a source checkout `callbacks/` and `profiles/` stand beside this folder, not inside it: without this,
# a session started in the checkout's root would not find `xas_live.callbacks`.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "callbacks").is_dir():
    __path__.append(str(_checkout))

_HOMES = {
    "AnalysisConfig": "xas_live.analysis",
    "Analyzer": "xas_live.analysis",
    "AnalyzerPool": "xas_live.analysis",
    "AnalyzerProcess": "xas_live.analysis_process",
    "FoilAnchor": "xas_live.anchor",
    "Prediction": "xas_live.prediction",
    "Spectrum": "xas_live.spectrum",
    "attach": "xas_live.session",
    "load_model": "xas_live.models.registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'xas_live' has no attribute {name!r}")
