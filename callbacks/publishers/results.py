"""What a live analysis keeps of every sweep, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.host import local_time
from xas_live.prediction import Prediction, Verdict
from xas_live.spectrum import Spectrum


@dataclass(frozen=True)
class Result:
    """One prediction, and how long after its last document it was there (s)."""

    prediction: Prediction
    lag: float

    def row(self) -> dict[str, object]:
        """The result as a row of the table."""
        p = self.prediction
        facts: dict[str, object] = {
            "scan": p.provenance.scan,
            "sweep": p.provenance.sweep,
            "time": local_time(p.provenance.time),
            "model": p.model,
            "size": p.size.label if p.size else "",
            **p.verdict.columns(),
            "in_domain": p.in_domain,
            "domain_judged": p.domain_judged,
            "anchor": anchor_of(p),
            "flags": ", ".join(p.flags),
            "refused": p.refused or "",
            "lag": self.lag,
        }
        return facts | p.outcome.row()


class PrimaryPredictions(BasePublisher):
    """A publisher that keeps the primary model's prediction of every sweep.

    Attributes
    ----------
    predictions : in the order of the sweeps.
    of_all_models : number of predictions of all models together.
    """

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.of_all_models = 0

    def predicted(self, result: SweepResult) -> None:
        """See `Publisher`."""
        self.predictions.append(result.primary)
        self.of_all_models += len(result.predictions)


class LastAverages(BasePublisher):
    """A publisher that keeps the last average of every run, stream and absorber, in the order of the runs."""

    def __init__(self) -> None:
        self._last: dict[tuple[str | None, ...], Prediction] = {}

    @property
    def predictions(self) -> list[Prediction]:
        """What the models say of them."""
        return list(self._last.values())

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """See `Publisher`."""
        where = prediction.provenance
        self._last[where.run_uid, where.stream, prediction.element, prediction.edge] = prediction


def table(results: Sequence[Result]) -> pd.DataFrame:
    """One row per result; the columns of what models give are those of all results together."""
    given = {column: cell for each in results for column, cell in each.prediction.outcome.row().items()}
    texts = dict.fromkeys((column for column, cell in given.items() if isinstance(cell, str)), "")
    columns = ["scan", "sweep", "time", "model", *given]
    columns += [
        "size",
        *Verdict().columns(),
        "in_domain",
        "domain_judged",
        "anchor",
        "flags",
        "refused",
        "lag",
    ]
    return pd.DataFrame([texts | result.row() for result in results], columns=columns)


def anchor_of(prediction: Prediction) -> str:
    """Which foil anchored it: "reference" (its own channel), "foil 1a2b3c4d" (its hash), or "none"."""
    return "none" if prediction.anchor is None else str(prediction.anchor)
