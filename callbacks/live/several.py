"""Several models at one sweep: all are asked, and the first of them leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:  # analysis brings torch, which a publisher's own tests can do without
    from xas_live.analysis import Analyzes


def ask_lead(analyzer: Analyzes, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
    """Of each spectrum the lead's prediction alone.

    Raises
    ------
    RuntimeError : when the analyzer does not give one of every spectrum.
    """
    return one_each(spectra, [[prediction] for prediction in analyzer.analyze(spectra)])


def ask_all(analyzer: Analyzes, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
    """Of each spectrum the predictions of all models, the lead's first; of an `Analyzer` its only one.

    Raises
    ------
    RuntimeError : when the analyzer does not give at least one of every spectrum.
    """
    every = getattr(analyzer, "analyze_all", None)
    return ask_lead(analyzer, spectra) if every is None else one_each(spectra, list(every(spectra)))


def one_each(spectra: Sequence[Spectrum], found: list[list[Prediction]]) -> list[list[Prediction]]:
    """What was found, if it is at least one prediction of every spectrum; else RuntimeError."""
    if len(found) != len(spectra) or not all(found):
        raise RuntimeError(f"analyzer gave {sum(map(bool, found))} predictions for {len(spectra)} spectra")
    return found


class Leads:
    """Tells the lead's predictions from those of further models, as a publisher takes them one by one."""

    def __init__(self) -> None:
        self._sweep: Spectrum | None = None
        self._lead = ""

    def __call__(self, spectrum: Spectrum, prediction: Prediction) -> bool:
        """Whether it is the lead's: the first of its sweep. Ask about every prediction, once."""
        if spectrum is self._sweep and prediction.model_sha256 != self._lead:
            return False
        self._sweep, self._lead = spectrum, prediction.model_sha256
        return True
