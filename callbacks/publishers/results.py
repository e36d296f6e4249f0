"""What a live analysis keeps of every sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.host import local_time, printable
from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum


@dataclass(frozen=True)
class Result:
    """One prediction, and how long after its last document it was there (s); NaN of an average."""

    prediction: Prediction
    lag: float = math.nan

    def row(self) -> dict[str, object]:
        """The result as a row of the table, control characters in its texts written out."""
        p = self.prediction
        facts: dict[str, object] = {
            "scan": p.provenance.scan,
            "sample": p.provenance.sample,
            "sweep": p.provenance.sweep,
            "averaged": p.provenance.averaged,
            "model": p.model,
            "time": local_time(p.provenance.time),
            **size_columns(p),
            **p.verdict.columns(),
            "in_domain": p.in_domain,
            "domain_judged": p.domain_judged,
            "anchor": anchor_of(p),
            "flags": ", ".join(p.flags),
            "refused": p.refused or "",
            "lag": self.lag,
        }
        row = facts | p.outcome.row()
        return {name: printable(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def size_columns(p: Prediction) -> dict[str, object]:
    """Return the columns of the size: numbers (nm), as in derived runs, and in words."""
    numbers = (None,) * 3 if p.size is None else (p.size.diameter_nm, p.size.lower, p.size.upper)
    named = zip(("diameter", "diameter_lower", "diameter_upper"), numbers, strict=True)
    return {name: math.nan if x is None else x for name, x in named} | {
        "size": p.size.label if p.size else ""
    }


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
    """A publisher that keeps the last average of every run, stream and absorber, in the order of the runs.

    Parameters
    ----------
    most : number of averages kept, the newest; None keeps all.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._last: dict[tuple[str | None, ...], Prediction] = {}

    @property
    def predictions(self) -> list[Prediction]:
        """What the models say of them."""
        return list(self._last.values())

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """See `Publisher`."""
        self._last[_run_of(prediction)] = prediction
        if self._most is not None and len(self._last) > self._most:
            del self._last[next(iter(self._last))]


def with_averages(results: Sequence[Result], averages: Sequence[Prediction]) -> list[Result]:
    """Return the results with each average after the last of the sweeps that it is of."""
    last = {_run_of(each.prediction): k for k, each in enumerate(results)}
    after: dict[int, list[Result]] = {}
    for average in averages:
        if (k := last.get(_run_of(average))) is not None:
            after.setdefault(k, []).append(Result(average))
    return [each for k, result in enumerate(results) for each in (result, *after.get(k, []))]


def _run_of(p: Prediction) -> tuple[str | None, ...]:
    return (p.provenance.run_uid, p.provenance.stream, p.element, p.edge)


def anchor_of(prediction: Prediction) -> str:
    """Which foil anchored it: "reference" (its own channel), "foil 1a2b3c4d" (its hash), or "none"."""
    return "none" if prediction.anchor is None else str(prediction.anchor)
