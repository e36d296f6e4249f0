"""The results of a live analysis as a table, and its rows in words."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from xas_live.callbacks.publishers.results import Result, size_columns
from xas_live.prediction import Prediction, Value, Verdict

_WIDTH, _GAP = 78, "  "  # characters; with an indent 80
_ROWS_OF_TABLE = 25  # that are printed, the last ones
_ENDS = ("_lower", "_upper", "_p", "_set")
_SHOWN = ("scan", "sample", "size", "verdict")
_LATER = ("diameter", "non_metal", "adsorbates")  # numbers with an interval that lead no table
_ABOUT = ("scan", "sample", "sweep", "averaged")
_REST = ("model", "time", "in_domain", "domain_judged", "anchor", "flags", "refused", "lag")


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
    number, *interval, words = size_columns(Prediction("", ""))
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
