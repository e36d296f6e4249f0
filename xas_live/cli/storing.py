"""Archives on the command line: open one, or say why not; and wait, with a bar, until all is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from xas_live.cli.output import err, refuse

if TYPE_CHECKING:
    from xas_live.archive import Archive, RunWriter

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0  # without one more document in the archive
_OFFLINE_SECONDS = 5.0  # the same while the archive does not answer: time to come back, no more
_INTERRUPTED_SECONDS = 1.0  # for a writer, after Ctrl-C


def open_store(place: str, option: str, derived: str | None = None) -> Archive:
    """Return an archive to store into; end the command when it, or a place for derived runs, cannot be had.

    Parameters
    ----------
    place : folder (made if missing) or URI.
    derived : the same for derived runs; default: beside the raw ones.
    """
    from xas_live.archive import ArchiveError

    archive = _open(place, option, derived)
    try:
        _ = archive.derived  # made, or refused, before anything is analysed
    except ArchiveError as error:
        archive.close()
        refuse(f"{option}: {error}. Here that is --derived FOLDER or --derived URI")
    return archive


def open_past(place: str, option: str) -> Archive:
    """Return an archive that is there already; end the command when it is not."""
    from xas_live.archive.uri import is_uri

    if not is_uri(place) and not (Path(place).expanduser() / "catalog.db").is_file():
        refuse(f"{option} {place!r} is no archive: give the folder of one, or the URI of a Tiled server")
    return _open(place, option)


def _open(place: str, option: str, derived: str | None = None) -> Archive:
    from xas_live.archive import ArchiveError, open_archive

    try:
        return open_archive(place, derived=derived)
    except ArchiveError as error:
        refuse(f"{option}: {error}")


def wait_until_stored(writers: Sequence[RunWriter]) -> bool:
    """Show a bar until everything handed to the writers is in the archive.

    Returns
    -------
    False when it is not, soon after the archive stopped answering or taking more. Each writer says where the
    rest is kept, when it is closed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Storing", total=None)
        delivered, since = -1, time.monotonic()
        while not all(writer.flush(_POLL_SECONDS) for writer in writers):
            states = [writer.status() for writer in writers]
            now = sum(state.delivered for state in states)
            waiting = sum(state.queued + state.spooled for state in states)
            if not waiting:  # what is not stored by now was lost or set aside
                break
            progress.update(task, completed=now, total=now + waiting)
            if now != delivered:
                delivered, since = now, time.monotonic()
            online = all(state.online for state in states)
            if time.monotonic() - since > (_PATIENCE_SECONDS if online else _OFFLINE_SECONDS):
                break
    states = [writer.status() for writer in writers]
    stored = not any(state.queued or state.spooled or state.lost or state.set_aside for state in states)
    if not stored:
        err.print("[bold red]Not everything is stored.[/]")
    return stored


@contextmanager
def quick_close_on_interrupt(archive: Archive) -> Iterator[None]:
    """On Ctrl-C close an archive soon: what is not stored stays in the spool, and a line says so."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopping; what is not stored yet is kept and stored when this archive is opened again.")
        archive.close(_INTERRUPTED_SECONDS)
        raise


def show_trouble(text: str) -> None:
    """Print a line of a writer: what went wrong, and where it keeps what it could not store."""
    err.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)
