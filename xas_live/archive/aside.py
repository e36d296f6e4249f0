"""Runs that the archive does not take, or not as a whole: set aside in the spool until somebody decides.

FOLDER/set-aside/
    20260101T120000-000001-<uid>.jsonl  the documents of a run, as the spool had them
    20260101T120000-000001-<uid>.json   why, and what of it is in the archive
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xas_live.archive.documents import Document, decode
from xas_live.archive.spool import SUFFIX, SessionFolder, run_file_name, run_files, session_folders

_ASIDE = "set-aside"


@dataclass(frozen=True)
class SpooledRun:
    """What the first line of a run file tells of its run.

    Attributes
    ----------
    path : of the file.
    uid, scan_id : of the run; "" and None where the file does not tell.
    size : bytes of the file.
    changed : Unix time (s) when it was last written to.
    """

    path: Path
    uid: str
    scan_id: int | None
    size: int
    changed: float

    @classmethod
    def read(cls, path: Path) -> SpooledRun:
        """Read the start document of a run file.

        Raises
        ------
        OSError : when the file cannot be read, as when it was delivered meanwhile.
        """
        start: Document = {}
        with path.open("rb") as stream, contextlib.suppress(ValueError):
            name, doc = decode(stream.readline())
            start = doc if name == "start" and isinstance(doc, dict) else {}
        scan_id, about = start.get("scan_id"), path.stat()
        uid = str(start.get("uid", ""))
        return cls(path, uid, scan_id if isinstance(scan_id, int) else None, about.st_size, about.st_mtime)


@dataclass(frozen=True)
class SetAside:
    """A run that was set aside.

    Attributes
    ----------
    run : its file.
    why : the archive did not take it, in words.
    since : Unix time (s).
    left_out : lines that are not in the archive, by number from 1, each with the reason; empty where the
        archive has nothing of the run.
    """

    run: SpooledRun
    why: str
    since: float
    left_out: Mapping[int, str]


def set_aside(root: Path, file: Path, why: str, left_out: Mapping[int, str]) -> Path:
    """Move a run file out of the way of the others; returns where it is.

    Raises
    ------
    OSError : when it cannot be moved.
    """
    folder = root / _ASIDE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y%m%dT%H%M%S')}-{file.stem}"
    place = folder / f"{stem}{SUFFIX}"
    number = 1
    while place.exists():
        number += 1
        place = folder / f"{stem}-{number}{SUFFIX}"
    record = {"why": why, "since": time.time(), "left_out": left_out}
    with contextlib.suppress(OSError):  # on a full disk the documents are what counts
        place.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return file.rename(place)


def runs_waiting(root: Path) -> list[SpooledRun]:
    """The runs that are not in the archive yet, the oldest session's first."""
    found = []
    for folder in session_folders(root):
        for path in run_files(folder):
            with contextlib.suppress(OSError):  # delivered meanwhile
                found.append(SpooledRun.read(path))
    return found


def runs_set_aside(root: Path) -> list[SetAside]:
    """The runs that were set aside, the longest ago first."""
    found = []
    for path in sorted((root / _ASIDE).glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError):
            found.append(_read(path))
    return found


def _read(path: Path) -> SetAside:
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        loaded = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        record = loaded if isinstance(loaded, dict) else {}
    left_out = record.get("left_out")
    lines = {int(number): str(why) for number, why in left_out.items()} if isinstance(left_out, dict) else {}
    since = record.get("since")
    run = SpooledRun.read(path)
    when = float(since) if isinstance(since, int | float) else run.changed
    return SetAside(run, str(record.get("why", "the reason was not recorded")), when, lines)


def send_again(root: Path, runs: Sequence[SetAside]) -> Path:
    """Put runs back into the spool, from where the next session delivers them; returns their folder.

    Raises
    ------
    OSError : when they cannot be moved.
    """
    folder = SessionFolder.create(root)
    try:
        for number, each in enumerate(runs, start=1):
            each.run.path.rename(folder.path / run_file_name(number, each.run.uid))
            each.run.path.with_suffix(".json").unlink(missing_ok=True)
    finally:
        folder.release()
    return folder.path


def readable_documents(path: Path) -> Iterator[tuple[str, Document] | None]:
    """The documents of a run file; None for a line that cannot be read.

    Raises
    ------
    OSError : when the file cannot be read.
    """
    with path.open("rb") as stream:
        for line in stream:
            try:
                yield decode(line)
            except ValueError:
                yield None
