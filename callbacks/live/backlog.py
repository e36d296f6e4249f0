"""Backlog: documents on their way from the RunEngine's thread to the worker, in order, in bounded memory."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import numpy as np

from xas_live.archive.documents import decode, encode

if TYPE_CHECKING:
    from event_model.documents import Document

IN_MEMORY = 20_000  # documents that may wait in memory
BYTES_IN_MEMORY = 256 * 2**20  # of their arrays
AT_ONCE = 1000  # documents that the worker takes before their results are published
BYTES_AT_ONCE = 64 * 2**20
LOOK_S = 0.2
WAKE_S = 0.05  # after which the worker sees documents that it was not woken for


class Received(NamedTuple):  # made in the RunEngine's thread: cheaper than a dataclass
    """A document, the monotonic time at which it came (s), and the bytes of its arrays."""

    name: str
    doc: Document
    received: float
    nbytes: int = 0


class Mark:
    """A place among the documents that someone waits for."""

    def __init__(self) -> None:
        self.event = threading.Event()


Item = Received | Mark


class _Line(NamedTuple):
    """A document in the file: when it came, the bytes of its arrays, and the length of its line."""

    received: float
    nbytes: int
    length: int


class Backlog:
    """A queue of documents that spills to disk, when the worker falls behind, instead of filling the memory.

    `put` is all that a RunEngine's thread does. A thread of its own moves what is too much to a temporary
    file, which the worker reads before anything that came later. A full disk keeps documents in memory.

    Parameters
    ----------
    tell : shown to the user: that documents wait on disk, and that all of them have been taken; or the error.
    in_memory, bytes_in_memory : documents, and bytes of their arrays, from which on they spill.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        in_memory: int = IN_MEMORY,
        bytes_in_memory: int = BYTES_IN_MEMORY,
    ) -> None:
        self._tell = tell
        self._most, self._most_bytes = in_memory, bytes_in_memory
        self._queue: deque[Item] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._put_bytes = self._taken_bytes = 0
        self._lock = threading.Lock()  # held by whoever takes from the queue
        self._worker_waits = False
        self._file: IO[bytes] | None = None
        # In order: of lines in the file what is known of them; marks, and what the disk did not take, as is.
        self._spilled: deque[_Line | Item] = deque()
        self._read_at = self._write_at = 0
        self._ended = threading.Event()
        threading.Thread(target=self._look, name="xas_live backlog", daemon=True).start()

    def put(self, item: Item, *, patient: bool = False) -> None:
        """Add a document or a mark, in any thread.

        Parameters
        ----------
        patient : it may wait 50 ms. To wake a thread takes the RunEngine's thread longer than all else.
        """
        if isinstance(item, Received):
            self._put_bytes += item.nbytes
        self._queue.append(item)
        if not patient:
            self._wake.put(None)

    def __len__(self) -> int:
        return len(self._queue) + len(self._spilled)

    @property
    def on_disk(self) -> int:
        """Documents that wait on disk."""
        return len(self._spilled)

    def take(self, timeout: float | None, last: Mark) -> list[Item]:
        """Take what has waited longest, in order; nothing after `last` is taken with it.

        Waits for something up to `timeout` seconds (None: for ever).
        """
        with self._lock:
            self._worker_waits = False
            batch = self._from_disk(last) if self._spilled else self._from_memory(last)
            # An empty queue is waited for without the lock: nothing spills meanwhile.
            self._worker_waits = not batch
        if batch:
            return batch
        self._wait(timeout)
        with self._lock:
            self._worker_waits = False
            return self._from_memory(last)

    def _wait(self, timeout: float | None) -> None:
        """Sleep until something came."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._queue:
            pause = WAKE_S if deadline is None else min(WAKE_S, deadline - time.monotonic())
            if pause <= 0:
                return
            with suppress(Empty):
                self._wake.get(timeout=pause)

    def close(self) -> None:
        """End the thread and remove the file."""
        self._ended.set()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _from_memory(self, last: Mark) -> list[Item]:
        batch: list[Item] = []
        size = 0
        with suppress(Empty):
            while True:  # what is at hand now is taken below
                self._wake.get_nowait()
        while self._queue and len(batch) < AT_ONCE and size < BYTES_AT_ONCE and last not in batch[-1:]:
            item = self._queue.popleft()
            batch.append(item)
            size += item.nbytes if isinstance(item, Received) else 0
        self._taken_bytes += size
        return batch

    def _from_disk(self, last: Mark) -> list[Item]:
        assert self._file is not None
        batch: list[Item] = []
        size = 0
        while self._spilled and len(batch) < AT_ONCE and size < BYTES_AT_ONCE:
            about = self._spilled.popleft()
            if isinstance(about, Mark | Received):
                batch.append(about)
                if about is last:
                    break
                continue
            name, doc = decode(os.pread(self._file.fileno(), about.length, self._read_at))
            self._read_at += about.length
            batch.append(Received(name, cast("Document", doc), about.received))
            size += about.nbytes
        if not self._spilled:
            self._file.close()
            self._file = None
            self._read_at = self._write_at = 0
            self._tell("the documents that waited on disk are analysed")
        return batch

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            if not self._too_much():
                continue
            with self._lock:
                # The worker may have taken all of it while the lock was waited for.
                if self._worker_waits or self._ended.is_set() or not self._too_much():
                    continue
                try:
                    self._spill()
                except OSError as error:
                    self._tell(f"the analysis is behind, and its backlog cannot be kept on disk: {error}")

    def _too_much(self) -> bool:
        """Return whether what waits in memory must go to disk."""
        waiting = len(self._queue)
        if not waiting:
            return False
        many = waiting > self._most or self._put_bytes - self._taken_bytes > self._most_bytes
        return many or bool(self._spilled)

    def _spill(self) -> None:
        """Move what waits now to the file."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, prefix="xas_live-")  # noqa: SIM115 kept open
            self._tell(
                f"the analysis is behind: {len(self._queue)} documents wait, from now on on disk; "
                "none is lost"
            )
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, Mark):
                self._spilled.append(item)
                continue
            self._taken_bytes += item.nbytes
            try:
                line = encode(item.name, dict(item.doc), lambda kind: None)
                self._write(line)
            except OSError:
                self._spilled.append(item)
                raise
            except (TypeError, ValueError, RecursionError):  # no text can hold it: it waits as it is
                self._spilled.append(item)
                continue
            self._spilled.append(_Line(item.received, item.nbytes, len(line)))

    def _write(self, line: bytes) -> None:
        """Add a line to the file; one that the disk takes in part only does not count."""
        assert self._file is not None
        written = 0
        while written < len(line):
            taken = os.pwrite(self._file.fileno(), line[written:], self._write_at + written)
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += taken
        self._write_at += written


def bytes_of(value: object) -> int:
    """Return the bytes of a document's arrays, about; scalars count nothing."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if not isinstance(value, list | tuple) or not value:
        return 0
    if isinstance(value[0], list | np.ndarray):
        return sum(map(bytes_of, value))
    return 32 * len(value)
