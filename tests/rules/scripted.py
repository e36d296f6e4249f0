"""What the tests of rules and plans share: predictions as they are told to be, and an analysis of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.callbacks.edges import GRID, Counter, Edges, Energy, predict
from xas_live.callbacks.live.current import Current
from xas_live.prediction import Decision, Degree, Outcome, Prediction, Value, Verdict
from xas_live.spectrum import Provenance, Spectrum


def said(cn1: float, *, statistical: float = 0.1, model: float = 0.8, degree: Degree | None = Degree.TRUSTED,
         sweep: int = 0, run_uid: str = "run", **rest: Any) -> Prediction:  # fmt: skip
    """A prediction of CN1 with the two parts of its error, as half widths of 90 %."""
    half = math.hypot(statistical if statistical == statistical else 0.0, model)
    value = Value(cn1, half / 1.6449, cn1 - half, cn1 + half, statistical=statistical, model=model)
    where = Provenance(run_uid=run_uid, sweep=sweep)
    given: dict[str, Any] = {
        "model": "test",
        "model_sha256": "0" * 64,
        "provenance": where,
        "outcome": Outcome({"CN1": value}),
        "verdict": Verdict(degree),
    }
    return Prediction(**given | rest)


class Scripted(Edges):
    """An analyzer that says of each sweep what a function tells: of its number, from 0, over all runs."""

    def __init__(self, tells: Callable[[int], Prediction]) -> None:
        super().__init__()
        self._tells = tells
        self._told = 0

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        found = []
        for spectrum in spectra:
            if spectrum.provenance.averaged > 1:
                found.append(predict(spectrum))
                continue
            told = self._tells(self._told)
            self._told += 1
            alike = {"element": spectrum.element, "edge": spectrum.edge, "provenance": spectrum.provenance}
            found.append(replace(told, **alike))
        return found


class Fresh:
    """An analysis whose last prediction is always fresh; or is not, for a reason."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.reason = ""

    def current(self, max_age: float | None = None) -> Current:
        return Current(None, 0.0, 2.0, self.reason)

    def decided(self, decision: Decision) -> None:
        self.decisions.append(decision)


def sweeping() -> tuple[list[Counter], Energy]:
    """Detectors and an energy axis that a plan can scan."""
    energy = Energy(name="energy")
    return [Counter(name=name, energy=energy) for name in ("i0", "it", "ir")], energy


POINTS = GRID.tolist()
