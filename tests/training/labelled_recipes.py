"""Small files of labelled spectra, and recipes that train on them within seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CLASSES = ("low", "middle", "high")
POINTS = 6
"""Of the curve."""

INPUT = """
[[inputs]]
element = "{element}"
edge = "K"
edge_energy = {energy}
kind = "norm"
grid = [{{ start = -10.0, stop = 40.0, step = 2.0 }}]
anchor = "none"
"""

NUMBERS = """
[[outputs]]
kind = "scalars"
name = "numbers"
stratify_by = "height"
targets = [{ name = "height" }, { name = "place", unit = "eV" }]
"""

SITES = f"""
[[outputs]]
kind = "classes"
name = "site"
prefix = "site."
classes = {list(CLASSES)}
"""

CURVE = f"""
[[outputs]]
kind = "curve"
name = "shape"
prefix = "shape."
x_name = "r"
x = {[float(i) for i in range(POINTS)]}
"""

DOMAIN = "[domain]\nthreshold = 0.01\nnoise = [0.001, 0.01]\nsteps = 20\n"

_REST = """
[nuisances]
noise = [0.001, 0.004]
gain = 0.004

[network]
hidden = [24]
members = 4

[schedule]
steps = {steps}
batch = 32
learning_rate = 0.01
seed = 7
"""


def known(count: int, seed: int = 0) -> dict[str, Array]:
    """Labels of so many spectra, by name."""
    rng = np.random.default_rng(seed)
    height, place = rng.uniform(0.1, 0.9, count), rng.uniform(4.0, 12.0, count)
    site = np.array(CLASSES, dtype="S8")[np.minimum((3 * height).astype(int), 2)]
    return {"height": height, "place": place, "site": site, "shape": height[:, None] ** np.arange(POINTS)}


def write(path: Path, labels: dict[str, Array], *, given: dict[str, Array] | None = None) -> Path:
    """A file of spectra of these labels: a step, and a line of that height at that place.

    Parameters
    ----------
    given : what the file says in their stead, and besides ("group").
    """
    energy = np.arange(-20.0, 60.0, 0.5)
    line = np.exp(-0.5 * ((energy - labels["place"][:, None]) / 3.0) ** 2)
    with h5py.File(path, "w") as file:
        file["energy"] = energy
        file["mu"] = 0.5 + np.arctan(energy) / np.pi + labels["height"][:, None] * line
        for name, values in (labels | (given or {})).items():
            file["group" if name == "group" else f"labels/{name}"] = values
    return path


def recipe(
    path: Path, outputs: str, files: Sequence[str] = ("a.h5",), *, domain: str = "", steps: int = 120,
    mixed: float = 0.3, elements: Sequence[str] = ("Fe", "Cu"),
) -> Path:  # fmt: skip
    """A recipe that trains on files beside it, one for each element."""
    text = 'name = "small"\nversion = "1"\nsummary = "a test"\nfolds = 2\n'
    for element, _ in zip(elements, files, strict=False):
        text += INPUT.format(element=element, energy={"Fe": 7112.0, "Cu": 8979.0}[element])
    text += outputs + f'\n[structures]\nkind = "labelled"\nfiles = {list(files)}\nmixed = {mixed}\n'
    path.write_text(text + domain + _REST.format(steps=steps), encoding="utf-8")
    return path
