"""`xas-live profile`: put the IPython profile where IPython looks for it."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from xas_live.cli.output import out, refuse

profile = typer.Typer(help="IPython profiles for the beamline.", no_args_is_help=True)


@profile.callback()
def _profile() -> None:
    """IPython profiles for the beamline."""


@profile.command("install")
def install(
    name: Annotated[str, typer.Option(help="Name of the profile.")] = "xas",
    ipython_dir: Annotated[
        Path | None, typer.Option(help="Default: IPython's own folder ($IPYTHONDIR or ~/.ipython).")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the startup files that are there.")
    ] = False,
) -> None:
    """Copy the profile's startup files, for you to edit; start it by `ipython --profile=xas`."""
    if not name.isidentifier():
        refuse(f"--name {name!r} is no name: use letters, digits and _")
    if ipython_dir is None:
        from IPython.paths import get_ipython_dir

        ipython_dir = Path(get_ipython_dir())
    target = ipython_dir.expanduser() / f"profile_{name}" / "startup"
    with as_file(files("xas_live.profiles") / "profile_xas" / "startup") as source:
        startup = sorted(source.glob("*.py"))
        there = [path.name for path in startup if (target / path.name).exists()]
        if there and not force:
            refuse(f"{target} has {', '.join(there)}: --force overwrites them, --name gives another name")
        try:
            target.mkdir(parents=True, exist_ok=True)
            for path in startup:
                shutil.copyfile(path, target / path.name)
        except OSError as error:
            refuse(f"{target} cannot be written: {error.strerror}")
    out.print(f"Installed in {target.parent}", soft_wrap=True)
    out.print(f"Edit the files in startup/, then: ipython --profile={name}")
