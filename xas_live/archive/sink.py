"""One run into Tiled: the only place that knows bluesky_tiled_plugins' TiledWriter.

TiledWriter writes rows to Tiled once `batch_size` of them have come: with 1, each costs 40 ms; with
thousands, a running scan is unreadable. Here the rows at hand are written together whenever `flush` is
called, so that a batch is as large as the last one took time. Event pages go there column by column.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal

from bluesky_tiled_plugins import TiledWriter
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, concatenate_stream_datums
from tiled.client.container import Container

from xas_live.archive import pages
from xas_live.archive.documents import Document
from xas_live.archive.values import Column, UnevenRows, fit, fit_array, kind, plain

Presence = Literal["absent", "partial", "complete"]
_TAGS = "tiled_access_tags"  # TiledWriter's name
Emit = Callable[[str, Document], None]


class RunSink:
    """Writes the documents of one run, from its start, into a catalog.

    Parameters
    ----------
    catalog : Tiled client of the catalog.
    whole : write all rows in one batch at the stop document. Slower to be seen, but columns get a type that
        fits all rows.
    access_tags : in Tiled, of a run whose start document brings none.
    """

    def __init__(
        self, catalog: Any, *, whole: bool = False, access_tags: Sequence[str] | None = None
    ) -> None:
        self._batches: _Batches | None = None
        self._tags = access_tags
        self._whole = whole
        # batch_size=1 is what TiledWriter falls back to if _Rows can no longer raise it.
        self._write = TiledWriter(catalog, normalizer=self._normalizer, batch_size=1)

    def __call__(self, name: str, doc: Document) -> None:
        """Hand in the next document. Raises what TiledWriter and the Tiled client raise."""
        if name == "start" and self._tags:
            doc = {_TAGS: list(self._tags), **doc}
        if name == "event_page" and self._batches is not None:
            # TiledWriter's router would take it to pieces, to fill in what files hold.
            self._batches.event_page(doc)
        else:
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

    def event_page(self, doc: Document) -> None:
        """Take a page: as it is where the normaliser would change nothing in it, else event by event."""
        if self._live and self._is_plain(doc):
            self._rows[doc["descriptor"]].append(self._fitted_page(doc))
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

    def _is_plain(self, page: Document) -> bool:
        """Whether all columns are declared, inside the page, and named as Tiled needs it."""
        known = self._keys.get(page["descriptor"], {}).keys() - self._ext_keys
        names = page["data"].keys()
        return names == page["timestamps"].keys() and names <= known and pages.is_even(page)

    def _fitted_page(self, page: Document) -> Document:
        keys = self._keys[page["descriptor"]]
        data: dict[str, Column] = {}
        for name, column in page["data"].items():
            fitted = fit_array(column, keys[name])
            values = zip(plain(column), page["seq_num"], strict=True) if fitted is None else ()
            one_by_one = [self._fitted_value(name, value, keys[name], n) for value, n in values]
            data[name] = one_by_one if fitted is None else fitted
        return {**page, "data": data}

    def _fitted(self, event: Document) -> Document:
        """The event, its values as declared."""
        keys = self._keys[event["descriptor"]]
        data = {
            name: self._fitted_value(name, value, keys[name], event["seq_num"]) if name in keys else value
            for name, value in event["data"].items()
        }
        return {**event, "data": data}

    def _fitted_value(self, name: str, value: Any, key: Document, seq_num: int) -> Any:
        try:
            return fit(value, key, live=self._live)
        except UnevenRows as error:
            raise UnevenRows(f"{name!r} in event {seq_num}: {error}") from None
        except (TypeError, ValueError):
            self.notes.append(
                f"{name!r} in event {seq_num} is declared a {key['dtype']}, and left out "
                f"because it is {str(value)[:100]}"
            )
            return math.nan if kind(key) == "f" else None


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


def _joined(datums: list[Document]) -> list[Document]:
    try:
        return [concatenate_stream_datums(*datums)]
    except ValueError:
        # Not consecutive: one by one.
        return datums
