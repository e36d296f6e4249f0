"""`xas-live doctor`: check an installation, and what a beamline's settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from xas_live.cli.output import out, refuse


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[BEAMLINE.TOML]", help="Settings to check, too: archive, devices, models."),
    ] = None,
) -> None:
    """Check the installation and, with a beamline.toml, the beamline; 1 where something is broken."""
    from xas_live.beamline import BeamlineSession, SettingsFileError, read_settings
    from xas_live.beamline.checks import State, checks

    session = None
    if file is not None:
        try:
            settings, wrong = read_settings(file)
        except SettingsFileError as error:
            refuse(str(error))
        session = BeamlineSession(settings, lambda line: None)
        for line in wrong:
            session.lacks(line)
        session.set_environment()
    colours = {State.OK: "green", State.WITHOUT: "yellow", State.BROKEN: "red"}
    table = Table("", "what", "found")
    broken = 0
    for check in checks(session):
        broken += check.state is State.BROKEN
        found = f"{escape(check.found)}{f'. {escape(check.remedy)}' if check.remedy else ''}"
        table.add_row(f"[{colours[check.state]}]{check.state}[/]", check.what, found)
    out.print(table)
    if broken:
        raise typer.Exit(1)
