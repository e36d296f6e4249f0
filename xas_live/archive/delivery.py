"""One run file into the archive: followed while it grows, begun anew after a failure, set aside at last."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from xas_live.archive.aside import SpooledRun, set_aside
from xas_live.archive.documents import decode, is_descriptor, is_stop, names_files
from xas_live.archive.messages import ROUTE, Kind, Order, Report
from xas_live.archive.names import NameRefused, stored_names
from xas_live.archive.spool import Claim
from xas_live.archive.stored import began, numbers, presence, remove

if TYPE_CHECKING:
    from xas_live.archive.sink import RunSink

WAIT_TOLD_SECONDS = 20.0
"""Who waits longer for another session says so."""

_FIRST_RETRY = 1.0
_LAST_RETRY = 60.0
_CHUNK = 32 * 2**20
# A server that fails at a run and takes others will not take it; one that takes none may be repaired.
_FAILURES_OF_A_RUN = 8
_FAILURES_OF_A_SERVER = 40
# A delivery costs Tiled some 0.3 s however few rows it brings: the next of a growing run waits for so many
# times as long as the last one took, at most so many seconds.
_REST = 2.0
_LONGEST_REST = 1.5

logger = logging.getLogger(__name__)


class Care(IntEnum):
    """How a run is delivered: the next one is tried when one fails."""

    GROWING = 0  # while it is measured
    WHOLE = 1  # when it has ended, so that columns fit all rows
    CAREFUL = 2  # without the documents that spoil it


class RefusedRun(ValueError):
    """A run that the archive cannot take, whatever is tried.

    Attributes
    ----------
    left_out : lines that are not in the archive, which has the others, with the reasons.
    """

    def __init__(self, text: str, left_out: Mapping[int, str] | None = None) -> None:
        super().__init__(text)
        self.left_out = dict(left_out or {})


class Delivery:
    """Delivers one run file: follows it while it grows, starts over after a failure.

    Parameters
    ----------
    path : of the file.
    adopted : left by another session: it will not grow.
    order : of the session.

    Attributes
    ----------
    path : as given.
    final : the file will not grow.
    taken : the catalog has the run.
    """

    def __init__(self, path: Path, order: Order, *, adopted: bool) -> None:
        self.path = path
        self.final = adopted
        self.taken = False
        self._adopted = adopted
        self._order = order
        self._root = Path(order.root)
        self._care = Care.GROWING
        self._failures = 0
        self._first_failure = 0
        self._retry_at = 0.0
        self._rests_until = 0.0
        self._offset = 0
        self._documents = 0
        self._sink: RunSink | None = None
        self._waiting = False
        self._claim: Claim | None = None
        self._waits_since: float | None = None
        self._left_out: dict[int, str] = {}

    def step(self, catalog: Any, others: int = 0) -> bool:
        """Deliver what the file holds by now; True when the file is done with and removed.

        Parameters
        ----------
        others : runs that the catalog has taken so far.

        Raises
        ------
        httpx.HTTPError : the server cannot be reached, or takes nothing; the run starts over later.
        """
        start = time.monotonic()
        try:
            if start < self._retry_at or (start < self._rests_until and not self._ends()):
                return False
            if not self._claimed():
                return False
            before = self._offset
            finished = self._deliver(catalog)
            if finished:
                self._settled()
        except FileNotFoundError:  # somebody removed it: its session has it, or knows
            self.rewind()
            self._release()
            return not self.path.exists()
        except Exception as error:
            # Whatever is wrong with this run must not keep the others from being delivered.
            self.rewind()
            if _of_the_server(error):
                raise
            return self._failed(error, others)
        if not finished and self._offset > before:
            self._report("progress")
            ended = time.monotonic()
            self._rests_until = ended + min(_REST * (ended - start), _LONGEST_REST)
        return finished

    def rewind(self) -> None:
        """Start over from the beginning of the run."""
        self._offset = 0
        self._documents = 0
        self._sink = None
        self._waiting = False
        self._left_out = {}

    def _claimed(self) -> bool:
        """Whether no other session delivers the same run now; it is left alone while one does."""
        if self._claim is None:
            self._claim = Claim(self._root, SpooledRun.read(self.path).uid)
        mine = self._claim.take()
        now = time.monotonic()
        if mine:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > WAIT_TOLD_SECONDS:
            self._report("waiting", "another session is delivering the same run, and this copy waits for it")
        return mine

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _settled(self) -> None:
        """Let go of a run that the catalog has, but for what was left out of it."""
        self.taken = True
        others = self._sink.other_names if self._sink is not None else {}
        if others:
            self._report("remark", _in_other_words(others))
        if self._left_out:
            count = len(self._left_out)
            why = f"{count} of its documents cannot be stored, all others are in the archive"
            self._put_aside(why, self._left_out)
            return
        self.path.unlink(missing_ok=True)
        self._release()
        self._report("done")

    def _put_aside(self, why: str, left_out: Mapping[int, str]) -> None:
        reasons = "; ".join(f"line {line}: {text}" for line, text in list(left_out.items())[:3])
        place = set_aside(self._root, self.path, why, left_out)
        self._release()
        self._report("aside", f"{why}{f' ({reasons})' if reasons else ''}. They are kept in {place}")

    def _deliver(self, catalog: Any) -> bool:
        if (self._care > Care.GROWING or self._waiting) and not self._ends():
            return False
        if self._sink is None and self._care is Care.GROWING and self._stored_at_once(catalog):
            return True
        stopped = False
        for number, line in enumerate(self._lines(_CHUNK if self._care is Care.GROWING else None), start=1):
            document = self._decoded(line, number)
            if document is None:
                continue
            name, doc = document
            if self._sink is None:
                if name != "start":
                    raise RefusedRun(f"begins with a {name} document")
                if not self._open(catalog, doc):
                    return self._settle(catalog, doc)
            self._hand_in(name, doc, number)
            self._offset += len(line)
            self._documents += 1
            stopped = name == "stop"
        ended = stopped or (self.final and next(self._lines(1), None) is None)
        if self._sink is not None and not stopped:
            if ended:
                self._sink.end()
            else:
                self._sink.flush()
        return ended

    def _decoded(self, line: bytes, number: int) -> tuple[str, dict[str, Any]] | None:
        try:
            return decode(line)
        except ValueError as error:
            if self._care is not Care.CAREFUL or number == 1:
                raise
            self._leave_out(number, line, f"it cannot be read: {error}")
            return None

    def _hand_in(self, name: str, doc: dict[str, Any], number: int) -> None:
        assert self._sink is not None
        try:
            if name == "stop":
                self._sink.end()
            self._sink(name, doc)
        except httpx.HTTPError:
            raise
        except Exception as error:
            if self._care is not Care.CAREFUL or name in ("start", "stop"):
                raise
            self._left_out[number] = f"{type(error).__name__}: {error}"[:500]

    def _leave_out(self, number: int, line: bytes, why: str) -> None:
        self._left_out[number] = why
        self._offset += len(line)

    def _stored_at_once(self, catalog: Any) -> bool:
        """Have a run that has ended stored by one request, if the server is ours; False if it was not."""
        if self._order.address["folder"] is None or self.path.stat().st_size > _CHUNK or not self._has_stop():
            return False
        lines = list(self._lines(None))
        if any(names_files(line) for line in lines):
            return False
        server, _, key = catalog.uri.partition("/metadata/")
        answer = catalog.context.http_client.post(f"{server}/{ROUTE}/{key}", content=b"".join(lines))
        if answer.status_code != httpx.codes.CREATED:  # it is there already, or needs another try
            return False
        self._offset += sum(map(len, lines))
        self._documents = len(lines)
        others: dict[str, str] = {}
        for line in lines:
            if is_descriptor(line):
                names = stored_names(decode(line)[1]["data_keys"])
                others |= {name: stored for name, stored in names.items() if name != stored}
        if others:
            self._report("remark", _in_other_words(others))
        return True

    def _open(self, catalog: Any, start: dict[str, Any]) -> bool:
        """Begin a run in the catalog; False when it is there already."""
        found, _ = presence(catalog, start["uid"])
        if found == "complete":
            return False
        if found == "partial":
            remove(catalog, start["uid"])
        # Brings TiledWriter, a second: runs that have ended and go to our own server need none.
        from xas_live.archive.sink import RunSink

        self._sink = RunSink(
            catalog,
            whole=self._care > Care.GROWING,
            careful=self._care is Care.CAREFUL,
            access_tags=self._order.access_tags,
        )
        return True

    def _settle(self, catalog: Any, start: dict[str, Any]) -> bool:
        """Deal with a run that the catalog has: the same, a shorter one, or another of the same uid."""
        if not self._ends():
            self._waiting = True
            return False
        _, there = presence(catalog, start["uid"])
        lines = list(self._lines(None))
        documents: list[tuple[str, dict[str, Any]]] = []
        unreadable = {}
        for number, line in enumerate(lines, start=1):
            try:
                documents.append(decode(line))
            except ValueError as error:
                unreadable[number] = f"it cannot be read: {error}"
        name, stop = documents[-1]
        here = dict(stop.get("num_events") or {}) if name == "stop" else {}
        more = sum(here.values()) > sum(there.values())
        if more and self._order.replace_shorter:
            remove(catalog, start["uid"])
            return self._deliver(catalog)
        another = not self._order.replace_shorter and began(catalog, start["uid"]) != start.get("time")
        if more or another:
            raise RefusedRun(f"the archive has another run {start['uid']}, with {there} events, not {here}")
        if here == there and numbers(catalog, start["uid"]) != _numbers(documents):
            # Two have written it at once, and neither knew; or rows were left out.
            remove(catalog, start["uid"])
            return self._deliver(catalog)
        if unreadable:
            raise RefusedRun("the archive has it, but for lines that cannot be read", unreadable)
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
        window = 2**16
        with self.path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            while True:
                stream.seek(max(0, size - window))
                *before, last = stream.read().splitlines(keepends=True) or [b""]
                if before or window >= size:
                    return last.endswith(b"\n") and is_stop(last)
                window *= 8

    def _failed(self, error: Exception, others: int) -> bool:
        """Choose what is tried next; True when the run was set aside instead."""
        logger.warning("%s: %r", self.path.name, error, exc_info=True)
        if not self._failures:
            self._first_failure = others
        self._failures += 1
        text = f"{type(error).__name__}: {error}"[:500]
        try:
            if self._is_hopeless(error, others) and self._ends():
                left_out = error.left_out if isinstance(error, RefusedRun) else {}
                self._put_aside(f"the archive does not take it: {text}", left_out)
                return True
        except OSError as trouble:
            text = f"it cannot be set aside: {trouble}"
        if self._care is Care.GROWING:
            self._care = Care.WHOLE
        elif not _of_this_machine_or_the_server(error):
            self._care = Care.CAREFUL
        self._retry_at = time.monotonic() + min(_FIRST_RETRY * 2 ** (self._failures - 1), _LAST_RETRY)
        self._report("failed", text)
        return False

    def _is_hopeless(self, error: Exception, others: int) -> bool:
        if isinstance(error, RefusedRun | NameRefused):
            return True
        if _of_this_machine_or_the_server(error):
            takes_others = others > self._first_failure
            return self._failures >= (_FAILURES_OF_A_RUN if takes_others else _FAILURES_OF_A_SERVER)
        return self._care is Care.CAREFUL

    def _report(self, kind: Kind, error: str = "") -> None:
        Report(kind, self.path.name, self._adopted, self._offset, self._documents, error).send()


def _numbers(documents: Iterable[tuple[str, dict[str, Any]]]) -> list[int]:
    """The numbers of all events among documents, sorted."""
    found: list[int] = []
    for name, doc in documents:
        if name in ("event", "event_page"):
            found += doc["seq_num"] if isinstance(doc["seq_num"], list) else [doc["seq_num"]]
    return sorted(found)


def _of_the_server(error: Exception) -> bool:
    """Whether an error says that the server takes nothing now, whatever the run."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (401, 403, 408, 429, 502, 503, 504)
    return isinstance(error, httpx.TransportError)


def _of_this_machine_or_the_server(error: Exception) -> bool:
    """Whether an error need not be the run's: a full disk, a server that fails."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, OSError | MemoryError)


def _in_other_words(others: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{name[:40]!r} as {stored[:40]!r}" for name, stored in list(others.items())[:6])
    return f"Tiled does not take some names, and stores {pairs}; replay gives them back"
