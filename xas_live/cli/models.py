"""`xas-live models`: which models there are, what each says of itself, and whether it is what was shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from xas_live.cli.accept import accept
from xas_live.cli.output import facts_table, out, print_json, refuse
from xas_live.errors import Refusal

if TYPE_CHECKING:
    from xas_live.models.outputs import OutputSpec

models = typer.Typer(help="The trained models.", no_args_is_help=True)
models.command("accept")(accept)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped model, or a bundle's folder.")]


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the shipped models."""
    from xas_live.models import available_models, load_model

    rows: list[dict[str, Any]] = []
    for name in available_models():
        card = load_model(name).card
        rows.append(
            {
                "name": name,
                "version": card.version,
                "absorbers": [f"{a.element} {a.edge}" for a in card.absorbers],
                "targets": [target.name for target in card.targets],
                "outputs": [_named(output) for output in card.outputs],
                "summary": card.summary,
                "sha256": load_model(name).sha256,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table("name", "absorber", "predicts", "summary")
    for row in rows:
        predicts = _in_words(row["outputs"])
        table.add_row(*map(escape, (row["name"], ", ".join(row["absorbers"]), predicts, row["summary"])))
    out.print(table)


@models.command("show")
def show_model(name: Name, as_json: AsJson = False) -> None:
    """Show a model's card: what it was trained on, how well it does, when not to trust it."""
    from xas_live.models import ModelError, load_model

    try:
        bundle = load_model(name)
    except ModelError as error:
        refuse(str(error))
    card = bundle.card.model_dump(mode="json")
    if as_json:
        print_json({**card, "sha256": bundle.sha256})
        return
    predicts = _in_words([_named(output) for output in bundle.card.outputs])
    out.print(facts_table({"predicts": predicts, **_flat(card), "sha256": bundle.sha256}))


@models.command("document")
def document_models() -> None:
    """Print the cards of all shipped models as a Markdown page (docs/reference/models.md)."""
    from xas_live.models import available_models, load_model
    from xas_live.models.cards_page import document

    typer.echo(document(load_model(name) for name in available_models()), nl=False)


@models.command("calibrate")
def calibrate_model(
    name: Name,
    labelled: Annotated[
        Path,
        typer.Option(
            help="HDF5 file of labelled spectra of your standards; see docs/how-to/train-a-model.md."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the bundle; default: named after the model."),
    ] = None,
) -> None:
    """Calibrate a model's intervals, sets or bands on your own standards; the network stays as it is."""
    from xas_live.models import load_model
    from xas_live.training import recalibrate_bundle

    if not labelled.is_file():
        refuse(f"there is no file {labelled}")
    try:
        model = load_model(name)
        folder = output or Path(f"{model.name}-calibrated")
        bundle = recalibrate_bundle(model, labelled, folder)
    except (Refusal, OSError) as error:
        refuse(str(error))
    out.print(f"{bundle.name} in {folder}: {bundle.card.calibration['calibrated_on']}", soft_wrap=True)
    out.print(f"sha256 {bundle.sha256}", soft_wrap=True)


@models.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all shipped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that shipped models are what was shipped; exit code 1 when one is not."""
    from xas_live.models import available_models, verify_model

    shipped = available_models()
    if unknown := sorted(set(names or ()) - set(shipped)):
        refuse(f"no shipped model {', '.join(unknown)}: there are {', '.join(shipped)}")
    problems = {name: verify_model(name) for name in names or shipped}
    if as_json:
        print_json([{"name": name, "ok": not why, "problem": why} for name, why in problems.items()])
    else:
        for name, why in problems.items():
            out.print(f"{name}: [red]{why}[/]" if why else f"{name}: [green]as shipped[/]")
    if any(problems.values()):
        raise typer.Exit(1)


def _named(output: OutputSpec) -> dict[str, Any]:
    """Name and kind of an output, and of what it gives: targets or classes; of a curve its axis."""
    named: dict[str, Any] = {"name": output.name, "kind": output.kind}
    if output.kind == "curve":
        return named | {"x_name": output.x_name, "x_unit": output.x_unit}
    return named | {"targets" if output.kind == "scalars" else "classes": list(output.columns)}


def _in_words(outputs: Sequence[Mapping[str, Any]]) -> str:
    """What a model gives, as "CN1, CN2, site (T4, O6), g(r)"."""
    words: list[str] = []
    for output in outputs:
        match output["kind"]:
            case "scalars":
                words += output["targets"]
            case "classes":
                words.append(f"{output['name']} ({', '.join(output['classes'])})")
            case _:
                words.append(f"{output['name']}({output['x_name']})")
    return ", ".join(words)


def _flat(card: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The card's entries, one a line: nested names joined, long lists of numbers by their ends."""
    lines: dict[str, str] = {}
    for name, value in card.items():
        if isinstance(value, dict):
            lines |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
            for number, item in enumerate(value):
                lines |= _flat(item, f"{prefix}{name}[{item.get('name', number)}].")
        elif isinstance(value, list) and len(value) > 8:
            lines[prefix + name] = f"{value[0]} ... {value[-1]} ({len(value)} values)"
        elif isinstance(value, list):
            lines[prefix + name] = ", ".join(map(str, value))
        elif value is not None:
            lines[prefix + name] = str(value)
    return lines
