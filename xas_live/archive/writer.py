"""RunWriter: what a session subscribes to write runs. No plan waits for it or ends because of it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from xas_live.archive.address import Address
from xas_live.archive.courier import Courier
from xas_live.archive.documents import encode, snapshot
from xas_live.archive.messages import Order, Report
from xas_live.archive.spool import Router, RunFile, SessionFolder, run_files
from xas_live.archive.troubles import Troubles

_BATCH_SECONDS = 0.05
_IDLE_SECONDS = 0.5
_DISK_RETRY_SECONDS = 1.0
_END_SECONDS = 5.0
_EXIT_SECONDS = 10.0
_OFFLINE_SECONDS = 1.0
_MEMORY_BYTES = 256 * 2**20
_QUEUE_DOCUMENTS = 200_000
_ARCHIVE = "archive"
_DISK = "disk"


@dataclass(frozen=True)
class WriterStatus:
    """How a RunWriter does.

    Attributes
    ----------
    queued : documents in memory, not on disk yet.
    spooled : documents on disk, not in the archive yet.
    delivered : documents in the archive.
    runs_delivered : runs in the archive as a whole, with those of crashed sessions.
    runs_failed : runs whose delivery failed and is tried again.
    rejected : documents that belong to no run seen from its start, or that came after `close`.
    altered : values that could not be stored and became their text.
    lost : documents that neither disk nor memory could take.
    restarts : of the delivery process.
    lag : seconds since the oldest document not in the archive was handed in; 0 when there is none.
    online : False while the archive does not answer.
    last_error : in words; "" when there was none.
    folder : where the spool is.
    """

    queued: int
    spooled: int
    delivered: int
    runs_delivered: int
    runs_failed: int
    rejected: int
    altered: int
    lost: int
    restarts: int
    lag: float
    online: bool
    last_error: str
    folder: Path

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong now and nothing was lost."""
        return self.online and not (self.runs_failed or self.rejected or self.lost)

    def __str__(self) -> str:
        waiting = self.queued + self.spooled
        text = f"{self.delivered} documents in the archive, {waiting} on their way"
        if waiting:
            text += f" for {self.lag:.0f} s"
        troubles = [
            (self.runs_failed, "runs failed and are tried again"),
            (self.rejected, "documents rejected"),
            (self.altered, "values kept as text"),
            (self.lost, "documents lost"),
            (self.restarts, "restarts of the delivery"),
        ]
        text += "".join(f"; {count} {what}" for count, what in troubles if count)
        if not self.online:
            text += "; the archive does not answer"
        return text + (f". Last error: {self.last_error}" if self.last_error else "")


class _Run:
    """A run on its way: its file, and how far the archive has it."""

    def __init__(self, file: RunFile) -> None:
        self.file = file
        self.delivered = 0
        self.documents_delivered = 0
        self.failed = False
        self._handed_in: deque[tuple[int, float]] = deque()

    @property
    def arrived(self) -> bool:
        return self.delivered >= self.file.length

    @property
    def oldest(self) -> float | None:
        """Time (monotonic) when the oldest document that has not arrived was handed in."""
        return self._handed_in[0][1] if self._handed_in else None

    def note(self, now: float) -> None:
        if not self._handed_in or now - self._handed_in[-1][1] > _IDLE_SECONDS:
            self._handed_in.append((self.file.length, now))
        else:
            self._handed_in[-1] = (self.file.length, self._handed_in[-1][1])

    def start_over(self, now: float) -> None:
        self.delivered = 0
        self.documents_delivered = 0
        self.note(now)

    def progress(self, offset: int, documents: int) -> None:
        self.delivered = offset
        self.documents_delivered = documents
        while self._handed_in and self._handed_in[0][0] <= offset:
            self._handed_in.popleft()


class RunWriter:
    """Writes Bluesky runs into an archive: `RE.subscribe(archive.raw_writer())`.

    Called in the RunEngine's thread it only copies and enqueues, and never raises. A thread brings the
    documents to the spool on disk; another process delivers them from there, tries again as long as it
    takes, and also delivers what a crashed session left.

    Parameters
    ----------
    address : of the catalog.
    spool : folder of the spool, one per catalog.
    replace_shorter : replace a complete run of the same uid in the archive that has fewer events.
    access_tags : in Tiled, of runs whose start document brings none.
    on_trouble : called with one line for each distinct trouble, and when it is over, from a thread of the
        writer; default: Python's log.
    """

    def __init__(
        self,
        address: Address,
        spool: Path,
        *,
        replace_shorter: bool = False,
        access_tags: Sequence[str] | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._address = address
        self._spool = spool
        self._access_tags = None if access_tags is None else list(access_tags)
        self._replace_shorter = replace_shorter
        self._queue: SimpleQueue[tuple[str, Any] | threading.Event] = SimpleQueue()
        self._changed = threading.Condition()
        self._router = Router()
        self._open: dict[str, _Run] = {}
        self._files: dict[str, _Run] = {}
        self._number = 0
        self._in_hand = 0
        self._session: SessionFolder | None = None
        self._courier: Courier | None = None
        self._closing = False
        self._abandoning = False
        self._delivered = 0
        self._runs_delivered = 0
        self._rejected = 0
        self._altered = 0
        self._lost = 0
        self._online = True
        self._disk_error = ""
        self._disk_retry_at = 0.0
        self._last_error = ""
        self._troubles = Troubles(on_trouble)
        self._feeder = threading.Thread(target=self._feed, name="RunWriter spool", daemon=True)
        self._feeder.start()
        atexit.register(self.close, _EXIT_SECONDS)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document. Copies it, so that it may be changed afterwards; never raises."""
        try:
            if self._closing:
                self._reject(f"a {name} document came after the writer was closed")
            elif self._queue.qsize() >= _QUEUE_DOCUMENTS:
                self._lose(f"{_QUEUE_DOCUMENTS} documents wait in memory: the disk of {self._spool} hangs")
            else:
                self._queue.put((name, snapshot(doc)))
        except Exception as error:  # noqa: BLE001 - a plan must not end because of a strange document
            self._reject(f"a {name} document cannot be copied: {error!r}")

    def begin(self) -> None:
        """Start the delivery now, also of what crashed sessions left, before there is a first document."""
        self._queue.put(threading.Event())

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all documents handed in so far are in the archive.

        Returns
        -------
        False when they are not after `timeout` seconds (None: wait for ever).
        """
        began = time.monotonic()
        spooled = threading.Event()
        self._queue.put(spooled)
        if self._feeder.is_alive() and not spooled.wait(timeout):
            return False
        remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        with self._changed:
            return self._changed.wait_for(lambda: all(run.arrived for run in self._files.values()), remaining)

    def status(self) -> WriterStatus:
        """How it does now."""
        with self._changed:
            runs = list(self._files.values())
            oldest = min((run.oldest for run in runs if run.oldest is not None), default=None)
            pending = sum(run.file.pending_documents for run in runs)
            arrived = sum(run.documents_delivered for run in runs)
            return WriterStatus(
                queued=self._queue.qsize() + self._in_hand + pending,
                spooled=sum(run.file.documents for run in runs) - pending - arrived,
                delivered=self._delivered + arrived,
                runs_delivered=self._runs_delivered,
                runs_failed=sum(run.failed for run in runs),
                rejected=self._rejected,
                altered=self._altered,
                lost=self._lost,
                restarts=self._courier.restarts if self._courier else 0,
                lag=0.0 if oldest is None else time.monotonic() - oldest,
                online=self._online,
                last_error=self._disk_error or self._last_error,
                folder=self._session.path if self._session else self._spool,
            )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    @property
    def delivery_pid(self) -> int | None:
        """Process id of the delivery process; None while there is none."""
        return self._courier.pid if self._courier else None

    def close(self, timeout: float = _EXIT_SECONDS) -> bool:
        """Wait up to `timeout` seconds for the delivery (1 s while the archive does not answer), and end it.

        A second call does nothing.

        Returns
        -------
        True when everything is in the archive. What is not stays on disk, a line says where, and the next
        writer into the same archive delivers it.
        """
        if self._closing:
            return True
        atexit.unregister(self.close)
        self._closing = True
        delivered = self.flush(timeout if self._online else min(timeout, _OFFLINE_SECONDS))
        self._abandoning = True
        self._feeder.join(_END_SECONDS)
        if self._courier is not None and self._session is not None:
            self._courier.close(finish=bool(run_files(self._session.path)))
        self._tell_of_leftovers()
        self._troubles.close()
        if self._session is not None:
            self._session.remove_if_empty()
            self._session.release()
        return delivered

    def _feed(self) -> None:
        while True:
            items = self._take()
            spooled = []
            for item in items:
                if isinstance(item, threading.Event):
                    spooled.append(item)
                else:
                    self._accept(*item)
                    self._in_hand -= 1
            self._write()
            for event in spooled:
                event.set()
            if self._closing and not items and (self._abandoning or not self._disk_error):
                return

    def _take(self) -> list[tuple[str, Any] | threading.Event]:
        """What came in, waiting a little, so that one fsync serves many documents."""
        try:
            items = [self._queue.get(timeout=_IDLE_SECONDS)]
        except Empty:
            return []
        self._in_hand = 1
        if not self._closing:
            time.sleep(_BATCH_SECONDS)
        while True:
            try:
                items.append(self._queue.get_nowait())
            except Empty:
                self._in_hand = sum(not isinstance(item, threading.Event) for item in items)
                return items

    def _accept(self, name: str, doc: dict[str, Any]) -> None:
        try:
            uid = self._router.run_of(name, doc)
            if uid is None:
                self._reject(f"a {name} document belongs to no run that was seen from its start")
                return
            line = encode(name, doc, lambda kind: self._alter(name, uid, kind))
        except Exception as error:  # noqa: BLE001 - one strange document must not lose the others
            self._reject(f"a {name} document cannot be stored: {error!r}")
            return
        with self._changed:
            if self._disk_error and len(line) + self._pending() > _MEMORY_BYTES:
                self._lose(f"{_MEMORY_BYTES >> 20} MiB wait in memory for the disk: {self._disk_error}")
                return
            if name == "start":
                self._number += 1
                file = RunFile(self._number, uid)
                self._open[uid] = self._files[file.name] = _Run(file)
            run = self._open[uid]
            run.file.add(line)
            run.note(time.monotonic())
            if name == "stop":
                run.file.complete = True
                del self._open[uid]
                self._router.forget(uid)

    def _write(self) -> None:
        if self._disk_error and time.monotonic() < self._disk_retry_at:
            return
        try:
            if self._session is None:
                self._begin_session()
            assert self._session is not None
            with self._changed:
                waiting = [run.file for run in self._files.values() if run.file.pending]
            for file in waiting:
                file.write(self._session.path)
            self._disk_error = ""
            self._troubles.over(_DISK, "the spool on disk takes documents again")
        except OSError as error:
            self._disk_retry_at = time.monotonic() + _DISK_RETRY_SECONDS
            self._disk_error = f"the spool on disk fails, documents stay in memory: {error}"
            self._trouble(self._disk_error, key=_DISK)

    def _begin_session(self) -> None:
        self._session = SessionFolder.create(self._spool)
        order = Order(
            root=str(self._spool),
            session=str(self._session.path),
            address=self._address.to_json(),
            access_tags=self._access_tags,
            replace_shorter=self._replace_shorter,
            parent=os.getpid(),
        )
        self._courier = Courier(order, self._session.lock, self._hear)

    def _hear(self, report: Report) -> None:
        with self._changed:
            # A file of a crashed session may have the name of one of ours.
            run = None if report.adopted else self._files.get(report.file)
            now = time.monotonic()
            if report.kind == "progress" and run is not None:
                run.failed = False
                run.progress(report.offset, report.documents)
            elif report.kind == "done":
                self._runs_delivered += 1
                self._delivered += report.documents
                self._troubles.over(report.file, f"run file {report.file} is delivered now")
                if run is not None:
                    del self._files[report.file]
            elif report.kind == "failed":
                self._trouble(
                    f"run file {report.file} could not be delivered, and is tried again: {report.error}",
                    key=report.file,
                )
                if run is not None:
                    run.failed = True
                    run.start_over(now)
            elif report.kind in ("offline", "died"):
                for other in self._files.values():
                    other.start_over(now)
            if report.kind == "died":
                self._trouble(report.error)
            elif report.kind == "offline":
                self._online = False
                self._trouble(
                    f"{report.error}. Documents are kept in {self._spool} and delivered later", key=_ARCHIVE
                )
            else:
                self._online = True
                self._troubles.over(_ARCHIVE, "the archive answers again; what was kept is being delivered")
            self._changed.notify_all()

    def _pending(self) -> int:
        return sum(run.file.pending for run in self._files.values())

    def _reject(self, why: str) -> None:
        with self._changed:
            self._rejected += 1
            self._trouble(why)

    def _alter(self, name: str, uid: str, kind: str) -> None:
        with self._changed:
            self._altered += 1
            self._trouble(f"a {kind} in a {name} document of run {uid} cannot be stored and became its text")

    def _lose(self, why: str) -> None:
        with self._changed:
            self._lost += 1
            self._trouble(f"documents are lost: {why}")

    def _trouble(self, text: str, key: str = "") -> None:
        self._last_error = text
        self._troubles.add(key or text, text)

    def _tell_of_leftovers(self) -> None:
        pending = sum(run.file.pending_documents for run in self._files.values())
        if pending:
            self._trouble(f"{pending} documents are lost: the disk did not take them ({self._disk_error})")
        left = run_files(self._session.path) if self._session else []
        if left:
            self._trouble(
                f"{len(left)} runs are not in the archive yet. They are kept in {left[0].parent}, and "
                "delivered when a session opens this archive again"
            )
