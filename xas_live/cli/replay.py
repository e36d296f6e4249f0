"""`xas-live replay`: analyse files and stored runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from xas_live.cli.options import (
    AlignText,
    Anchor,
    AnchorColumns,
    AnchorText,
    ColumnsText,
    ModeName,
    alignment_of,
    anchor_of,
    columns_of,
    mode_of,
)
from xas_live.cli.output import check_output, err, out, print_predictions, print_read, refuse, write_text
from xas_live.cli.storing import (
    open_past,
    open_store,
    quick_close_on_interrupt,
    show_trouble,
    wait_until_stored,
)
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from xas_live.analysis import Alignment, AnalyzerPool
    from xas_live.archive import Archive, RunWriter
    from xas_live.callbacks.publishers.base import Publisher
    from xas_live.callbacks.publishers.plot import LiveStructurePlot
    from xas_live.callbacks.publishers.results import LastAverages, PrimaryPredictions
    from xas_live.models.bundle import Bundle
    from xas_live.prediction import Prediction
    from xas_live.reduction.anchor import FoilAnchor
    from xas_live.sources.replay import Source


def replay(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Data files; with --from, uids or scan ids of runs; -1 is the last run."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model's name or folder; default: by each spectrum's absorber. Give it again for further "
            "models: each judges every spectrum of its absorber, and the first is the primary one.",
        ),
    ] = None,
    anchor: AnchorText = "auto",
    anchor_columns: AnchorColumns = None,
    align: AlignText = "auto",
    columns: ColumnsText = None,
    mode: ModeName = None,
    standards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Measured spectrum of another phase, as oxide=FILE: its share of each sample is fitted.",
        ),
    ] = None,
    archive: Annotated[
        str | None, typer.Option(metavar="DIR_OR_URI", help="Store the runs and their predictions there.")
    ] = None,
    derived: Annotated[
        str | None,
        typer.Option(metavar="DIR_OR_URI", help="With --archive: store the predictions there instead."),
    ] = None,
    redo: Annotated[
        bool,
        typer.Option("--redo", help="With --archive: store the predictions once more, as a new attempt."),
    ] = False,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="URI", help="Replay runs of this archive (URI or folder).")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --from: the runs of this sample; 'Pt*' begin so."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", help="With --from: runs from then on, 2026-11-28 or '2026-11-28 14:30'."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="With --from: runs until then.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT.json", help="Write results.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the results.")] = None,
) -> None:
    """Analyse data files, or runs stored in an archive, and print what the models say of each spectrum.

    \b
    Examples:
      xas-live replay scans/*.dat --anchor Pt_foil.xdi --json results.json
      xas-live replay raw.dat --columns energy=0,i0=2,it=3,ir=4
      xas-live replay series.prj --model au-l3 --anchor Au_foil.dat --align -0.5
      xas-live replay scans/*.dat --model au-l3 --model au-l3-msd
      xas-live replay --from ~/xas_archive 3f2a91c0 -1
      xas-live replay --from ~/xas_archive --sample "Pt*" --since 2026-11-28

    \b
    Exit codes:
      0  every spectrum was analysed, or cleanly refused
      1  not everything could be stored, or something failed that should not
      2  the arguments cannot be used
      3  nothing was analysed: every file and spectrum was refused
    """
    given = _given(paths or [], from_, {"--sample": sample, "--since": since, "--until": until})
    numbers, chosen_mode = columns_of(columns), mode_of(mode)
    if from_ is not None and (columns is not None or mode is not None):
        refuse("--columns and --mode are for files: the fields of stored runs are told by their names")
    if derived is not None and archive is None:
        refuse("--derived is where predictions go: say where runs go, with --archive")
    if redo and archive is None:
        refuse("--redo stores a new attempt: say where, with --archive")
    if json_path is not None:
        check_output(json_path, "--json")
    if plot is not None:
        check_output(plot, "--plot")

    with ExitStack() as stack:
        with err.status("Loading ..."):
            alignment = alignment_of(align)
            figure = None if plot is None else _figure(plot)
            bundles = _bundles(model or [])
            primary = model[0] if model else None
            foil = anchor_of(anchor, primary, anchor_columns)
            pool = _pool(model, foil, alignment, _standards(standards or [], primary))
            past = stack.enter_context(open_past(from_, "--from")) if from_ is not None else None
            store = None
            if archive is not None:
                store = stack.enter_context(open_store(archive, "--archive", derived))
            outputs = _outputs(store, figure, raw_too=past is None, redo=redo)
            if store is not None:
                stack.enter_context(quick_close_on_interrupt(store))
        progress = stack.enter_context(Progress(console=err, transient=True))
        if past is None:
            sources = _of_files(given, numbers, chosen_mode)
        else:
            given = given or _chosen(past, sample, since, until)
            sources = _of_runs(given, past, from_ or "")
        predictions = _analysed(_counted(sources, len(given), progress), pool, bundles, outputs)
        progress.stop()
        outputs.close()
        _report(predictions, outputs, foil)
        if json_path is not None:
            records = [prediction.to_json() for prediction in predictions]
            write_text(json_path, json.dumps(records, indent=1, allow_nan=False) + "\n", "--json")
        if figure is not None and plot is not None:
            _save(figure, plot, predictions)
        stored = wait_until_stored(outputs.writers)
        if outputs.failures or not stored:
            raise typer.Exit(1)
        if all(prediction.refused is not None for prediction in predictions):
            raise typer.Exit(3)


@dataclass
class _Outputs:
    """Where predictions go.

    Attributes
    ----------
    publishers : all of them, `primary` and `averages` among them.
    raw, derived : the writers into an archive, where there is one.
    failures : what failed that should not, each once.
    """

    publishers: list[Publisher]
    primary: PrimaryPredictions
    averages: LastAverages
    raw: RunWriter | None = None
    derived: RunWriter | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def writers(self) -> list[RunWriter]:
        """The writers that there are."""
        return [writer for writer in (self.raw, self.derived) if writer is not None]

    def close(self) -> None:
        """Close the publishers."""
        for publisher in self.publishers:
            try:
                publisher.close()
            except Exception as error:  # noqa: BLE001 one that fails must not cost the results
                self.report(f"{type(publisher).__name__}.close", error)

    def report(self, where: str, error: BaseException) -> None:
        """Print an error that was caught, once."""
        text = f"{where}: {type(error).__name__}: {error}"
        if text not in self.failures:
            self.failures.append(text)
            err.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)


def _outputs(
    store: Archive | None, figure: LiveStructurePlot | None, *, raw_too: bool, redo: bool
) -> _Outputs:
    """Return where predictions go: the table's averages, the figure, the archive."""
    from xas_live.callbacks.publishers.drift import SeriesWatch
    from xas_live.callbacks.publishers.results import LastAverages, PrimaryPredictions
    from xas_live.callbacks.publishers.writer import PredictionWriter

    primary, averages = PrimaryPredictions(), LastAverages()
    outputs = _Outputs([SeriesWatch(_say), primary, averages], primary, averages)
    if figure is not None:
        outputs.publishers.append(figure)
    if store is not None:
        outputs.raw = store.raw_writer(show_trouble) if raw_too else None
        outputs.derived = store.derived_writer(show_trouble)
        outputs.publishers.append(PredictionWriter(outputs.derived, store.next_attempt if redo else None))
    return outputs


def _given(paths: Sequence[str], from_: str | None, chosen_by: Mapping[str, str | None]) -> list[str]:
    """Return the paths or uids; ends the command where they do not go with the other arguments."""
    used = [option for option, value in chosen_by.items() if value is not None]
    for path in paths:
        if path.startswith("-") and not (from_ is not None and path[1:].isdecimal()):
            refuse(f"no such option: {path}; see xas-live replay --help")
    if used and from_ is None:
        refuse(f"{used[0]} chooses among stored runs: say where they are, with --from")
    if used and paths:
        refuse(f"give runs, as {paths[0]}, or choose them by {' and '.join(used)}, not both")
    if not (used or paths):
        refuse("give the files to analyse; or with --from the runs, or --sample, --since, --until")
    return list(paths)


def _chosen(past: Archive, sample: str | None, since: str | None, until: str | None) -> list[str]:
    """Return the uids of the runs of a sample or time; ends the command where there are none."""
    import httpx

    from xas_live.errors import Refusal
    from xas_live.sources.selection import runs_between

    try:
        uids = runs_between(past.client, sample, since, until)
    except (Refusal, httpx.HTTPError) as error:
        refuse(str(error))
    if not uids:
        err.print("No run is of this sample and time.")
        raise typer.Exit(3)
    return uids


def _of_files(
    paths: Sequence[str], columns: dict[str, int] | None, mode: str | None
) -> Iterator[Sequence[Source]]:
    """Give the contents of each file."""
    from xas_live.sources.files import read_file

    return (read_file(path, columns=columns, mode=mode) for path in paths)


def _of_runs(uids: Sequence[str], past: Archive, given: str) -> Iterator[Sequence[Source]]:
    """Give the runs that each uid means."""
    from xas_live.sources.stored import stored_runs

    place = past.uri if past.folder is None else given
    return (stored_runs(past.client, [uid], place) for uid in uids)


def _counted(sources: Iterator[Sequence[Source]], total: int, progress: Progress) -> Iterator[Source]:
    """Give the entries of all sources, and move the progress bar after each source."""
    task = progress.add_task("Analysing", total=total)
    for entries in sources:
        yield from entries
        progress.advance(task)


def _pool(
    models: list[str] | None,
    foil: FoilAnchor | Anchor,
    alignment: Alignment | float,
    standards: dict[str, Spectrum],
) -> AnalyzerPool:
    from xas_live.analysis import AnalysisConfig, AnalyzerPool

    return AnalyzerPool(models or None, foil, AnalysisConfig(align=alignment), standards=standards)


def _analysed(
    sources: Iterator[Source], pool: AnalyzerPool, bundles: Sequence[Bundle], outputs: _Outputs
) -> list[Prediction]:
    """Return the predictions of all sources, after the publishers had them."""
    from xas_live.sources.replay import replay as run_replay

    identity = (bundles[0].name, bundles[0].sha256) if bundles else ("", "")
    results = run_replay(
        sources,
        pool,
        raw=outputs.raw,
        publishers=outputs.publishers,
        model=identity,
        say=_say,
        report=outputs.report,
    )
    return list(results)


def _bundles(models: Sequence[str]) -> list[Bundle]:
    from xas_live.models.bundle import ModelError
    from xas_live.models.registry import load_models

    try:
        return load_models(models)
    except ModelError as error:
        refuse(f"--model: {error}")


def _say(text: str) -> None:
    err.print(text, markup=False, soft_wrap=True)


def _standards(given: list[str], model: str | None) -> dict[str, Spectrum]:
    """The spectra of other phases, by name, checked with the model that will use them."""
    from dataclasses import replace

    from xas_live.models.registry import find_model, load_model
    from xas_live.reduction.standards import StandardError, standards_of
    from xas_live.sources.files import read_file
    from xas_live.sources.replay import spectra_of
    from xas_live.sources.scan import Scan

    found: dict[str, Spectrum] = {}
    for standard in given:
        name, _, file = standard.partition("=")
        if not name or not Path(file).is_file():
            refuse(f"--standards {standard!r}: write NAME=FILE, with a file that is there")
        spectra = [s for entry in read_file(Path(file)) if isinstance(entry, Scan) for s in spectra_of(entry)]
        if len(spectra) != 1:
            refuse(f"--standards {standard!r}: the file must hold one spectrum, not {len(spectra)}")
        found[name] = spectra[0]
    for name, spectrum in found.items():
        known = model or find_model(spectrum.element, spectrum.edge)
        if known is None:
            refuse(f"--standards {name}: no model is for its absorber; choose one with --model")
        if spectrum.absorber_guessed and load_model(known).input_for(spectrum.element, spectrum.edge) is None:
            [(element, edge), *_] = load_model(known).absorbers
            found[name] = spectrum = replace(spectrum, element=element, edge=edge, absorber_guessed=False)
        try:
            standards_of({name: spectrum}, load_model(known))
        except StandardError as error:
            refuse(f"--standards: {error}")
    return found


def _save(figure: LiveStructurePlot, path: Path, predictions: Sequence[Prediction]) -> None:
    """Write the figure; of several absorbers it shows the last, and a line says so."""
    try:
        figure.save(path)
    except (OSError, ValueError) as error:  # matplotlib's own errors are ValueErrors
        refuse(f"--plot {path} cannot be written: {error}")
    absorbers = {f"{p.element} {p.edge}" for p in predictions if p.refused is None}
    if len(absorbers) > 1:
        err.print(f"{path} shows one of the absorbers {', '.join(sorted(absorbers))}: the last one.")


def _figure(path: Path) -> LiveStructurePlot:
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().lstrip(".") not in kinds:
        refuse(f"--plot {path}: its ending says no kind of picture; use one of .{', .'.join(kinds)}")
    mpl.use("Agg")
    from xas_live.callbacks.publishers.plot import LiveStructurePlot

    return LiveStructurePlot()


def _report(predictions: list[Prediction], outputs: _Outputs, foil: FoilAnchor | Anchor) -> None:
    """Print the table, what is remarkable, and what the predictions stand on."""
    print_predictions(predictions, outputs.averages.predictions)
    print_read(outputs.primary.predictions)
    # Of several models each gives a prediction of a spectrum: spectra are counted, once each.
    primary = outputs.primary.predictions
    unreadable = len(predictions) - outputs.primary.of_all_models
    shifted = {
        p.provenance.scan: p.provenance.metadata["athena_eshift"]
        for p in primary
        if p.provenance.metadata.get("athena_eshift")
    }
    if shifted:
        words = ", ".join(f"{scan} {shift:+.2f}" for scan, shift in shifted.items())
        out.print(f"Athena's energy shifts applied (eV): {words}", soft_wrap=True, markup=False)
    analysed = [prediction for prediction in primary if prediction.refused is None]
    if analysed:
        out.print(_anchors(analysed, foil), soft_wrap=True, markup=False)
    out.print(f"{len(analysed)} spectra analysed, {len(primary) - len(analysed) + unreadable} refused")


def _anchors(analysed: list[Prediction], foil: FoilAnchor | Anchor) -> str:
    """In one sentence, which foils the predictions stand on."""
    from xas_live.callbacks.publishers.results import anchor_of
    from xas_live.flags import Flag
    from xas_live.reduction import FoilAnchor, newest_anchor

    absorbers = {(p.element or "", p.edge or "") for p in analysed} if foil == "auto" else set()
    saved = {absorber: newest_anchor(*absorber) for absorber in absorbers}

    def told(p: Prediction) -> str:
        how = anchor_of(p)
        if how == "none" and Flag.UNANCHORED not in p.flags:
            return "without an anchor, which their model does not need"
        if how == "none":
            return "not anchored: no foil given (--anchor FILE), none kept, and no reference channel"
        if isinstance(foil, FoilAnchor):
            return f"anchored by {foil.source}"
        kept = saved.get((p.element or "", p.edge or ""))
        if how == "reference" or kept is None:
            return "anchored by their own reference channel"
        return f"anchored by {kept.source}"

    counts = Counter(map(told, analysed))
    words = list(counts) if len(counts) == 1 else [f"{count} {how}" for how, count in counts.items()]
    text = "; ".join(words)
    return text[0].upper() + text[1:]
