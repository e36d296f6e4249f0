"""`xas-live demo`: the whole way, from a moving energy to a stored structure, on a simulated beamline."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from xas_live.cli.output import err, out, print_remarks, refuse

if TYPE_CHECKING:
    from bluesky import RunEngine
    from bluesky_tiled_plugins import BlueskyRun

    from xas_live.archive import Archive

_PREFIX = "SIM:"
_DWELL = 0.002  # s of a point
_SPEED = 200.0  # s at the sample in a second
_STARTING_SECONDS = 60.0
_ANALYSIS_SECONDS = 60.0
_WRITING_SECONDS = 60.0


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the archive and the figure.")
    ] = Path("demo_output"),
    scans: Annotated[
        int, typer.Option(min=2, help="Number of spectra while particles grow from 13 to 309 atoms.")
    ] = 12,
    metal: Annotated[str, typer.Option(metavar="pt_l3|pd_k|au_l3", help="Metal and edge.")] = "pt_l3",
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder; default: the shipped one of the metal.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 1,
) -> None:
    """Heat nanoparticles at a simulated beamline until they grow, and watch their structure being predicted.

    The beamline is an EPICS IOC in a process of its own. Three quarters of the spectra are sweeps of
    one run while the sample is heated; the others are step scans, each after more heat, of the cold sample.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from xas_live.simulator import LIBRARIES

    if metal not in LIBRARIES:
        refuse(f"--metal {metal!r}: use one of {', '.join(LIBRARIES)}")
    began = time.monotonic()
    chosen = model or metal.replace("_", "-")
    _check_model(chosen)
    _prepare(output)
    with _simulated_beamline(output, metal, seed) as process:
        with err.status("Starting the archive ..."):
            archive = _open(output)
        with archive:
            _wait_for(process, output)
            _run(archive, output, scans, metal, chosen)
    out.print(f"Took {time.monotonic() - began:.0f} s.")


def _check_model(model: str) -> None:
    """Before anything is made: the archive would be left behind."""
    from xas_live.models import ModelError, load_model

    try:
        load_model(model)
    except ModelError as error:
        refuse(f"--model: {error}")


def _prepare(output: Path) -> None:
    try:
        _files(output).mkdir(parents=True, exist_ok=True)
        _log(output).unlink(missing_ok=True)
    except OSError as error:
        refuse(f"--output {output}: {error}")


def _files(output: Path) -> Path:
    """Return the folder into which the beamline writes."""
    return (output / "files").resolve()


def _open(output: Path) -> Archive:
    from xas_live.archive import ArchiveError, open_archive

    try:
        return open_archive(output / "archive", readable_storage=[_files(output)])
    except (OSError, ArchiveError) as error:
        refuse(f"--output {output}: {error}")


@contextmanager
def _simulated_beamline(output: Path, metal: str, seed: int) -> Iterator[subprocess.Popen[str]]:
    """Run the IOC in a process of its own, which this process finds by Channel Access."""
    from xas_live.host import end_process, free_port, loopback_variables, start_module

    try:
        port = free_port()
        os.environ.update(loopback_variables(port))  # before ophyd is imported
        given = {
            "prefix": _PREFIX,
            "metal": metal,
            "port": port,
            "seed": seed,
            "dwell": _DWELL,
            "speed": _SPEED,
        }
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        process = start_module(
            "xas_live.cli", ["beamline", *options, "--parent", str(os.getpid())], _log(output)
        )
    except OSError as error:
        refuse(f"Channel Access needs the loopback, 127.0.0.1, and it cannot be used here: {error}")
    try:
        yield process
    finally:
        end_process(process, timeout=5.0)


def _log(output: Path) -> Path:
    return output / "beamline.log"


def _wait_for(process: subprocess.Popen[str], output: Path) -> None:
    """Wait until the IOC serves; what it says first is that it does."""
    from xas_live.host import tail

    deadline = time.monotonic() + _STARTING_SECONDS
    while not (said := tail(_log(output))):
        if process.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if process.poll() is not None or not said:
        refuse(f"the simulated beamline did not start: {said or f'nothing in {_STARTING_SECONDS:.0f} s'}")


def _run(archive: Archive, output: Path, scans: int, metal: str, model: str) -> None:
    from bluesky import RunEngine
    from bluesky.utils import FailedStatus, RunEngineInterrupted
    from ophyd.utils.errors import DisconnectedError

    import xas_live
    from xas_live.callbacks.publishers import LiveStructurePlot
    from xas_live.cli.demo_session import DemoBeamline, DemoError, DemoTable, temperatures
    from xas_live.simulator.library import site_library

    of = site_library(metal)
    try:
        with err.status("Connecting to the beamline ..."):
            beamline = DemoBeamline(_PREFIX, _files(output), element=of.element, edge=of.edge, speed=_SPEED)
    except DemoError as error:
        refuse(f"{error} Channel Access over 127.0.0.1 is needed; {_log(output)} may tell more")
    RE = RunEngine({}, context_managers=[_ctrl_c_ends])
    plot, table = LiveStructurePlot(), DemoTable(beamline.truth, of.element)
    with err.status("Loading the model ..."):
        live = xas_live.attach(
            RE,
            model=model,
            archive=archive,
            plot=plot,
            mapping=xas_live.ChannelMapping(temperature="temperature"),
            write_raw=True,
            publishers=[table],
        )
    hot = temperatures(scans)
    sweeps = scans - max(1, scans // 4)
    try:
        RE(beamline.heating(hot[sweeps - 1], sweeps))
        for temperature in hot[sweeps:]:
            (uid,) = RE(beamline.annealing(temperature))
    except RunEngineInterrupted:
        if RE.state == "paused":
            RE.abort()
        raise typer.Exit(130) from None
    except (FailedStatus, DisconnectedError) as error:
        refuse(f"the simulated beamline is gone: {error.__cause__ or error}; {_log(output)} may tell more")
    if not live.wait(_ANALYSIS_SECONDS) or len(table.rows) < scans:
        refuse(f"{len(table.rows)} of {scans} spectra were analysed in time: {live.status()}")
    out.print()
    print_remarks([prediction for _, prediction in table.rows])
    out.print(f"\n{table.summary()}")
    out.print(f"Figure: {plot.save(output / 'demo.png')}", soft_wrap=True)
    with err.status("Storing ..."):
        live.close()
        derived = _derived_run(archive, uid)
    for problem in live.errors:
        err.print(f"[yellow]{escape(str(problem))}[/]", soft_wrap=True)
    if derived is None:
        err.print("[red]The last derived run did not reach the archive.[/]")
        raise typer.Exit(1)
    read_back = float(derived["predictions"].read()["CN1"][-1])
    out.print(
        f"Archive: {archive.folder}\n  raw run     {uid}\n  derived run {derived.start['uid']}, "
        f"whose raw_uid is {derived.start['raw_uid']}; read back, CN1 = {read_back:.2f}",
        soft_wrap=True,
    )


@contextmanager
def _ctrl_c_ends(RE: RunEngine) -> Iterator[None]:
    """Pause the plan at once at Ctrl-C; bluesky's own handler waits for a checkpoint first."""

    def pause(*_: object) -> None:
        threading.Thread(target=RE.request_pause, daemon=True).start()  # it would wait for this one

    before = signal.signal(signal.SIGINT, pause)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _derived_run(archive: Archive, raw_uid: str) -> BlueskyRun | None:
    """Return the complete derived run of a raw run from the archive; None when it does not come."""
    from tiled.queries import Eq

    deadline = time.monotonic() + _WRITING_SECONDS
    while time.monotonic() < deadline:
        for run in archive.derived.search(Eq("raw_uid", raw_uid)).values():
            if run.metadata.get("stop") and "predictions" in run:
                return run
        time.sleep(0.3)
    return None
