"""Columns of text and XDI files, read by larch, with each column's meaning told from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from xas_live.modes import possible_mode
from xas_live.sources.scan import (
    LARCH_ERRORS,
    Scan,
    UnreadableError,
    edge_of,
    element_of,
    file_channels,
    mode_of,
)
from xas_live.spectrum import Array

_ENERGY_HEADERS = ("energy", "energy_ev", "energy_kev", "e_ev", "e_kev", "ev", "kev", "e")
"""Names of the energy column, lower case, all that is no letter or digit written as "_". Earlier ones win."""


class LarchTable(Protocol):
    """What larch's readers give of a table; `header` and `array_units` may be missing.

    Attributes
    ----------
    data : (columns, rows).
    array_labels : one name a column, of the first columns at least.
    """

    data: Array
    array_labels: Sequence[str]


# Rows of numbers above an interruption: a few may be a header's, more are data that larch would pass over.
_MAX_NUMERIC_HEADER_ROWS = 2
ROOM_TEMPERATURE = 295.0


def read_columns(path: Path, head: bytes, columns: Mapping[str, int] | None, mode: str | None) -> Scan:
    """Read one table of numbers; the parameters are those of `files.read_file`, and the file's first bytes.

    Raises
    ------
    UnreadableError : when it gives no spectrum.
    """
    group = _read_table(path, is_xdi=b"XDI/" in head.split(b"\n", 1)[0])
    data = np.asarray(group.data, dtype=np.float64)
    if data.ndim != 2 or data.size == 0:
        raise UnreadableError("no columns of numbers found")
    if len(data) < 2:
        raise UnreadableError("only one column of numbers: an energy and a signal are needed")
    header = _header(path, group)
    _refuse_interrupted(header, len(data))
    data = data[:, :-1] if _cut_short(data) else data

    names = _names(header, group, len(data))
    numbers = dict(columns) if columns is not None else _recognise(names)
    beyond = [f"{name}={number}" for name, number in numbers.items() if number >= len(data)]
    if beyond:
        raise UnreadableError(f"the file has columns 0 to {len(data) - 1}, so no {', '.join(beyond)}")
    channels = {name: data[number] for name, number in numbers.items()}
    chosen = mode_of(channels, mode)
    if _in_kev(names[numbers["energy"]], group, numbers["energy"]):
        channels["energy"] = channels["energy"] * 1000.0
    element, edge = _absorber(header)
    return Scan(
        source=str(path),
        scan=path.name,
        channels=channels,
        mode=chosen,
        element=element,
        edge=edge,
        temperature=_temperature(header),
        time=path.stat().st_mtime,
    )


def _read_table(path: Path, *, is_xdi: bool) -> LarchTable:
    from larch.io import read_ascii, read_xdi

    if is_xdi:
        try:
            return cast("LarchTable", read_xdi(str(path)))
        except LARCH_ERRORS:
            pass  # XDI that breaks its own rules is still columns of text
    try:
        return cast("LarchTable", read_ascii(str(path)))
    except LARCH_ERRORS as error:
        raise UnreadableError(f"not columns of text: {error}") from None


def _header(path: Path, group: LarchTable) -> list[str]:
    """Return the lines above the numbers; read_xdi keeps none."""
    lines = getattr(group, "header", None)
    if lines is not None:
        return [str(line) for line in lines]
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file if line.startswith("#")]


def _refuse_interrupted(header: Sequence[str], width: int) -> None:
    rows = sum(1 for line in header if _is_row(line, width))
    if rows > _MAX_NUMERIC_HEADER_ROWS:
        raise UnreadableError(
            f"text interrupts the columns after {rows} rows of numbers: keep one table of numbers in the file"
        )


def _is_row(line: str, width: int) -> bool:
    words = re.split(r"[\s,;]+", line.strip())
    try:
        return len([float(word) for word in words]) == width
    except ValueError:
        return False


def _cut_short(data: Array) -> bool:
    """Return whether the last row lacks columns that the row before has: writing stopped there."""
    return data.shape[1] > 1 and bool(np.isnan(data[-1, -1]) and not np.isnan(data[-1, -2]))


def _in_kev(name: str, group: LarchTable, column: int) -> bool:
    """Return whether the header gives the energy in keV, by its name or by XDI's unit."""
    units = getattr(group, "array_units", [])
    unit = str(units[column]) if column < len(units) else ""
    return "kev" in (name.rsplit("_", 1)[-1], unit.lower())


def _names(header: Sequence[str], group: LarchTable, width: int) -> list[str]:
    """Name each column: by the header's last line, where it names an energy, else as larch does."""
    for line in reversed(header):
        text = re.sub(r"^#L\s+", "", line).lstrip("#;%*!$ \t").strip()  # SPEC writes #L before its names
        if not re.search(r"[A-Za-z]", text):
            continue
        text = re.sub(r"\s*[(\[]\s*(\w+)\s*[)\]]", r"_\1", text)
        for separator in (r"\t", r"[,;]", r"\s+"):
            words = [word for word in re.split(separator, text) if word.strip()]
            if len(words) == width:
                break
        names = [_plain(word) for word in [*words, *[""] * width][:width]]
        if any(map(_is_energy, names)):
            return names
        break
    return [_plain(str(label)) for label in [*group.array_labels, *[""] * width][:width]]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _is_energy(name: str) -> bool:
    return name in _ENERGY_HEADERS or name.endswith("_energy")


def _recognise(names: Sequence[str]) -> dict[str, int]:
    """Return the column number of each channel that a name stands for."""
    headers = {"energy": _ENERGY_HEADERS} | {channel.name: channel.headers for channel in file_channels()}
    found: dict[str, int] = {}
    for channel, spellings in headers.items():
        number = next((names.index(name) for name in spellings if name in names), None)
        if number is None and channel == "energy":
            number = next((i for i, name in enumerate(names) if _is_energy(name)), None)
        if number is not None:
            found[channel] = number
    unnamed = "energy" not in found and len(names) in (2, 3)
    if unnamed or (found == {"energy": 0} and len(names) == 2):
        return {"energy": 0, "mu": 1}
    if "energy" not in found or possible_mode(found) is None:
        shown = ", ".join(name or "?" for name in names)
        raise UnreadableError(
            f"cannot tell its {len(names)} columns apart ({shown}): name them in the header, "
            "or say which is which with --columns, as energy=0,mu=1 or energy=0,i0=1,it=2"
        )
    return found


def _stated(header: Sequence[str], *keys: str) -> str | None:
    """Return the value of the first line `key: value` or `key = value` with one of the keys."""
    for line in header:
        match = re.match(r"[#;%*!$\s]*([\w. ]+?)\s*[:=]\s*(.+)", line)
        if match and match[1].lower() in keys:
            return match[2].strip()
    return None


def _absorber(header: Sequence[str]) -> tuple[str | None, str | None]:
    return element_of(_stated(header, "element.symbol", "element")), edge_of(
        _stated(header, "element.edge", "edge")
    )


def _temperature(header: Sequence[str]) -> float | None:
    """Return kelvin from "13K", "77 K", "25 C" or "room temperature"."""
    text = _stated(header, "sample.temperature", "temperature") or ""
    match = re.match(r"([-+]?\d+(?:\.\d+)?)\s*(?:deg(?:rees)?|°)?\s*([KC])\b", text, re.IGNORECASE)
    if match:
        return float(match[1]) + (273.15 if match[2].upper() == "C" else 0.0)
    return ROOM_TEMPERATURE if re.match(r"(room|ambient|rt\b)", text, re.IGNORECASE) else None
