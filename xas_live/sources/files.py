"""Data files as columns: XDI, Athena projects and column text, read by larch.

A file gives one entry a spectrum, in order: a `Scan`, or an `Unreadable` that says what is wrong with it.
Nothing here raises for a bad file, so one of a thousand never stops the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xas_live.modes import mode_names
from xas_live.sources.athena import is_project, read_project
from xas_live.sources.columns import read_columns
from xas_live.sources.scan import ColumnsError, Scan, Unreadable, UnreadableError


def read_file(
    path: str | Path, *, columns: Mapping[str, int] | None = None, mode: str | None = None
) -> list[Scan | Unreadable]:
    """Read every spectrum of a data file.

    Parameters
    ----------
    path : an XDI file, an Athena project (.prj), or column text.
    columns : channel -> column number from 0, for XDI and text; default: by the names in the header, else two
        or three unnamed columns are energy and mu.
    mode : name of a detector mode; default: the preferred one that the columns allow (ready mu before counts,
        transmission before fluorescence).

    Returns
    -------
    One entry a spectrum, never empty: a project has one a group, every other file one.
    """
    path = Path(path)
    if mode is not None and mode not in mode_names():
        raise ColumnsError(f"mode {mode!r} is unknown: use one of {', '.join(mode_names())}")
    try:
        head = _head(path)
        if is_project(path, head):
            return read_project(path, mode)
        return [read_columns(path, head, columns, mode)]
    except UnreadableError as error:
        return [Unreadable(str(path), path.name, str(error))]


def _head(path: Path) -> bytes:
    """Return the first bytes of a file; raise UnreadableError for one that cannot be a data file."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except IsADirectoryError:
        raise UnreadableError("is a folder: give the files in it") from None
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from None
    if not head.strip():
        raise UnreadableError("the file is empty")
    if b"\0" in head and not head.startswith(b"\x1f\x8b"):
        raise UnreadableError("binary file: give XDI, an Athena project or columns of text")
    return head
