"""`xas-live models accept`: what a user vouches for is a good sample from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from xas_live.cli.options import (
    AlignText,
    AnchorColumns,
    AnchorText,
    ColumnsText,
    ModeName,
    alignment_of,
    anchor_of,
    columns_of,
    mode_of,
)
from xas_live.cli.output import err, out, refuse, verdict, with_interval
from xas_live.errors import Refusal

if TYPE_CHECKING:
    from xas_live.prediction import Prediction
    from xas_live.spectrum import Spectrum
    from xas_live.training import Accepted


def accept(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model, or a bundle's folder.")],
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Spectra of samples that you vouch for.")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the derived model; default: named after the model, or as its folder."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the bundle; default: its name."),
    ] = None,
    anchor: AnchorText = "auto",
    anchor_columns: AnchorColumns = None,
    align: AlignText = "auto",
    columns: ColumnsText = None,
    mode: ModeName = None,
) -> None:
    """Take spectra that you vouch for as good: a model of its own no longer finds fault with their kind.

    At least five spectra of one sample are needed, and no labels. Where they lie off the training spectra is
    learned, and no longer widens intervals. What departs further, as oxide does, still does.

    \b
    Example:
      xas-live models accept pt-l3 good/*.dat --name pt-l3-ours --anchor Pt_foil.xdi
    """
    from xas_live.analysis import AnalysisConfig
    from xas_live.models import load_model
    from xas_live.training import accept_bundle

    if name is not None and (not name or Path(name).name != name):
        refuse(f"--name {name!r} is no name: give a word without a folder; --output says where it is kept")
    numbers, chosen_mode, alignment = columns_of(columns), mode_of(mode), alignment_of(align)
    try:
        with err.status("Loading ..."):
            source = load_model(model)
            foil = anchor_of(anchor, model, anchor_columns)
            spectra = _spectra(paths, numbers, chosen_mode)
        folder = output or Path(name or f"{source.name}-accepted")
        with err.status("Judging ..."):
            found = accept_bundle(
                source, spectra, folder, foil, AnalysisConfig(align=alignment), name=name or folder.name
            )
    except (Refusal, OSError) as error:
        refuse(str(error))
    _report(found, folder)


def _spectra(paths: Sequence[str], columns: Mapping[str, int] | None, mode: str | None) -> list[Spectrum]:
    """All spectra of the files; ends the command for one that cannot be read."""
    from xas_live.sources.files import read_file
    from xas_live.sources.replay import spectra_of
    from xas_live.sources.scan import Scan

    found: list[Spectrum] = []
    for path in paths:
        for entry in read_file(path, columns=columns, mode=mode):
            if not isinstance(entry, Scan):
                refuse(f"{path}: {entry.reason}")
            spectra = spectra_of(entry)
            if not spectra:
                refuse(f"{path} holds no spectrum: leave it out")
            found += spectra
    return found


def _report(found: Accepted, folder: Path) -> None:
    """Print what changes for each spectrum, and what was written."""
    bundle = found.bundle
    sections = bundle.card.sections
    assert sections.cost is not None
    assert sections.accepted is not None
    leading, sample = sections.cost.leading, sections.accepted.samples[-1]
    table = Table(
        title="as the model judges each, before and after all others are accepted",
        title_justify="left",
        box=box.SIMPLE,
    )
    table.add_column("scan", overflow="fold", min_width=12)
    for when in ("before", "after"):
        table.add_column(when, no_wrap=True)
        table.add_column("widening", justify="right", no_wrap=True)
        table.add_column(leading, justify="right", no_wrap=True)
    for before, after in zip(found.before, found.after, strict=True):
        cells = [cell for each in (before, after) for cell in _cells(each, leading)]
        table.add_row(escape(before.provenance.scan), *cells)
    out.print(table)
    learned, axes = sample.spectra - len(sample.left_out), sections.accepted.axes
    explain = "axis explains" if axes == 1 else "axes explain"
    out.print(
        f"{bundle.name} in {folder}: {axes} {explain} {found.explained:.0%} of how {learned} spectra depart",
        markup=False,
        soft_wrap=True,
    )
    if sample.left_out:
        names = ", ".join(sample.left_out)
        out.print(f"Left out, as unlike the others: {names}", markup=False, soft_wrap=True)
    out.print(f"sha256 {bundle.sha256}", soft_wrap=True)


def _cells(prediction: Prediction, leading: str) -> tuple[str, str, str]:
    """Verdict, widening and leading target with its interval."""
    return (
        verdict(prediction),
        f"{prediction.verdict.widening:.2f}",
        with_interval(prediction.values.get(leading)),
    )
