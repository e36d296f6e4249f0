"""`xas-live beamline`: a simulated beamline, served over Channel Access."""

from __future__ import annotations

import logging
import os
import signal
from typing import Annotated

import typer

from xas_live.cli.output import out, refuse

_EPICS_PORT = 5064


def beamline(
    prefix: Annotated[str, typer.Option(help="Of the names of all process variables.")] = "SIM:",
    metal: Annotated[str, typer.Option(metavar="pt_l3|pd_k|au_l3", help="Metal and edge.")] = "pt_l3",
    port: Annotated[int, typer.Option(min=1024, max=65535, help="UDP and TCP port.")] = _EPICS_PORT,
    interface: Annotated[
        str, typer.Option(help="Address to listen at; with 127.0.0.1 only this machine sees it.")
    ] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 1,
    dwell: Annotated[float, typer.Option(min=1e-4, help="Seconds that a count takes at first.")] = 0.01,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Seconds that pass at the sample in one second, at first.")
    ] = 1.0,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End with this process.")] = None,
) -> None:
    """Serve a simulated beamline, whose sample reacts, as an EPICS IOC.

    Its process variables are listed in docs/reference/simulated-beamline.md. Ctrl-C ends it.
    """
    from xas_live.host import loopback_variables, port_is_free, when_parent_ends
    from xas_live.simulator import LIBRARIES

    if metal not in LIBRARIES:
        refuse(f"--metal {metal!r}: use one of {', '.join(LIBRARIES)}")
    if not port_is_free(port, interface):
        refuse(
            f"--port {port}: {interface} cannot be listened at there; give another port, or end what has it"
        )
    variables = loopback_variables(port) | {"EPICS_CAS_INTF_ADDR_LIST": interface}
    os.environ.update(variables)  # before caproto reads them
    if parent is not None:
        when_parent_ends(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
    from xas_live.simulator.experiment import Experiment
    from xas_live.simulator.ioc import BeamlineIOC, serve

    # Beacons that nobody receives are no trouble, and a refused put is told to the client that made it.
    logging.getLogger("caproto").setLevel(logging.CRITICAL)
    ioc = BeamlineIOC(prefix, Experiment(metal, seed=seed), dwell=dwell, speed=speed)
    out.print(
        f"{len(ioc.pvdb)} process variables {prefix}..., at {interface}:{port}. Clients on this machine:"
    )
    for name in ("EPICS_CA_ADDR_LIST", "EPICS_CA_AUTO_ADDR_LIST", "EPICS_CA_SERVER_PORT"):
        out.print(f"  export {name}={variables[name]}")
    serve(ioc, interface)
