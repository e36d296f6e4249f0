"""What the header of a table says of its columns: names and units, by rules that can fail.

Names are used only where they are as many as the columns, cut as their line is written: by tabs, semicolons
or commas if it has any, else by two blanks or more, since a name may hold one, else by blanks. The first of
these counts: XDI's `Column.N`, larch's labels of the beamline formats that it knows, the label line above
the table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xas_live.energy import angle_rank, degrees_factor, energy_rank, ev_factor
from xas_live.sources.scan import LARCH_ERRORS, UnreadableError, file_channels
from xas_live.sources.table import COMMENTS, Table, cut
from xas_live.spectrum import Array

_XDI_COLUMN = re.compile(r"[#;%*!$\s]*column\.(\d+)\s*:\s*(.*)", re.IGNORECASE)
_D_SPACING = re.compile(r"[#;%*!$\s]*(?:\w+\.)?d_?-?spacing\s*[:=]\s*([\d.]+)\s*(nm)?", re.IGNORECASE)
_COUNT_UNITS = {
    "counts",
    "cts",
    "s",
    "sec",
    "ms",
    "a",
    "ma",
    "na",
    "ua",
    "v",
    "mv",
    "hz",
    "a_u",
    "arb",
    "none",
    "mm",
    "k",
}
_HALVES = frozenset(
    ("ring", "beam", "storage", "machine", "live", "real", "dead", "wall", "elapsed", "counting", "stamp",
     "clock", "integration", "acquisition", "preset", "scaler", "mono", "photon", "requested", "achieved",
     "ion", "shaping")
)  # fmt: skip
"""Words that are part of a name, as in "ring current" and "time stamp"."""

_SHOWN = 12  # names that a message shows at most


@dataclass(frozen=True)
class Label:
    """What a header says of one column.

    Attributes
    ----------
    name : lower case, all that is no letter or digit written as "_"; "" where it has none.
    unit : lower case; "" where it says none.
    """

    name: str = ""
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read a name with its unit in brackets or at its end: "Energy (eV)", "energy_kev", "mu(E)"."""
        name, _, bracket = text.partition("(")
        unit = _plain(bracket)
        if unit and (_is_unit(unit) or not _plain(name)):
            return cls(_plain(name) or unit, unit)
        name = _plain(text)
        start, _, end = name.rpartition("_")
        if start and (ev_factor(end) is not None or end in ("counts", "cts", "cps", "hz")):
            return cls(start, end)
        return cls(name, name if ev_factor(name) is not None else "")


@dataclass(frozen=True)
class Labels:
    """What a header says of all columns.

    Attributes
    ----------
    columns : one label a column.
    by : what gives them, "" where there are none.
    energy_column : number from 0 of the column that a beamline's format has the energy in; None where
        unknown.
    energy_unit : that the format gives it, lower case; "" where unknown.
    d_spacing : of the monochromator (Å) as the header states it, or None.
    """

    columns: tuple[Label, ...]
    by: str = ""
    energy_column: int | None = None
    energy_unit: str = ""
    d_spacing: float | None = None


def labels_of(table: Table) -> Labels:
    """Return the labels of a table's columns.

    Raises
    ------
    UnreadableError : when names stand above it that are not as many as its columns.
    """
    spacing = _d_spacing(table.header)
    if (columns := _xdi(table)) is not None:
        return Labels(columns, "Column.N", d_spacing=spacing)
    if (known := _of_beamline(table, spacing)) is not None:
        return known
    columns = _label_line(table)
    by = "" if columns is None else "the label line"
    return Labels(columns or (Label(),) * len(table.data), by, d_spacing=spacing)


def _xdi(table: Table) -> tuple[Label, ...] | None:
    """Return the labels that XDI's `Column.N: name unit` gives; None where there are none."""
    width = len(table.data)
    columns = [Label()] * width
    given = [match for line in table.header if (match := _XDI_COLUMN.match(line))]
    for match in given:
        number = int(match[1])
        if not 1 <= number <= width:
            raise UnreadableError(
                f"Column.{number} is named ({match[2].strip()!r}), and the table has {width} columns: "
                "correct the header, or say which is which with --columns"
            )
        words = re.split(r"\s*(?:\|\||#)", match[2])[0].split()
        if words:
            label = Label.parse(words[0])
            columns[number - 1] = Label(label.name, _plain(words[1]) if len(words) > 1 else label.unit)
    return tuple(columns) if given else None


def _of_beamline(table: Table, spacing: float | None) -> Labels | None:
    """Return larch's own labels of a beamline's format, where they are as many as the columns."""
    from larch.io.xafs_beamlines import GenericBeamlineData, KEKPF_BeamlineData, guess_beamline

    header, width = [line.strip() for line in table.header], len(table.data)
    try:
        format_ = guess_beamline(header)(header)
        # KEK-PF's labels are those of its first columns; all others must be complete.
        padded = {"ncolumns": width} if isinstance(format_, KEKPF_BeamlineData) else {}
        names = format_.get_array_labels(**padded)
    except LARCH_ERRORS:
        return None
    if type(format_) is GenericBeamlineData or len(names) != width:
        return None
    unit = str(format_.energy_units).lower()
    stated = float(format_.mono_dspace)
    return Labels(
        columns=tuple(Label.parse(str(name)) for name in names),
        by=f"the format {format_.name}",
        energy_column=int(format_.energy_column) - 1,
        energy_unit="" if unit == "ev" else unit,
        d_spacing=stated if stated > 0 else spacing,
    )


def _label_line(table: Table) -> tuple[Label, ...] | None:
    """Return the labels of the lines above the table; None where there are none.

    The nearest line with words counts, or one further up that is as long and names an energy and a channel.
    Of two lines the lower may hold the units.
    """
    nearest: tuple[Label, ...] | None = None
    units: tuple[Label, ...] | None = None
    at_table = True
    for line in reversed(table.header):
        text = _without_mark(line)
        if not re.search(r"[A-Za-z]", text):
            continue
        cells = _cells(text)
        labels = [Label.parse(cell) for cell in cells]
        fitted = _fitted(labels, table.data) or _known_words(text, table.data)
        if units is None and all(_is_unit(label.name) for label in labels if label.name):
            units = fitted
            continue
        energy = any(energy_rank(label.name) or angle_rank(label.name) for label in labels)
        channel = any(label.name in channel.headers for label in labels for channel in file_channels())
        if fitted is not None and energy and (channel or at_table):
            _refuse_halves(text, cells)
            return fitted if units is None else tuple(map(_with_unit, fitted, units))
        if fitted is None and energy and (channel or (at_table and _names_energy(labels[0]))):
            shown = ", ".join(cell or "?" for cell in cells[:_SHOWN]) + (
                " ..." if len(cells) > _SHOWN else ""
            )
            raise UnreadableError(
                f"{len(cells)} names stand over {len(table.data)} columns ({shown}): correct the header, "
                "or say which column is which with --columns, as energy=0,i0=1,it=2"
            )
        if at_table and all(re.match(r"[A-Za-z]", cell) for cell in cells):
            nearest = fitted
        at_table = False
    return nearest


def _refuse_halves(text: str, cells: Sequence[str]) -> None:
    """Refuse words parted by single blanks that are as many as the columns, but some half a name."""
    halves = [cell for cell in cells if cell.lower() in _HALVES or cell[:1].isdigit()]
    if halves and not re.search(r"[\t;,]|\s\s", _with_brackets_joined(text).strip()):
        raise UnreadableError(
            f"the names above the columns ({', '.join(cells[:_SHOWN])}) are parted by single blanks, and "
            f"{halves[0]!r} is part of one: part them by tabs, commas or two blanks, or give --columns"
        )


def _without_mark(line: str) -> str:
    """Return a line without what marks it as a comment or as a line of labels."""
    text = re.sub(r"^#[LC]\s+", "", line).lstrip(COMMENTS + " ").rstrip(" \n")
    return re.sub(
        r"^(columns?|labels?|fields?|column (names|headings|labels))\s*[:=]\s*", "", text, flags=re.IGNORECASE
    )


def _cells(text: str) -> list[str]:
    """Cut a line of names by the strongest delimiter in it; what stands in brackets stays with its name."""
    text = _with_brackets_joined(text)
    for delimiter in "\t;,":
        if delimiter in text.strip():
            return cut(text, delimiter)
    return re.split(r"\s{2,}", text.strip()) if re.search(r"\s\s", text.strip()) else text.split()


def _with_brackets_joined(text: str) -> str:
    """Return a line with what stands in brackets joined to the name before it."""
    return re.sub(r"\s*[(\[]([^)\]]*)[)\]]", lambda m: "(" + re.sub(r"[\s,;]+", "_", m[1].strip()), text)


def _fitted(labels: Sequence[Label], data: Array) -> tuple[Label, ...] | None:
    """Return the labels one a column, outer ones perhaps empty; None where they are not as many."""
    inner = _trimmed(labels)
    filled = np.flatnonzero(~np.isnan(data).all(axis=1))
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    for given in (tuple(labels), inner):
        if len(given) == len(data):
            return given
    if len(inner) == last - first:
        return (*(Label(),) * first, *inner, *(Label(),) * (len(data) - last))
    return None


def _trimmed(labels: Sequence[Label]) -> tuple[Label, ...]:
    named = [k for k, label in enumerate(labels) if label.name]
    return tuple(labels[named[0] : named[-1] + 1]) if named else ()


def _known_words(text: str, data: Array) -> tuple[Label, ...] | None:
    """Return the labels of names parted by one blank or more, where each word is known as a name."""
    if re.search(r"[\t;,(\[]", text):
        return None
    labels = [Label.parse(word) for word in text.split()]
    known = {name for channel in file_channels() for name in channel.headers}
    if all(label.name in known or energy_rank(label.name) for label in labels):
        return _fitted(labels, data)
    return None


def _names_energy(label: Label) -> bool:
    return energy_rank(label.name) is not None


def _with_unit(label: Label, unit: Label) -> Label:
    return Label(label.name, label.unit or unit.unit or unit.name)


def _is_unit(text: str) -> bool:
    return ev_factor(text) is not None or degrees_factor(text) is not None or text in _COUNT_UNITS


def _d_spacing(header: Sequence[str]) -> float | None:
    """Return the d-spacing (Å) that a header states as `Mono.d_spacing: 3.13553`."""
    for line in header:
        if match := _D_SPACING.match(line):
            try:
                return float(match[1]) * (10.0 if match[2] else 1.0)
            except ValueError:
                return None
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
