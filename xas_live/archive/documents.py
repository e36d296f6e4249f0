"""Bluesky documents as text that keeps every number, and as snapshots that nobody else can change.

A line of a spool file is one JSON object, `{"name": ..., "doc": ...}`, in which a large array is an object
of its dtype, shape and base64 bytes: exact, and hundreds of times faster to write than a list of numbers.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np

_ARRAY = "__array__"
_PACKED_SIZE = 64
_DEEPEST = 40
_PAGE = b'{"name":"event_page"'
_FILES = tuple(f'{{"name":"{name}"'.encode() for name in ("resource", "stream_resource"))
_SURROGATES = re.compile("[\ud800-\udfff]")
_ATOMS = frozenset({str, int, float, bool, type(None), np.float64, np.int64, np.bool_})

Document = dict[str, Any]


def snapshot(value: Any, depth: int = 0) -> Any:
    """A copy that later changes to the original do not reach: containers rebuilt, arrays copied.

    Objects of other types are kept as they are; keys become strings. Beyond 40 levels (a structure that holds
    itself) the text of the value is kept.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if depth > _DEEPEST:
        return _text(value)
    if isinstance(value, Mapping):
        return {
            k if type(k) is str else str(k): v if type(v) in _ATOMS else snapshot(v, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple | Set):
        return [v if type(v) in _ATOMS else snapshot(v, depth + 1) for v in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    return value


def encode(name: str, doc: Document, on_foreign: Callable[[str], None]) -> bytes:
    """One line of a spool file.

    A value that JSON does not know becomes its text, and so do parts of a text that are no Unicode, as in
    file names of another encoding; `on_foreign` is told the type. One strange entry must not lose the
    document.
    """

    def default(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return _pack(value)
        if isinstance(value, np.floating):  # the item() of a longdouble is a longdouble
            return float(value)
        if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
            return value.item()
        on_foreign(type(value).__name__)
        return _text(value)

    record = {"name": name, "doc": doc}
    text = json.dumps(record, default=default, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        on_foreign("text that is no Unicode")
        return _SURROGATES.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode() + b"\n"


def decode(line: bytes) -> tuple[str, Document]:
    """Name and document of a line.

    Arrays come back as nested lists, as a JSON-born document has them; those of an event page as read-only
    arrays, so that a page of many rows is not taken to pieces.

    Raises
    ------
    ValueError : when the line is not one of ours.
    """
    page = line.startswith(_PAGE)
    try:
        record = json.loads(line, object_hook=_unpack if page else _unpack_to_lists)
        return record["name"], record["doc"]
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"not a line of a spool file: {error!r}") from error


def is_stop(line: bytes) -> bool:
    """Whether a line holds a stop document, without parsing it."""
    return line.startswith(b'{"name":"stop"')


def is_descriptor(line: bytes) -> bool:
    """Whether a line holds a descriptor, without parsing it."""
    return line.startswith(b'{"name":"descriptor"')


def names_files(line: bytes) -> bool:
    """Whether a line holds a document about files of a detector, without parsing it."""
    return line.startswith(_FILES)


def _pack(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.size < _PACKED_SIZE or array.dtype.kind not in "biuf":
        return array.tolist()
    data = base64.b64encode(array.tobytes()).decode("ascii")
    return {_ARRAY: [array.dtype.str, list(array.shape), data]}


def _unpack(record: Document) -> Any:
    if len(record) != 1 or _ARRAY not in record:
        return record
    dtype, shape, data = record[_ARRAY]
    return np.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape)


def _unpack_to_lists(record: Document) -> Any:
    value = _unpack(record)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _text(value: Any) -> str:
    try:
        return repr(value)[:1000]
    except Exception as error:  # noqa: BLE001 - a foreign object's own code runs here
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"
