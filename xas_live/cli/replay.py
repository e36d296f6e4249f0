"""`xas-live replay`: analyse files and stored runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.progress import Progress

from xas_live.cli.anchor import fit_foil
from xas_live.cli.output import err, out, print_predictions, refuse, write_text
from xas_live.spectrum import Mode

if TYPE_CHECKING:
    from xas_live.anchor import FoilAnchor
    from xas_live.archive.catalog import Archive
    from xas_live.callbacks.plot import LiveStructurePlot
    from xas_live.callbacks.publisher import Publisher
    from xas_live.prediction import Prediction

Align = Literal["auto", "reference", "none", "e0"]
Anchor = Literal["reference", "auto"] | None

_WRITING_SECONDS = 300.0


def replay(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Data files; with --from, uids of runs.")
    ],
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder; default: by each spectrum's absorber.")
    ] = None,
    anchor: Annotated[
        str,
        typer.Option(
            metavar="FOIL|reference|auto|none",
            help="A foil's file; `reference`: the files' own reference channel; `auto`: that, or else the "
            "anchor saved last.",
        ),
    ] = "auto",
    anchor_columns: Annotated[
        str | None, typer.Option(metavar="NAME=N,...", help="Columns of the foil's file.")
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            metavar="reference|none|e0|EV",
            help="How energies are laid on the foil's; default: by the reference channel, if there is one.",
        ),
    ] = "auto",
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAME=N,...", help="Columns from 0: energy=0,mu=1 or energy=0,i0=1,it=2,ir=3."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="|".join(get_args(Mode)), help="How mu is made.")
    ] = None,
    standards: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Spectra of other phases; not used yet.")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(metavar="DIR_OR_URI", help="Store the runs and their predictions there.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="URI", help="Replay runs of this archive (URI or folder).")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT.json", help="Write results.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the results.")] = None,
) -> None:
    """Analyse data files, or runs stored in an archive, and print what the models say of each spectrum."""
    alignment = _alignment(align)
    _check_standards(standards or [])
    numbers, chosen_mode = _columns(columns), _mode(mode)
    for path in (json_path, plot):
        if path is not None and not path.absolute().parent.is_dir():
            refuse(f"there is no folder {path.absolute().parent} for {path.name}: make it first")

    with ExitStack() as stack:
        with err.status("Loading ..."):
            from xas_live.analysis import AnalysisConfig, AnalyzerPool
            from xas_live.models.bundle import ModelError
            from xas_live.models.registry import load_model
            from xas_live.sources.files import read_file
            from xas_live.sources.replay import replay as run_replay

            try:
                bundle = load_model(model) if model else None
            except ModelError as error:
                refuse(f"--model: {error}")
            foil = _anchor(anchor, model, anchor_columns)
            pool = AnalyzerPool(model, foil, AnalysisConfig(align=alignment))
            store = stack.enter_context(_open(archive, "--archive")) if archive else None
            past = stack.enter_context(_open(from_, "--from")) if from_ else None
            raw = store.raw_writer() if store and not past else None
            derived = store.derived_writer() if store else None
            figure = _figure() if plot is not None else None
            publishers: list[Publisher] = [figure] if figure is not None else []
            if derived is not None:
                from xas_live.callbacks.writer import PredictionWriter

                publishers.append(PredictionWriter(derived))

        progress = stack.enter_context(Progress(console=err, transient=True))
        task = progress.add_task("Analysing", total=len(paths))

        def sources() -> Iterator[Any]:
            if past is not None:
                from xas_live.sources.stored import stored_runs

                for uid in paths:
                    yield from stored_runs(past.client, [uid], past.uri)
                    progress.advance(task)
            else:
                for path in paths:
                    yield from read_file(path, columns=numbers, mode=chosen_mode)
                    progress.advance(task)

        identity = (bundle.name, bundle.sha256) if bundle else ("", "")
        predictions = list(run_replay(sources(), pool, raw=raw, publishers=publishers, model=identity))
        progress.stop()
        for publisher in publishers:
            publisher.close()
        _report(predictions)
        if json_path is not None:
            records = [prediction.to_json() for prediction in predictions]
            write_text(json_path, json.dumps(records, indent=1, allow_nan=False) + "\n", "--json")
        if figure is not None and plot is not None:
            _save(figure, plot)
        for writer in (raw, derived):
            if writer is not None and not writer.flush(_WRITING_SECONDS):
                err.print(f"Not all is stored yet: {writer.status()}")


def _alignment(text: str) -> Align | float:
    if text in get_args(Align):
        return text  # type: ignore[return-value]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        refuse(f"--align {text!r}: use reference, none, e0, or a number of eV")
    return value


def _columns(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    from xas_live.sources.scan import ColumnsError, parse_columns

    try:
        return parse_columns(text)
    except ColumnsError as error:
        refuse(f"--columns: {error}")


def _mode(text: str | None) -> Mode | None:
    if text is not None and text not in get_args(Mode):
        refuse(f"--mode {text!r}: use one of {', '.join(get_args(Mode))}")
    return text  # type: ignore[return-value]


def _check_standards(standards: list[str]) -> None:
    for standard in standards:
        name, _, file = standard.partition("=")
        if not name or not Path(file).is_file():
            refuse(f"--standards {standard!r}: write NAME=FILE, with a file that is there")
    if standards:
        err.print("[yellow]Standards are not used yet: fractions stay empty.[/]")


def _anchor(text: str, model: str | None, columns: str | None) -> FoilAnchor | Anchor:
    if columns is not None and text in ("reference", "auto", "none"):
        refuse("--anchor-columns is for a foil's file: give it as --anchor FILE")
    if text in ("reference", "auto"):
        return text  # type: ignore[return-value]
    return None if text == "none" else fit_foil(Path(text), model, columns, "--anchor-columns")


def _open(place: str, option: str) -> Archive:
    from xas_live.archive.catalog import open_archive
    from xas_live.archive.errors import ArchiveError

    try:
        return open_archive(place)
    except ArchiveError as error:
        refuse(f"{option}: {error}")


def _save(figure: LiveStructurePlot, path: Path) -> None:
    try:
        figure.save(path)
    except (OSError, ValueError) as error:
        refuse(f"--plot {path} cannot be written: {error}")


def _figure() -> LiveStructurePlot:
    import matplotlib as mpl

    mpl.use("Agg")
    from xas_live.callbacks.plot import LiveStructurePlot

    return LiveStructurePlot()


def _report(predictions: list[Prediction]) -> None:
    print_predictions(predictions)
    shifted = {
        p.provenance.scan: p.provenance.metadata["athena_eshift"]
        for p in predictions
        if p.provenance.metadata.get("athena_eshift")
    }
    if shifted:
        words = ", ".join(f"{scan} {shift:+.2f}" for scan, shift in shifted.items())
        out.print(f"Athena's energy shifts applied (eV): {words}", soft_wrap=True, markup=False)
    refused = sum(prediction.refused is not None for prediction in predictions)
    out.print(f"{len(predictions) - refused} spectra analysed, {refused} refused")
