"""`xas-live demo`: the whole way, from a moving energy to a stored structure, on a simulated beamline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from xas_live.cli.output import err, out, print_remarks, refuse, verdict, with_interval

if TYPE_CHECKING:
    from bluesky_tiled_plugins import BlueskyRun

    from xas_live.archive import Archive
    from xas_live.prediction import Prediction
    from xas_live.simulator import Sample

SHELLS = ("CN1", "CN2", "CN3", "CN4")

_WIDTHS = (4, 7, 19, 19, 21, 21, 22, 2)
_ANALYSIS_SECONDS = 60.0
_WRITING_SECONDS = 60.0


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the archive and the figure.")
    ] = Path("demo_output"),
    scans: Annotated[int, typer.Option(min=2, help="Number of scans from 13 to 309 atoms.")] = 12,
    metal: Annotated[str, typer.Option(metavar="pt_l3|pd_k|au_l3", help="Metal and edge.")] = "pt_l3",
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder; default: the shipped one of the metal.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 1,
) -> None:
    """Scan growing nanoparticles at a simulated beamline, and watch their structure being predicted."""
    import matplotlib as mpl

    mpl.use("Agg")
    from xas_live.simulator import LIBRARIES

    if metal not in LIBRARIES:
        refuse(f"--metal {metal!r}: use one of {', '.join(LIBRARIES)}")
    began = time.monotonic()
    chosen = model or metal.replace("_", "-")
    _check_model(chosen)
    with err.status("Starting the archive ..."):
        archive = _open(output)
    with archive:
        _run(archive, output, scans, metal, chosen, seed)
    out.print(f"Took {time.monotonic() - began:.0f} s.")


def _check_model(model: str) -> None:
    """Before anything is made: the archive would be left behind."""
    from xas_live.models import ModelError, load_model

    try:
        load_model(model)
    except ModelError as error:
        refuse(f"--model: {error}")


def _open(output: Path) -> Archive:
    from xas_live.archive import ArchiveError, open_archive

    try:
        output.mkdir(parents=True, exist_ok=True)
        return open_archive(output / "archive")
    except (OSError, ArchiveError) as error:
        refuse(f"--output {output}: {error}")


def _run(archive: Archive, output: Path, scans: int, metal: str, model: str, seed: int) -> None:
    from bluesky import RunEngine

    import xas_live
    from xas_live.callbacks.publishers import LiveStructurePlot
    from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

    beamline = SimulatedBeamline(metal, seed=seed)
    RE = RunEngine({})
    plot = LiveStructurePlot()
    with err.status("Loading the model ..."):
        live = xas_live.attach(RE, model=model, archive=archive, plot=plot, write_raw=True)
    results: list[tuple[Sample, Prediction]] = []
    raw_uids: list[str] = []
    for number, sample in enumerate(growth(scans, metal), start=1):
        raw_uids += RE(simulated_scan(beamline, sample, md={"sample_name": "growing particle"}))
        if not live.wait(_ANALYSIS_SECONDS) or live.latest is None:
            refuse(f"scan {number} was not analysed in {_ANALYSIS_SECONDS:.0f} s: {live.status()}")
        if not results:  # the session has said what it found in the first scan: now the table is left alone
            metal_name = beamline.library.element
            out.print(f"\n{metal_name} nanoparticles that grow, truth > prediction and its interval:\n")
            out.print(_line(["scan", "atoms", *SHELLS, "diameter (nm)", ""]), soft_wrap=True)
        results.append((sample, live.latest))
        out.print(_row(number, sample, live.latest), soft_wrap=True)
    out.print()
    print_remarks([prediction for _, prediction in results])
    _summarise(results)
    out.print(f"Figure: {plot.save(output / 'demo.png')}", soft_wrap=True)
    with err.status("Storing ..."):
        live.close()
        derived = _derived_run(archive, raw_uids[-1])
    for problem in live.errors:
        err.print(f"[yellow]{escape(str(problem))}[/]", soft_wrap=True)
    if derived is None:
        err.print("[red]The last derived run did not reach the archive.[/]")
        raise typer.Exit(1)
    read_back = float(derived["predictions"].read()["CN1"][0])
    out.print(
        f"Archive: {archive.folder}\n  raw run     {raw_uids[-1]}\n  derived run {derived.start['uid']}, "
        f"whose raw_uid is {derived.start['raw_uid']}; read back, CN1 = {read_back:.2f}",
        soft_wrap=True,
    )


def _line(cells: Sequence[str]) -> str:
    """Cells of one row, under each other from row to row; printed as it comes, also into a pipe."""
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _row(number: int, sample: Sample, prediction: Prediction) -> str:
    truth = sample.truth()
    cells, colours = [str(number), f"{truth['n_atoms']:.0f}"], {}
    for name in SHELLS:
        value = prediction.values.get(name)
        hit = value is not None and value.lower <= truth[name] <= value.upper
        cells.append(f"{truth[name]:.2f} > {with_interval(prediction.values.get(name)) or '-'}")
        colours[cells[-1]] = "green" if hit else "red"
    size = prediction.size.label if prediction.size else "-"
    cells += [f"{truth['diameter_nm']:.1f} > {size}", ""]
    line = _line(cells)
    for cell, colour in colours.items():
        line = line.replace(cell, f"[{colour}]{cell}[/]")
    return line + verdict(prediction)


def _summarise(results: list[tuple[Sample, Prediction]]) -> None:
    hits, errors, total = 0, [], 0
    for sample, prediction in results:
        truth = sample.truth()
        for name in SHELLS:
            total += 1
            value = prediction.values.get(name)
            if value is not None:
                hits += value.lower <= truth[name] <= value.upper
                if name == "CN1":
                    errors.append(abs(value.value - truth[name]))
    mean = sum(errors) / len(errors) if errors else float("nan")
    out.print(
        f"\n{hits} of {total} truths ({hits / total:.0%}) lie in their intervals; mean |ΔCN1| is {mean:.2f}."
    )


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
