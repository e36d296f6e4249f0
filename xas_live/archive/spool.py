"""Spool: documents on disk, one file a run, from which they are delivered. The durable truth.

    FOLDER/                     one per catalog
        20260101T120000-4711/   one per session, locked while the session or its delivery process lives
            000001-<uid>.jsonl  one per run, removed when it is delivered

A session folder that nobody holds is what a crashed session left; whoever delivers next takes it over.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from xas_live.archive.documents import Document

SUFFIX = ".jsonl"
_LOCK = "lock"
_DRAFT = ".new-"


class SessionFolder:
    """A locked folder for the run files of one session; free when all processes holding it have ended."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    @classmethod
    def create(cls, root: Path) -> SessionFolder:
        """Make and lock a new folder under `root`.

        Raises
        ------
        OSError : when the disk does not allow it.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        tag = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{uuid4().hex[:4]}"
        draft = root / f"{_DRAFT}{tag}"
        draft.mkdir(mode=0o700)
        lock = _try_lock(draft)
        if lock is None:
            raise OSError(f"{draft} cannot be locked")
        # Only a locked folder gets its name, so that nobody takes it for a forgotten one.
        return cls(draft.rename(root / tag), lock)

    @classmethod
    def adopt(cls, path: Path) -> SessionFolder | None:
        """Lock a folder that nobody holds any more; None while somebody does."""
        lock = _try_lock(path)
        return None if lock is None else cls(path, lock)

    def release(self) -> None:
        """Give up the lock."""
        os.close(self.lock)

    def remove_if_empty(self) -> bool:
        """Remove the folder when no run file is left in it; say whether it was."""
        if run_files(self.path):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        return True


def run_files(folder: Path) -> list[Path]:
    """The run files of a session folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def forgotten(root: Path) -> Iterator[SessionFolder]:
    """Take over the folders under `root` that hold runs and are held by nobody."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.name.startswith(_DRAFT) and run_files(path):
            folder = SessionFolder.adopt(path)
            if folder is not None:
                yield folder


def has_forgotten(root: Path) -> bool:
    """Whether folders under `root` hold runs and are held by nobody."""
    if not root.is_dir():
        return False
    for folder in forgotten(root):
        folder.release()
        return True
    return False


def _try_lock(folder: Path) -> int | None:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


class RunFile:
    """One run's lines: those on disk, and those that the disk has not taken yet.

    Attributes
    ----------
    name : of the file.
    documents : lines handed in.
    length : bytes handed in.
    written : bytes on disk.
    complete : the stop document was handed in.
    """

    def __init__(self, number: int, uid: str) -> None:
        self.name = f"{number:06d}-{re.sub(r'[^A-Za-z0-9-]', '_', uid)[:64]}{SUFFIX}"
        self.documents = 0
        self.length = 0
        self.written = 0
        self.complete = False
        self._file: int | None = None
        self._pending: deque[bytes] = deque()

    @property
    def pending(self) -> int:
        """Bytes not on disk yet."""
        return self.length - self.written

    @property
    def pending_documents(self) -> int:
        """Lines not on disk yet."""
        return len(self._pending)

    def add(self, line: bytes) -> None:
        """Take a line."""
        self._pending.append(line)
        self.documents += 1
        self.length += len(line)

    def write(self, folder: Path) -> None:
        """Bring all pending lines to the disk, and see that they stay there.

        Raises
        ------
        OSError : when the disk does not take them; what it did not take stays pending.
        """
        if not self._pending:
            return
        if self._file is None:
            self._file = os.open(folder / self.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while self._pending:
            line = self._pending[0]
            taken = os.write(self._file, line)
            self.written += taken
            if taken == len(line):
                self._pending.popleft()
            else:
                self._pending[0] = line[taken:]
        os.fsync(self._file)
        if self.complete:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Router:
    """Knows to which run a document belongs. Documents name it directly, or through one that came before."""

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}
        self._newest: str | None = None

    def run_of(self, name: str, doc: Document) -> str | None:
        """Uid of the run of a document; None when its run's start was never seen."""
        if name == "start":
            uid = str(doc["uid"])
            self._owner[uid] = self._newest = uid
            return uid
        owner = self._parent(name, doc)
        if owner is not None and name in ("descriptor", "resource", "stream_resource"):
            self._owner[str(doc["uid"])] = owner
        return owner

    def forget(self, uid: str) -> None:
        """Drop a run that has ended."""
        self._owner = {key: owner for key, owner in self._owner.items() if owner != uid}
        if self._newest == uid:
            self._newest = None

    def _parent(self, name: str, doc: Document) -> str | None:
        key: Any
        if "run_start" in doc:
            key = doc["run_start"]
        elif name == "resource":
            # Old areaDetector handlers leave the run out.
            key = self._newest
        else:
            key = doc.get("descriptor", doc.get("resource"))
        return self._owner.get(key) if isinstance(key, str) else None
