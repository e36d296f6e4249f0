"""`xas-live train`: build a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from xas_live.cli.output import err, out, refuse


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to train, and on what.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the bundle; default: the recipe's name.")
    ] = None,
) -> None:
    """Train, calibrate and test a model as a recipe says, and write its bundle."""
    if not recipe.is_file():
        refuse(f"there is no recipe {recipe}: give a .toml file, as those in xas_live/training/recipes")
    folder = output or Path(recipe.stem)
    with err.status("Loading ..."):
        from xas_live.training.build import build_bundle

    columns = (*Progress.get_default_columns()[:2], TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(recipe.stem, total=None, loss="")

        def show(stage: str, done: int, total: int, loss: float) -> None:
            progress.update(task, description=stage, completed=done, total=total, loss=f"loss {loss:.4f}")

        try:
            bundle = build_bundle(recipe, folder, show)
        except (ValueError, OSError) as error:
            refuse(f"{recipe}: {error}")
    out.print(f"{bundle.name} in {folder}", soft_wrap=True)
    out.print(f"sha256 {bundle.sha256}", soft_wrap=True)
