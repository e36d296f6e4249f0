"""One stream of a run: what reads its documents, and the sweep being measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.order import EventOrder
from xas_live.callbacks.assembly.rows import StreamRows
from xas_live.callbacks.assembly.sweeps import SweepCutter
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
    zeros : number of points left out so far because they are zero throughout.
    widest : the largest range of energies of a sweep so far that lost neither end (eV).
    """

    name: str
    mapping: ChannelMapping
    reader: StreamRows | None
    cutter: SweepCutter
    energy_unit: str = "eV"
    order: EventOrder | None = None
    zeros: int = 0
    widest: float = 0.0

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
