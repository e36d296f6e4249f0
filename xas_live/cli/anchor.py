"""`xas-live anchor`: fit a foil and keep it; list, show, choose and remove those that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from xas_live.cli.output import err, facts_table, out, refuse
from xas_live.host import local_time

if TYPE_CHECKING:
    from xas_live.reduction import FoilAnchor, SavedAnchor


class _FitsByDefault(TyperGroup):
    """`xas-live anchor FILE` is `xas-live anchor fit FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # of the click that typer brings
        """See click."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["fit", *args]
        return super().parse_args(ctx, args)


anchor = typer.Typer(cls=_FitsByDefault, no_args_is_help=True)
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A saved anchor, or the beginning of its name or hash.")
]


@anchor.callback()
def _about() -> None:
    """Fit a foil to theory and keep it as an anchor: `xas-live anchor FILE`; and see what is kept.

    The newest anchor of an absorber is the one in use.
    """


@anchor.command("fit")
def fit(
    foil: Annotated[Path, typer.Argument(metavar="FILE", help="A foil measured at this beamline.")],
    model: Annotated[
        str | None, typer.Option(help="Model that the foil anchors; default: by the foil's edge.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME=N,...", help="Columns of the file, from 0: energy=0,mu=1.")
    ] = None,
    save: Annotated[bool, typer.Option(help="Keep the anchor for live analysis and replay.")] = True,
    vouch: Annotated[
        bool, typer.Option("--vouch", help="It is bulk metal, whatever it looks like; the anchor says so.")
    ] = False,
) -> None:
    """Fit a foil to theory, print the fit, and keep it as this beamline's anchor.

    What looks like a particle is refused: see docs/how-to/anchor-to-your-foil.md.
    """
    with err.status("Fitting the foil ..."):
        fitted = fit_foil(foil, model, columns, "--columns", vouch=vouch)
    out.print(facts_table(_facts(fitted)))
    if save:
        try:
            out.print(f"Saved in {fitted.save()}", soft_wrap=True)
        except OSError as error:
            refuse(f"the anchor cannot be saved: {error}. Set XAS_LIVE_HOME to a folder that can be written.")


@anchor.command("list")
def list_anchors() -> None:
    """List the saved anchors, the newest first; a star marks those in use."""
    from xas_live.reduction import saved_anchors

    every = saved_anchors()
    if not every:
        out.print("No anchor is saved: fit one with xas-live anchor FILE")
        return
    table = Table("", "name", "sample", "beamline", "measured", "model", box=box.SIMPLE)
    used: set[tuple[str, str]] = set()
    for each in every:
        foil = each.anchor
        absorber = (foil.element, foil.edge)
        star = "" if absorber in used else "*"
        used.add(absorber)
        measured = _when(foil.time, "%Y-%m-%d")
        named = foil.sample or Path(foil.source).name
        table.add_row(*map(escape, (star, each.name, named, foil.beamline, measured, foil.model)))
    out.print(table)


@anchor.command("show")
def show(name: Name) -> None:
    """Show a saved anchor: where it comes from, and how well it fits."""
    found = _saved(name)
    out.print(facts_table({"folder": found.folder, **_facts(found.anchor)}))


@anchor.command("use")
def use(name: Name) -> None:
    """Use a saved anchor from now on, in place of others of its absorber."""
    found = _saved(name)
    try:
        found.use()
    except OSError as error:
        refuse(f"{found.name} cannot be chosen: {error}")
    out.print(f"{found.name} is in use for {found.anchor.element} {found.anchor.edge}", soft_wrap=True)


@anchor.command("remove")
def remove(name: Name) -> None:
    """Delete a saved anchor."""
    found = _saved(name)
    try:
        found.remove()
    except OSError as error:
        refuse(f"{found.name} cannot be removed: {error}")
    out.print(f"Removed {found.name}", soft_wrap=True)


def _when(seconds: float | None, form: str) -> str:
    """A Unix time (s) as local time; "" for none."""
    when = local_time(seconds)
    return "" if when is None else when.strftime(form)


def _saved(name: str) -> SavedAnchor:
    from xas_live.reduction import AnchorError, saved_anchor

    try:
        return saved_anchor(name)
    except AnchorError as error:
        refuse(str(error))


def _facts(fitted: FoilAnchor) -> dict[str, object]:
    """What is said of an anchor; what is not known is left out."""
    facts = {
        "foil": fitted.source,
        "sample": fitted.sample,
        "beamline": fitted.beamline,
        "measured": _when(fitted.time, "%Y-%m-%d %H:%M"),
        "absorber": f"{fitted.element} {fitted.edge}",
        "model": fitted.model,
        "temperature": "" if fitted.temperature is None else f"{fitted.temperature:g} K",
        "e0": f"{fitted.e0:.2f} eV",
        "shift": f"{fitted.shift:+.2f} eV",
        "stretch": f"{fitted.stretch:.4f}",
        "gain": f"{fitted.gain:.3f}",
        "residual": f"{fitted.residual:.4f} edge steps",
        "correlation": f"{fitted.correlation:.3f}",
        "strength": "" if fitted.strength is None else f"{fitted.strength:.0%} of theory",
        "vouched for": "yes: it looks like a particle" if fitted.vouched else "",
        "sha256": fitted.sha256,
    }
    return {name: fact for name, fact in facts.items() if fact}


def fit_foil(
    path: Path, model: str | None, columns: str | None, option: str, *, vouch: bool = False
) -> FoilAnchor:
    """The anchor of a foil's file, or a saved one by its folder or name; ends the command if there is none.

    Of a project of many groups the foil is the one whose label says foil.
    """
    from xas_live.analysis import foil_anchor
    from xas_live.models import ModelError, find_model, load_model
    from xas_live.reduction import AnchorError, FoilAnchor, known_foils, saved_anchor
    from xas_live.sources import ColumnsError, Scan, parse_columns, read_file
    from xas_live.sources.replay import spectra_of

    try:
        if path.is_dir():
            return FoilAnchor.load(path)
        if not path.exists() and len(path.parts) == 1 and not path.suffix:
            return saved_anchor(path.name).anchor
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
        bundle = load_model(name)
        target = bundle.input_for(spectrum.element, spectrum.edge)
        element, edge = (None, None) if target is None else target.absorbers[0]
        known = known_foils(element, edge, spectrum.provenance.beamline)
        return foil_anchor(spectrum, bundle, known, vouch=vouch)
    except ColumnsError as error:
        refuse(f"{option}: {error}")
    except (AnchorError, ModelError) as error:
        refuse(f"{path}: {error}")
