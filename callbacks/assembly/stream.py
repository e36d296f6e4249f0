"""One stream of a run: what reads its documents, and the sweep being measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.order import EventOrder
from xas_live.callbacks.assembly.rows import StreamRows
from xas_live.callbacks.assembly.sweeps import Sweep, SweepCutter
from xas_live.spectrum import Array

_WHOLE = 0.9
"""A last sweep over less than this share of the energies of those before it was cut short."""

_WHOLE_OF_ABORTED = 0.98
"""The same in a run that did not succeed."""


@dataclass
class SweepStream:
    """One stream of a run, or several joined by time, and the sweep being measured.

    Attributes
    ----------
    name : of the stream, of several joined the leading one.
    mapping : complete.
    reader : reads its documents; None for streams joined, which `StreamJoin` reads.
    cutter : holds the points of the sweep being measured.
    energy_unit : that the energy is recorded in.
    order : puts its events in order; None for streams joined, each of which has its own.
    marks : times of marks that rows to come are divided by (Unix, s).
    index : that the last sweep of the stream has in its run.
    zeros : number of points left out so far because they are zero throughout.
    widest : the largest range of energies of a sweep so far that lost neither end (eV).
    """

    name: str
    mapping: ChannelMapping
    reader: StreamRows | None
    cutter: SweepCutter
    energy_unit: str = "eV"
    order: EventOrder | None = None
    marks: list[float] = field(default_factory=list)
    index: int = 0
    zeros: int = 0
    widest: float = 0.0

    def append(self, rows: Array) -> list[Sweep]:
        """Add rows, (n, columns), and return the sweeps that they and the marks between them complete."""
        sweeps: list[Sweep] = []
        for part, ends in self._divided(rows):
            sweeps += self.cutter.append(part)
            if ends:
                sweeps += self.cutter.mark()
        return sweeps

    def mark(self, time: float) -> list[Sweep]:
        """End the sweep with the last point measured by this time (Unix, s), now or once it is there."""
        waits = self.reader is None or (self.order is not None and self.order.holds)
        if waits or not self.cutter.reached:
            self.marks.append(time)
            return []
        beyond = self.reader is not None and self.reader.external is not None and self.reader.external.waits
        return [] if beyond or self.cutter.reached > time else self.cutter.mark()

    def _divided(self, rows: Array) -> Iterator[tuple[Array, bool]]:
        """Give rows in parts, each with whether a mark stands behind it."""
        while self.marks and (later := rows[:, -2] > self.marks[0]).any():
            at = int(np.argmax(later))
            yield rows[:at], True
            del self.marks[0]
            rows = rows[at:]
        yield rows, False

    def count(self, sweep: Array) -> None:
        """Take note of a sweep that has ended, with both its ends."""
        self.widest = max(self.widest, _width(sweep))

    def is_whole(self, last: Array, *, succeeded: bool) -> bool:
        """Return whether the last sweep went as far as those before it, or the run's only one succeeded."""
        if self.widest == 0.0:
            return succeeded
        return _width(last) >= self.widest * (_WHOLE if succeeded else _WHOLE_OF_ABORTED)


def _width(rows: Array) -> float:
    """Return the eV from the lowest to the highest energy."""
    return float(np.fmax.reduce(rows[:, 0]) - np.fmin.reduce(rows[:, 0]))
