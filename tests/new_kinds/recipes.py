"""Small recipes of models that give classes, curves, and numbers with classes."""

from __future__ import annotations

from pathlib import Path

from physics import CLASSES, EDGES, R_AXIS, Sites

_REST = """
[nuisances]
noise = [0.001, 0.004]
gain = 0.004
{shift}

[network]
hidden = [48]
members = 4
source = "a small network for a test"

[schedule]
steps = {steps}
batch = 64
learning_rate = 0.01
seed = 7
"""

_NORM = """
[[inputs]]
element = "{element}"
edge = "{edge}"
edge_energy = {energy}
kind = "norm"
grid = [{{ start = -20.0, stop = 80.0, step = 1.0 }}]
anchor = "none"
"""


def _norm(element: str, edge: str) -> str:
    return _NORM.format(element=element, edge=edge, energy=EDGES[element, edge])


def _classes(prefix: str = "") -> str:
    named = f'name = "environment"\nprefix = "{prefix}"\nclasses = {list(CLASSES)}'
    return f'[[outputs]]\nkind = "classes"\n{named}\n'


def _head(name: str, summary: str) -> str:
    return f'name = "{name}"\nversion = "1"\nsummary = "{summary}"\nfolds = 2\n'


def classifier(folder: Path) -> Path:
    """Five classes of two absorbers, from norm, without an anchor."""
    absorbers = (("Fe", "K"), ("Cu", "K"))
    files = [f"{element}.h5" for element, _ in absorbers]
    for seed, (file, absorber) in enumerate(zip(files, absorbers, strict=True)):
        Sites(120, seed).write(folder / file, EDGES[absorber], labels=("environment",))
    text = _head("environment", "Local environment of Fe and Cu from K-edge XANES")
    text += "".join(_norm(*absorber) for absorber in absorbers) + _classes()
    text += f'[structures]\nkind = "labelled"\nfiles = {files}\n'
    text += "[domain]\nthreshold = 0.01\nnoise = [0.001, 0.01]\nsteps = 60\n"
    return _written(folder / "environment.toml", text + _REST.format(shift="shift = 0.3", steps=150))


def curve(folder: Path) -> Path:
    """A pair distribution from chi(k)."""
    Sites(160, 3).write(folder / "pairs.h5", None, labels=("g",))
    text = _head("pairs", "Pair distribution around Pt from chi(k)")
    text += (
        '[[inputs]]\nelement = "Pt"\nedge = "L3"\nedge_energy = 11564.0\nkind = "chi"\nunit = "1/Å"\n'
        'grid = [{ start = 3.0, stop = 9.0, step = 0.1 }]\nk_weight = 2\nanchor = "none"\n'
        f'[[outputs]]\nkind = "curve"\nname = "g"\nx_name = "r"\nx_unit = "Å"\nx = {R_AXIS.tolist()}\n'
        '[structures]\nkind = "labelled"\nfiles = ["pairs.h5"]\nmixed = 0.3\n'
    )
    return _written(folder / "pairs.toml", text + _REST.format(shift="", steps=250))


def both(folder: Path) -> Path:
    """A distance and classes together."""
    Sites(200, 5).write(folder / "both.h5", EDGES["Cu", "K"], labels=("distance", "environment"))
    text = _head("both", "Distance and environment of Cu from K-edge XANES") + _norm("Cu", "K")
    text += (
        '[[outputs]]\nkind = "scalars"\nname = "structure"\nstratify_by = "distance"\n'
        'targets = [{ name = "distance", unit = "Å" }]\n'
    )
    text += _classes("environment.")
    text += '[structures]\nkind = "labelled"\nfiles = ["both.h5"]\n'
    return _written(folder / "both.toml", text + _REST.format(shift="shift = 0.3", steps=250))


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
