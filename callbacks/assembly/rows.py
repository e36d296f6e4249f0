"""Documents of one stream as rows of numbers: events, event pages, arrays in events, and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from xas_live.callbacks.assembly.external import ExternalColumns
from xas_live.spectrum import Array


class StreamRows:
    """Reads the documents of one descriptor into rows: its fields, the time (s), the sequence number.

    An event whose fields are arrays (a whole pass in one event) gives as many rows. Values missing or not
    filled are NaN. The time of rows whose fields stand in files is their event's, or the descriptor's where
    events tell nothing.

    Parameters
    ----------
    descriptor : of the stream.
    fields : their order is that of the columns; the first one says how many points an event holds.
    factors : what fields are multiplied with, by name; default 1.
    """

    def __init__(
        self, descriptor: Mapping[str, Any], fields: Sequence[str], factors: Mapping[str, float] | None = None
    ) -> None:
        self.name = descriptor.get("name", "primary")
        self.fields = list(fields)
        self.factors = dict(factors or {})
        keys = descriptor["data_keys"]
        outside = [name for name in self.fields if "external" in keys.get(name, {})]
        inside = [name for name in self.fields if name not in outside]
        self.external = ExternalColumns(descriptor, outside, inside) if outside else None
        self._declared = float(descriptor.get("time", np.nan))
        self._times: dict[int, float] = {}  # of events that wait for their files

    def take(self, page: Mapping[str, Any], time: Sequence[float], seq_num: Sequence[int]) -> Array:
        """(points, columns): the rows that an event page completes; with fields in files, see `ready`.

        Raises
        ------
        ValueError : when the fields of an event do not have one length.
        """
        if self.external is not None:
            self.external.add(seq_num, page)
            self._times.update(zip(seq_num, time, strict=True))
            return self.ready()
        return self._rows(page, time, seq_num)

    def ready(self, *, final: bool = False) -> Array:
        """The rows whose files hold all their fields by now; `final`: nothing follows, NaN for the rest."""
        numbers, values = self.external.take(final=final) if self.external is not None else ([], {})
        parts = [np.empty((0, len(self.fields) + 2))]
        lengths = zip(*([len(row) for row in rows] for rows in values.values()), strict=True)
        first = 0
        for _, alike in groupby(lengths):
            last = first + len(list(alike))
            page = {"data": {name: rows[first:last] for name, rows in values.items()}}
            times = [self._times.pop(seq_num, self._declared) for seq_num in numbers[first:last]]
            parts.append(self._rows(page, times, numbers[first:last]))
            first = last
        return np.concatenate(parts) if len(parts) != 2 else parts[1]

    def _rows(self, page: Mapping[str, Any], time: Sequence[float], seq_num: Sequence[int]) -> Array:
        data, filled = page["data"], page.get("filled") or {}
        columns = [_column(data.get(name), filled.get(name), len(time)) for name in self.fields]
        n = len(columns[0])
        columns += [np.asarray(time, dtype=np.float64), np.asarray(seq_num, dtype=np.float64)]
        rows = np.empty((n, len(columns)))
        for k, column in enumerate(columns):
            if len(column) not in (n, len(time)):
                name = self.fields[k]
                raise ValueError(
                    f"field {name!r} of stream {self.name!r} has {len(column)} values for {n} energies"
                )
            rows[:, k] = column if len(column) == n else np.repeat(column, n // len(time))
        for name, factor in self.factors.items():
            if factor != 1.0:
                rows[:, self.fields.index(name)] *= factor
        return rows


def as_page(event: Mapping[str, Any], parts: Sequence[str] = ("data", "filled")) -> dict[str, Any]:
    """An event as a page of one, with these of its parts."""
    return {part: {name: [value] for name, value in (event.get(part) or {}).items()} for part in parts}


def number(value: Any) -> float:
    """A value as a number; NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _column(values: Sequence[Any] | None, filled: Sequence[Any] | None, events: int) -> Array:
    """Numbers of one field, (points,); NaN where there are none or they are not filled in."""
    if values is None:
        return np.full(events, np.nan)
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        column = np.array([number(value) for value in values])
    if filled is not None and not all(filled):
        column[np.array([not is_filled for is_filled in filled])] = np.nan
    return column.reshape(-1)
