"""OwnArrays: copies of the arrays in events, of those fields that make spectra."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import numpy as np

from xas_live.callbacks.live.backlog import bytes_of

if TYPE_CHECKING:
    from event_model.documents import Document

LARGEST_UNKNOWN = 8 * 2**20
"""Bytes of an array up to which it is copied before it is known whether it makes spectra."""

_KEPT = 1000  # descriptors whose fields are known, and arrays left out that wait to be told

_ARRAYS = (np.ndarray, list)


class OwnArrays:
    """Gives events arrays of their own: a detector may fill its arrays again before the worker reads them.

    Images and the like are not copied: once the worker has read the descriptor, it is known which fields make
    spectra. Until then large arrays are left out; so are those that memory does not suffice for. Where such a
    field makes spectra, `missed` says it.
    """

    def __init__(self) -> None:
        self._read: dict[str, frozenset[str]] = {}  # fields that make spectra, by descriptor
        self._left_out: deque[tuple[str, str, str]] = deque(maxlen=_KEPT)
        self._told: set[str] = set()

    def copied(self, event: Document) -> tuple[Document, int]:
        """Return an event or event page with copies of its arrays, and their bytes. In the plan's thread."""
        data = event.get("data")
        if not isinstance(data, dict):
            return event, 0
        for value in data.values():
            if isinstance(value, _ARRAYS):
                return self._with_own(event, data)
        return event, 0

    def _with_own(self, event: Document, data: dict[str, object]) -> tuple[Document, int]:
        arrays = [(name, value) for name, value in data.items() if isinstance(value, _ARRAYS)]
        descriptor, total = str(event.get("descriptor")), 0
        read = self._read.get(descriptor)
        own = dict(data)
        for name, value in arrays:
            del own[name]
            if read is not None and name not in read:
                continue
            size = bytes_of(value)
            if read is None and size > LARGEST_UNKNOWN:
                self._left_out.append((descriptor, name, "it came before its descriptor was read"))
                continue
            try:
                own[name] = _copy(value)
            except MemoryError:
                self._left_out.append((descriptor, name, "memory is short"))
            else:
                total += size
        return cast("Document", {**event, "data": own}), total

    def read(self, descriptor: str, fields: frozenset[str]) -> None:
        """Take note of the fields of a stream that make spectra. In the worker's thread, as `missed`."""
        self._read[descriptor] = fields
        while len(self._read) > _KEPT:
            del self._read[next(iter(self._read))]

    def missed(self) -> list[str]:
        """Return, in words and each once, which fields that make spectra have been left out."""
        found: list[str] = []
        while self._left_out:
            descriptor, name, why = self._left_out.popleft()
            text = f"an array of {name!r} is left out: {why}"
            if name in self._read.get(descriptor, frozenset()) and text not in self._told:
                self._told.add(text)
                found.append(text)
        return found


def _copy(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.copy()
    return [_copy(each) for each in value] if isinstance(value, list) else value
