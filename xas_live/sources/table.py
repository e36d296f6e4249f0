"""Tables of numbers in a text: rows and what stands above them, by rules that can fail.

The cells of a line are cut by one delimiter: tabs, semicolons or commas where the rows have them, else
blanks. Nothing moves from one column to another: a row with too few or too many cells is a bad row, without
numbers, and what is passed over is named.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from xas_live.sources.scan import UnreadableError
from xas_live.spectrum import Array

COMMENTS = "#;%*!$<"
"""What a line begins with that is no row."""

LEAST_ROWS = 30
"""Rows from which a table counts as a spectrum of its own, where a text holds several."""

MOST_LINES, MOST_CHARACTERS = 500_000, 20_000_000
"""Of a text that is read: seconds, and less than 1 GB of memory."""

LONGEST_LINE = 100_000
"""Characters of a line."""

_LEAST_RUN = 5  # rows of another width in succession that are a table of their own, not bad rows
_MISSING = {"", "-", "--", "---", "na", "n/a", "null", "none"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[-+]?(\d+,?\d*|,\d+)([eE][-+]?\d+)?")
_OF_NUMBERS = re.compile(r"[\s\d.,;+\-eEdDnNaAiIfF\"']*")
_CONTINUES = 5.0  # times the steps beside an interruption, within which energies go on behind it
_SHOWN = 5  # lines named at most


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers that belong together.

    Attributes
    ----------
    data : (columns, rows); NaN for cells that hold no number, and throughout a row of another width.
    header : the lines above it, back to the table before.
    delimiter : what parts its cells: a tab, ";", ",", or " " for blanks.
    line : number of its first line, from 1.
    left_out : what was passed over, in words.
    """

    data: Array
    header: Sequence[str]
    delimiter: str
    line: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Format:
    """How the lines of a text are read.

    Attributes
    ----------
    delimiter : see `Table`.
    decimal_commas : numbers have commas in place of points.
    words : the number of cells of a row, and those of them that hold words in every row.
    """

    delimiter: str
    decimal_commas: bool = False
    words: tuple[int, frozenset[int]] = (0, frozenset())

    def number(self, cell: str) -> float | None:
        """Return the number in a cell, NaN where it says that there is none; None for a word."""
        if self.decimal_commas and _COMMA_NUMBER.fullmatch(cell):
            return float(cell.replace(",", "."))
        if _NUMBER.fullmatch(cell):
            return float(cell.lower().replace("d", "e"))
        return math.nan if cell.lower() in _MISSING else None

    def cells(self, line: str) -> list[float | None]:
        """Return the number in each cell of a line; None for words."""
        return [self.number(cell) for cell in cut(line, self.delimiter)]

    def is_row(self, cells: Sequence[float | None]) -> bool:
        """Return whether cells are those of a row: numbers, but for columns of words."""
        width, words = self.words
        in_words = words if len(cells) == width else frozenset()
        return any(cell is not None and not math.isnan(cell) for cell in cells) and all(
            cell is not None or k in in_words for k, cell in enumerate(cells)
        )


@dataclass
class _Block:
    """Rows with nothing but blank lines between, or what is joined of such.

    Attributes
    ----------
    rows : line number, and the number in each cell; None for words.
    header : the lines of text above.
    inside : lines of text that are passed over within.
    """

    header: list[str]
    rows: list[tuple[int, list[float | None]]] = field(default_factory=list)
    inside: list[tuple[int, str]] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Number of cells that most rows have."""
        return Counter(len(cells) for _, cells in self.rows).most_common(1)[0][0]

    def data(self) -> Array:
        """(columns, rows); see `Table`."""
        width, nothing = self.width, [math.nan] * self.width
        full = [cells if len(cells) == width else nothing for _, cells in self.rows]
        return np.array(full, dtype=np.float64).T  # None becomes NaN


def cut(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, without blanks and quotes around them."""
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    except csv.Error:
        return [cell.strip(' "') for cell in line.split(delimiter)]


def tables(text: str) -> list[Table]:
    """Return the tables of a text, in order: those long enough for a spectrum, and the longest.

    Raises
    ------
    UnreadableError : when there is none, it is not clear whether commas are decimal, or the text is longer
        than 500,000 lines or 20,000,000 characters, or a line than 100,000.
    """
    if (count := text.count("\n")) > MOST_LINES or len(text) > MOST_CHARACTERS:
        raise UnreadableError(
            f"the text has {count + 1} lines and {len(text)} characters; at most {MOST_LINES} and "
            f"{MOST_CHARACTERS} are read: divide it"
        )
    lines = text.split("\n")
    if (longest_line := max(map(len, lines))) > LONGEST_LINE:
        raise UnreadableError(
            f"a line has {longest_line} characters, over {LONGEST_LINE}: no columns of a scan"
        )
    layout = _format(lines)
    blocks = _joined([run for block in _blocks(lines, layout) for run in _runs(block)])
    if not blocks:
        raise UnreadableError("no columns of numbers found")
    longest = max(blocks, key=lambda block: len(block.rows))
    kept: list[tuple[_Block, list[str]]] = []
    header, short = list[str](), list[str]()
    for block in blocks:
        header += block.header
        if len(block.rows) >= LEAST_ROWS or block is longest:
            kept.append((block, header))
            header = []
        else:
            short.append(f"{_many(len(block.rows), 'row')} of numbers at line {block.rows[0][0]}")
    return [
        _table(block, above, layout.delimiter, short if k == 0 else ())
        for k, (block, above) in enumerate(kept)
    ]


def _format(lines: Sequence[str]) -> _Format:
    """Find delimiter, decimal commas and columns of words of a text."""
    given = [line for line in lines if line.strip() and line.lstrip()[0] not in COMMENTS]
    rows = [line for line in given if _OF_NUMBERS.fullmatch(line) and re.search(r"\d", line)]
    with_words = 2 * len(rows) < len(given)
    if with_words:  # times or states in every row, or a long header
        rows = [line for line in given if len(re.findall(r"\d+", line)) > 1]
    delimiter = next((d for d in "\t;" if 2 * sum(d in row.strip() for row in rows) > len(rows)), None)
    if delimiter is not None:
        layout = _Format(delimiter, _decimal_commas([cell for row in rows for cell in cut(row, delimiter)]))
    elif 2 * sum("," in row for row in rows) > len(rows):
        _refuse_doubtful_commas(rows)
        layout = _Format(",")
    else:
        layout = _Format(" ")
    return _with_columns_of_words(given, layout) if with_words else layout


def _decimal_commas(cells: Sequence[str]) -> bool:
    """Return whether the commas in cells parted by tabs or semicolons are decimal.

    Raises
    ------
    UnreadableError : when some cells have points, too.
    """
    cells = [cell for cell in cells if re.fullmatch(r"[-+\d.,eE]+", cell)]
    commas = [cell for cell in cells if "," in cell]
    if not commas:
        return False
    if odd := next((cell for cell in commas if not _COMMA_NUMBER.fullmatch(cell)), None):
        raise UnreadableError(
            f"{odd!r} is no number: its comma may be decimal or part thousands; write points"
        )
    if odd := next((cell for cell in cells if "." in cell), None):
        raise UnreadableError(
            f"numbers with commas ({commas[0]!r}) and with points ({odd!r}) stand side by side: write points"
        )
    return True


def _refuse_doubtful_commas(rows: Sequence[str]) -> None:
    """Refuse rows whose commas may be decimal, or part columns: words of one comma at most."""
    words = [row.split() for row in rows]
    if any("." in row or re.search(r",\s", row) for row in rows) or max(map(len, words)) < 2:
        return
    if all(_COMMA_NUMBER.fullmatch(word) for row in words for word in row):
        raise UnreadableError(
            f"its commas may be decimal or part columns ({rows[0].strip()!r}): write decimal points, or "
            "tabs or semicolons between the columns"
        )


def _with_columns_of_words(lines: Sequence[str], layout: _Format) -> _Format:
    """Return the format with the columns that hold words (times, states) in every row, where most rows do."""
    numbers, patterns = 0, Counter[tuple[int, frozenset[int]]]()
    for line in lines:
        cells = layout.cells(line)
        words = frozenset(k for k, cell in enumerate(cells) if cell is None)
        numbers += not words
        if words and len(cells) - len(words) >= 2:
            patterns[len(cells), words] += 1
    [(pattern, count)] = patterns.most_common(1) or [((0, frozenset[int]()), 0)]
    if count >= LEAST_ROWS and count > numbers:
        return _Format(layout.delimiter, layout.decimal_commas, pattern)
    return layout


def _blocks(lines: Sequence[str], layout: _Format) -> Iterator[_Block]:
    """Give the rows of a text with the text above them; a row with words in it stays within its table."""
    block, header = _Block([]), list[str]()
    doubtful: list[tuple[int, str, list[float | None]]] = []  # text since the last row, and its cells
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        is_comment = line.lstrip()[0] in COMMENTS
        cells = [] if is_comment else layout.cells(line)
        if is_comment or not layout.is_row(cells):
            doubtful.append((number, line.strip("\n"), cells))
            continue
        if block.rows and doubtful and not _bad_rows(doubtful, block.width):
            yield block
            block = _Block([])
        if not block.rows:
            header = [text for _, text, _ in doubtful]
            block = _Block(header)
        else:
            block.rows += [(at, bad) for at, _, bad in doubtful]
        doubtful = []
        block.rows.append((number, cells))
    if block.rows:
        yield block


def _bad_rows(doubtful: Sequence[tuple[int, str, list[float | None]]], width: int) -> bool:
    """Return whether lines between rows are rows with words in them: as wide, with a number."""
    return len(doubtful) < _LEAST_RUN and all(
        len(cells) == width > 1 and any(cell is not None for cell in cells) for _, _, cells in doubtful
    )


def _runs(block: _Block) -> Iterator[_Block]:
    """Give the parts of a block whose rows have one width; a few rows of another width are bad rows of it."""
    runs: list[_Block] = []
    for width, group in groupby(block.rows, key=lambda row: len(row[1])):
        rows = list(group)
        if runs and (len(rows) < _LEAST_RUN or width == runs[-1].width):
            runs[-1].rows += rows
        else:
            started = any(len(run.rows) >= _LEAST_RUN for run in runs)
            runs.append(_Block([] if started else block.header, rows))
    yield from runs


def _joined(blocks: Sequence[_Block]) -> list[_Block]:
    """Return the blocks, joined where the energies go on behind lines of text."""
    joined: list[_Block] = []
    for block in blocks:
        if joined and _goes_on(joined[-1], block):
            before = joined[-1]
            at = before.rows[-1][0] + 1
            before.inside += [(at + k, text) for k, text in enumerate(block.header)]
            before.rows += block.rows
        else:
            joined.append(block)
    return joined


def _goes_on(before: _Block, after: _Block) -> bool:
    """Return whether a block continues the one before: as wide, and all that ascends or descends goes on."""
    if before.width != after.width or not after.header:
        return False
    first, second = before.data(), after.data()
    longer = max(first, second, key=lambda data: data.shape[1])
    runs = [k for k, column in enumerate(longer) if len(column) >= 3 and _monotonic(column)]
    return bool(runs) and all(_continues(first[k], second[k]) for k in runs)


def _monotonic(column: Array) -> bool:
    steps = np.diff(column[np.isfinite(column)])
    return bool(np.all(steps > 0) or np.all(steps < 0))


def _continues(first: Array, second: Array) -> bool:
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if not len(first) or not len(second):
        return False
    across = np.r_[first[-2:], second[:2]]
    beside = np.abs(np.r_[np.diff(first[-2:]), np.diff(second[:2])]).max(initial=0.0)
    return _monotonic(across) and abs(second[0] - first[-1]) <= _CONTINUES * beside


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _table(block: _Block, header: Sequence[str], delimiter: str, short: Sequence[str]) -> Table:
    left_out = list(short)
    width = block.width
    last, cells = block.rows[-1]
    if len(cells) < width and len(block.rows) > 1:
        block.rows.pop()
        left_out.append(f"the last row, line {last}, which is cut short")
    other = [(number, len(cells)) for number, cells in block.rows if len(cells) != width]
    if other:
        shown = ", ".join(f"line {number} with {count}" for number, count in other[:_SHOWN])
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        left_out.append(f"rows without the {width} values of the others: {shown}{more}")
    data = block.data()
    empty = np.isnan(data).all(axis=1)
    lacking = np.asarray(np.isnan(data[~empty]).any(axis=0))
    lines = zip(block.rows, lacking.tolist(), strict=True)
    gaps = [number for (number, cells), bad in lines if bad and len(cells) == width]
    if gaps:
        shown = ", ".join(map(str, gaps[:_SHOWN])) + (" ..." if len(gaps) > _SHOWN else "")
        left_out.append(f"cells without a number in {_many(len(gaps), 'row')}, line {shown}")
    if block.inside:
        number, text = block.inside[0]
        count = _many(len(block.inside), "line")
        left_out.append(f"{count} of text within the table: line {number}, {text[:60]!r}")
    return Table(data, header, delimiter, block.rows[0][0], tuple(left_out))
