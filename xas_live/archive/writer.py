"""RunWriter: what a session subscribes to write runs. No plan waits for it or ends because of it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from xas_live.archive.address import Address
from xas_live.archive.courier import Courier
from xas_live.archive.documents import encode, snapshot
from xas_live.archive.messages import Order, Report
from xas_live.archive.spool import Router, RunFile, SessionFolder, run_files
from xas_live.archive.status import WriterStatus
from xas_live.archive.troubles import Troubles
from xas_live.archive.under_way import RunUnderWay, identity

_BATCH_SECONDS = 0.05
_IDLE_SECONDS = 0.5
_DISK_RETRY_SECONDS = 1.0
_END_SECONDS = 5.0
_EXIT_SECONDS = 10.0
_OFFLINE_SECONDS = 1.0
_MEMORY_BYTES = 512 * 2**20
_RESERVE_BYTES = 16 * 2**20  # for what a run is nothing without
_FRAME = frozenset({"start", "descriptor", "stop"})
_QUEUE_DOCUMENTS = 200_000
_OPEN_FILES = 64
_ENDED = 256  # runs whose stop document is known when it comes again
_ARCHIVE = "archive"
_DISK = "disk"
_TURN = "turn"


_Item = tuple[str, Any, int]
"""Name and copy of a document, and the bytes of its arrays."""


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
        self._queue: SimpleQueue[_Item | threading.Event] = SimpleQueue()
        self._bytes_in = 0
        self._bytes_out = 0
        self._in_hand: deque[_Item | threading.Event] = deque()
        self._changed = threading.Condition()
        self._router = Router()
        self._open: dict[str, RunUnderWay] = {}
        self._files: dict[str, RunUnderWay] = {}
        self._kept_open: deque[RunFile] = deque()
        self._ended: deque[Hashable] = deque(maxlen=_ENDED)
        self._number = 0
        self._session: SessionFolder | None = None
        self._courier: Courier | None = None
        self._process = os.getpid()
        self._closing = False
        self._abandoning = False
        self._closed = False
        self._delivered = 0
        self._runs_delivered = 0
        self._set_aside = 0
        self._own_set_aside = 0
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
            size = _array_bytes(name, doc)
            if self._closing:
                self._reject(f"a {name} document came after the writer was closed")
            elif self._queue.qsize() >= _QUEUE_DOCUMENTS or self._bytes_in - self._bytes_out > _MEMORY_BYTES:
                self._lose(f"{self._queue.qsize()} wait in memory: the disk of {self._spool} hangs")
            else:
                self._queue.put((name, snapshot(doc), size))
                self._bytes_in += size
        except Exception as error:  # noqa: BLE001 - a plan must not end because of a strange document
            try:
                self._lose(f"a {name} document cannot be copied: {error!r}")
            except Exception:  # noqa: BLE001 - as memory is short
                self._lost += 1

    def begin(self) -> None:
        """Start the delivery now, also of what crashed sessions left, before there is a first document."""
        self._queue.put(threading.Event())

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all documents handed in so far are in the archive.

        Returns
        -------
        False when they are not after `timeout` seconds (None: wait for ever), or when one of them never will
        be: documents that were lost, runs that were set aside.
        """
        began = time.monotonic()
        spooled = threading.Event()
        self._queue.put(spooled)
        while self._feeder.is_alive() and not spooled.is_set():
            remaining = None if timeout is None else timeout - (time.monotonic() - began)
            if remaining is not None and remaining <= 0.0:
                return False
            spooled.wait(_IDLE_SECONDS if remaining is None else min(remaining, _IDLE_SECONDS))
        remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: all(run.arrived for run in self._files.values()), remaining
            )
            return arrived and not (self._lost or self._own_set_aside)

    def status(self) -> WriterStatus:
        """How it does now."""
        with self._changed:
            runs = list(self._files.values())
            oldest = min((run.oldest for run in runs if run.oldest is not None), default=None)
            pending = sum(run.file.pending_documents for run in runs)
            arrived = sum(run.documents_delivered for run in runs)
            return WriterStatus(
                queued=self._queue.qsize() + len(self._in_hand) + pending,
                spooled=sum(run.file.documents for run in runs) - pending - arrived,
                delivered=self._delivered + arrived,
                runs_delivered=self._runs_delivered,
                runs_failed=sum(run.failed for run in runs),
                set_aside=self._set_aside,
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
        """Whether `close` came to its end."""
        return self._closed

    @property
    def delivery_pid(self) -> int | None:
        """Process id of the delivery process; None while there is none."""
        return self._courier.pid if self._courier else None

    def close(self, timeout: float = _EXIT_SECONDS) -> bool:
        """Wait up to `timeout` seconds for the delivery (1 s while the archive does not answer), and end it.

        What Ctrl-C ends may be called again. In a forked process it does nothing: the writer is its parent's.

        Returns
        -------
        True when everything is in the archive. What is not stays on disk, a line says where, and the next
        writer into the same archive delivers it.
        """
        if os.getpid() != self._process:
            return False
        if not self._closed:
            self._closing = True
            self.flush(timeout if self._online else min(timeout, _OFFLINE_SECONDS))
            self._abandoning = True
            self._feeder.join(_END_SECONDS)
            if self._courier is not None and self._session is not None:
                self._courier.close(finish=bool(run_files(self._session.path)))
            self._tell_of_leftovers()
            self._troubles.close()
            if self._session is not None:
                self._session.remove_if_empty()
                self._session.release()
            self._closed = True
            atexit.unregister(self.close)
        return not (self._lost or self._own_set_aside) and all(run.arrived for run in self._files.values())

    def _feed(self) -> None:
        spooled: list[threading.Event] = []
        while True:
            idle = False
            try:
                idle = not self._take()
                while self._in_hand:
                    item = self._in_hand[0]
                    if isinstance(item, threading.Event):
                        spooled.append(item)
                    else:
                        self._accept(*item)
                    self._in_hand.popleft()
                self._write()
                while spooled:
                    spooled.pop().set()
            except Exception as error:  # noqa: BLE001 - every later run would be lost with this thread
                self._failed_to_feed(error)
            if self._closing and idle and (self._abandoning or not self._disk_error):
                return

    def _failed_to_feed(self, error: Exception) -> None:
        if self._in_hand and not isinstance(self._in_hand[0], threading.Event):
            self._in_hand.popleft()
            self._lost += 1
        self._trouble(f"documents on their way to the disk are lost: {error!r}", key=repr(error))
        time.sleep(_BATCH_SECONDS)

    def _take(self) -> bool:
        """Take what came in, waiting a little, so that one fsync serves many documents; False for nothing."""
        try:
            self._in_hand.append(self._queue.get(timeout=_IDLE_SECONDS))
        except Empty:
            return False
        if not self._closing:
            time.sleep(_BATCH_SECONDS)
        while True:
            try:
                self._in_hand.append(self._queue.get_nowait())
            except Empty:
                return True

    def _accept(self, name: str, doc: dict[str, Any], size: int) -> None:
        self._bytes_out += size
        uid = None
        try:
            uid = self._router.run_of(name, doc)
            if uid is None:
                if identity(name, doc) not in self._ended:
                    self._reject(
                        f"a {name} document belongs to no run that was seen from its start", key="no run"
                    )
                return
            run = self._open.get(uid)
            if run is not None and (name == "start" or run.came_before(name, doc)):
                self._trouble("documents come twice, as when a writer is subscribed twice: each is kept once")
                return
            if name == "stop" and run is not None and run.lost:
                doc = {**doc, "documents_lost": run.lost}
            line = encode(name, doc, lambda kind: self._alter(name, str(uid), kind))
            self._keep(name, uid, line)
        except Exception as error:  # noqa: BLE001 - one strange document must not lose the others
            if uid is None:
                self._reject(f"a {name} document cannot be stored: {error!r}")
            else:
                self._lose(f"a {name} document of run {uid} cannot be stored: {error!r}", uid)
        if name == "stop" and uid is not None:
            self._end(uid, identity(name, doc))

    def _keep(self, name: str, uid: str, line: bytes) -> None:
        with self._changed:
            limit = _MEMORY_BYTES + (_RESERVE_BYTES if name in _FRAME else 0)
            if self._disk_error and len(line) + self._pending() > limit:
                self._lose(f"{_MEMORY_BYTES >> 20} MiB wait in memory for the disk: {self._disk_error}", uid)
                return
            if name == "start":
                self._number += 1
                file = RunFile(self._number, uid)
                self._open[uid] = self._files[file.name] = RunUnderWay(file, uid)
            run = self._open.get(uid)
            if run is None:
                self._lose(f"the start document of run {uid} was not kept, and so none of the run is", uid)
                return
            run.file.add(line)
            run.note(time.monotonic())

    def _end(self, uid: str, stop: Hashable) -> None:
        """Know that a run has ended, though its stop document may be lost."""
        with self._changed:
            run = self._open.pop(uid, None)
            if run is not None:
                run.file.complete = True
            self._router.forget(uid)
            self._ended.append(stop)

    def _write(self) -> None:
        if self._disk_error and time.monotonic() < self._disk_retry_at:
            return
        try:
            session = self._standing()
            with self._changed:
                runs = list(self._files.values())
            for run in runs:
                self._write_run(run, session.path)
            self._disk_error = ""
            self._troubles.over(_DISK, "the spool on disk takes documents again")
        except OSError as error:
            self._disk_retry_at = time.monotonic() + _DISK_RETRY_SECONDS
            self._disk_error = f"the spool on disk fails, documents stay in memory: {error}"
            self._trouble(self._disk_error, key=_DISK)

    def _write_run(self, run: RunUnderWay, folder: Path) -> None:
        file = run.file
        if not file.complete and file.removed:
            self._trouble(f"somebody removed {file.name} from {folder}: it is written again")
            file.displaced = True
        if not (file.pending or file.displaced):
            return
        file.write(folder)
        if file.complete:
            # Until it is delivered, it can be had even where somebody removes its folder.
            self._kept_open.append(file)
            if len(self._kept_open) > _OPEN_FILES:
                self._kept_open.popleft().close()

    def _standing(self) -> SessionFolder:
        """The folder of this session, made anew where somebody removed it."""
        if self._session is not None and not self._session.stands():
            self._trouble(f"somebody removed {self._session.path}: the spool is made again")
            if self._courier is not None:
                self._courier.close(finish=False)
            self._session.release()
            self._session = None
            with self._changed:
                for name, run in list(self._files.items()):
                    if run.file.recoverable:
                        run.file.displaced = True
                        run.start_over(time.monotonic())
                    else:
                        del self._files[name]
                        self._lose(f"run {run.uid} was in the folder that somebody removed", run.uid)
        if self._session is None:
            self._session = self._begin_session()
        return self._session

    def _begin_session(self) -> SessionFolder:
        session = SessionFolder.create(self._spool)
        order = Order(
            root=str(self._spool),
            session=str(session.path),
            address=self._address.to_json(),
            access_tags=self._access_tags,
            replace_shorter=self._replace_shorter,
            parent=os.getpid(),
        )
        self._courier = Courier(order, session.lock.fileno(), self._hear)
        return session

    def _hear(self, report: Report) -> None:
        with self._changed:
            # A file of a crashed session may have the name of one of ours.
            run = None if report.adopted else self._files.get(report.file)
            now = time.monotonic()
            match report.kind:
                case "progress" if run is not None:
                    run.failed = False
                    run.progress(report.offset, report.documents)
                case "done":
                    self._runs_delivered += 1
                    self._delivered += report.documents
                    self._troubles.over(report.file, f"run file {report.file} is delivered now")
                    self._let_go(run)
                case "aside":
                    self._set_aside += 1
                    self._own_set_aside += not report.adopted
                    self._trouble(f"run file {report.file} is not delivered: {report.error}")
                    self._let_go(run)
                case "failed":
                    self._trouble(
                        f"run file {report.file} could not be delivered, and is tried again: {report.error}",
                        key=report.file,
                    )
                    if run is not None:
                        run.failed = True
                        run.start_over(now)
                case "remark":
                    self._trouble(report.error)
                case "waiting":
                    self._trouble(report.error, key=_TURN)
                case "offline":
                    self._online = False
                    self._trouble(
                        f"{report.error}. Documents are kept in {self._spool} and delivered later",
                        key=_ARCHIVE,
                    )
                case "died":
                    self._trouble(report.error)
            if report.kind in ("offline", "died"):
                for other in self._files.values():
                    other.start_over(now)
            elif report.kind in ("online", "progress", "done", "aside", "failed"):
                self._online = True
                self._troubles.over(_ARCHIVE, "the archive answers again; what was kept is being delivered")
            if report.kind in ("progress", "done"):
                self._troubles.over(_TURN, "the other session lets this one write again")
            self._changed.notify_all()

    def _let_go(self, run: RunUnderWay | None) -> None:
        if run is not None:
            del self._files[run.file.name]
            run.file.close()

    def _pending(self) -> int:
        return sum(run.file.pending for run in self._files.values())

    def _reject(self, why: str, key: str = "") -> None:
        with self._changed:
            self._rejected += 1
            self._trouble(why, key)

    def _alter(self, name: str, uid: str, kind: str) -> None:
        with self._changed:
            self._altered += 1
            self._trouble(f"a {kind} in a {name} document of run {uid} cannot be stored and became its text")

    def _lose(self, why: str, uid: str = "") -> None:
        with self._changed:
            self._lost += 1
            if uid in self._open:
                self._open[uid].lost += 1
            self._trouble(f"documents are lost: {why}", key=f"lost {uid}")

    def _trouble(self, text: str, key: str = "") -> None:
        self._last_error = text
        self._troubles.add(key or text, text)

    def _tell_of_leftovers(self) -> None:
        stranded = list(self._in_hand)
        while not self._queue.empty():
            stranded.append(self._queue.get_nowait())
        pending = sum(run.file.pending_documents for run in self._files.values())
        pending += sum(not isinstance(item, threading.Event) for item in stranded)
        if pending:
            self._lost += pending
            self._trouble(
                f"{pending} documents are lost: the disk did not take them ({self._disk_error or 'it hangs'})"
            )
        left = run_files(self._session.path) if self._session else []
        if left:
            self._trouble(
                f"{len(left)} runs are not in the archive yet. They are kept in {left[0].parent}, and "
                "delivered when a session opens this archive again"
            )


def _array_bytes(name: str, doc: Mapping[str, Any]) -> int:
    """Return the bytes of the arrays of events: of the rest there is little."""
    if name not in ("event", "event_page"):
        return 0
    return sum(value.nbytes for value in doc.get("data", {}).values() if type(value) is np.ndarray)
