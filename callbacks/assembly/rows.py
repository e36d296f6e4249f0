"""Documents of one stream as rows of numbers: events, event pages, arrays in events, and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, SupportsFloat, cast

import numpy as np

from xas_live.callbacks.assembly.external import ExternalColumns
from xas_live.errors import Refusal
from xas_live.spectrum import Array

if TYPE_CHECKING:
    from event_model.documents import Event, EventDescriptor, EventPage


class FieldError(Refusal):
    """Fields of an event that do not make points together, with the reason."""


class StreamRows:
    """Reads the documents of one descriptor into rows: its fields, the time (s), the sequence number.

    An event whose fields are arrays (a whole pass in one event) gives as many rows. Values missing or not
    filled are NaN. The time of rows whose fields stand in files is their event's, or the descriptor's where
    events tell nothing.

    Parameters
    ----------
    descriptor : of the stream.
    fields : their order is that of the columns; the first one says how many points an event holds.
    conversions : what turns fields into other units, by name.

    Attributes
    ----------
    external : the fields that stand in files; None where there are none.
    """

    def __init__(
        self,
        descriptor: EventDescriptor,
        fields: Sequence[str],
        conversions: Mapping[str, Callable[[Array], Array]] | None = None,
    ) -> None:
        self.name = descriptor.get("name", "primary")
        self.fields = list(fields)
        self.conversions = dict(conversions or {})
        keys = descriptor["data_keys"]
        outside = [name for name in self.fields if name in keys and "external" in keys[name]]
        inside = [name for name in self.fields if name not in outside]
        self.external = ExternalColumns(descriptor, outside, inside) if outside else None
        self._declared = float(descriptor.get("time", np.nan))
        self._times: dict[int, float] = {}  # of events that wait for their files

    def take(self, page: EventPage, times: Sequence[float] | None = None) -> Array:
        """Return the rows that an event page completes, (points, columns); with fields in files, see `ready`.

        Parameters
        ----------
        page : events.
        times : one time an event (s), in place of the events' own.

        Raises
        ------
        FieldError : when the fields of an event do not have one length.
        """
        times = page["time"] if times is None else times
        if self.external is not None:
            self.external.add(page)
            self._times.update(zip(page["seq_num"], times, strict=True))
            return self.ready()
        return self._rows(page["data"], times, page["seq_num"], page.get("filled"))

    def ready(self, *, final: bool = False) -> Array:
        """Return the rows whose files hold all their fields by now.

        Parameters
        ----------
        final : nothing follows: all rows are given, with NaN for what is missing.
        """
        numbers, values = self.external.take(final=final) if self.external is not None else ([], {})
        parts = [np.empty((0, len(self.fields) + 2))]
        lengths = zip(*([len(row) for row in rows] for rows in values.values()), strict=True)
        first = 0
        for _, same_lengths in groupby(lengths):
            last = first + len(list(same_lengths))
            data = {name: rows[first:last] for name, rows in values.items()}
            times = [self._times.pop(seq_num, self._declared) for seq_num in numbers[first:last]]
            parts.append(self._rows(data, times, numbers[first:last]))
            first = last
        return np.concatenate(parts) if len(parts) != 2 else parts[1]

    def _rows(
        self,
        data: Mapping[str, Sequence[object]],
        time: Sequence[float],
        seq_num: Sequence[int],
        filled: Mapping[str, Sequence[object]] | None = None,
    ) -> Array:
        filled = filled or {}
        columns = [_column(data.get(name), filled.get(name), len(time)) for name in self.fields]
        n = len(columns[0])
        columns += [np.asarray(time, dtype=np.float64), np.asarray(seq_num, dtype=np.float64)]
        rows = np.empty((n, len(columns)))
        for k, column in enumerate(columns):
            if len(column) not in (n, len(time)):
                name = self.fields[k]
                raise FieldError(
                    f"field {name!r} of stream {self.name!r} has {len(column)} values for {n} energies"
                )
            rows[:, k] = column if len(column) == n else np.repeat(column, n // len(time))
        for name, converted in self.conversions.items():
            at = self.fields.index(name)
            rows[:, at] = converted(rows[:, at])
        return rows


def as_page(event: Event) -> EventPage:
    """Return an event as a page of one."""
    return {
        "descriptor": event["descriptor"],
        "uid": [event.get("uid", "")],
        "time": [event["time"]],
        "seq_num": [event["seq_num"]],
        "data": {name: [value] for name, value in event["data"].items()},
        "timestamps": {name: [value] for name, value in (event.get("timestamps") or {}).items()},
        "filled": {name: [value] for name, value in (event.get("filled") or {}).items()},
    }


def number(value: object) -> float:
    """Return a value as a number; NaN where it is none."""
    try:
        return float(cast("SupportsFloat | str", value))
    except (TypeError, ValueError):
        return float("nan")


def _column(values: Sequence[object] | None, filled: Sequence[object] | None, events: int) -> Array:
    """Return the numbers of one field, (points,); NaN where there are none or they are not filled in."""
    if values is None:
        return np.full(events, np.nan)
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        column = np.array([number(value) for value in values])
    if filled is not None and not all(filled):
        column[np.array([not is_filled for is_filled in filled])] = np.nan
    return column.reshape(-1)
