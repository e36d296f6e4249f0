"""Cut a stream of points into sweeps of the energy axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xas_live.spectrum import Array

TOLERANCE_EV = 2.0
"""How far the energy may run back before it counts as a turn (eV): more than encoder noise and backlash."""

AHEAD = 32
"""Points beyond a sweep that are read first to find its end."""

MIN_POINTS = 5
"""A piece between two turns with fewer points is noise at a turning point, not a sweep."""

T = TypeVar("T")

_KEV_LOOKS_LIKE = 200.0  # an axis wholly below this many "eV" is in keV without saying so


def misread(energy: Array, tolerance: float = TOLERANCE_EV) -> NDArray[np.bool_]:
    """Find single points whose energy was misread: they lie off the course of the points around them.

    A point is misread when it lies further beyond the two before and the two after it than the tolerance and
    one of their steps, so that the tip of a turn is none. Where the energy jumps, the noise of the point and
    that of the step count, each up to the tolerance, so that neither end of the jump is misread.

    Parameters
    ----------
    energy : (n,) finite, in the order measured (eV).
    tolerance : as for `sweep_end` (eV).

    Returns
    -------
    (n,) True for misread points; the first point and the last two are never judged.
    """
    found = np.zeros(len(energy), dtype=bool)
    if len(energy) < 4:
        return found
    before2 = np.concatenate([energy[:1], energy[:-4]])  # the second point has one before it only
    before, point, after, after2 = energy[:-3], energy[1:-2], energy[2:-1], energy[3:]
    around = np.stack([before2, before, after, after2])
    step = np.maximum(np.abs(before - before2), np.abs(after2 - after))
    beyond = np.maximum(point - around.max(axis=0), around.min(axis=0) - point)
    jumps = np.abs(after - before) > 2 * (tolerance + step)
    found[1:-2] = beyond > step + np.where(jumps, 2 * tolerance, tolerance)
    return found


def sweep_end(energy: Array, tolerance: float = TOLERANCE_EV, *, final: bool = False) -> int | None:
    """Find where the first sweep in a series of energies ends.

    A turn must persist: three points in a row must lie back, or all up to the end, for fewer were misread.
    The answer depends only on the points up to the fifth of the next sweep, so it is the same however the
    points were paged.

    Parameters
    ----------
    energy : (n,) in the order measured, eV; NaN and single misread points never make a turn.
    tolerance : smallest way back that is a turn (eV).
    final : nothing follows: the last points count too.

    Returns
    -------
    Number of points in the first sweep, or None while no turn has shown.
    """
    finite = np.flatnonzero(np.isfinite(energy))
    sound = ~misread(energy[finite], tolerance)
    if not final:
        sound[-2:] = False  # not judged yet
    known = finite[sound]
    if len(known) < 2:
        return None
    e = energy[known]
    high, low = np.maximum.accumulate(e), np.minimum.accumulate(e)
    moved = high - low > tolerance
    start = int(np.argmax(moved))
    if not moved[start]:
        return None
    if e[start] != high[start]:  # going down: the same thing upside down
        e, high, low = -e, -low, -high
    back = high - e > tolerance
    following = np.concatenate([back, [final, final]])
    back &= following[1:-1] & following[2:]
    turn = int(np.argmax(back))
    if not back[turn]:
        return None
    top = high[turn]
    at_top = np.flatnonzero(e[:turn] == top)
    first, last = int(at_top[0]), int(at_top[-1])
    jumped = e[turn - 1] - e[turn] > 0.5 * (top - low[turn - 1])
    # All before a jump back belongs together; a sweep that turns smoothly shares its points at rest.
    end = turn if jumped else (first + last) // 2 + 1
    if end < MIN_POINTS:  # no sweep, so the turning point belongs to the one that starts there
        end = max(1, end - 1)
    return int(known[end - 1]) + 1


class SweepCutter:
    """The points of the sweep being measured, and the cuts between sweeps.

    A sweep ends where the energy turns, which the points after it show. Where a sweep was one event, the next
    event that begins and ends at the same energies is given at once.

    Parameters
    ----------
    columns : number of columns of a row; column 0 is the energy (eV), the last one the sequence number.
    tolerance : smallest way back that is a turn (eV).
    whole : never cut: all points are one sweep.

    Attributes
    ----------
    fragments : pieces too short to be a sweep (under 5 points, or no way made), kept out so far.
    """

    def __init__(self, columns: int, tolerance: float = TOLERANCE_EV, *, whole: bool = False) -> None:
        self.tolerance = tolerance
        self.whole = whole
        self.fragments = 0
        self._rows = np.empty((512, columns))
        self._first = self._n = 0  # rows of the open sweep: those from first to n
        self._check_at = 0
        self._usual = 0  # rows of the sweep cut last
        self._end_of, self._misread_of = _Repeating(sweep_end), _Repeating(misread)
        self._taken_to = -np.inf  # sequence number of the last row that was cut off
        self._event: Array | None = None  # energies of the last sweep, if it was an event and they start anew

    @property
    def open(self) -> Array:
        """(n, columns) The rows of the sweep being measured, in the order they came, misread energies NaN."""
        return self._mended(self._open.copy(), self._way_back)

    @property
    def _open(self) -> Array:
        return self._rows[self._first : self._n]

    def append(self, rows: Array) -> list[Array]:
        """Add rows, (k, columns), and return the sweeps that they complete, in the order measured."""
        rows = self._in_place(rows)
        if self._n + len(rows) > len(self._rows):
            kept = self._open
            if len(kept) + len(rows) > 0.5 * len(self._rows):
                self._rows = np.empty((2 * (len(kept) + len(rows)), self._rows.shape[1]))
            self._rows[: len(kept)] = kept.copy()
            self._first, self._n = 0, len(kept)
        self._rows[self._n : self._n + len(rows)] = rows
        self._n += len(rows)
        # Looking for a turn reads the whole open sweep: look more rarely when that is very long.
        return self._cut() if len(self._open) >= self._check_at else []

    def finish(self) -> tuple[list[Array], Array | None]:
        """End the stream: return the sweeps not cut yet, and the one that was open, if it is one."""
        sweeps = self._cut() + self._cut(final=True)
        last = self._judge(self._take(len(self._open), self._way_back), self._way_back)
        return sweeps, last[0] if last else None

    def _in_place(self, rows: Array) -> Array:
        """Return the rows that belong at the end, when numbers come that are not the next.

        Where a resumed plan measures points again, their numbers come twice: points of the open sweep are
        replaced by their second measurement. Points that come late are put in their place. Those of a sweep
        already cut off are dropped.
        """
        new = rows[:, -1] > self._taken_to
        rows = rows if new.all() else rows[new]
        if len(rows) and len(self._open) and rows[0, -1] <= self._rows[self._n - 1, -1]:
            numbers = self._open[:, -1]
            at = int(np.searchsorted(numbers, rows[0, -1]))
            if numbers[at] == rows[0, -1]:
                self._n = self._first + at
            else:
                rows = np.concatenate([rows, self._open[at:]])
                self._n = self._first + at
        return rows

    def _cut(self, *, final: bool = False) -> list[Array]:
        if self.whole:
            return []
        sweeps: list[Array] = []
        way_back = self._way_back
        while True:
            if (end := self._event_end(way_back)) is not None:
                sweeps += self._judge(self._take(end, way_back, ahead=0), way_back)
            elif (end := self._next_end(way_back, final=final)) is not None:
                sweep = self._take(end, way_back)
                sweeps += self._judge(sweep, way_back)
                self._event = self._as_event(sweep)
            else:
                break
            self._usual = end
        self._check_at = len(self._open) + 1 + len(self._open) // 5000
        return sweeps

    def _event_end(self, way_back: float) -> int | None:
        """Find where the first event of the open sweep ends, if it is a sweep like the last one."""
        before, rows = self._event, self._open
        if before is None or len(rows) < len(before):
            return None
        energy, n = rows[: len(before), 0], len(before)
        if rows[0, -1] != rows[n - 1, -1] or (len(rows) > n and rows[n, -1] == rows[0, -1]):
            return None
        ends = [0, -2, -1]
        same_ends = np.all(np.abs(energy[ends] - before[ends]) <= way_back)
        return n if same_ends and self._end_of(energy, way_back) is None else None

    def _as_event(self, sweep: Array) -> Array | None:
        """Return the energies of a sweep that was one event, if the next begins where it began; else None."""
        following = self._open[:1]
        if not len(following) or len(sweep) < MIN_POINTS or not np.isfinite(sweep[:, 0]).all():
            return None
        events = sweep[0, -1] == sweep[-1, -1] != following[0, -1]
        way = abs(sweep[-1, 0] - sweep[0, 0])
        jumps = abs(following[0, 0] - sweep[-1, 0]) > 0.5 * way > 0.0
        return sweep[:, 0].copy() if events and jumps else None

    def _next_end(self, way_back: float, *, final: bool) -> int | None:
        """Find where the open sweep ends; of many that came at once, read no more than the first needs."""
        energy, reach = self._open[:, 0], 2 * self._usual + AHEAD
        while reach < len(energy):
            if (end := self._end_of(energy[:reach], way_back)) is not None:
                return end
            reach *= 2
        return sweep_end(energy, way_back, final=final)

    def _take(self, end: int, way_back: float, ahead: int = AHEAD) -> Array:
        rows, reach = self._open, end + ahead
        while (
            ahead and reach < len(rows) and np.isfinite(rows[end:reach, 0]).sum() < 2
        ):  # judge the last point
            reach *= 2
        sweep = self._mended(rows[:reach].copy(), way_back)[:end]
        if end:
            self._taken_to = sweep[-1, -1]
        self._first += end
        return sweep

    def _mended(self, rows: Array, way_back: float) -> Array:
        """Return the rows with NaN for energies that were misread; as they are where nothing is cut."""
        if not self.whole:
            energy = rows[:, 0]
            known = np.isfinite(energy)
            if known.all():
                energy[self._misread_of(energy, way_back)] = np.nan
            else:
                finite = np.flatnonzero(known)
                energy[finite[misread(energy[finite], way_back)]] = np.nan
        return rows

    def _judge(self, sweep: Array, way_back: float) -> list[Array]:
        if not len(sweep):
            return []
        energy = sweep[:, 0]
        if not np.isfinite(energy).all():
            energy = energy[np.isfinite(energy)]
        if len(energy) >= MIN_POINTS and energy.max() - energy.min() > way_back:
            return [sweep]
        self.fragments += 1
        return []

    @property
    def _way_back(self) -> float:
        """The tolerance in the unit of the open sweep: keV that do not say so are cut all the same."""
        energy = self._open[:, 0]
        largest = np.max(np.abs(energy), initial=0.0, where=np.isfinite(energy))
        return self.tolerance / 1000 if largest < _KEV_LOOKS_LIKE else self.tolerance


class _Repeating(Generic[T]):
    """A function of energies and a tolerance that remembers its last answer: sweeps repeat their energies."""

    def __init__(self, function: Callable[[Array, float], T]) -> None:
        self._function = function
        self._asked: tuple[Array, float] | None = None
        self._answer: T

    def __call__(self, energy: Array, tolerance: float) -> T:
        if self._asked is None or self._asked[1] != tolerance or not np.array_equal(self._asked[0], energy):
            self._asked, self._answer = (energy.copy(), tolerance), self._function(energy, tolerance)
        return self._answer
