"""Athena projects: every group's mu(E), with the energy shift that Athena stores for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from xas_live.host import printable
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

_NEXT_MEMBER = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')  # of a JSON object, up to its value
MOST_GROUPS = 5000
"""Groups that are read of a project."""

_NAMELESS = "without a label"
"""Label given to groups that have none, which larch cannot read."""


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


def is_project(text: str) -> bool:
    """Return whether a text is an Athena project."""
    return "Athena project file" in text[:500]


def read_project(path: Path, text: str, mode: str | None) -> list[Scan | Unreadable]:
    """Read every group of a project, in order; one that the end of the file cuts off is named.

    Raises
    ------
    UnreadableError : when it has no groups, or is damaged.
    """
    from larch.io.athena_project import parse_jsonathena, parse_perlathena

    is_json = "____header" in text[:500]
    parse = parse_jsonathena if is_json else parse_perlathena
    found: list[Scan | Unreadable] = []
    for number, record in enumerate(_json_records(text) if is_json else _perl_records(text), 1):
        label = f"group {number}"
        if number > MOST_GROUPS:
            reason = (
                f"the project holds over {MOST_GROUPS} groups: those from here on are left out; divide it"
            )
            found.append(Unreadable(str(path), label, reason))
            break
        if record is None:
            found.append(Unreadable(str(path), label, "the file ends within this group, or is damaged here"))
            continue
        try:
            project = parse(record, path.name)
            group = getattr(project, project.group_names[0])
            named = printable(str(getattr(group, "label", label))).removeprefix(_NAMELESS).strip()
            label = named or label
            found.append(_athena_scan(path, label, group, mode))
        except UnreadableError as error:
            found.append(Unreadable(str(path), label, str(error)))
        except LARCH_ERRORS as error:
            found.append(Unreadable(str(path), label, f"larch cannot read this group: {error}"))
    if not found:
        raise UnreadableError("the Athena project has no groups")
    return found


def _json_records(text: str) -> Iterator[str | None]:
    """Give each group as a project of its own: of equal labels in one project, larch keeps the last only.

    None stands for the groups from where the file is cut or damaged on.
    """
    try:
        project, whole = json.loads(text), True
    except (ValueError, RecursionError) as error:
        project, whole = _members(text), False
        if not any(isinstance(value, dict) for value in project.values()):
            raise UnreadableError(f"the Athena project is damaged: {error}") from None
    order = next((key for key in project if key.startswith("_____order")), None)
    if order is None and whole:
        raise UnreadableError("the Athena project does not list its groups")
    shared = {"_____journal": ""}  # larch wants one
    shared |= {key: value for key, value in project.items() if key.startswith("_____") and key != order}
    names = (
        [key for key, value in project.items() if isinstance(value, dict)]
        if order is None
        else project[order]
    )
    for name in names:
        if name in project:
            group = project[name]
            args = group.get("args") if isinstance(group, dict) else None
            if isinstance(args, dict) and not str(args.get("label", "x")).strip():
                group = {**group, "args": {**args, "label": _NAMELESS}}
            yield json.dumps({**shared, order or "_____order": [name], name: group})
        elif not whole:
            yield None
    if not whole and order is None:
        yield None


def _members(text: str) -> dict[str, object]:
    """Return the members of a JSON object up to the first that is cut or damaged."""
    decode, found, at = json.JSONDecoder().raw_decode, dict[str, object](), text.find("{") + 1
    try:
        while (name := _NEXT_MEMBER.match(text, at)) is not None:
            found[json.loads(name[1])], at = decode(text, name.end())
    except (ValueError, RecursionError):
        pass
    return found


def _perl_records(text: str) -> Iterator[str | None]:
    """Give each group as a project of its own; None for one that the end of the file cuts off."""
    first, _, rest = text.partition("\n")
    *parts, last = re.split(r"^\[record\].*$", rest, flags=re.MULTILINE)
    for part in parts:
        named = re.sub(r"('label'\s*,\s*)'\s*'", rf"\1'{_NAMELESS}'", part)
        yield f"{first}\n{named}\n[record]\n"
    ends = re.search(r"^(1;|[@&%](journal|indicator|plot_features|lcf_data))", last, flags=re.MULTILINE)
    if last.strip() and not ends:
        yield None


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
        read={"channels": {"energy": "x", "mu": "y"}, "named_by": "the project", "energy_unit": "eV"},
    )


def _is(parameters: AthenaParameters, name: str) -> bool:
    value = getattr(parameters, f"is_{name}", 0)
    return isinstance(value, int | float) and bool(value)
