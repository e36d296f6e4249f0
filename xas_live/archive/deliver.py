"""The delivery process, `python -m xas_live.archive.deliver`: writes the runs of spool folders to Tiled.

A process of its own, so that neither the work nor a dead server is felt in the session that measures. Its
first line of stdin says where to (`Order`); a line `close` asks it to finish. It reports on stdout, one JSON
object a line (`Report`). Without its session it ends, and leaves the rest to the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx

from xas_live.archive.address import Address
from xas_live.archive.documents import decode, is_stop, names_files
from xas_live.archive.errors import ArchiveError
from xas_live.archive.messages import ROUTE, Order, Report
from xas_live.archive.sink import RunSink, presence, remove
from xas_live.archive.spool import SessionFolder, forgotten, run_files
from xas_live.host import when_parent_ends

_POLL_SECONDS = 0.1
_ADOPT_SECONDS = 10.0
_FIRST_RETRY = 1.0
_LAST_RETRY = 60.0
_RECONNECT_SECONDS = 2.0
_LONGEST_RECONNECT = 20.0
_CHUNK = 32 * 2**20
# A delivery costs Tiled some 0.3 s however few rows it brings: the next of a growing run waits for so many
# times as long as the last one took, at most so many seconds.
_REST = 2.0
_LONGEST_REST = 1.5

logger = logging.getLogger(__name__)


class Delivery:
    """Delivers one run file: follows it while it grows, starts over after a failure.

    Parameters
    ----------
    path : of the file.
    adopted : left by another session: it will not grow.
    order : of the session.
    """

    def __init__(self, path: Path, order: Order, *, adopted: bool) -> None:
        self.path = path
        self.final = adopted
        self._adopted = adopted
        self._order = order
        self._whole = False
        self._attempts = 0
        self._retry_at = 0.0
        self._rests_until = 0.0
        self._offset = 0
        self._documents = 0
        self._sink: RunSink | None = None
        self._waiting = False

    def step(self, catalog: Any) -> bool:
        """Deliver what the file holds by now; True when the file is done with and removed.

        Raises
        ------
        httpx.TransportError : the server cannot be reached; the run starts over later.
        """
        began = time.monotonic()
        if began < self._retry_at or (began < self._rests_until and not self._ends()):
            return False
        try:
            before = self._offset
            finished = self._deliver(catalog)
        except Exception as error:
            # Whatever is wrong with this run must not keep the others from being delivered.
            offline = isinstance(error, httpx.TransportError)
            self._fail(error, whole=self._whole or not offline)
            if offline:
                raise
            return False
        if finished:
            self.path.unlink(missing_ok=True)
            self._report("done")
        elif self._offset > before:
            self._report("progress")
            ended = time.monotonic()
            self._rests_until = ended + min(_REST * (ended - began), _LONGEST_REST)
        return finished

    def rewind(self) -> None:
        """Start over from the beginning of the run."""
        self._offset = 0
        self._documents = 0
        self._sink = None
        self._waiting = False

    def _deliver(self, catalog: Any) -> bool:
        if (self._whole or self._waiting) and not self._ends():
            return False
        if self._sink is None and not self._whole and self._stored_at_once(catalog):
            return True
        stopped = False
        for line in self._lines(None if self._whole else _CHUNK):
            name, doc = decode(line)
            if self._sink is None:
                if name != "start":
                    raise ValueError(f"begins with a {name} document")
                if not self._open(catalog, doc):
                    return self._settle(catalog, doc)
            assert self._sink is not None
            self._sink(name, doc)
            self._offset += len(line)
            self._documents += 1
            stopped = name == "stop"
        if self._sink is not None:
            self._sink.flush()
        return stopped or (self.final and next(self._lines(1), None) is None)

    def _stored_at_once(self, catalog: Any) -> bool:
        """Have a run that has ended stored by one request, if the server is ours; False if it was not."""
        if self._order.address["folder"] is None or self.path.stat().st_size > _CHUNK or not self._has_stop():
            return False
        lines = list(self._lines(None))
        if any(names_files(line) for line in lines):
            return False
        server, _, key = catalog.uri.partition("/metadata/")
        try:
            answer = catalog.context.http_client.post(f"{server}/{ROUTE}/{key}", content=b"".join(lines))
        except httpx.TransportError as error:
            logger.warning("%s was not stored at once: %r", self.path.name, error)
            return False
        if answer.status_code != httpx.codes.CREATED:  # it is there already, or needs another try
            return False
        self._offset += sum(map(len, lines))
        self._documents = len(lines)
        return True

    def _open(self, catalog: Any, start: dict[str, Any]) -> bool:
        """Begin a run in the catalog; False when it is there already."""
        found, _ = presence(catalog, start["uid"])
        if found == "complete":
            return False
        if found == "partial":
            remove(catalog, start["uid"])
        self._sink = RunSink(catalog, whole=self._whole, access_tags=self._order.access_tags)
        return True

    def _settle(self, catalog: Any, start: dict[str, Any]) -> bool:
        """Deal with a run that the catalog has: the same, a shorter one, or another of the same uid."""
        if not self._ends():
            self._waiting = True
            return False
        _, there = presence(catalog, start["uid"])
        lines = list(self._lines(None))
        name, stop = decode(lines[-1])
        here = dict(stop.get("num_events") or {}) if name == "stop" else {}
        if sum(here.values()) > sum(there.values()):
            if not self._order.replace_shorter:
                raise ValueError(f"the archive has a run {start['uid']} with {there} events, not {here}")
            remove(catalog, start["uid"])
            return self._deliver(catalog)
        self._offset += sum(len(line) for line in lines)
        self._documents = len(lines)
        return True

    def _lines(self, limit: int | None) -> Iterator[bytes]:
        """Complete lines from the offset on; up to `limit` bytes of them, and one line at least."""
        taken = 0
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                # What a crash, or a full disk, cut off.
                if not line.endswith(b"\n"):
                    return
                yield line
                taken += len(line)
                if limit is not None and taken >= limit:
                    return

    def _ends(self) -> bool:
        """Whether the file will not grow."""
        return self.final or self._has_stop()

    def _has_stop(self) -> bool:
        with self.path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 2**16))
            tail = stream.read()
        return tail.endswith(b"\n") and is_stop(tail.splitlines()[-1])

    def _fail(self, error: Exception, *, whole: bool) -> None:
        logger.warning("%s: %r", self.path.name, error, exc_info=True)
        self.rewind()
        self._whole = whole
        wait = min(_FIRST_RETRY * 2**self._attempts, _LAST_RETRY)
        self._attempts += 1
        self._retry_at = time.monotonic() + wait
        self._report("failed", f"{type(error).__name__}: {error}"[:500])

    def _report(self, kind: Literal["progress", "done", "failed"], error: str = "") -> None:
        Report(kind, self.path.name, self._adopted, self._offset, self._documents, error).send()


class Follower:
    """Delivers all run files of a session, and those that crashed sessions left."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._root = Path(order.root)
        self._session = Path(order.session)
        self._address = Address.from_json(order.address)
        self._catalog: Any = None
        self._runs: dict[Path, Delivery] = {}
        self._adopted: list[SessionFolder] = []
        self._adopt_at = 0.0
        self._connect_at = 0.0
        self._in_vain = 0
        self._reachable = True

    def round(self, *, closing: bool) -> None:
        """Look at every file once."""
        if time.monotonic() >= self._adopt_at:
            self._adopt()
        self._find()
        if not self._runs or not self._connected():
            return
        for path, delivery in list(self._runs.items()):
            delivery.final = delivery.final or closing
            try:
                with self._alone():
                    finished = delivery.step(self._catalog)
                if finished:
                    del self._runs[path]
            except httpx.TransportError as error:
                self._disconnect(f"the archive does not answer: {error!r}")
                break
        self._adopted = [folder for folder in self._adopted if not self._return(folder)]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One delivery at a time into an embedded archive: DuckDB fails at times when two write at once."""
        if self._address.folder is None:
            yield
            return
        with (self._address.folder / "writing.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _find(self) -> None:
        for path in run_files(self._session):
            if path not in self._runs:
                self._runs[path] = Delivery(path, self._order, adopted=False)

    def _adopt(self) -> None:
        self._adopt_at = time.monotonic() + _ADOPT_SECONDS
        for folder in forgotten(self._root):
            self._adopted.append(folder)
            for path in run_files(folder.path):
                self._runs[path] = Delivery(path, self._order, adopted=True)

    def _return(self, folder: SessionFolder) -> bool:
        if not folder.remove_if_empty():
            return False
        folder.release()
        return True

    def _connected(self) -> bool:
        if self._catalog is not None:
            return True
        if time.monotonic() < self._connect_at:
            return False
        try:
            self._catalog = self._address.connect()
        except (ArchiveError, httpx.HTTPError) as error:
            self._disconnect(str(error))
            return False
        self._in_vain = 0
        if not self._reachable:
            self._reachable = True
            Report("online").send()
        return True

    def _disconnect(self, error: str) -> None:
        self._catalog = None
        # At once the first time: to connect to a folder whose server has died starts another. Then ever
        # later: one that cannot start takes seconds of the processor each time.
        self._connect_at = time.monotonic() + min(self._in_vain * _RECONNECT_SECONDS, _LONGEST_RECONNECT)
        self._in_vain += 1
        self._reachable = False
        for delivery in self._runs.values():
            delivery.rewind()
        Report("offline", error=error).send()


def main() -> None:
    """Read the order and deliver until asked to close."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    order = Order(**json.loads(sys.stdin.readline()))
    when_parent_ends(order.parent, lambda: os._exit(0))
    closing = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        closing.set()

    threading.Thread(target=listen, name="listen", daemon=True).start()
    follower = Follower(order)
    while not closing.wait(_POLL_SECONDS):
        follower.round(closing=False)
    follower.round(closing=True)


if __name__ == "__main__":
    main()
