"""Spectra in, predictions out: analyzers, the pool that chooses them, averages and what a series tells."""

from xas_live.analysis.analyzer import Analyzer, Analyzes
from xas_live.analysis.averages import Averages
from xas_live.analysis.config import Alignment, AnalysisConfig, SettingsError, checked_alignment
from xas_live.analysis.drift import Drift, SeriesMonitor
from xas_live.analysis.foil_care import NoFoilError, foil_anchor
from xas_live.analysis.history import Earlier, RunHistory
from xas_live.analysis.pool import AnalyzerPool
from xas_live.analysis.process import AnalysisProcessError, AnalyzerProcess

__all__ = [
    "Alignment",
    "AnalysisConfig",
    "AnalysisProcessError",
    "Analyzer",
    "AnalyzerPool",
    "AnalyzerProcess",
    "Analyzes",
    "Averages",
    "Drift",
    "Earlier",
    "NoFoilError",
    "RunHistory",
    "SeriesMonitor",
    "SettingsError",
    "checked_alignment",
    "foil_anchor",
]
