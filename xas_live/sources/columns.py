"""XDI and column text as spectra: which column is the energy, which the channels, in which unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xas_live.callbacks.assembly.absorber import absorber_from_metadata
from xas_live.elements import Elements, Summed, find_elements, find_rates, summed
from xas_live.energy import (
    NO_ENERGY,
    angle_rank,
    bragg_energy,
    degrees_factor,
    energy_rank,
    ev_factor,
)
from xas_live.errors import Refusal
from xas_live.modes import all_channels, suffices
from xas_live.sources.labels import Label, Labels, labels_of
from xas_live.sources.scan import (
    Scan,
    Unreadable,
    UnreadableError,
    file_channels,
    mode_of,
)
from xas_live.sources.table import Table, tables
from xas_live.spectrum import Array

ROOM_TEMPERATURE = 295.0
_ASK = "name them in the header, or say which is which with --columns, as energy=0,mu=1 or energy=0,i0=1,it=2"


def read_columns(
    path: Path, text: str, columns: Mapping[str, int] | None, mode: str | None
) -> list[Scan | Unreadable]:
    """Read every table of a text; of several, those that give no spectrum are named.

    Parameters
    ----------
    path : of the file; its name is the label, of several tables with their lines.
    text : what it holds.
    columns, mode : as for `files.read_file`.

    Raises
    ------
    UnreadableError : when there is no table, or the only one gives no spectrum.
    """
    found = tables(text)
    if len(found) == 1:
        return [_scan(path, path.name, found[0], found[0].header, columns, mode)]
    entries: list[Scan | Unreadable] = []
    for table in found:
        label = f"{path.name}, line {table.line}"
        try:
            entries.append(_scan(path, label, table, found[0].header, columns, mode))
        except UnreadableError as error:
            entries.append(Unreadable(str(path), label, str(error)))
    return entries


@dataclass(frozen=True)
class _Columns:
    """Which column is which.

    Attributes
    ----------
    numbers : of each channel's column, from 0.
    guessed : what was taken without being named, in words.
    sums : columns of the elements of each channel that is their sum, by channel.
    """

    numbers: Mapping[str, int]
    guessed: tuple[str, ...] = ()
    sums: Mapping[str, Elements] = field(default_factory=dict)


def _scan(
    path: Path,
    label: str,
    table: Table,
    file_header: Sequence[str],
    columns: Mapping[str, int] | None,
    mode: str | None,
) -> Scan:
    """Return the spectrum of one table; `file_header` are the lines at the top of its file."""
    data = table.data
    if len(data) < 2:
        raise UnreadableError("only one column of numbers: an energy and a signal are needed")
    try:
        labels = labels_of(table)
    except UnreadableError:
        if columns is None:
            raise
        labels = Labels(())
    header = [*file_header, *table.header]
    element, edge = _absorber(header)
    chosen = _recognise(labels, mode, element) if columns is None else _Columns(columns)
    numbers = chosen.numbers
    beyond = [f"{name}={number}" for name, number in numbers.items() if number >= len(data)]
    if beyond:
        raise UnreadableError(f"the file has columns 0 to {len(data) - 1}, so no {', '.join(beyond)}")
    channels = {name: data[number] for name, number in numbers.items()}
    told = {name: _told(number, labels) for name, number in numbers.items()}
    left_out = list(table.left_out)
    for name, elements in chosen.sums.items():
        total = _sum(elements, data, labels)
        channels[name], told[name] = total.values, f"columns {total.said}"
        left_out += [f"column {column}: {why}" for column, why in total.left_out.items()]
    made_by = mode_of(channels, mode)
    channels["energy"], unit = _in_ev(channels["energy"], labels, numbers["energy"])
    return Scan(
        source=str(path),
        scan=label,
        channels=channels,
        mode=made_by,
        element=element,
        edge=edge,
        temperature=_temperature(header),
        beamline=_stated(header, "beamline.name", "beamline"),
        time=path.stat().st_mtime,
        read={
            "channels": told,
            "named_by": "--columns" if columns is not None else labels.by,
            "energy_unit": unit,
            "guessed": list(chosen.guessed),
            "left_out": left_out,
        },
    )


def _told(number: int, labels: Labels) -> str:
    """Say which column it is, as "column 1 (i0)", counted from 0."""
    name = labels.columns[number].name if number < len(labels.columns) else ""
    return f"column {number} ({name})" if name else f"column {number}"


def _sum(elements: Elements, data: Array, labels: Labels) -> Summed:
    """Return the sum of the columns of a detector's elements."""
    column = {label.name: data[k] for k, label in enumerate(labels.columns)}
    counts = [column[name] for name in elements.fields]
    rates = [(column[icr], column[ocr]) for icr, ocr in zip(elements.icr, elements.ocr, strict=True)]
    return summed(elements.fields, counts, rates)


def _in_ev(values: Array, labels: Labels, column: int) -> tuple[Array, str]:
    """Return the values of the energy's column in eV, and their unit in words.

    Raises
    ------
    UnreadableError : when they are angles, and the file states no d-spacing.
    """
    label = labels.columns[column] if column < len(labels.columns) else Label()
    unit = label.unit or (labels.energy_unit if labels.energy_column == column else "")
    if (factor := ev_factor(unit)) is not None:
        return values * factor, "eV" if factor == 1.0 else "keV"
    degrees = degrees_factor(unit)
    if degrees is None and not (angle_rank(label.name) and not energy_rank(label.name)):
        return values, "eV"
    if labels.d_spacing is None:
        raise UnreadableError(
            f"column {column} ({label.name or 'the energy'}) is an angle in {unit or 'degrees'}, and the "
            "d-spacing is not stated: add a line '# Mono.d_spacing: 3.13553' (Å), or convert it to eV"
        )
    try:
        energy = bragg_energy(values * (1.0 if degrees is None else degrees), labels.d_spacing)
    except Refusal as error:
        raise UnreadableError(str(error)) from None
    return energy, f"{unit or 'deg'}, d-spacing {labels.d_spacing:g} Å"


def _recognise(labels: Labels, mode: str | None, absorber: str | None) -> _Columns:
    """Return the column number of each channel that a name stands for, and the columns to be summed.

    Parameters
    ----------
    labels : of the columns.
    mode : that is asked for, or None.
    absorber : element as the file states it, or None.

    Raises
    ------
    UnreadableError : when no energy or no absorption is named, two columns bear the same name, or the names
        say that the columns are something else.
    """
    names = [label.name for label in labels.columns]
    found = {} if (energy := _energy(labels, names)) is None else {"energy": energy}
    for channel in file_channels():
        spelling = next((name for name in channel.headers if name in names), None)
        if spelling is not None:
            found[channel.name] = _only(names, spelling)
    if len(names) == 2:
        return _of_two(names, found)
    sums = _sums(names, found, mode, absorber)
    if "energy" not in found or not suffices([*found, *sums]):
        raise UnreadableError(f"cannot tell its {len(names)} columns apart ({_shown(names)}): {_ASK}")
    guessed = tuple(remark for elements in sums.values() for remark in elements.remarks)
    return _Columns(found, guessed, sums)


def _sums(
    names: Sequence[str], found: Mapping[str, int], mode: str | None, absorber: str | None
) -> dict[str, Elements]:
    """Return the columns of detectors of several elements, where no spectrum can be made without them."""
    if suffices(found, mode):
        return {}
    sums: dict[str, Elements] = {}
    for channel in all_channels():
        elements = None if channel.name in found else find_elements(names, channel, absorber=absorber)
        if elements is not None:
            for name in elements.fields:
                _only(names, name)
            icr, ocr = find_rates(names, elements.fields, channel, absorber)
            sums[channel.name] = elements._replace(icr=icr, ocr=ocr)
    return sums


def _of_two(names: Sequence[str], found: Mapping[str, int]) -> _Columns:
    """Return energy and mu of two columns, where the names do not say that they are something else."""
    if "energy" in found and "mu" in found:
        return _Columns(found)
    claimed = set(found) - {"energy", "mu"}
    in_place = found.get("energy", 0) == 0 and found.get("mu", 1) == 1
    if claimed or not in_place or NO_ENERGY & set(names):
        raise UnreadableError(
            f"its two columns are named {_shown(names)}, which is no energy with an absorption: {_ASK}"
        )
    what = "mu" if "energy" in found else "energy and mu"
    why = f"the two columns are named {_shown(names)}" if any(names) else "two columns without names"
    return _Columns({"energy": 0, "mu": 1}, (f"{what}: {why}",))


def _energy(labels: Labels, names: Sequence[str]) -> int | None:
    """Return the column of the energy: a readback before a setpoint, an energy before an angle."""
    for rank in (energy_rank, angle_rank):
        ranked = [(how_well, name) for name in names if (how_well := rank(name)) is not None]
        if ranked:
            return _only(names, min(ranked)[1])
    return labels.energy_column if labels.energy_unit else None


def _only(names: Sequence[str], name: str) -> int:
    """Return the column of this name.

    Raises
    ------
    UnreadableError : when several bear it.
    """
    numbers = [k for k, each in enumerate(names) if each == name]
    if len(numbers) > 1:
        listed = " and ".join(map(str, numbers))
        raise UnreadableError(f"columns {listed} are both named {name}: say which is which with --columns")
    return numbers[0]


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(name or "?" for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _stated(header: Sequence[str], *keys: str) -> str | None:
    """Return the value of the first line `key: value` or `key = value` with one of the keys."""
    for line in header:
        match = re.match(r"[#;%*!$\s]*([\w. ]+?)\s*[:=]\s*(.+)", line)
        if match and match[1].lower() in keys:
            return match[2].strip()
    return None


def _absorber(header: Sequence[str]) -> tuple[str | None, str | None]:
    """Return element and edge as the lines `key: value` state them, read as a run's metadata are."""
    pairs = (re.match(r"[#;%*!$\s]*([\w. ]+?)\s*[:=]\s*(.+)", line) for line in reversed(header))
    return absorber_from_metadata({pair[1].lower(): pair[2].strip() for pair in pairs if pair})


def _temperature(header: Sequence[str]) -> float | None:
    """Return kelvin from "13K", "77 K", "25 C" or "room temperature"."""
    text = _stated(header, "sample.temperature", "temperature") or ""
    match = re.match(r"([-+]?\d+(?:\.\d+)?)\s*(?:deg(?:rees)?|°)?\s*([KC])\b", text, re.IGNORECASE)
    if match:
        return float(match[1]) + (273.15 if match[2].upper() == "C" else 0.0)
    return ROOM_TEMPERATURE if re.match(r"(room|ambient|rt\b)", text, re.IGNORECASE) else None
