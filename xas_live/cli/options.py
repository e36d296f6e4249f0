"""Options that commands share: the foil, the alignment of energies, and how files are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xas_live.cli.anchor import fit_foil
from xas_live.cli.output import refuse
from xas_live.modes import all_channels, mode_names

if TYPE_CHECKING:
    from xas_live.analysis import Alignment
    from xas_live.reduction.anchor import FoilAnchor

Anchor = Literal["reference", "auto"] | None

AnchorText = Annotated[
    str,
    typer.Option(
        metavar="FOIL|reference|auto|none",
        help="A foil's file, or the name of a saved one; 'reference': the files' own reference channel; "
        "default: that, or else the foil that you kept last (xas-live anchor).",
    ),
]
AnchorColumns = Annotated[str | None, typer.Option(metavar="NAME=N,...", help="Columns of the foil's file.")]
AlignText = Annotated[
    str,
    typer.Option(
        metavar="reference|none|e0|EV",
        help="How energies are laid on the foil's; default: by the reference channel, if there is one. "
        "A number of eV, also negative, says how far the samples lie above the foil.",
    ),
]
ColumnsText = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=N,...",
        help="Columns from 0: energy=0,mu=1 or energy=0,i0=1,it=2,ir=3. Names: energy, "
        f"{', '.join(channel.name for channel in all_channels())}.",
    ),
]
ModeName = Annotated[str | None, typer.Option(metavar="|".join(mode_names()), help="How mu is made.")]


def alignment_of(text: str) -> Alignment | float:
    """How energies are laid on the foil's, of `--align`; ends the command for what is none."""
    from xas_live.analysis import SettingsError, checked_alignment

    try:
        return checked_alignment(text)
    except SettingsError as error:
        refuse(f"--align: {error}")


def columns_of(text: str | None) -> dict[str, int] | None:
    """Columns by channel, of `--columns`; ends the command where they cannot be read."""
    if text is None:
        return None
    from xas_live.sources.scan import ColumnsError, parse_columns

    try:
        return parse_columns(text)
    except ColumnsError as error:
        refuse(f"--columns: {error}")


def mode_of(text: str | None) -> str | None:
    """The detector mode of `--mode`; ends the command for an unknown one."""
    if text is not None and text not in mode_names():
        refuse(f"--mode {text!r}: use one of {', '.join(mode_names())}")
    return text


def anchor_of(text: str, model: str | None, columns: str | None) -> FoilAnchor | Anchor:
    """The foil, or where foils come from, of `--anchor`; ends the command where a file is none."""
    if columns is not None and text in ("reference", "auto", "none"):
        refuse("--anchor-columns is for a foil's file: give it as --anchor FILE")
    if text in ("reference", "auto"):
        return text  # type: ignore[return-value]
    return None if text == "none" else fit_foil(Path(text), model, columns, "--anchor-columns")
