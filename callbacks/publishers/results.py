"""What a live analysis keeps of every sweep, as a table and in words."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.host import local_time, printable
from xas_live.prediction import Prediction, Value, Verdict
from xas_live.spectrum import Spectrum

_WIDTH, _GAP = 78, "  "  # characters; with an indent 80
_ROWS_OF_TABLE = 25  # that are printed, the last ones
_ENDS = ("_lower", "_upper", "_p", "_set")
_SHOWN = ("scan", "sample", "size", "verdict")
_LATER = ("diameter", "non_metal", "adsorbates")  # numbers with an interval that lead no table
_ABOUT = ("scan", "sample", "sweep", "averaged")
_REST = ("model", "time", "in_domain", "domain_judged", "anchor", "flags", "refused", "lag")


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
            **_size(p),
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


def _size(p: Prediction) -> dict[str, object]:
    """Columns of the size: numbers (nm), as in derived runs, and in words."""
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


class ResultTable(pd.DataFrame):
    """The table of results: a DataFrame that prints scan, sample, leading result, size and verdict.

    In 80 characters; all other columns are there by name. What is taken from it is a plain DataFrame.
    """

    def __repr__(self) -> str:
        beside = [name for name in self.columns if name not in _SHOWN and not name.endswith(_ENDS)]
        lines = [*_lines(_printed(self.tail(_ROWS_OF_TABLE))), f"[{len(self)} rows; by name also:"]
        return "\n".join([*lines, *textwrap.wrap(f"{', '.join(beside)}]", _WIDTH)])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        head, *body = _printed(self.tail(_ROWS_OF_TABLE))
        rows = "".join(f"<tr>{_in_html(row, 'td')}</tr>" for row in body)
        return f"<table><thead><tr>{_in_html(head, 'th')}</tr></thead><tbody>{rows}</tbody></table>"

    def brief(self, last: int | None = None) -> str:
        """Return the lines that are printed, of all rows or the last ones, without names of other columns."""
        return "\n".join(_lines(_printed(self if last is None else self.tail(last))))


def table(results: Sequence[Result]) -> ResultTable:
    """One row per result: what it is of, the leading result, size and verdict, then all the rest.

    The columns of what models give are those of all results together.
    """
    given = {column: cell for each in results for column, cell in each.prediction.outcome.row().items()}
    texts = dict.fromkeys((column for column, cell in given.items() if isinstance(cell, str)), "")
    verdict, *why = Verdict().columns()
    number, *interval, words = _size(Prediction("", ""))
    columns = [*_ABOUT, *_leading(list(given)), number, words, verdict, *given, *interval, *why, *_REST]
    rows = [texts | result.row() for result in results]
    return ResultTable(rows, columns=list(dict.fromkeys(columns)))


def _leading(columns: Sequence[str]) -> list[str]:
    """The columns of the first result."""
    return [name for name in columns if name == columns[0] or name.removeprefix(columns[0]) in _ENDS]


def _printed(rows: pd.DataFrame) -> list[list[str]]:
    """The cells that are printed, after a row of their headers; empty columns are left out."""
    results = [name for name in rows.columns if f"{name}_lower" in rows or f"{name}_p" in rows]
    results = [name for name in results if name not in _LATER]
    cells = [["scan", "sample", "model", *results[:1], "size", "verdict"]]
    models = rows["model"].replace("", pd.NA).nunique() > 1
    for row in rows.to_dict("records"):
        averaged = row["averaged"]
        scan = row["scan"] if averaged == 1 else f"{row['scan']}, mean of {averaged}"
        leading = [_in_short(row, name) for name in results[:1]]
        model = row["model"] if models else ""
        cells.append([scan, row["sample"], model, *leading, row["size"], row["verdict"] or "not judged"])
    kept = [column for column in zip(*cells, strict=True) if any(column[1:]) or column[0] == "scan"]
    return [list(row) for row in zip(*kept, strict=True)]


def _in_short(row: Mapping[Hashable, Any], name: str) -> str:
    """A number with half the width of its interval, or a class with its probability."""
    if f"{name}_p" in row:
        return f"{row[name]} {row[f'{name}_p']:.2f}" if row[name] else ""
    if pd.isna(row[name]):
        return ""
    return Value(row[name], math.nan, row[f"{name}_lower"], row[f"{name}_upper"]).plus_minus


def _lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """Cells as lines that fit the width: the longest column is cut until they do."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > _WIDTH:
        widths[widths.index(max(widths))] -= 1
    return [
        _GAP.join(_cut(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)


def _in_html(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)


def anchor_of(prediction: Prediction) -> str:
    """Which foil anchored it: "reference" (its own channel), "foil 1a2b3c4d" (its hash), or "none"."""
    return "none" if prediction.anchor is None else str(prediction.anchor)
