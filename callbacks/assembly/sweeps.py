"""Cut a stream of points into sweeps of the energy axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from xas_live.callbacks.assembly.expected import Expectation
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


class Sweep(NamedTuple):
    """The rows of one sweep, in the order they came, misread energies NaN.

    Attributes
    ----------
    rows : (n, columns)
    again : it was given before, by its expected end, with other points: this takes its place.
    """

    rows: Array
    again: bool = False


class SweepCutter:
    """The points of the sweep being measured, and the cuts between sweeps.

    A sweep ends where the energy turns, which the points after it show. It is given before that where its end
    is expected (`Expectation`) or marked (`mark`), with its last point. Where an expectation was wrong, or a
    resumed plan measures points of the sweep again, it is given again: what was given last is always what the
    turns alone tell. Where a sweep was one event, the next event that begins and ends at the same energies is
    given at once.

    Parameters
    ----------
    columns : number of columns of a row; column 0 is the energy (eV), the last one the sequence number.
    tolerance : smallest way back that is a turn (eV).
    whole : never cut: all points are one sweep.
    expected : where sweeps are expected to end; default: as the sweeps before did.

    Attributes
    ----------
    fragments : pieces too short to be a sweep (under 5 points, or no way made), kept out so far.
    goes_on : whether the sweep given last is open again: more of its points have come.
    """

    def __init__(
        self,
        columns: int,
        tolerance: float = TOLERANCE_EV,
        *,
        whole: bool = False,
        expected: Expectation | None = None,
    ) -> None:
        self.tolerance = tolerance
        self.whole = whole
        self.fragments = 0
        self.goes_on = False
        self._expected = expected or Expectation()
        self._rows = np.empty((512, columns))
        self._first = self._n = 0  # rows of the open sweep: those from first to n
        self._given: Sweep | None = None  # of the open rows, the first ones, if they were given as a sweep
        self._again = False  # the open sweep was given before with other rows
        self._sure = False  # the sweep that was given has ended, whatever follows
        self._check_at = 0
        self._usual = 0  # rows of the sweep cut last
        self._end_of, self._misread_of = _Repeating(sweep_end), _Repeating(misread)
        self._taken_to = -np.inf  # sequence number of the last row that was cut off
        self._event: Array | None = None  # energies of the last sweep, if it was an event and they start anew

    @property
    def open(self) -> Array:
        """(n, columns) The rows of the sweep being measured, in the order they came, misread energies NaN."""
        ahead = 0 if self.goes_on else self._ahead
        return self._mended(self._open[ahead:].copy(), self._way_back)

    @property
    def reached(self) -> float:
        """Time of the last row of the open sweep, or of the one just given (s); 0 where there is none."""
        return float(self._rows[self._n - 1, -2]) if self._n > self._first else 0.0

    @property
    def _open(self) -> Array:
        return self._rows[self._first : self._n]

    @property
    def _ahead(self) -> int:
        """Number of open rows that were given already."""
        return 0 if self._given is None else len(self._given.rows)

    def append(self, rows: Array) -> list[Sweep]:
        """Add rows, (k, columns), and return the sweeps that they complete, in the order measured."""
        rows = self._in_place(rows)
        if self._sure and len(rows):
            self._settle()
        if self._n + len(rows) > len(self._rows):
            kept = self._open
            if len(kept) + len(rows) > 0.5 * len(self._rows):
                self._rows = np.empty((2 * (len(kept) + len(rows)), self._rows.shape[1]))
            self._rows[: len(kept)] = kept.copy()
            self._first, self._n = 0, len(kept)
        self._rows[self._n : self._n + len(rows)] = rows
        self._n += len(rows)
        # Looking for a turn reads the whole open sweep: look more rarely when that is very long.
        sweeps = self._cut() if len(self._open) >= self._check_at else []
        if self._given is not None and not self.goes_on:
            self.goes_on = self._has_gone_on(self._given.rows)
        return sweeps

    def mark(self) -> list[Sweep]:
        """End the open sweep with its last point, for sure; return as `append` does. Too few points go on."""
        if self.whole or self._sure:
            return []
        sweeps, way_back = self._cut(final=True), self._way_back
        if len(self._open) > self._ahead and self._is_sweep(self._open, way_back):
            if self._given is not None:
                self._expected.was_wrong()
            sweeps += self._give(len(self._open), way_back)
        self._sure = self._ahead == len(self._open) > 0
        return sweeps

    def finish(self) -> tuple[list[Sweep], Sweep | None]:
        """End the stream: return the sweeps not cut yet, and the one that was open, if it is one."""
        if self._sure:
            self._settle()
        sweeps = self._cut() + self._cut(final=True)
        given, again = self._given, self._again
        last = self._judge(self._take(len(self._open), self._way_back), self._way_back, again=again)
        if given is not None and last and _same(given.rows, last[0].rows):
            last = []
        return sweeps, last[0] if last else None

    def _in_place(self, rows: Array) -> Array:
        """Return the rows that belong at the end, when numbers come that are not the next.

        Where a resumed plan measures points again, their numbers come twice: points of the open sweep are
        replaced by their second measurement. Points that come late are put in their place. Those of a sweep
        already cut off are dropped. A sweep that was given and changes so is open again.
        """
        new = rows[:, -1] > self._taken_to
        rows = rows if new.all() else rows[new]
        if len(rows) and len(self._open) and rows[0, -1] <= self._rows[self._n - 1, -1]:
            numbers = self._open[:, -1]
            at = int(np.searchsorted(numbers, rows[0, -1]))
            if numbers[at] != rows[0, -1]:
                rows = np.concatenate([rows, self._open[at:]])
            self._n, self._check_at = self._first + at, 0
            if at < self._ahead:
                self._given, self._again, self._sure, self.goes_on = None, True, False, True
        return rows

    def _cut(self, *, final: bool = False) -> list[Sweep]:
        if self.whole:
            return []
        sweeps: list[Sweep] = []
        way_back = self._way_back
        while True:
            if (end := self._event_end(way_back)) is not None:
                again = self._again
                sweeps += self._judge(self._take(end, way_back, ahead=0), way_back, again=again)
            elif (end := self._next_end(way_back, final=final)) is not None:
                given, again = self._given, self._again
                sweep = self._take(end, way_back)
                if given is None or not _same(given.rows, sweep):
                    sweeps += self._judge(sweep, way_back, again=again)
                if given is not None and len(given.rows) != len(sweep):
                    self._expected.was_wrong()
                self._learn(sweep)
                self._event = self._as_event(sweep)
            elif (end := self._expected_end(way_back)) is not None:
                sweeps += self._give(end, way_back)
            else:
                break
            self._usual = end
        self._check_at = len(self._open) + 1 + len(self._open) // 5000
        return sweeps

    def _expected_end(self, way_back: float) -> int | None:
        """Find where the open sweep, which has not turned, is expected to end, if it is not given yet."""
        if self._given is not None:
            return None
        end = self._expected.end(self._open, way_back)
        return end if end is not None and self._is_sweep(self._open[:end], way_back) else None

    def _give(self, end: int, way_back: float) -> list[Sweep]:
        """Give the first open rows as a sweep before a turn has shown it."""
        self._given = Sweep(self._mended(self._open[:end].copy(), way_back), self._again)
        self._again, self.goes_on = True, False
        return [self._given]

    def _has_gone_on(self, given: Array) -> bool:
        """Return whether two points lie beyond the end of the sweep that was given."""
        first, last = given[0, 0], given[-1, 0]
        beyond = (self._open[len(given) :, 0] - last) * np.sign(last - first) > self._way_back
        return int(beyond.sum()) > 1

    def _settle(self) -> None:
        """Cut the sweep off that was given for sure."""
        assert self._given is not None
        given = self._given.rows
        self._usual, self._event = len(given), None
        self._take(len(given), self._way_back, ahead=0)
        self._learn(given)

    def _learn(self, sweep: Array) -> None:
        """Take note of a sweep that was cut off; of one whose last points may be lost nothing is learned."""
        following = self._open[:1, -1]
        if not len(following) or following[0] <= sweep[-1, -1] + 1:
            self._expected.learn(sweep)

    def _event_end(self, way_back: float) -> int | None:
        """Find where the first event of the open sweep ends, if it is a sweep like the last one."""
        before, rows = self._event, self._open
        if before is None or self._given is not None or len(rows) < len(before):
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
        self._given, self._again, self._sure, self.goes_on = None, False, False, False
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

    def _judge(self, sweep: Array, way_back: float, *, again: bool = False) -> list[Sweep]:
        if not len(sweep):
            return []
        if self._is_sweep(sweep, way_back):
            return [Sweep(sweep, again)]
        self.fragments += 1
        return []

    @staticmethod
    def _is_sweep(rows: Array, way_back: float) -> bool:
        energy = rows[:, 0]
        if not np.isfinite(energy).all():
            energy = energy[np.isfinite(energy)]
        return len(energy) >= MIN_POINTS and bool(energy.max() - energy.min() > way_back)

    @property
    def _way_back(self) -> float:
        """The tolerance in the unit of the open sweep: keV that do not say so are cut all the same."""
        energy = self._open[:, 0]
        largest = np.max(np.abs(energy), initial=0.0, where=np.isfinite(energy))
        return self.tolerance / 1000 if largest < _KEV_LOOKS_LIKE else self.tolerance


def _same(one: Array, other: Array) -> bool:
    """Return whether two sweeps have the same rows."""
    return np.array_equal(one, other, equal_nan=True)


def ends_of(energy: Array) -> list[int]:
    """Return the numbers of the last points of the sweeps in a series of energies (eV), from 1."""
    cutter = SweepCutter(2)
    sweeps = cutter.append(np.column_stack([energy, np.arange(1.0, len(energy) + 1.0)]))
    rest, last = cutter.finish()
    found = [*sweeps, *rest, *([last] if last is not None else [])]
    return sorted({int(sweep.rows[-1, -1]) for sweep in found})


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
