"""Athena projects: every group's mu(E), with the energy shift that Athena stores for it."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from xas_live.sources.scan import (
    LARCH_ERRORS,
    Scan,
    Unreadable,
    UnreadableError,
    edge_of,
    element_of,
    mode_of,
)
from xas_live.spectrum import Array


class AthenaParameters(Protocol):
    """Athena's parameters of a group: `bkg` may have `eshift` and `z`, `fft` may have `edge`."""

    bkg: object
    fft: object


class AthenaGroup(Protocol):
    """What larch gives of one group of a project; `atsym` and `edge` may be missing.

    Attributes
    ----------
    energy, mu : (n,) eV, and absorption.
    """

    energy: Array
    mu: Array
    athena_params: AthenaParameters


def is_project(path: Path, head: bytes) -> bool:
    """Return whether a file is an Athena project, or says so by its name."""
    return b"Athena project file" in head or head.startswith(b"\x1f\x8b") or path.suffix.lower() == ".prj"


def read_project(path: Path, mode: str | None) -> list[Scan | Unreadable]:
    """Read every group of a project, in order.

    Raises
    ------
    UnreadableError : when it is no project at all.
    """
    from larch.io.athena_project import parse_jsonathena, parse_perlathena

    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(f"the compressed file is damaged: {error}") from None
    text = raw.decode("utf-8", errors="replace")
    if "Athena project file" not in text[:500]:
        raise UnreadableError("not an Athena project")
    is_json = "____header" in text[:500]
    parse = parse_jsonathena if is_json else parse_perlathena
    found: list[Scan | Unreadable] = []
    for number, record in enumerate(_records(text, is_json)):
        label = f"group {number + 1}"
        try:
            project = parse(record, path.name)
            group = getattr(project, project.group_names[0])
            label = str(getattr(group, "label", label))
            found.append(_athena_scan(path, label, group, mode))
        except UnreadableError as error:
            found.append(Unreadable(str(path), label, str(error)))
        except LARCH_ERRORS as error:
            found.append(Unreadable(str(path), label, f"larch cannot read this group: {error}"))
    if not found:
        raise UnreadableError("the Athena project has no groups")
    return found


def _records(text: str, is_json: bool) -> list[str]:
    """Split a project in projects of one group: of equal labels in one project, larch keeps the last only."""
    if is_json:
        try:
            project = json.loads(text)
        except ValueError as error:
            raise UnreadableError(f"the Athena project is damaged: {error}") from None
        order = next((key for key in project if key.startswith("_____order")), None)
        if order is None:
            raise UnreadableError("the Athena project does not list its groups")
        shared = {key: value for key, value in project.items() if key.startswith("_____") and key != order}
        return [
            json.dumps({**shared, order: [name], name: project[name]})
            for name in project[order]
            if name in project
        ]
    first, _, rest = text.partition("\n")
    parts = re.split(r"^\[record\].*$", rest, flags=re.MULTILINE)[:-1]
    return [f"{first}\n{part}\n[record]\n" for part in parts]


def _athena_scan(path: Path, label: str, group: AthenaGroup, mode: str | None) -> Scan:
    from larch.math import remove_dups
    from larch.xafs.xafsutils import TINY_ENERGY

    parameters = group.athena_params
    other = [
        name
        for name in ("chi", "xmudat", "bkg", "diff", "pixel", "rsp", "qsp", "fit")
        if _is(parameters, name)
    ]
    if other:
        raise UnreadableError(f"this group holds no mu(E): Athena marks it as {other[0]}")
    shift = getattr(parameters.bkg, "eshift", 0.0)
    shift = float(shift) if isinstance(shift, int | float) else 0.0
    # As larch's own reader does: sorted, and repeated energies (stitched scans) moved apart a little.
    order = np.argsort(group.energy, kind="stable")
    energy = remove_dups(group.energy[order], tiny=TINY_ENERGY) + shift
    channels = {
        "energy": np.asarray(energy, dtype=np.float64),
        "mu": np.asarray(group.mu[order], dtype=np.float64),
    }
    return Scan(
        source=str(path),
        scan=label,
        channels=channels,
        mode=mode_of(channels, mode),
        element=element_of(str(getattr(group, "atsym", None) or getattr(parameters.bkg, "z", None) or "")),
        edge=edge_of(str(getattr(group, "edge", None) or getattr(parameters.fft, "edge", None) or "")),
        time=path.stat().st_mtime,
        notes={"athena_eshift": shift},
    )


def _is(parameters: AthenaParameters, name: str) -> bool:
    value = getattr(parameters, f"is_{name}", 0)
    return isinstance(value, int | float) and bool(value)
