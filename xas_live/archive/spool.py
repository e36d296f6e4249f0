"""Spool: documents on disk, one file a run, from which they are delivered. The durable truth.

    FOLDER/                     one per catalog
        20260101T120000-4711/   one per session, locked while the session or its delivery process lives
            000001-<uid>.jsonl  one per run, removed when it is delivered
        set-aside/              runs that the catalog does not take: see xas_live/archive/aside.py
        .writing/               locks of the runs that are being delivered

A session folder that nobody holds is what a crashed session left; whoever delivers next takes it over.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from xas_live.host import FileLock

SUFFIX = ".jsonl"
_LOCK = "lock"
_DRAFT = ".new-"
_DRAFT_SECONDS = 60.0
_CLAIMS = ".writing"
_SESSION = re.compile(r"\d{8}T\d{6}-.*")
_COPY_BYTES = 2**20


class SessionFolder:
    """A locked folder for the run files of one session; free when all processes holding it have ended."""

    def __init__(self, path: Path, lock: FileLock) -> None:
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
        lock = take_lock(draft / _LOCK)
        if lock is None:
            raise OSError(f"{draft} cannot be locked")
        # Only a locked folder gets its name, so that nobody takes it for a forgotten one.
        return cls(draft.rename(root / tag), lock)

    @classmethod
    def adopt(cls, path: Path) -> SessionFolder | None:
        """Lock a folder that nobody holds any more; None while somebody does."""
        try:
            lock = take_lock(path / _LOCK)
        except FileNotFoundError:  # others were faster
            return None
        return None if lock is None else cls(path, lock)

    def stands(self) -> bool:
        """Whether the folder is there still: nobody removed it, or put another in its place."""
        return _is_at(self.path / _LOCK, self.lock)

    def release(self) -> None:
        """Give up the lock."""
        self.lock.release()

    def remove_if_empty(self) -> bool:
        """Remove the folder when no run file is left in it; say whether it was."""
        if run_files(self.path):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        return True


def run_file_name(number: int, uid: str) -> str:
    """The name of the file of a session's run of this number."""
    return f"{number:06d}-{re.sub(r'[^A-Za-z0-9-]', '_', uid)[:64]}{SUFFIX}"


def run_files(folder: Path) -> list[Path]:
    """The run files of a session folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def session_folders(root: Path) -> list[Path]:
    """The session folders under `root`, oldest first, held or not."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if _SESSION.fullmatch(path.name) and path.is_dir())


def forgotten(root: Path) -> Iterator[SessionFolder]:
    """Take over the folders under `root` that hold runs and are held by nobody; remove those without runs."""
    _remove_drafts(root)
    for path in session_folders(root):
        folder = SessionFolder.adopt(path)
        if folder is None:
            continue
        if folder.remove_if_empty():
            folder.release()
        else:
            yield folder


def has_forgotten(root: Path) -> bool:
    """Whether folders under `root` hold runs, also while a process of an ended session still holds them."""
    return any(run_files(path) for path in session_folders(root))


def take_lock(path: Path) -> FileLock | None:
    """Take the lock on a file that its holder may remove; None while it is held.

    Raises
    ------
    OSError : when the file cannot be opened, as that of another user.
    """
    lock = FileLock.take(path)
    if lock is not None and not _is_at(path, lock):
        lock.release()
        return None
    return lock


def _is_at(path: Path, lock: FileLock) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except OSError:
        return False


class Claim:
    """Of all sessions that deliver from a folder, one at a time may write a run.

    Parameters
    ----------
    root : the folder.
    uid : of the run.
    """

    def __init__(self, root: Path, uid: str) -> None:
        self._path = root / _CLAIMS / hashlib.sha256(uid.encode()).hexdigest()[:32]
        self._lock: FileLock | None = None

    def take(self) -> bool:
        """Whether the run is ours to write: from now on, or since it was.

        Raises
        ------
        OSError : when the disk does not allow it.
        """
        if self._lock is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = take_lock(self._path)
        return self._lock is not None

    def release(self) -> None:
        """Leave the run to others."""
        if self._lock is not None:
            self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


def _remove_drafts(root: Path) -> None:
    """Remove what sessions left that were killed while they made their folder."""
    for draft in root.glob(f"{_DRAFT}*"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                shutil.rmtree(draft, ignore_errors=True)


class RunFile:
    """One run's lines: those on disk, and those that the disk has not taken yet.

    Attributes
    ----------
    name : of the file.
    documents : lines handed in.
    length : bytes handed in.
    written : bytes on disk.
    complete : the stop document was handed in.
    displaced : what was written is at no place that is delivered from, until `write` puts it there.
    """

    def __init__(self, number: int, uid: str) -> None:
        self.name = run_file_name(number, uid)
        self.documents = 0
        self.length = 0
        self.written = 0
        self.complete = False
        self.displaced = False
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

    @property
    def removed(self) -> bool:
        """Whether somebody removed the file, which is open still."""
        return self._file is not None and os.fstat(self._file).st_nlink == 0

    @property
    def recoverable(self) -> bool:
        """Whether what was written can be had without the file's name."""
        return self._file is not None or not self.written

    def write(self, folder: Path) -> None:
        """Bring all pending lines to the disk, and see that they stay there.

        Raises
        ------
        OSError : when the disk does not take them; what it did not take stays pending.
        """
        if self.displaced:
            self._put_into(folder)
        if not self._pending:
            return
        if self._file is None:
            self._file = os.open(folder / self.name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        while self._pending:
            line = self._pending[0]
            taken = os.write(self._file, line)
            self.written += taken
            if taken == len(line):
                self._pending.popleft()
            else:
                self._pending[0] = line[taken:]
        os.fsync(self._file)

    def _put_into(self, folder: Path) -> None:
        if self._file is not None:
            copy = os.open(folder / self.name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            try:
                at = 0
                while part := os.pread(self._file, _COPY_BYTES, at):
                    at += os.write(copy, part)
                os.fsync(copy)
            except OSError:
                os.close(copy)
                raise
            os.close(self._file)
            self._file = copy
        self.displaced = False

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
