"""One run into Tiled: the only place that knows bluesky_tiled_plugins' TiledWriter.

TiledWriter writes rows to Tiled once `batch_size` of them have come: with 1, each costs 40 ms; with
thousands, a running scan is unreadable. Here the rows at hand are written together whenever `flush` is
called, so that a batch is as large as the last one took time. Event pages go there column by column.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from bluesky_tiled_plugins import TiledWriter
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, concatenate_stream_datums

from xas_live.archive import pages
from xas_live.archive.documents import Document
from xas_live.archive.names import (
    checked_uid,
    renamed,
    renamed_descriptor,
    stored_names,
    stored_stream,
    valid_start,
)
from xas_live.archive.values import Column, UnevenRows, fit, fit_array, kind, misfit, plain, sort

_NOTES = 200
_TAGS = "tiled_access_tags"  # TiledWriter's name
Emit = Callable[[str, Document], None]


class RowsDiffer(ValueError):
    """What the catalog has of a run is not what was handed in."""


class RunSink:
    """Writes the documents of one run, from its start, into a catalog.

    Fields and streams whose names Tiled does not take are stored under others, which the descriptor and the
    notes of the run tell.

    Parameters
    ----------
    catalog : Tiled client of the catalog.
    whole : write all rows in one batch at the stop document. Slower to be seen, but columns get a type that
        fits all rows.
    careful : refuse single events that would spoil the others.
    access_tags : in Tiled, of a run whose start document brings none.
    """

    def __init__(
        self,
        catalog: Any,
        *,
        whole: bool = False,
        careful: bool = False,
        access_tags: Sequence[str] | None = None,
    ) -> None:
        self._batches: _Batches | None = None
        self._tags = access_tags
        self._whole = whole
        self._careful = careful
        self._names: dict[str, dict[str, str]] = {}
        self._fields: dict[str, frozenset[str]] = {}
        self._streams: dict[str, str] = {}
        # batch_size=1 is what TiledWriter falls back to if _Rows can no longer raise it.
        self._write = TiledWriter(catalog, normalizer=self._normalizer, batch_size=1)

    def __call__(self, name: str, doc: Document) -> None:
        """Hand in the next document. Raises what TiledWriter and the Tiled client raise."""
        match name:
            case "start":
                checked_uid(doc["uid"])
                doc, notes = valid_start(doc)
                if self._tags:
                    doc = {_TAGS: list(self._tags), **doc}
                self._write(name, doc)
                self._note(*notes)
            case "descriptor":
                self._write(name, self._renamed_descriptor(doc))
            case "event" | "event_page":
                doc = self._renamed_event(doc)
                if name == "event_page" and self._batches is not None:
                    # TiledWriter's router would take it to pieces, to fill in what files hold.
                    self._batches.event_page(doc)
                else:
                    self._write(name, doc)
            case "stream_resource":
                self._write(name, {**doc, "data_key": self._stored(str(doc["data_key"]))})
            case "stop":
                counts = dict(doc.get("num_events") or {})
                counts = {self._streams.get(stream, stream): count for stream, count in counts.items()}
                self._write(name, {**doc, "num_events": counts} if "num_events" in doc else doc)
            case _:
                self._write(name, doc)

    @property
    def other_names(self) -> dict[str, str]:
        """Names of fields and streams that are stored under another one, and that one."""
        pairs = {**self._streams, **{k: v for names in self._names.values() for k, v in names.items()}}
        return {name: stored for name, stored in pairs.items() if name != stored}

    def flush(self) -> None:
        """Make all rows handed in readable, unless the run is written as a whole."""
        if self._batches is not None and not self._whole:
            self._batches.flush()

    def end(self) -> None:
        """Write all rows, and compare those in the catalog with those handed in, by their numbers.

        For the end of a run, before its stop document says that it is whole. A request whose answer was lost
        may have been followed, and another session may write the same run.

        Raises
        ------
        RowsDiffer : when rows are missing, or there twice.
        """
        if self._batches is not None:
            self._batches.flush()
            self._batches.verify()

    def _normalizer(self, **options: Any) -> _Batches:
        self._batches = _Batches(live=not self._whole, careful=self._careful, **options)
        return self._batches

    def _note(self, *notes: str) -> None:
        if self._batches is not None:
            for note in notes:
                self._batches.note(note)

    def _renamed_descriptor(self, doc: Document) -> Document:
        names = stored_names(doc["data_keys"])
        others = {name: stored for name, stored in names.items() if name != stored}
        self._names[doc["uid"]] = others
        self._fields[doc["uid"]] = frozenset(names)
        stream = str(doc["name"])
        if stream not in self._streams:
            self._streams[stream] = stored_stream(stream, set(self._streams.values()))
        if stream != self._streams[stream]:
            others = {stream: self._streams[stream], **others}
        for name, stored in others.items():
            self._note(f"Renamed {name!r} to {stored!r} in stream {stream!r}: Tiled does not take the name")
        return renamed_descriptor(doc, names, self._streams[stream]) if others else doc

    def _renamed_event(self, doc: Document) -> Document:
        descriptor = doc["descriptor"]
        if descriptor not in self._fields:
            raise ValueError("an event belongs to no stream whose descriptor came")
        for name in doc["data"].keys() - self._fields[descriptor]:
            self._note(f"{name!r} is not declared by the descriptor of its events, and left out")
        if not (names := self._names[descriptor]):
            return doc
        parts: tuple[str, ...] = ("data", "timestamps", "filled")
        return {**doc, **{part: renamed(doc[part], names) for part in parts if part in doc}}

    def _stored(self, field: str) -> str:
        """Return the name of a field of any stream in Tiled."""
        known = (names[field] for names in self._names.values() if field in names)
        return next(known, field)


class _Batches(RunNormalizer):
    """TiledWriter's normaliser, holding rows back from its run writer until `flush` or the stop document."""

    def __init__(self, *, live: bool, careful: bool, **options: Any) -> None:
        super().__init__(**options)
        self._live = live
        self._careful = careful
        self._writer: Any = None
        self._keys: dict[str, Document] = {}
        self._rows: dict[str, list[Document]] = defaultdict(list)
        self._datums: dict[str, list[Document]] = defaultdict(list)
        self._sorts: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, array[int]] = defaultdict(lambda: array("q"))

    def subscribe(self, func: Any, name: str = "all") -> int:
        self._writer = func
        # Its own sends rows again when the answer is lost, though they may have been stored.
        func._append_with_retry = _append
        return super().subscribe(self._hold, name)

    def note(self, text: str) -> None:
        """Have a remark stand in the run's metadata, unless many do."""
        if len(self.notes) < _NOTES:
            self.notes.append(text)

    def event_page(self, doc: Document) -> None:
        """Take a page: as it is where the normaliser would change nothing in it, else event by event."""
        if self._live and self._is_plain(doc):
            self._add(doc["descriptor"], self._fitted_page(doc), doc["seq_num"])
            return
        for event in pages.events(doc):
            self.event(event)

    def flush(self) -> None:
        for rows in self._rows.values():
            for paged, some in groupby(rows, key=pages.is_page):
                if paged:
                    for page in pages.joined(list(some)):
                        self._write_page(page)
                else:
                    self._write_events(list(some))
        self._rows.clear()
        for datums in self._datums.values():
            for datum in _joined(datums):
                self._writer("stream_datum", datum)
        self._datums.clear()

    def verify(self) -> None:
        for stream, numbers in self._numbers.items():
            # Of a table with very many columns, the first part has the numbers.
            table = next(
                (
                    self._writer._internal_tables[key]
                    for key in (stream, f"{stream}_0")
                    if key in self._writer._internal_tables
                ),
                None,
            )
            there = [] if table is None else [int(n) for n in table.read(["seq_num"])["seq_num"]]
            if sorted(there) != sorted(numbers):
                raise RowsDiffer(
                    f"stream {stream!r} has {len(there)} rows in the archive, not the {len(numbers)} that "
                    "were measured, or others"
                )

    def _add(self, descriptor: str, rows: Document, numbers: Sequence[int]) -> None:
        self._rows[descriptor].append(rows)
        self._numbers[self._desc_name_by_uid[descriptor]].extend(numbers)

    def _write_events(self, events: list[Document]) -> None:
        # All but the last wait in the run writer for the last, which brings the batch to its size.
        self._writer._batch_size = sys.maxsize
        for event in events[:-1]:
            self._writer("event", event)
        self._writer._batch_size = 1
        for event in events[-1:]:
            self._writer("event", event)

    def _write_page(self, page: Document) -> None:
        """Append to the arrays and the table of a stream; the run writer makes them from the first rows.

        It knows rows only, so what it made is appended to here. A page that does not fit goes to it as rows.
        """
        writer = self._writer
        stream = writer._desc_nodes[page["descriptor"]].item["id"]
        arrays = {name: writer._internal_arrays.get(f"{stream}/{name}") for name in page["data"]}
        arrays = {name: client for name, client in arrays.items() if client is not None}
        table = writer._internal_tables.get(stream)
        rows = None
        if table is not None:
            rows = pages.table(page, table.structure().arrow_schema_decoded, without=arrays)
        blocks = {
            name: pages.block(page["data"][name], client.dtype, client.shape[1:])
            for name, client in arrays.items()
        }
        if rows is None or any(block is None for block in blocks.values()):
            self._write_events(list(pages.events(page)))
            return
        for name, client in arrays.items():
            client.patch(blocks[name], offset=client.shape[:1], extend=True)
        writer._append_with_retry(table, rows, stream)

    def _hold(self, name: str, doc: Document) -> None:
        if name == "event":
            self._add(doc["descriptor"], self._fitted(doc), [doc["seq_num"]])
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

    def _is_plain(self, page: Document) -> bool:
        """Whether all columns are declared, inside the page, and named as Tiled needs it."""
        known = self._keys.get(page["descriptor"], {}).keys() - self._ext_keys
        names = page["data"].keys()
        return names == page["timestamps"].keys() == known and pages.is_even(page)

    def _fitted_page(self, page: Document) -> Document:
        keys = self._keys[page["descriptor"]]
        data: dict[str, Column] = {}
        for name, column in page["data"].items():
            fitted = fit_array(column, keys[name])
            values = zip(plain(column), page["seq_num"], strict=True) if fitted is None else ()
            one_by_one = [self._fitted_value(page["descriptor"], name, value, n) for value, n in values]
            data[name] = one_by_one if fitted is None else fitted
        return {**page, "data": data}

    def _fitted(self, event: Document) -> Document:
        """The event, its values as declared."""
        descriptor, seq_num = event["descriptor"], event["seq_num"]
        keys = self._keys[descriptor]
        data = {
            name: self._fitted_value(descriptor, name, value, seq_num) if name in keys else value
            for name, value in event["data"].items()
        }
        for name in keys.keys() - data.keys() - self._ext_keys:
            if keys[name]["dtype"] == "array":
                raise UnevenRows(f"event {seq_num} has no {name!r}")
            self.note(f"event {seq_num} has no {name!r}")
            data[name] = math.nan if kind(keys[name]) == "f" else None
        for name, value in data.items() if self._careful else ():
            if name in keys and (why := misfit(value, keys[name])):
                raise UnevenRows(f"{name!r} in event {seq_num}: {why}")
        stamps = event["timestamps"]
        if len(stamps) < len(data):
            stamps = dict.fromkeys(data, math.nan) | stamps
        return {**event, "data": data, "timestamps": stamps}

    def _fitted_value(self, descriptor: str, name: str, value: Any, seq_num: int) -> Any:
        key = self._keys[descriptor][name]
        try:
            fitted = fit(value, key, live=self._live)
        except UnevenRows as error:
            raise UnevenRows(f"{name!r} in event {seq_num}: {error}") from None
        except (TypeError, ValueError):
            self.note(
                f"{name!r} in event {seq_num} is declared a {key['dtype']}, and left out "
                f"because it is {str(value)[:100]}"
            )
            return math.nan if kind(key) == "f" else None
        if key["dtype"] == "array":
            # One text among numbers would make all of them texts.
            held = sort(fitted)
            others = self._sorts.setdefault((descriptor, name), "number" if kind(key) in "iub" else held)
            if {held, others} == {"number", "text"}:
                raise UnevenRows(f"{name!r} in event {seq_num} holds {held}, not {others}: {str(value)[:60]}")
        return fitted


def _append(client: Any, table: Any, stream: str) -> None:
    client.append_partition(0, table)


def _joined(datums: list[Document]) -> list[Document]:
    try:
        return [concatenate_stream_datums(*datums)]
    except ValueError:
        # Not consecutive: one by one.
        return datums
