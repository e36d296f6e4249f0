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
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files that are there.")] = False,
) -> None:
    """Copy the profile, for you to edit its beamline.toml; start it by `ipython --profile=xas`."""
    if not name.isidentifier():
        refuse(f"--name {name!r} is no name: use letters, digits and _")
    if ipython_dir is None:
        from IPython.paths import get_ipython_dir

        ipython_dir = Path(get_ipython_dir())
    target = ipython_dir.expanduser() / f"profile_{name}"
    with as_file(files("xas_live.profiles") / "profile_xas") as source:
        ours = sorted(path for path in source.rglob("*") if path.suffix in (".py", ".toml"))
        ours = [path.relative_to(source) for path in ours]
        there = [str(path) for path in ours if (target / path).exists()]
        if there and not force:
            refuse(f"{target} has {', '.join(there)}: --force overwrites them, --name gives another name")
        try:
            for path in ours:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / path, target / path)
        except OSError as error:
            refuse(f"{target} cannot be written: {error.strerror}")
    out.print(f"Installed in {target}", soft_wrap=True)
    out.print("Edit beamline.toml there (xas-live doctor checks it), then: ipython --profile=" + name)
