"""FileReader: rows of files read by another process, within a time limit."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from pickle import PicklingError
from threading import Lock

import numpy as np

from xas_live.callbacks.files.rows import OtherShapeError, Rows, Values
from xas_live.errors import XasLiveError
from xas_live.host import start_module

ANSWER_S = 10.0
"""A file that does not answer for so long is left alone (s)."""

REST_S = 60.0
"""A file that did not answer is asked again after so long (s)."""

_START_S = 60.0  # for the process to start, and to load a format's reader
_KEPT = 1000  # files at most that are known not to answer

logger = logging.getLogger("xas_live")


class FileReadError(XasLiveError, OSError):
    """Rows of a file that cannot be read, with the reason."""


class NoAnswerError(FileReadError):
    """A file that does not answer."""


class FileReader:
    """Reads rows of files in a process of its own, which is started when it is needed.

    A file that does not answer, as on a mount that hangs, costs `answer_s` once: the process is ended, the
    user is told in the log "xas_live", and the file is refused without asking for a minute. Safe to share
    between threads; they are answered in turn.

    Parameters
    ----------
    answer_s : seconds within which rows must be read.
    """

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._begin()

    @property
    def pid(self) -> int | None:
        """Process id of the reading process; None while there is none."""
        return None if self._child is None else self._child.process.pid

    def start(self) -> None:
        """Start the process, so that it is there when the first rows are announced."""
        self._after_fork()
        with self._lock, suppress(OSError):  # the first read tells
            self._running()

    def read(self, rows: Rows, start: int, stop: int) -> Values:
        """Return rows from `start` to before `stop`, (stop - start, ...).

        Raises
        ------
        FileReadError : when they cannot be read, or not yet; NoAnswerError, one of them, when the file does
            not answer.
        OtherShapeError : when the rows of an HDF5 dataset are not those that its data key declares.
        """
        self._after_fork()
        with self._lock:
            self._refuse_silent(rows.paths)
            for _ in range(2):  # once more where the process was ended from outside
                try:
                    return self._ask(rows, start, stop)
                except FileReadError:
                    raise
                except (EOFError, OSError):
                    self._end()
        raise FileReadError("the process that reads files ended twice over it")

    def close(self) -> None:
        """End the process; a later read starts another."""
        if self._pid == os.getpid():
            self._end()

    def ask_again(self) -> None:
        """Let files that did not answer be asked again now."""
        self._silent.clear()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._child: _Child | None = None
        self._silent: dict[Path, float] = {}  # until when a file is left alone

    def _after_fork(self) -> None:
        """Begin anew in a forked process: the reading process is the parent's."""
        if self._pid != os.getpid():
            self._begin()

    def _running(self) -> _Child:
        if self._child is None:
            self._child = _Child()
        return self._child

    def _refuse_silent(self, paths: Iterable[Path]) -> None:
        now = time.monotonic()
        for path in paths if self._silent else ():
            if (until := self._silent.get(path, 0.0)) > now:
                raise NoAnswerError(f"it does not answer; it is asked again in {until - now:.0f} s")

    def _ask(self, rows: Rows, start: int, stop: int) -> Values:
        """Return the answer of the process. Raises EOFError, OSError when it ends."""
        connection = self._running().connection
        try:
            try:
                connection.send((rows, start, stop))
            except (TypeError, AttributeError, PicklingError) as error:  # before anything is sent
                raise FileReadError(f"its reader cannot go to another process: {error}") from error
            if not connection.poll(_START_S):
                self._end()
                raise FileReadError(f"the process that reads files has not started within {_START_S:.0f} s")
            connection.recv()
            if not connection.poll(self._answer_s):
                self._end()
                self._leave_alone(rows.paths)
                raise NoAnswerError(f"it has not answered for {self._answer_s:g} s")
            kind, said = connection.recv()
            if kind == "values":
                found = np.frombuffer(connection.recv_bytes(), dtype=np.float64)
                return found.reshape(said)
        except (EOFError, OSError):
            raise
        except BaseException:  # interrupted: the answer would be taken for that to the next request
            self._end()
            raise
        if kind == "other shape":
            raise OtherShapeError(said)
        raise FileReadError(said)

    def _leave_alone(self, paths: Iterable[Path]) -> None:
        until = time.monotonic() + REST_S
        for path in paths:
            if len(self._silent) < _KEPT or path in self._silent:
                self._silent[path] = until
        named = ", ".join(map(str, paths))
        logger.warning(
            "%s has not answered for %g s (does its mount hang?): the rest goes on without it; it is asked "
            "again in %.0f s, and when its run ends",
            named[:300],
            self._answer_s,
            REST_S,
        )

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _Child:
    """One reading process. It sees the socket close when this object, or the whole session, is gone."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            self.process = start_module(
                "xas_live.callbacks.files.child",
                [str(theirs.fileno())],
                Path(os.devnull),
                environment={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                keep_open=[theirs.fileno()],
            )

    def end(self) -> None:
        """End the process; one that waits for a mount ends when that answers, and is not waited for."""
        self.connection.close()
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)


FILES = FileReader()
"""Reads the files of all runs of this session."""

atexit.register(FILES.close)
