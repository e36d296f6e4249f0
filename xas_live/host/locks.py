"""Locks on files, which the system gives up when the process that took them ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from weakref import WeakSet


class FileLock:
    """A lock on a file, taken by `take`; held until released.

    A forked child of the process does not hold it. A process started with its descriptor does.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _held.add(self)

    @classmethod
    def take(cls, path: Path, *, shared: bool = False, wait: bool = False) -> FileLock | None:
        """Take the lock; None when it is not free.

        Parameters
        ----------
        path : of the file, made if missing, for this user alone.
        shared : many may hold it at once, unless one holds it alone.
        wait : until it is free.

        Raises
        ------
        OSError : when the file cannot be opened, or its file system has no locks.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        if self._descriptor is None:
            raise ValueError("the lock is released")
        return self._descriptor

    def release(self) -> None:
        """Give the lock up; again does nothing."""
        if self._descriptor is not None:
            # Closed, not unlocked: who inherited the descriptor keeps the lock.
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


_held: WeakSet[FileLock] = WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
