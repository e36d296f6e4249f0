"""Data files as columns: XDI, Athena projects and column text.

A file gives one entry a spectrum, in order: a `Scan`, or an `Unreadable` that says what is wrong with it.
Nothing here raises for a bad file, so one of a thousand never stops the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from xas_live.modes import mode_names
from xas_live.sources.athena import is_project, read_project
from xas_live.sources.columns import read_columns
from xas_live.sources.scan import ColumnsError, Scan, Unreadable, UnreadableError
from xas_live.sources.text import read_text

logger = logging.getLogger("xas_live")


def read_file(
    path: str | Path, *, columns: Mapping[str, int] | None = None, mode: str | None = None
) -> list[Scan | Unreadable]:
    """Read every spectrum of a data file.

    Parameters
    ----------
    path : an XDI file, an Athena project (.prj), or column text; also packed by gzip, bzip2 or xz.
    columns : channel -> column number from 0, for XDI and text; default: by the names in the header, else two
        unnamed columns are energy and mu.
    mode : name of a detector mode; default: the preferred one that the columns allow (ready mu before counts,
        transmission before fluorescence).

    Returns
    -------
    One entry a spectrum, never empty: a project has one a group, a text one a table.
    """
    path = Path(path)
    if mode is not None and mode not in mode_names():
        raise ColumnsError(f"mode {mode!r} is unknown: use one of {', '.join(mode_names())}")
    try:
        text = read_text(path)
        if is_project(text):
            return read_project(path, text, mode)
        if path.suffix.lower() == ".prj":
            raise UnreadableError("not an Athena project")
        return read_columns(path, text, columns, mode)
    except UnreadableError as error:
        return [Unreadable(str(path), path.name, str(error))]
    except Exception as error:  # one of a thousand files must not stop the rest
        logger.debug("%s", path, exc_info=error)
        reason = f"it cannot be read ({type(error).__name__}: {error})"
        return [Unreadable(str(path), path.name, reason)]
