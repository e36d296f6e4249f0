"""A run between the plan and the archive."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any

from xas_live.archive.spool import RunFile

_SAME_SECONDS = 0.5  # documents that come within it are told of by one time
_SEEN = 256  # documents of a run that are known when they come again


class RunUnderWay:
    """A run on its way: its file, and how far the archive has it.

    Attributes
    ----------
    file, uid : of the run.
    lost : documents of it that could not be kept.
    delivered, documents_delivered : bytes and documents that the archive has.
    failed : its delivery failed, and is tried again.
    """

    def __init__(self, file: RunFile, uid: str) -> None:
        self.file = file
        self.uid = uid
        self.lost = 0
        self.delivered = 0
        self.documents_delivered = 0
        self.failed = False
        self._handed_in: deque[tuple[int, float]] = deque()
        self._seen: dict[Hashable, None] = {}

    @property
    def arrived(self) -> bool:
        """Whether the archive has all that was handed in."""
        return self.delivered >= self.file.length

    @property
    def oldest(self) -> float | None:
        """Time (monotonic) when the oldest document that has not arrived was handed in."""
        return self._handed_in[0][1] if self._handed_in else None

    def came_before(self, name: str, doc: Mapping[str, Any]) -> bool:
        """Whether the same document is among the last that came."""
        key = identity(name, doc)
        if key is None:
            return False
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _SEEN:
            del self._seen[next(iter(self._seen))]
        return False

    def note(self, now: float) -> None:
        """Take note of the time (monotonic) when the file got a line."""
        if not self._handed_in or now - self._handed_in[-1][1] > _SAME_SECONDS:
            self._handed_in.append((self.file.length, now))
        else:
            self._handed_in[-1] = (self.file.length, self._handed_in[-1][1])

    def start_over(self, now: float) -> None:
        """Know that all of it is delivered anew."""
        self.delivered = 0
        self.documents_delivered = 0
        self.note(now)

    def progress(self, offset: int, documents: int) -> None:
        """Know how far the archive has it: bytes and documents."""
        self.delivered = offset
        self.documents_delivered = documents
        while self._handed_in and self._handed_in[0][0] <= offset:
            self._handed_in.popleft()


def identity(name: str, doc: Mapping[str, Any]) -> Hashable:
    """Return what tells a document from others of its run; None where it has no uid."""
    uid = doc.get("uid", doc.get("datum_id"))
    if isinstance(uid, list):
        return (name, uid[0], uid[-1], len(uid)) if uid else None
    return None if uid is None else (name, str(uid))
