"""`xas-live anchor`: fit a foil and keep it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xas_live.cli.output import err, facts_table, out, refuse

if TYPE_CHECKING:
    from xas_live.reduction import FoilAnchor


def anchor(
    foil: Annotated[Path, typer.Argument(metavar="FILE", help="A foil measured at this beamline.")],
    model: Annotated[
        str | None, typer.Option(help="Model that the foil anchors; default: by the foil's edge.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME=N,...", help="Columns of the file, from 0: energy=0,mu=1.")
    ] = None,
    save: Annotated[bool, typer.Option(help="Keep the anchor for live analysis and replay.")] = True,
) -> None:
    """Fit a foil to theory, print the fit, and keep it as this beamline's anchor."""
    with err.status("Fitting the foil ..."):
        fitted = fit_foil(foil, model, columns, "--columns")
    out.print(
        facts_table(
            {
                "foil": fitted.source,
                "absorber": f"{fitted.element} {fitted.edge}",
                "e0": f"{fitted.e0:.2f} eV",
                "shift": f"{fitted.shift:+.2f} eV",
                "stretch": f"{fitted.stretch:.4f}",
                "gain": f"{fitted.gain:.3f}",
                "residual": f"{fitted.residual:.4f} edge steps",
                "correlation": f"{fitted.correlation:.3f}",
                "sha256": fitted.sha256,
            }
        )
    )
    if save:
        try:
            out.print(f"Saved in {fitted.save()}", soft_wrap=True)
        except OSError as error:
            refuse(f"the anchor cannot be saved: {error}. Set XAS_LIVE_HOME to a folder that can be written.")


def fit_foil(path: Path, model: str | None, columns: str | None, option: str) -> FoilAnchor:
    """The anchor that a foil's file, or the folder of a saved anchor, gives; ends the command if none.

    Of a project of many groups the foil is the one whose label says foil.
    """
    from xas_live.models import ModelError, find_model, load_model
    from xas_live.reduction import AnchorError, FoilAnchor
    from xas_live.sources import ColumnsError, Scan, parse_columns, read_file
    from xas_live.sources.replay import spectra_of

    try:
        if path.is_dir():
            return FoilAnchor.load(path)
        numbers = parse_columns(columns) if columns else None
        entries = read_file(path, columns=numbers)
        scans = [entry for entry in entries if isinstance(entry, Scan)]
        if not scans:
            refuse(f"the foil {path} cannot be read: {entries[0].reason}")  # type: ignore[union-attr]
        if len(scans) > 1:
            scans = [scan for scan in scans if "foil" in scan.scan.lower()] or scans
        spectra = [spectrum for scan in scans for spectrum in spectra_of(scan)]
        if len(spectra) != 1:
            labels = ", ".join(repr(scan.scan) for scan in scans)
            refuse(f"{path} must hold one foil, not {len(spectra)} spectra ({labels})")
        spectrum = spectra[0]
        if len(entries) > 1:  # of several groups the anchor says which it was
            where = replace(spectrum.provenance, source=f"{path} ({spectrum.provenance.scan})")
            spectrum = replace(spectrum, provenance=where)
        name = model or find_model(spectrum.element, spectrum.edge)
        if name is None:
            refuse(
                f"no model for {spectrum.element or 'an unknown element'} {spectrum.edge or ''}: give --model"
            )
        return FoilAnchor.fit(spectrum, load_model(name))
    except ColumnsError as error:
        refuse(f"{option}: {error}")
    except (AnchorError, ModelError) as error:
        refuse(f"{path}: {error}")
