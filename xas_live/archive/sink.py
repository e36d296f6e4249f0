"""One run into Tiled: the only place that knows bluesky_tiled_plugins' TiledWriter.

TiledWriter writes rows to Tiled once `batch_size` of them have come: with 1, each costs 40 ms; with
thousands, a running scan is unreadable. Here the rows at hand are written together whenever `flush` is
called, so that a batch is as large as the last one took time.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from bluesky_tiled_plugins import TiledWriter
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, concatenate_stream_datums
from tiled.client.container import Container

from xas_live.archive.documents import Document

Presence = Literal["absent", "partial", "complete"]
Emit = Callable[[str, Document], None]


class UnevenRows(ValueError):
    """A row does not fit the columns made from the rows before it; the run can be written as a whole."""


class RunSink:
    """Writes the documents of one run, from its start, into a catalog.

    Parameters
    ----------
    catalog : Tiled client of the catalog.
    whole : write all rows in one batch at the stop document. Slower to be seen, but columns get a type that
        fits all rows.
    """

    def __init__(self, catalog: Any, *, whole: bool = False) -> None:
        self._batches: _Batches | None = None
        self._whole = whole
        # batch_size=1 is what TiledWriter falls back to if _Rows can no longer raise it.
        self._write = TiledWriter(catalog, normalizer=self._normalizer, batch_size=1)

    def __call__(self, name: str, doc: Document) -> None:
        """Hand in the next document. Raises what TiledWriter and the Tiled client raise."""
        self._write(name, doc)

    def flush(self) -> None:
        """Make all rows handed in readable, unless the run is written as a whole."""
        if self._batches is not None and not self._whole:
            self._batches.flush()

    def _normalizer(self, **options: Any) -> _Batches:
        self._batches = _Batches(live=not self._whole, **options)
        return self._batches


class _Batches(RunNormalizer):
    """TiledWriter's normaliser, holding rows back from its run writer until `flush` or the stop document."""

    def __init__(self, *, live: bool, **options: Any) -> None:
        super().__init__(**options)
        self._live = live
        self._writer: Any = None
        self._keys: dict[str, Document] = {}
        self._rows: dict[str, list[Document]] = defaultdict(list)
        self._datums: dict[str, list[Document]] = defaultdict(list)

    def subscribe(self, func: Any, name: str = "all") -> int:
        self._writer = func
        return super().subscribe(self._hold, name)

    def flush(self) -> None:
        for rows in self._rows.values():
            # All but the last wait in the run writer for the last, which brings the batch to its size.
            self._writer._batch_size = sys.maxsize
            for row in rows[:-1]:
                self._writer("event", row)
            self._writer._batch_size = 1
            for row in rows[-1:]:
                self._writer("event", row)
        self._rows.clear()
        for datums in self._datums.values():
            for datum in _joined(datums):
                self._writer("stream_datum", datum)
        self._datums.clear()

    def _hold(self, name: str, doc: Document) -> None:
        if name == "event":
            self._rows[doc["descriptor"]].append(self._fitted(doc))
        elif name == "stream_datum":
            self._datums[doc["stream_resource"]].append(doc)
        else:
            if name == "descriptor":
                self._keys[doc["uid"]] = doc["data_keys"]
            if name != "stream_resource":
                self.flush()
            if name == "stop":
                doc["_run_normalizer_notes"] = list(self.notes)
            self._writer(name, doc)

    def _fitted(self, event: Document) -> Document:
        """The event, its values as declared: the type of a column in Tiled comes from its first rows."""
        keys = self._keys[event["descriptor"]]
        data = {}
        for key, value in event["data"].items():
            if key not in keys:
                data[key] = value
                continue
            try:
                data[key] = fit(value, keys[key], live=self._live)
            except UnevenRows as error:
                raise UnevenRows(f"{key!r} in event {event['seq_num']}: {error}") from None
            except (TypeError, ValueError):
                data[key] = math.nan if _kind(keys[key]) == "f" else None
                self.notes.append(
                    f"{key!r} in event {event['seq_num']} is declared a {keys[key]['dtype']}, and left out "
                    f"because it is {str(value)[:100]}"
                )
        return {**event, "data": data}


def fit(value: Any, key: Document, *, live: bool) -> Any:
    """A value of an event as its data key declares it.

    Raises
    ------
    TypeError, ValueError : when the value is of another sort.
    UnevenRows : live, when an integer turns out to be a fraction.
    """
    dtype = key["dtype"]
    if dtype == "array":
        return _floats_if_numbers(value) if _kind(key) == "f" else value
    if dtype == "string":
        return value if isinstance(value, str) else str(value)
    if dtype == "boolean":
        return bool(value) if isinstance(value, int | float) else _refuse(value)
    if not isinstance(value, int | float):
        return math.nan if value is None and _kind(key) == "f" else _refuse(value)
    if _kind(key) == "f":
        return float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and live:
        raise UnevenRows(f"{value} is declared an integer")
    return value


def presence(catalog: Any, uid: str) -> tuple[Presence, dict[str, int]]:
    """Whether a catalog has a run, and the number of events by stream that its stop document tells."""
    try:
        run = Container.__getitem__(catalog, uid)
    except KeyError:
        return "absent", {}
    stop = run.metadata.get("stop")
    return ("complete", dict(stop.get("num_events") or {})) if stop else ("partial", {})


def remove(catalog: Any, uid: str) -> None:
    """Remove a run and what Tiled stored of it; files of detectors stay."""
    catalog.delete_contents(uid, recursive=True, external_only=False)


def _kind(key: Document) -> str:
    dtype = key.get("dtype_numpy")
    return np.dtype(dtype).kind if isinstance(dtype, str) else "O"


def _floats_if_numbers(value: Any) -> Any:
    # The normaliser declares every array without a dtype_numpy as one of floats, also one of strings.
    try:
        return _floats(value)
    except (TypeError, ValueError):
        return value


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return math.nan if value is None else float(value)


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not what the data key declares")


def _joined(datums: list[Document]) -> list[Document]:
    try:
        return [concatenate_stream_datums(*datums)]
    except ValueError:
        # Not consecutive: one by one.
        return datums
