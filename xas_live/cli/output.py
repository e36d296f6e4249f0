"""What commands print: tables of predictions, and errors that say what to do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from xas_live.host import printable
from xas_live.prediction import SAID_BY_VERDICT, Classes, Curve, Degree, OutputResult, Prediction, Value

_NAMED = 8  # scans at most that a line names
_CLASSES = 3  # at most that a cell names
_NON_METAL = 0.05  # a share over this is shown, though its interval begins at 0
_COLOURS = {Degree.TRUSTED: "green", Degree.CAUTION: "yellow", Degree.NOT_USABLE: "red"}
_LONGEST, _UNLIMITED = 24, 1000  # characters: of a scan's or sample's name in a line; of a line
_PIPED_WIDTH = 132  # what goes to a file or a pipe has no screen to fit


class Terminal(Console):
    """A console that writes control characters out: names of samples and scans may hold any."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text as it is shown."""
        return super().render_str(printable(text), **options)


out = Terminal(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
"""Results."""
err = Terminal(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPED_WIDTH)
"""Progress and remarks, so that results can be piped."""


def refuse(message: str) -> NoReturn:
    """End with exit code 2: the arguments cannot be used, and the message says what to do."""
    err.print(f"[bold red]Error:[/] {escape(message)}")
    raise typer.Exit(2)


def print_json(value: object) -> None:
    """A JSON document on standard output, whatever the terminal's width."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def check_output(path: Path, option: str) -> None:
    """End the command, before any work is done, when a file that an option names cannot be written."""
    place = path.absolute()
    if place.is_dir():
        refuse(f"{option} {str(path)!r} is a folder: give the name of a file")
    if not place.parent.is_dir():
        refuse(f"{option}: there is no folder {place.parent} for {path.name}: make it first")
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        refuse(f"{option} {path} cannot be written: you have no permission")


def write_text(path: Path, text: str, option: str) -> None:
    """Write a file that an option named; ends the command when that is impossible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"{option} {path} cannot be written: {error.strerror}")


def print_predictions(predictions: Sequence[Prediction], averages: Sequence[Prediction] = ()) -> None:
    """A table of one row a prediction; under it the flags, the reasons of verdicts, and of refusals.

    Models that predict the same quantities share a table, with a column that names them where there are
    several; those that predict others have a table of their own. Curves have no column: a remark says where
    they are.

    Parameters
    ----------
    predictions : of single sweeps, in order.
    averages : one a run (and stream and absorber) at most, printed as the last row of its sweeps.
    """
    given: dict[str, set[str]] = {}
    for p in (*predictions, *averages):
        given.setdefault(p.model, set()).update(p.outcome.results)
    kinds = list(dict.fromkeys(frozenset(names) for names in given.values() if names)) or [frozenset()]

    def of(kind: frozenset[str], all_of: Sequence[Prediction]) -> list[Prediction]:
        return [p for p in all_of if (given[p.model] or kinds[0]) == kind]  # refused ones in the first table

    for kind in kinds:
        out.print(_fitting(of(kind, predictions), of(kind, averages)))
    print_remarks(predictions, averages)


def _fitting(predictions: Sequence[Prediction], averages: Sequence[Prediction]) -> Table:
    """The table of as many results, from the leading one on, as there is width for."""
    every = (*predictions, *averages)
    results = {name: result for p in every for name, result in p.outcome.results.items()}
    names = [name for name, result in results.items() if not isinstance(result, Curve)]
    for shown in range(len(names), -1, -1):
        table = _table(predictions, averages, results, names[:shown])
        if shown < len(names):
            table.caption = f"{', '.join(names[shown:])}: in a wider window, and with --json"
        needed = Measurement.get(out, out.options.update(width=_UNLIMITED), table).maximum
        if needed <= out.width or shown <= 1:
            break
    return table


def _table(
    predictions: Sequence[Prediction],
    averages: Sequence[Prediction],
    results: Mapping[str, OutputResult],
    names: Sequence[str],
) -> Table:
    """Rows of predictions, each run's average after its sweeps."""
    every = (*predictions, *averages)
    models = list(dict.fromkeys(p.model for p in predictions if p.model))
    table = Table(title=", ".join(models), title_justify="left", box=box.SIMPLE)
    table.caption_justify = "left"
    table.add_column("scan", overflow="fold", min_width=12, max_width=_LONGEST)
    named = any(
        p.provenance.sample not in ("", Path(p.provenance.scan).stem, p.provenance.scan) for p in every
    )
    if named:
        table.add_column("sample", overflow="fold", min_width=8, max_width=_LONGEST)
    if len(models) > 1:
        table.add_column("model", no_wrap=True)
    phases = [n for n in dict.fromkeys(n for p in predictions for n in p.fractions) if n != "metal"]
    for name in names:
        number = isinstance(results[name], Value)
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for name in phases:
        table.add_column(name, justify="right", no_wrap=True)
    mixed = any(map(_non_metal, every))
    if mixed:
        table.add_column("non_metal", justify="right", no_wrap=True)
    sized = not results or any(p.size for p in every)
    if sized:
        table.add_column("size", overflow="fold", min_width=6)
    table.add_column("verdict", no_wrap=True)
    last = {p.provenance.run_uid: k for k, p in enumerate(predictions)}
    means: dict[int, list[Prediction]] = {}
    for average in averages:
        means.setdefault(last[average.provenance.run_uid], []).append(average)
    for k, prediction in enumerate(predictions):
        for p in (prediction, *means.get(k, [])):
            cells = [escape(_label(p))] + ([escape(p.provenance.sample)] if named else [])
            cells += [escape(p.model)] if len(models) > 1 else []
            cells += [escape(_cell(p.outcome.results.get(name))) for name in names]
            cells += [with_interval(p.fractions.get(name)) for name in phases]
            cells += [_non_metal(p)] if mixed else []
            cells += [p.size.label if p.size else ""] if sized else []
            table.add_row(*cells, verdict(p))
    return table


def print_remarks(predictions: Sequence[Prediction], averages: Sequence[Prediction] = ()) -> None:
    """The flags of predictions, each with its scans, and the reasons of verdicts and refusals."""
    several = len({p.model for p in predictions if p.model}) > 1
    flagged: dict[str, list[Prediction]] = {}
    for p in predictions:
        for flag in p.flags:
            if flag not in SAID_BY_VERDICT:
                flagged.setdefault(flag, []).append(p)
    analysed = sum(p.refused is None for p in predictions)
    for flag, of in flagged.items():
        scans = [p.provenance.scan for p in of]
        named = "all" if len(of) >= analysed > 1 else _listed(dict.fromkeys(scans))
        out.print(f"  [yellow]{flag}[/]: {escape(named)}", soft_wrap=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for p in (*predictions, *averages):
        which = f"{_label(p)}, {p.model}" if several and p.model else _label(p)
        if p.refused is not None:
            reasons.setdefault(("[red]refused[/]", p.refused), []).append(which)
        elif p.why:
            reasons.setdefault((verdict(p), p.why), []).append(which)
    for (word, why), those in reasons.items():
        out.print(f"  {word} {escape(_listed(dict.fromkeys(those), '; '))}: {escape(why)}", soft_wrap=True)
    for name in dict.fromkeys(name for p in predictions for name in p.curves):
        out.print(f"  {escape(name)} is a curve: see the figure, JSON or the archive", soft_wrap=True)


def print_read(predictions: Sequence[Prediction]) -> None:
    """What was understood of files and streams: channels with their columns, guesses, what was left out."""
    alike: dict[str, list[str]] = {}
    for p in predictions:
        read, scan = p.provenance.read, p.provenance.scan
        channels = read.get("channels")
        if isinstance(channels, Mapping) and p.refused is None:
            where = ", ".join(f"{channel} from {place}" for channel, place in channels.items())
            alike.setdefault(f"read {where}; energy in {read.get('energy_unit')}", []).append(scan)
        if p.refused is None and "looks like" in (absorber := str(read.get("absorber", ""))):
            alike.setdefault(f"absorber guessed: {absorber}", []).append(scan)
        for kind, words in (("guessed", "guessed"), ("left_out", "left out")):
            for note in _texts(read.get(kind)):
                alike.setdefault(f"{words}: {note}", []).append(scan)
    analysed = {p.provenance.scan for p in predictions if p.refused is None}
    for text, found in alike.items():
        scans = list(dict.fromkeys(found))
        named = "all" if len(scans) >= len(analysed) > 1 else _listed(scans)
        out.print(f"  [dim]{escape(text)}[/]: {escape(named)}", soft_wrap=True)


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _listed(scans: Iterable[str], comma: str = ", ") -> str:
    """The first of them by name, and how many more there are."""
    names = list(scans)
    return comma.join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _label(prediction: Prediction) -> str:
    """What a row is of, as "12", or "12, mean of 5"."""
    where = prediction.provenance
    return where.scan if where.averaged == 1 else f"{where.scan}, mean of {where.averaged}"


def with_interval(value: Value | None) -> str:
    """A value with half the width of its interval, as "9.04 ±0.61"; empty when there is none."""
    return "" if value is None else value.plus_minus


def with_set(classes: Classes) -> str:
    """The likeliest class with its probability, and the others of the set, as "T4 0.63 or O6"."""
    best = classes.likeliest
    text, others = f"{best} {classes.probabilities[best]:.2f}", [c for c in classes.members if c != best]
    if not classes.members:
        return f"{text} (none fits)"
    if not others:
        return text
    named, more = others[: _CLASSES - 1], len(others) - _CLASSES + 1
    return f"{text} or {', '.join(named)}" + (f", {more} more" if more > 0 else "")


def _cell(result: OutputResult | None) -> str:
    """What a cell of the table says of a result; empty where there is none."""
    if isinstance(result, Classes):
        return with_set(result)
    return with_interval(result) if isinstance(result, Value) else ""


def _non_metal(prediction: Prediction) -> str:
    """The share that is no metal, where there is one to speak of; else empty."""
    share = None if prediction.chemistry is None else prediction.chemistry.non_metal
    shown = share is not None and (share.lower > 0 or share.value > _NON_METAL)
    return with_interval(share) if shown else ""


def verdict(prediction: Prediction) -> str:
    """How far to believe a prediction, in a word or two; coloured."""
    degree = prediction.verdict.degree
    return "not judged" if degree is None else f"[{_COLOURS[degree]}]{degree}[/]"


def facts_table(facts: Mapping[str, object]) -> Table:
    """Two columns: what, and its value."""
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, escape(str(value)))
    return table
