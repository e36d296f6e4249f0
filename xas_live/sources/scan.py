"""What a data file gives: a spectrum's columns, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xas_live.spectrum import Array, Mode

CHANNELS = ("energy", "mu", "reference", "i0", "it", "ir", "iff")

_NEEDS: Mapping[Mode, tuple[str, ...]] = {
    "mu": ("mu",),
    "transmission": ("i0", "it"),
    "fluorescence": ("i0", "iff"),
}

# What larch raises on text that it does not understand: it has no error of its own.
LARCH_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NameError,
)


class ColumnsError(ValueError):
    """A choice of columns that cannot be used."""


class UnreadableError(ValueError):
    """Carries the reason from where it is found to the file's `Unreadable`."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One spectrum's columns, as a file holds them.

    Attributes
    ----------
    source : the file's path, as given.
    scan : its label: the file's name, or Athena's label of the group.
    channels : energy (eV) and any of mu, reference, i0, it, ir, iff; each (n,).
    mode : how mu is to be made from them.
    element, edge : as the file states them, else None.
    temperature : of the sample (K) as the file states it, else None.
    time : the file's modification time (Unix, s).
    notes : what was done on the way, as `{"athena_eshift": -0.24}` (eV, added to the energies).
    """

    source: str
    scan: str
    channels: Mapping[str, Array]
    mode: Mode
    element: str | None = None
    edge: str | None = None
    temperature: float | None = None
    time: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A file, or a group of a project, that gives no spectrum, and why."""

    source: str
    scan: str
    reason: str


def parse_columns(text: str) -> dict[str, int]:
    """Read a choice of columns as the command line writes it: "energy=0,i0=1,it=2", counting from 0.

    Raises
    ------
    ColumnsError : for a name that is no channel, a number that is none, or channels that give no spectrum.
    """
    columns: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in CHANNELS:
            raise ColumnsError(
                f"{part.strip()!r} names no channel: write NAME=NUMBER, NAME one of {', '.join(CHANNELS)}"
            )
        if not number.isdecimal():
            raise ColumnsError(f"{part.strip()!r} has no column number: columns count from 0, as in energy=0")
        if name in columns:
            raise ColumnsError(f"{name} is given twice")
        columns[name] = int(number)
    if "energy" not in columns:
        raise ColumnsError("the energy column is missing: add energy=NUMBER")
    if default_mode(columns) is None:
        raise ColumnsError("no spectrum can be made: give mu, or i0 and it, or i0 and iff")
    return columns


def default_mode(channels: Mapping[str, Any]) -> Mode | None:
    """The best mode that the channels allow: ready mu, else transmission, else fluorescence."""
    return next((mode for mode, needed in _NEEDS.items() if set(needed) <= set(channels)), None)


def mode_of(channels: Mapping[str, Any], mode: Mode | None) -> Mode:
    """The mode asked for, or the best there is; an UnreadableError says what it lacks."""
    chosen = mode or default_mode(channels)
    if chosen is None:
        raise UnreadableError(f"no spectrum can be made of {', '.join(sorted(channels))}")
    missing = [name for name in _NEEDS[chosen] if name not in channels]
    if missing:
        raise UnreadableError(f"mode {chosen} needs {' and '.join(missing)}, which the file does not have")
    return chosen


def element_of(text: str | None) -> str | None:
    """Symbol from "Pd", "Palladium ( 46)" or the like; None when it is no element."""
    from xraydb import atomic_number, atomic_symbol

    word = re.match(r"[A-Za-z]+", text or "")
    try:
        return str(atomic_symbol(atomic_number(word[0].capitalize()))) if word else None
    except ValueError:
        return None


def edge_of(text: str | None) -> str | None:
    """Edge from "L3", "l3" or "K edge"; None when it is none."""
    match = re.match(r"(K|[LM][1-5])\b", (text or "").upper())
    return match[1] if match else None
