"""Where an entry stands in a TOML file, for messages about it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any


def place_in(text: str, where: Sequence[str | int]) -> str:
    """Return line, name and value of an entry, as "line 12, schedule.steps = -1: "; or the line of its table.

    Parameters
    ----------
    text : valid TOML.
    where : keys and indices that lead to the entry, as pydantic names them.
    """
    whole = tomllib.loads(text)
    known: list[str | int] = []
    for key, after in zip_longest(where, where[1:]):
        entry = _found(whole, [*known, key])
        # pydantic names the kind of an output or of structures, too, which is no entry; or a list's namesake.
        if entry is not None and not (isinstance(entry[0], list) and isinstance(after, str)):
            known.append(key)
    if not where:
        return ""
    there = known[-1:] == [where[-1]]
    name = ".".join(map(str, known if there else [*known, where[-1]]))
    line = f"line {_line(text, known)}, " if known else ""
    entry = _found(whole, known)
    return f"{line}{name} = {entry[0]!r}: " if there and entry is not None else f"{line}{name}: "


def _line(text: str, where: Sequence[str | int]) -> int:
    """Number of the line at which an entry stands: the first lines of the file that hold it end there."""
    lines = text.splitlines()
    for count in range(1, len(lines) + 1):
        for closing in ("", "]"):  # an array that goes on
            try:
                part = tomllib.loads("\n".join(lines[:count]) + closing)
            except tomllib.TOMLDecodeError:
                continue
            if _found(part, where) is not None:
                return count
    return len(lines)


def _found(table: Any, where: Sequence[str | int]) -> tuple[Any] | None:
    """The entry that keys and indices lead to, or None."""
    for key in where:
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            return None
    return (table,)
