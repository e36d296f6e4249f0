"""Runs from a Tiled catalog, as documents again: tables are read whole, and given on as event pages."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from xas_live.archive.names import original
from xas_live.callbacks.assembly import SWEEP_DONE
from xas_live.sources.documents import PLAN_NAME, Document
from xas_live.sources.scan import Unreadable, UnreadableError

if TYPE_CHECKING:
    import pandas as pd
    from event_model.documents import DataKey, EventDescriptor, EventPage, RunStart, RunStop
    from numpy.typing import NDArray

    Column = NDArray[np.generic]


class PartClient(Protocol):
    """Tiled's client of a table of a stream, or of an array beside it."""

    def read(self) -> pd.DataFrame | Column:
        """Return all of it."""
        ...


class StreamClient(Protocol):
    """Tiled's client of a stream; `descriptors` may be missing."""

    base: Mapping[str, PartClient]


class RunClient(Protocol):
    """Tiled's client of a run: its streams by name; the metadata are its start and stop documents."""

    metadata: Mapping[str, Mapping[str, object] | None]

    def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, stream: str, /) -> StreamClient: ...


class CatalogEntry(RunClient, Protocol):
    """What a catalog holds; `v3` is the run in today's interface."""

    v3: RunClient


class Catalog(Protocol):
    """Tiled's client of a catalog: runs by uid or scan id."""

    uri: object

    def __getitem__(self, run: str | int, /) -> CatalogEntry: ...


_NUMBER = re.compile(r"-?\d{1,5}")
_PAGE = 10_000  # events a page: a run of any length goes by in bounded memory


@dataclass(frozen=True, eq=False)
class StoredRun:
    """One run in a catalog.

    Attributes
    ----------
    source : address of the catalog.
    scan : the label of the file it came from, else its scan id.
    run : its Tiled client.
    """

    source: str
    scan: str
    run: RunClient

    @property
    def whole(self) -> bool:
        """Whether it was a file, so that it is one sweep whatever its energies do."""
        return bool(self._start.get("plan_name") == PLAN_NAME)

    def documents(self) -> Iterator[Document]:
        """Give start, then each stream's descriptor and event pages, then stop if there is one.

        Raises
        ------
        UnreadableError : when the server does not give the data.
        """
        import httpx

        try:
            start = self._start.copy()
            # TiledWriter keeps them at the node only; derived runs are to have them, too.
            if tags := getattr(self.run, "access_tags", None):
                start = cast("RunStart", {**start, "tiled_access_tags": list(tags)})
            yield "start", start
            for name in sorted(self.run, key=lambda name: name != SWEEP_DONE):  # marks before what they mark
                yield from self._stream(self.run[name])
            stop = self.run.metadata.get("stop")
            # A run that never got its stop document ended somehow: what was measured is complete as it is.
            yield "stop", cast("RunStop", dict(stop)) if stop else self._aborted()
        except (httpx.HTTPError, OSError, KeyError, ValueError) as error:
            raise UnreadableError(f"cannot be read from the catalog: {error}") from error

    @property
    def _start(self) -> RunStart:
        return cast("RunStart", dict(self.run.metadata["start"] or {}))

    def _aborted(self) -> RunStop:
        start = self._start
        return {
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, start["uid"])),
            "time": start["time"],
            "run_start": start["uid"],
            "exit_status": "abort",
            "reason": "the run has no stop document",
            "num_events": {},
        }

    def _stream(self, stream: StreamClient) -> Iterator[Document]:
        descriptors = getattr(stream, "descriptors", None) or []
        if not descriptors:
            return
        descriptor = cast("EventDescriptor", dict(descriptors[0]))
        columns = _columns(stream, descriptor["data_keys"])
        descriptor, names = original(descriptor)
        columns = {names.get(name, name): column for name, column in columns.items()}
        keys = {
            name: cast("DataKey", dict(key))
            for name, key in descriptor["data_keys"].items()
            if name in columns
        }
        for key in keys.values():
            key.pop("external", None)  # the data are in the pages
        yield "descriptor", {**descriptor, "data_keys": keys}
        length = min((len(column) for column in columns.values()), default=0)
        # Detectors that write files of their own give no times: the stream's is the nearest there is.
        all_times = columns.get("time", np.full(length, descriptor["time"]))
        # A resumed plan measures points again: their numbers come twice, at other times.
        all_numbers = columns.get("seq_num", np.arange(1, length + 1))
        for first in range(0, length, _PAGE):
            part = slice(first, min(first + _PAGE, length))
            times = np.asarray(all_times[part], dtype=np.float64).tolist()
            numbers = np.asarray(all_numbers[part], dtype=np.int64).tolist()
            page: EventPage = {
                "descriptor": descriptor["uid"],
                "uid": [_uid(descriptor, *of) for of in zip(numbers, times, strict=True)],
                "time": times,
                "seq_num": numbers,
                "data": {name: columns[name][part].tolist() for name in keys},
                "timestamps": dict.fromkeys(keys, times),
                "filled": {},
            }
            yield "event_page", page


def stored_runs(catalog: Catalog, uids: Sequence[str], source: str = "") -> list[StoredRun | Unreadable]:
    """Find runs in a catalog; those that are not there come back with the reason.

    Parameters
    ----------
    catalog : Tiled client of a catalog of Bluesky runs, as `Archive.client`.
    uids : whole or their first characters; a number of up to five digits is a scan id, and finds the latest
        run that has it; -1 is the latest run, -2 the one before.
    source : written to the provenance of what is found; default: the catalog's address.
    """
    import httpx

    source = source or str(catalog.uri)
    found: list[StoredRun | Unreadable] = []
    for uid in uids:
        try:
            run = catalog[int(uid)] if _NUMBER.fullmatch(uid) else catalog[uid]
            if "start" not in run.metadata:  # a container of something else
                raise LookupError(uid)
            # databroker's Broker switches every run of the process to its older interface: ask for the newer.
            found.append(StoredRun(source, _label(run.metadata["start"] or {}), run.v3))
        except (LookupError, ValueError, httpx.HTTPError) as error:
            found.append(Unreadable(source, uid, f"no such run in the catalog: {error}"))
    return found


def _uid(descriptor: EventDescriptor, number: int, time: float) -> str:
    """Return a uid of an event, whose own is not stored: that of the same event is the same."""
    return f"{descriptor['uid']}/{number}/{time!r}"


def _label(start: Mapping[str, object]) -> str:
    return str(start.get("scan") or start.get("scan_id") or str(start["uid"])[:8])


def _columns(stream: StreamClient, keys: Mapping[str, DataKey]) -> dict[str, Column]:
    """Return the fields of a stream with one number or row an event; `time`, `seq_num` where recorded."""
    columns: dict[str, Column] = {}
    parts = set(stream.base)
    if "internal" in parts:
        table = cast("pd.DataFrame", stream.base["internal"].read())
        columns = {name: table[name].to_numpy() for name in [*keys, "time", "seq_num"] if name in table}
    for name in parts - {"internal"}:
        if name in keys and len(keys[name].get("shape", ())) <= 1:
            columns[name] = np.asarray(stream.base[name].read())
    return columns
