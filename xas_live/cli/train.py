"""`xas-live train`: build a model from a recipe, or go on from one with labelled spectra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from xas_live.cli.output import err, out, refuse
from xas_live.errors import Refusal


def train(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE.toml]", help="What to train, and on what.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Model (name or folder) that goes on learning.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            help="HDF5 file of labelled spectra that it learns from; see docs/how-to/train-a-model.md."
        ),
    ] = None,
    freeze: Annotated[int, typer.Option(help="How many of its lower layers stay as they are.")] = 2,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the bundle; default: named after recipe or model."),
    ] = None,
) -> None:
    """Train, calibrate and test a model as a recipe says, or tune one on labelled spectra."""
    if (recipe is None) == (source is None) or (source is None) != (labelled is None):
        refuse("give either a recipe, or --from MODEL with --labelled FILE.h5")
    for path in (recipe, labelled):
        if path is not None and not path.is_file():
            refuse(
                f"there is no file {path}"
                + (": recipes stand in xas_live/training/recipes" if recipe else "")
            )
    with err.status("Loading ..."):
        from xas_live.models import load_model
        from xas_live.training import build_bundle, tune_bundle

    try:
        if recipe is not None:
            folder = output or Path(recipe.stem)
            with _progress(recipe.stem) as show:
                bundle = build_bundle(recipe, folder, show)
        elif source is not None and labelled is not None:
            model = load_model(source)
            folder = output or Path(f"{model.name}-tuned")
            with _progress("tune") as show:
                bundle = tune_bundle(
                    model, labelled, folder, freeze, progress=lambda *step: show("tune", *step)
                )
    except (Refusal, OSError) as error:
        file, why = str(recipe or labelled), str(error)
        refuse(why if file in why else f"{file}: {why}")
    out.print(f"{bundle.name} in {folder}", soft_wrap=True)
    out.print(f"sha256 {bundle.sha256}", soft_wrap=True)


class _Shown:
    """A line of progress."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None, loss="")

    def __call__(self, stage: str, done: int, total: int, loss: float) -> None:
        self._progress.update(
            self._task, description=stage, completed=done, total=total, loss=f"loss {loss:.4f}"
        )


@contextmanager
def _progress(name: str) -> Iterator[_Shown]:
    columns = (*Progress.get_default_columns()[:2], TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, console=err, transient=True) as progress:
        yield _Shown(progress, name)
