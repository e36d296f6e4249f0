"""Names as Tiled takes them: uids that may address a run, and fields that may be columns of a table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Set
from itertools import chain, count
from typing import Any

from event_model import DocumentNames, schema_validators

from xas_live.archive.address import DERIVED, RAW
from xas_live.archive.documents import Document

ORIGINAL = "original_name"
"""Entry of a data key, and of a descriptor, that is stored under another name: its own."""

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_CONTAINERS = frozenset({RAW, DERIVED})
_COLUMNS = frozenset({"seq_num", "time"})
_LONGEST = 60  # bytes: of the 63 of a column's name, "ts_" takes three
_HASH = 8
_NO_COLUMN = re.compile(r"""['"`;\\%()=+/.\x00-\x1f\x7f]|--|\*""")
_NO_NODE = re.compile(r"[#?&]")
_NO_METADATA = re.compile(r"[./]")


class NameRefused(ValueError):
    """A run cannot be stored under its uid."""


def checked_uid(uid: object) -> str:
    """Return the uid of a run; refuse one that could address something else than a run.

    Raises
    ------
    NameRefused : for "", "." and whatever else Tiled would take for another node, or a path.
    """
    if not isinstance(uid, str) or not _UID.fullmatch(uid) or uid in _CONTAINERS:
        raise NameRefused(
            f"{uid!r} cannot be the uid of a stored run: letters, digits and '-_.:' can, and the names of "
            "catalogs cannot"
        )
    return uid


def stored_names(data_keys: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of fields in Tiled: their own where it takes them, others where it does not.

    Tiled's columns have names of at most 63 bytes that begin with a letter, differ not only by their case,
    and do without brackets, quotes and some signs.

    Parameters
    ----------
    data_keys : of a stream, by name.
    """
    names: dict[str, str] = {}
    taken = set(_COLUMNS)
    kept = {name for name in data_keys if _fitting(name, data_keys[name]) == name}
    for name in sorted(data_keys, key=lambda name: name not in kept):  # who can keep the name, does
        stored = _free(_fitting(name, data_keys[name]), taken)
        taken |= {stored.lower(), f"ts_{stored}".lower()}
        names[name] = stored
    return names


def stored_stream(name: str, others: Set[str]) -> str:
    """Return the name of a stream in Tiled: one that none of the other streams of the run has."""
    return _free(_cut(_NO_NODE.sub("_", _NO_COLUMN.sub("_", name)) or "_"), others)


def renamed_descriptor(doc: Document, names: Mapping[str, str], stream: str) -> Document:
    """Return a descriptor with other names of fields and stream, and what they were.

    Parameters
    ----------
    names : as `stored_names` gives them.
    stream : as `stored_stream` gives it.
    """
    renamed = _with_names(doc, names)
    for name, stored in names.items():
        if name != stored:
            renamed["data_keys"][stored][ORIGINAL] = name
    if doc["name"] != stream:
        renamed |= {"name": stream, ORIGINAL: doc["name"]}
    return renamed


def original(descriptor: Any) -> tuple[Any, dict[str, str]]:
    """Return a stored descriptor with the names that it had, and those by the stored ones that differ.

    A field that is called as the columns of every table are, `time` or `seq_num`, keeps its stored name.
    """
    names = {
        stored: str(key[ORIGINAL])
        for stored, key in descriptor["data_keys"].items()
        if key.get(ORIGINAL) not in (None, *_COLUMNS)
    }
    if not names and ORIGINAL not in descriptor:
        return descriptor, {}
    back = _with_names(descriptor, {name: names.get(name, name) for name in descriptor["data_keys"]})
    for key in back["data_keys"].values():
        key.pop(ORIGINAL, None)
    if ORIGINAL in back:
        back["name"] = back.pop(ORIGINAL)
    return back, names


def _with_names(doc: Document, names: Mapping[str, str]) -> Document:
    """Return a descriptor with other names of fields."""
    renamed = {**doc, "data_keys": {names[name]: dict(key) for name, key in doc["data_keys"].items()}}
    if "object_keys" in doc:
        renamed["object_keys"] = {
            device: [names.get(name, name) for name in fields]
            for device, fields in doc["object_keys"].items()
        }
    if "hints" in doc:
        renamed["hints"] = {
            device: {**hint, "fields": [names.get(name, name) for name in hint.get("fields", [])]}
            for device, hint in doc["hints"].items()
        }
    return renamed


def renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return fields of an event under their names in Tiled."""
    return {names.get(name, name): value for name, value in fields.items()}


def valid_start(doc: Document) -> tuple[Document, list[str]]:
    """Return a start document as event-model allows it, and notes on what was changed.

    Keys lose dots and slashes; an entry of a kind that the model does not allow becomes its text.
    """
    notes: list[str] = []
    valid = {key: _plain_keys(value, notes) for key, value in _plain_keys(doc, notes, deep=False).items()}
    for error in schema_validators[DocumentNames.start].iter_errors(valid):
        key = str(error.absolute_path[0]) if error.absolute_path else ""
        if key not in valid or key in ("uid", "time"):
            raise ValueError(f"the start document is not valid: {error.message[:200]}")
        notes.append(f"{key!r} of the start document is kept as text: {error.message[:200]}")
        valid[key] = str(valid[key])
    return valid, notes


def _plain_keys(value: Any, notes: list[str], *, deep: bool = True) -> Any:
    if isinstance(value, Mapping):
        found = {}
        for key, item in value.items():
            plain = _NO_METADATA.sub("_", key)
            if plain != key:
                notes.append(f"{key!r} of the start document is stored as {plain!r}")
            found[plain] = _plain_keys(item, notes) if deep else item
        return found
    return value


def _fitting(name: str, key: Mapping[str, Any]) -> str:
    plain = _NO_COLUMN.sub("_", name)
    if key.get("dtype") == "array" or "external" in key:  # a node of its own, with a name in a URL
        plain = _NO_NODE.sub("_", plain)
    if not re.match("[A-Za-z]", plain):
        plain = f"f_{plain}"
    return _cut(plain)


def _cut(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= _LONGEST:
        return name
    mark = hashlib.sha256(encoded).hexdigest()[:_HASH]
    return f"{encoded[: _LONGEST - _HASH - 1].decode(errors='ignore')}_{mark}"


def _free(name: str, taken: Set[str]) -> str:
    """Return a name that no other column has."""
    candidates = chain((name, f"{name}_"), (f"{name}_{number}" for number in count(2)))
    return next(
        free
        for free in map(_cut, candidates)
        if free.lower() not in taken and f"ts_{free}".lower() not in taken
    )
