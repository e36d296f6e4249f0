"""Detector data that stand in files while documents only point there: stream_resource and stream_datum."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
from tiled.utils import path_from_uri

from xas_live.callbacks.files.reader import FILES, FileReadError, NoAnswerError
from xas_live.callbacks.files.rows import AdapterRows, DatasetRows, OtherShapeError
from xas_live.errors import Refusal
from xas_live.spectrum import Array

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, EventPage, StreamDatum, StreamResource
    from event_model.documents.stream_datum import StreamRange
    from tiled.structures.data_source import Asset


class NoReaderError(Refusal):
    """Data in files that bluesky_tiled_plugins' consolidators do not read, with the reason."""


MOST_ROWS = 10_000_000
"""Rows that one document may announce."""


class Consolidator(Protocol):
    """What bluesky_tiled_plugins makes for a stream resource, to read the rows that are announced.

    Attributes
    ----------
    assets : the files.
    shape : of the whole array, rows first.
    """

    assets: Sequence[Asset]
    shape: tuple[int, ...]

    def consume_stream_datum(self, doc: StreamDatum) -> object:
        """Take the announcement of further rows."""
        ...

    def adapter_parameters(self) -> Mapping[str, object]:
        """Return how the adapter is opened."""
        ...


def is_stream_of_numbers(key: DataKey) -> bool:
    """Return whether a field stands in files of a stream resource, as numbers or rows of numbers."""
    shape = [size for size in key.get("shape") or () if size != 1]
    return str(key.get("external", "")).startswith("STREAM:") and len(shape) <= 1


class _Announced(NamedTuple):
    """A stream_datum, the stream_resource that it is about, and what reads that."""

    resource: StreamResource
    reader: Consolidator
    datum: StreamDatum


@dataclass
class _Field:
    """One field of the stream.

    Attributes
    ----------
    resource, reader : uid of its newest stream resource, and what reads that.
    pending : what was announced and not read yet, in order.
    rows : what was read and waits for other fields, by sequence number.
    """

    resource: str = ""
    reader: Consolidator | None = None
    pending: deque[_Announced] = field(default_factory=deque)
    rows: dict[int, Array] = field(default_factory=dict)

    def keep(self, first: int, values: Array) -> None:
        """Take rows that were read, the first with this sequence number."""
        for k, row in enumerate(values):
            self.rows[first + k] = np.atleast_1d(row).reshape(-1)


class ExternalColumns:
    """Rows of a stream some of whose fields stand in files.

    Every field may come in ranges of its own; a row is ready when all its fields are. Files are read by
    bluesky_tiled_plugins' consolidators: HDF5 (also while it is being written, in SWMR mode), CSV, TIFF and
    whatever else is registered there. That happens in another process (`FileReader`). What a file does not
    hold yet, and one that does not answer, is asked for with later documents.

    Parameters
    ----------
    descriptor : of the stream.
    external : names of the fields that stand in files; internal : of those that come with events.
    """

    def __init__(self, descriptor: EventDescriptor, external: Sequence[str], internal: Sequence[str]) -> None:
        self._descriptor = descriptor
        self._external = {name: _Field() for name in external}
        self._internal = {name: _Field() for name in internal}
        self._next: int | None = None
        self.trouble = ""
        FILES.start()

    @property
    def waits(self) -> bool:
        """Whether rows were announced that are not all there."""
        columns = (self._external | self._internal).values()
        return any(column.pending or column.rows for column in columns)

    def announce(self, resource: StreamResource, datum: StreamDatum) -> None:
        """Take a stream_datum of a stream_resource; fields that nobody wants are passed over.

        Raises
        ------
        NoReaderError : for data that the consolidator of their mimetype refuses: of variable size, in chunks
            of no size, without a parameter that it needs.
        """
        column = self._external.get(resource["data_key"])
        if column is None:
            return
        first, last = datum["indices"]["start"], datum["indices"]["stop"]
        if not 0 <= last - first <= MOST_ROWS:
            raise NoReaderError(f"a document announces rows {first} to {last}, at most {MOST_ROWS} are read")
        try:
            if column.reader is None or column.resource != resource["uid"]:
                column.resource, column.reader = resource["uid"], self._reader(resource)
            column.reader.consume_stream_datum({**datum})
        except (KeyError, ValueError, NotImplementedError) as error:  # what consolidators refuse with
            raise NoReaderError(str(error)) from error
        column.pending.append(_Announced(resource, column.reader, datum))

    def add(self, page: EventPage) -> None:
        """Take the fields that come with events; of those in files, what was filled in already."""
        for name, column in (self._internal | self._external).items():
            for number, value in zip(page["seq_num"], page["data"].get(name, ()), strict=False):
                if name in self._internal or not isinstance(value, str):  # a str is where to find it
                    column.rows[number] = np.atleast_1d(np.asarray(value, dtype=np.float64))

    def take(self, *, final: bool = False) -> tuple[list[int], dict[str, list[Array]]]:
        """Return the sequence numbers of the rows that are ready now, in order, and their values by field.

        Parameters
        ----------
        final : nothing follows: rows that lack a field are given with NaN there.
        """
        columns = self._external | self._internal
        if final:
            self.trouble = ""  # what the files lacked may be there by now
            FILES.ask_again()
        for column in self._external.values():
            self._read(column, final=final)
        known = set().union(*(column.rows for column in columns.values()))
        whole = set.intersection(*(set(column.rows) for column in columns.values()))
        if self._next is None and known:
            self._next = min(known)
        ready = sorted(known if final else whole)
        if not final:
            ready = [n for k, n in enumerate(ready) if self._next is not None and n == self._next + k]
        if ready:
            self._next = ready[-1] + 1
        values = {
            name: [column.rows.pop(n, np.full(1, np.nan)) for n in ready] for name, column in columns.items()
        }
        return ready, values

    def _reader(self, resource: StreamResource) -> Consolidator:
        # Its package takes more than a second to import: only who reads files waits for it.
        from bluesky_tiled_plugins.writing.consolidators import consolidator_factory

        return cast("Consolidator", consolidator_factory({**resource}, {**self._descriptor}))

    def _read(self, column: _Field, *, final: bool) -> None:
        """Read what was announced; what the file does not hold yet stays pending, unless nothing follows."""
        while column.pending:
            announced = column.pending[0]
            resource, reader, datum = announced
            try:
                values = _values(reader, datum["indices"]["start"], datum["indices"]["stop"])
            except FileReadError as error:
                self.trouble = f"{resource['uri']} cannot be read: {error}"
                if not final:
                    return
                if not isinstance(error, NoAnswerError):
                    self._salvage(column, announced)
            else:
                self.trouble = "" if not final else self.trouble
                column.keep(datum["seq_nums"]["start"], values)
            column.pending.popleft()

    def _salvage(self, column: _Field, announced: _Announced) -> None:
        """Read as far as it goes a file that is shorter than announced when the run ends, by halving."""
        resource, _, datum = announced
        start, good, bad = datum["indices"]["start"], 0, datum["indices"]["stop"] - datum["indices"]["start"]
        found: Array | None = None
        while bad - good > 1:
            middle = (good + bad) // 2
            shorter: StreamRange = {"start": 0, "stop": start + middle}
            reader = self._reader(resource)
            reader.consume_stream_datum({**datum, "indices": shorter, "seq_nums": shorter})
            try:
                found, good = _values(reader, start, start + middle), middle
            except FileReadError:
                bad = middle
        if found is not None:
            column.keep(datum["seq_nums"]["start"], found)


def _values(reader: Consolidator, start: int, stop: int) -> Array:
    """Read rows from a consolidator's files, (rows, ...); raises as `FileReader.read` does."""
    from bluesky_tiled_plugins.writing.consolidators import HDF5Consolidator

    paths = tuple(_paths(reader))
    of = reader.adapter_parameters() if isinstance(reader, HDF5Consolidator) else {}
    if len(paths) == 1 and "dataset" in of and set(of) <= {"dataset", "swmr", "locking"}:
        rows = DatasetRows(paths[0], of["dataset"], of["swmr"], of["locking"], tuple(reader.shape[1:]))
        try:
            return FILES.read(rows, start, stop)
        except OtherShapeError:  # the rows are parts of it: its format's reader knows
            pass
    return FILES.read(AdapterRows(type(reader), vars(reader), paths), start, stop)


def _paths(reader: Consolidator) -> Iterator[Path]:
    """Give the files of a consolidator.

    Raises
    ------
    FileReadError : when one is no local file.
    """
    for asset in reader.assets:
        try:
            yield Path(path_from_uri(asset.data_uri))
        except ValueError as error:
            raise FileReadError(str(error)) from None
