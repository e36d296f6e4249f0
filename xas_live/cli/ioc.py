"""`xas-live ioc`: predictions as EPICS PVs."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

import typer
from rich.markup import escape

from xas_live.cli.output import out, refuse
from xas_live.signals.quantities import DEFAULT_TARGETS


def ioc(
    prefix: Annotated[str, typer.Option(help="What the names of all PVs begin with.")] = "XAS:",
    interface: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="IP address to listen on; may be given several times. Default: 127.0.0.1, this host alone.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"A number of the model; may be given several times. Default: {', '.join(DEFAULT_TARGETS)}.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the PVs, and end.")] = False,
) -> None:
    """Serve predictions as PVs, which a session feeds; Ctrl-C ends it.

    Every PV is read-only. All are INVALID while no session feeds them, when its analysis has ended, and when
    its newest prediction is too old.
    """
    from xas_live.errors import Refusal
    from xas_live.signals.ioc import PredictionIoc
    from xas_live.signals.pvs import pv_table
    from xas_live.signals.quantities import chosen_targets
    from xas_live.signals.wire import checked_prefix

    addresses = interface or ["127.0.0.1"]
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            refuse(f"--interface {address!r} is no IP address: give one as 127.0.0.1")
    try:
        targets = chosen_targets(target or DEFAULT_TARGETS)
        if show:
            for name, kind, unit, words in pv_table(targets):
                line = f"{checked_prefix(prefix)}{name:<18} {kind:<27} {unit:<6} {words}"
                out.print(line, soft_wrap=True, markup=False)
            return
        PredictionIoc(prefix, targets, _say).run(addresses)
    except Refusal as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"the IOC cannot listen on {', '.join(addresses)}: {error}")


def _say(text: str) -> None:
    out.print(f"[bold cyan]xas-live ioc[/] {escape(text)}", soft_wrap=True)
