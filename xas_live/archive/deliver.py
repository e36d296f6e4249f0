"""The delivery process, `python -m xas_live.archive.deliver`: writes the runs of spool folders to Tiled.

A process of its own, so that neither the work nor a dead server is felt in the session that measures. Its
first line of stdin says where to (`Order`); a line `close` asks it to finish. It reports on stdout, one JSON
object a line (`Report`). Without its session it ends, and leaves the rest to the next one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from xas_live.archive.address import Address
from xas_live.archive.delivery import WAIT_TOLD_SECONDS, Delivery
from xas_live.archive.errors import ArchiveError
from xas_live.archive.messages import Order, Report
from xas_live.archive.spool import SessionFolder, forgotten, run_files, take_lock
from xas_live.host import FileLock, when_parent_ends

_POLL_SECONDS = 0.1
_ADOPT_SECONDS = 10.0
_RECONNECT_SECONDS = 2.0
_LONGEST_RECONNECT = 20.0
_TURN = "writing.lock"
_TURN_SECONDS = 2.0

logger = logging.getLogger(__name__)


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
        self._taken = 0
        self._waits_since: float | None = None

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
                with self._alone() as mine:
                    if not mine:
                        break
                    finished = delivery.step(self._catalog, self._taken)
                if finished:
                    del self._runs[path]
                    self._taken += delivery.taken
            except httpx.HTTPError as error:
                refuses = isinstance(error, httpx.HTTPStatusError)
                what = "takes nothing now" if refuses else "does not answer"
                self._disconnect(f"the archive {what}: {error!r}")
                break
        self._adopted = [folder for folder in self._adopted if not self._return(folder)]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """One delivery at a time into an embedded archive: DuckDB fails at times when two write at once.

        False where another session's had the turn for all of some seconds.
        """
        folder = self._address.folder
        if folder is None:
            yield True
            return
        turn = _turn(folder / _TURN)
        self._tell_of_waiting(turn is not None)
        try:
            yield turn is not None
        finally:
            if turn is not None:
                turn.release()

    def _tell_of_waiting(self, mine: bool) -> None:
        now = time.monotonic()
        if mine:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > WAIT_TOLD_SECONDS:
            Report("waiting", error="another session has been writing into the archive for long").send()

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


def _turn(path: Path) -> FileLock | None:
    """Take a lock within some seconds; None when others hold it for so long."""
    deadline = time.monotonic() + _TURN_SECONDS
    while (turn := take_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return turn


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
        try:
            follower.round(closing=False)
        except Exception:  # of one round: the process would start again, and begin all runs anew
            logger.exception("a round of the delivery failed")
            closing.wait(_RECONNECT_SECONDS)
    follower.round(closing=True)


if __name__ == "__main__":
    main()
