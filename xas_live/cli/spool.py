"""`xas-live spool`: runs that are not in the archive, those on their way and those it does not take."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from xas_live.cli.output import check_output, err, out, print_json, refuse
from xas_live.cli.storing import open_past
from xas_live.host import local_time

if TYPE_CHECKING:
    from xas_live.archive.aside import SetAside, SpooledRun

spool = typer.Typer(help="Runs that are not in the archive: list, send, export them.", no_args_is_help=True)

Place = Annotated[str, typer.Argument(metavar="ARCHIVE", help="Folder or URI of the archive.")]
Uids = Annotated[
    list[str] | None, typer.Argument(metavar="[UID]...", help="Whole or their beginning; default: all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 120.0  # without one run less on its way


@spool.command("list")
def list_spool(place: Place, as_json: AsJson = False) -> None:
    """List the runs that wait, and those that were set aside, with the reason."""
    waiting, aside = _waiting(place), _aside(place)
    if as_json:
        print_json([_record(catalog, run) for catalog, run in waiting]
                   + [_record(catalog, each.run, each) for catalog, each in aside])  # fmt: skip
        return
    if not waiting and not aside:
        out.print("No run waits, and none was set aside.")
        return
    table = Table("run", "scan", "catalog", "MB", "since", "state", box=box.SIMPLE)
    for catalog, run in waiting:
        table.add_row(*map(escape, (*_cells(catalog, run, run.changed), "waits")))
    for catalog, each in aside:
        state = "set aside, but for some documents in the archive" if each.left_out else "set aside"
        table.add_row(*map(escape, (*_cells(catalog, each.run, each.since), state)))
    out.print(table)
    for _, each in aside:
        out.print(f"  {escape(_name(each.run))}: {escape(each.why)}", soft_wrap=True)
        for line, why in each.left_out.items():
            out.print(f"    line {line}: {escape(why)}", soft_wrap=True)


@spool.command("send")
def send(place: Place, uids: Uids = None) -> None:
    """Send runs that were set aside once more, as after an update; exit code 1 when one is not taken."""
    from xas_live.archive.aside import send_again
    from xas_live.archive.catalog import spools_of
    from xas_live.archive.spool import run_files

    chosen = [(catalog, each) for catalog, each in _aside(place) if _is_named(each.run, uids)]
    if not chosen:
        refuse(f"no run{' of that uid' if uids else ''} was set aside: see xas-live spool list {place}")
    sent = {each.run.uid for _, each in chosen}
    folders = []
    try:
        for catalog, root in spools_of(place).items():
            of = [each for name, each in chosen if name == catalog]
            folders += [send_again(root, of)] if of else []
    except OSError as error:
        refuse(f"they cannot be sent: {error}")
    with open_past(place, "ARCHIVE"), err.status("Sending ..."):
        left, since = -1, time.monotonic()
        while files := [path for folder in folders for path in run_files(folder)]:
            if len(files) != left:
                left, since = len(files), time.monotonic()
            if time.monotonic() - since > _PATIENCE_SECONDS:
                break
            time.sleep(_LOOK_SECONDS)
    again = [each for _, each in _aside(place) if each.run.uid in sent]
    for each in again:
        err.print(f"{escape(_name(each.run))} was set aside again: {escape(each.why)}", soft_wrap=True)
    if files:
        err.print(f"{len(files)} runs wait still; the next session delivers them.", soft_wrap=True)
    out.print(f"{len(chosen) - len(again) - len(files)} of {len(chosen)} runs are in the archive")
    if again or files:
        raise typer.Exit(1)


@spool.command("export")
def export(
    place: Place,
    uid: Annotated[str, typer.Argument(metavar="UID", help="Whole or its beginning.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
) -> None:
    """Write the documents of a run that waits or was set aside, one JSON object a line, `name` and `doc`."""
    from xas_live.archive.aside import readable_documents
    from xas_live.archive.values import listed

    check_output(output, "--output")
    runs = [run for _, run in _waiting(place)] + [each.run for _, each in _aside(place)]
    found = [run for run in runs if _is_named(run, [uid])]
    if len({run.uid for run in found}) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        refuse(f"{what} of uid {uid!r} in the spool: see xas-live spool list {place}")
    written = unreadable = 0
    try:
        with output.open("w", encoding="utf-8") as stream:
            for document in readable_documents(found[-1].path):
                if document is None:
                    unreadable += 1
                else:
                    written += 1
                    stream.write(json.dumps({"name": document[0], "doc": listed(document[1])}) + "\n")
    except OSError as error:
        refuse(f"--output {output} cannot be written: {error}")
    out.print(f"{written} documents in {output}", soft_wrap=True)
    if unreadable:
        err.print(f"{unreadable} lines cannot be read, and are left out.", soft_wrap=True)


def _roots(place: str) -> dict[str, Path]:
    from xas_live.archive import ArchiveError
    from xas_live.archive.catalog import spools_of

    try:
        return spools_of(place)
    except ArchiveError as error:
        refuse(str(error))


def _waiting(place: str) -> list[tuple[str, SpooledRun]]:
    from xas_live.archive.aside import runs_waiting

    return [(catalog, run) for catalog, root in _roots(place).items() for run in runs_waiting(root)]


def _aside(place: str) -> list[tuple[str, SetAside]]:
    from xas_live.archive.aside import runs_set_aside

    return [(catalog, each) for catalog, root in _roots(place).items() for each in runs_set_aside(root)]


def _is_named(run: SpooledRun, uids: list[str] | None) -> bool:
    return not uids or any(_name(run).startswith(uid) for uid in uids)


def _name(run: SpooledRun) -> str:
    return run.uid or run.path.name


def _cells(catalog: str, run: SpooledRun, since: float) -> tuple[str, ...]:
    scan = "" if run.scan_id is None else str(run.scan_id)
    return _name(run), scan, catalog, f"{run.size / 1e6:.1f}", f"{local_time(since):%Y-%m-%d %H:%M}"


def _record(catalog: str, run: SpooledRun, aside: SetAside | None = None) -> dict[str, object]:
    record: dict[str, object] = {
        "uid": run.uid,
        "scan_id": run.scan_id,
        "catalog": catalog,
        "file": str(run.path),
    }
    if aside is not None:
        record |= {"why": aside.why, "since": aside.since, "left_out": aside.left_out}
    return record
