"""Detector data that stand in files while documents only point there: stream_resource and stream_datum."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
from bluesky_tiled_plugins.writing.consolidators import HDF5Consolidator, consolidator_factory
from tiled.adapters.hdf5 import h5open
from tiled.ndslice import NDSlice
from tiled.utils import BrokenLink, path_from_uri

from xas_live.errors import Refusal
from xas_live.spectrum import Array

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, EventPage, StreamDatum, StreamResource
    from event_model.documents.stream_datum import StreamRange
    from tiled.structures.data_source import Asset


class NoReaderError(Refusal):
    """Data in files that bluesky_tiled_plugins' consolidators do not read, with the reason."""


class Adapter(Protocol):
    """What reads an array from a file."""

    def read(self, slice: NDSlice) -> Array:
        """Return a part of the array."""
        ...


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

    def init_adapter(self) -> Adapter:
        """Open the files."""
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
    whatever else is registered there. What a file does not hold yet is asked for with the next document.

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
        return cast("Consolidator", consolidator_factory({**resource}, {**self._descriptor}))

    def _read(self, column: _Field, *, final: bool) -> None:
        """Read what was announced; what the file does not hold yet stays pending, unless nothing follows."""
        while column.pending:
            announced = column.pending[0]
            resource, reader, datum = announced
            try:
                values = _values(reader, datum["indices"]["start"], datum["indices"]["stop"])
            except _UNREADABLE as error:
                self.trouble = f"{resource['uri']} cannot be read: {error}"
                if not final:
                    return
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
            except _UNREADABLE:
                bad = middle
        if found is not None:
            column.keep(datum["seq_nums"]["start"], found)


_UNREADABLE = (OSError, KeyError, ValueError, IndexError, BrokenLink)


def _values(reader: Consolidator, start: int, stop: int) -> Array:
    """Read rows from a consolidator's file, (rows, ...)."""
    rows = _of_one_dataset(reader, start, stop)
    if rows is None:
        rows = reader.init_adapter().read(NDSlice(slice(start, stop)))
    return np.asarray(rows, dtype=np.float64)


def _of_one_dataset(reader: Consolidator, start: int, stop: int) -> Array | None:
    """Read (rows, ...) if all rows stand in one HDF5 dataset as they are; return None if they do not.

    The consolidator's adapter would do, but plans a task for every chunk of the file, and opens it for each.
    """
    of = reader.adapter_parameters() if isinstance(reader, HDF5Consolidator) else {}
    if len(reader.assets) != 1 or not set(of) <= {"dataset", "swmr", "locking"} or "dataset" not in of:
        return None
    path = path_from_uri(reader.assets[0].data_uri)
    with h5open(path, of["dataset"], swmr=of["swmr"], locking=of["locking"], libver="latest") as dataset:
        if math.prod(dataset.shape[1:]) != math.prod(reader.shape[1:]):
            return None
        if len(dataset) < stop:
            raise OSError(f"{of['dataset']} holds {len(dataset)} rows so far, row {stop} is announced")
        return np.asarray(dataset[start:stop]).reshape(stop - start, *reader.shape[1:])
