"""The command line: `xas-live ...`. Each command loads what it needs when it runs, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from xas_live import __version__
from xas_live.cli.anchor import anchor
from xas_live.cli.beamline import beamline
from xas_live.cli.demo import demo
from xas_live.cli.doctor import doctor
from xas_live.cli.flags import flags
from xas_live.cli.ioc import ioc
from xas_live.cli.models import models
from xas_live.cli.profile import profile
from xas_live.cli.replay import replay
from xas_live.cli.spool import spool
from xas_live.cli.train import train

app = typer.Typer(
    name="xas-live",
    help="Live structure of nanoparticles from X-ray absorption scans.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(demo)
app.command()(beamline)
app.command(context_settings={"ignore_unknown_options": True})(replay)  # -1 is a run
app.command()(train)
app.command()(doctor)
app.command()(ioc)
app.add_typer(anchor, name="anchor")
app.add_typer(models, name="models")
app.add_typer(flags, name="flags")
app.add_typer(profile, name="profile")
app.add_typer(spool, name="spool")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xas-live {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
