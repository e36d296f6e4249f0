"""How spectra and predictions travel between the session and the analysis process, and what is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xas_live.analysis.history import Earlier
from xas_live.analysis.pool import AnalyzerPool
from xas_live.spectrum import Spectrum

AT_ONCE = 64  # spectra or predictions a message: 1 ms to pack


def pieces(items: list[Any]) -> Iterator[list[Any]]:
    """The items a few at a time: a long message, packed or unpacked at once, would keep the interpreter."""
    return (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))


def answer(pool: AnalyzerPool, what: str, spectra: Sequence[Spectrum], earlier: Earlier | None) -> list[Any]:
    """What the pool says to one request, of each spectrum."""
    if what == "preview":
        return [pool.preview(spectra[0], earlier)]
    return pool.analyze_all(spectra) if what == "analyze_all" else pool.analyze(spectra)
