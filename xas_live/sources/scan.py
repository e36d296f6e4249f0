"""What a data file gives: a spectrum's columns, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from xas_live.errors import Refusal
from xas_live.modes import Channel, all_channels, find_mode, modes_by_preference, possible_mode
from xas_live.spectrum import Array

# What larch raises on text that it does not understand: it has no error of its own.
LARCH_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    NameError,
    SyntaxError,
    RecursionError,
)


class ColumnsError(Refusal):
    """A choice of columns that cannot be used."""


class UnreadableError(Refusal):
    """Carries the reason from where it is found to the file's `Unreadable`."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One spectrum's columns, as a file holds them.

    Attributes
    ----------
    source : the file's path, as given.
    scan : its label: the file's name, or Athena's label of the group.
    channels : energy (eV) and any of mu, reference, i0, it, ir, iff and those of further modes; each (n,).
    mode : how mu is to be made from them: name of a detector mode.
    element, edge : as the file states them, else None.
    temperature : of the sample (K) as the file states it, else None.
    beamline : its name as the file states it, else None.
    time : the file's modification time (Unix, s).
    notes : what was done on the way, as `{"athena_eshift": -0.24}` (eV, added to the energies).
    read : what was understood of the file, ready for JSON: see `Provenance.read`.
    """

    source: str
    scan: str
    channels: Mapping[str, Array]
    mode: str
    element: str | None = None
    edge: str | None = None
    temperature: float | None = None
    beamline: str | None = None
    time: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)
    read: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A file, or a group of a project, that gives no spectrum, and why."""

    source: str
    scan: str
    reason: str


def file_channels() -> tuple[Channel, ...]:
    """Return the channels that a file may hold beside the energy: mu, reference, then the counts."""
    return tuple(sorted(all_channels(), key=lambda channel: channel.counted))


def parse_columns(text: str) -> dict[str, int]:
    """Read a choice of columns as the command line writes it: "energy=0,i0=1,it=2", counting from 0.

    Raises
    ------
    ColumnsError : for a name that is no channel, a number that is none, or channels that give no spectrum.
    """
    known = ("energy", *(channel.name for channel in file_channels()))
    columns: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in known:
            raise ColumnsError(
                f"{part.strip()!r} names no channel: write NAME=NUMBER, NAME one of {', '.join(known)}"
            )
        if not number.isdecimal():
            raise ColumnsError(f"{part.strip()!r} has no column number: columns count from 0, as in energy=0")
        if name in columns:
            raise ColumnsError(f"{name} is given twice")
        columns[name] = int(number)
    if "energy" not in columns:
        raise ColumnsError("the energy column is missing: add energy=NUMBER")
    if possible_mode(columns) is None:
        choices = ", or ".join(" and ".join(mode.needed) for mode in modes_by_preference())
        raise ColumnsError(f"no spectrum can be made: give {choices}")
    return columns


def mode_of(channels: Collection[str], mode: str | None) -> str:
    """Return the mode asked for, or the preferred one that the channels allow.

    Raises
    ------
    UnreadableError : says what the mode asked for lacks, or that no mode is possible.
    """
    chosen = possible_mode(channels) if mode is None else find_mode(mode)
    if chosen is None:
        raise UnreadableError(f"no spectrum can be made of {', '.join(sorted(channels))}")
    if missing := chosen.missing(channels):
        raise UnreadableError(
            f"mode {chosen.name} needs {' and '.join(missing)}, which the file does not have"
        )
    return chosen.name


def element_of(text: str | None) -> str | None:
    """Return the symbol from "Pd", "Palladium ( 46)" or the like; None when it is no element."""
    from xraydb import atomic_number, atomic_symbol

    word = re.match(r"[A-Za-z]+", text or "")
    try:
        return str(atomic_symbol(atomic_number(word[0].capitalize()))) if word else None
    except ValueError:
        return None


def edge_of(text: str | None) -> str | None:
    """Return the edge from "L3", "l3" or "K edge"; None when it is none."""
    match = re.match(r"(K|[LM][1-5])\b", (text or "").upper())
    return match[1] if match else None
