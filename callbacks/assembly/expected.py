"""Where the sweep being measured is expected to end: by the plan, its points, or the sweep before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple

import numpy as np

from xas_live.spectrum import Array

LAST = 3
"""Points at the end of a sweep whose energies must agree with what is expected."""

_SAME_STEP = 0.5
"""How far an energy may lie from that of the sweep before, as a share of the last step."""

_LONGEST_STEP = 5.0
"""A last step that is longer than the one before by more than this factor is none of the plan's."""


_MOST_POINTS = 1_000_000
"""Positions of a plan with more points are not worked out."""


class Plan(NamedTuple):
    """What the start document of a run says of its points.

    Attributes
    ----------
    points : number of points, of the run or of each of its sweeps; None where it does not say.
    axes : positions of each motor that is scanned, one a point, in the motor's own unit.
    stream : of the points.
    """

    points: int | None = None
    axes: tuple[Array, ...] = ()
    stream: str = "primary"


def plan_of(start: Mapping[str, object]) -> Plan:
    """Read `num_points`, `num_intervals`, and the positions of scans and list scans from a start document."""
    points = _count(start.get("num_points"))
    if points is None and (intervals := _count(start.get("num_intervals"))) is not None:
        points = intervals + 1
    plan = Plan(points, stream=_stream(start.get("hints")))
    given = start.get("plan_pattern_args")
    arguments = given.get("args") if isinstance(given, Mapping) else None
    if not isinstance(arguments, Sequence) or isinstance(arguments, str) or (points or 0) > _MOST_POINTS:
        return plan
    match start.get("plan_pattern"):
        case "inner_list_product":
            axes = [_numbers(values) for values in arguments[1::2]]
        case "inner_product" if points is not None:
            ends = [_numbers(pair) for pair in zip(arguments[1::3], arguments[2::3], strict=False)]
            axes = [np.linspace(pair[0], pair[1], points) for pair in ends if len(pair) == 2]
        case _:
            return plan
    return plan._replace(axes=tuple(axis for axis in axes if len(axis) == points))


class Planned(NamedTuple):
    """The positions of a plan, and where its sweeps end.

    Attributes
    ----------
    energy : (n,) of all its points (eV).
    ends : numbers of the last points of its sweeps, from 1, ascending.
    """

    energy: Array
    ends: Sequence[int]

    def next_end(self, number: float) -> int | None:
        """Return the number of the last point of the sweep that the point of this number is in."""
        at = bisect_left(self.ends, number)
        return self.ends[at] if at < len(self.ends) else None

    def agrees(self, energy: Array, number: int, tolerance: float) -> bool:
        """Return whether a sweep from the point of this number on begins and ends where the plan says."""
        planned = self.energy[number - 1 :][: len(energy)]
        return number >= 1 and len(planned) == len(energy) and _near(energy, planned, tolerance)


class Expectation:
    """Tells the row at which the open sweep is expected to end, where the rows up to it agree with that.

    It is told by the positions in the plan, by the sweep before in the same direction, or by the number of
    points alone. Every row must be one event, and none missing. What is told is a forecast: the points that
    follow may show another end.

    Parameters
    ----------
    points : of the run, or of each of its sweeps, as the start document says; None where it does not.
    planned : of each motor that is scanned.
    """

    def __init__(self, points: int | None = None, planned: Sequence[Planned] = ()) -> None:
        self._points = points
        self._planned = planned
        self._before: dict[bool, Array] = {}  # energies of the last sweep upwards, and of the last downwards

    def end(self, rows: Array, tolerance: float) -> int | None:
        """Return the number of rows of the open sweep that are expected to be all of it, if they have come.

        Parameters
        ----------
        rows : (n, columns) of the open sweep, energies first, sequence numbers last.
        tolerance : smallest way back that is a turn (eV).
        """
        if len(rows) < LAST + 2:
            return None
        energy, first, last = rows[:, 0], rows[0, -1], rows[-1, -1]
        for planned in self._planned:
            if (number := planned.next_end(first)) is not None and number <= last:
                n = int(number - first) + 1
                if n > LAST + 1 and _counts(rows, n) and planned.agrees(energy[:n], int(first), tolerance):
                    return n
        for before in self._before.values():
            if (
                (n := len(before)) <= len(rows)
                and _counts(rows, n)
                and _repeats(energy[:n], before, tolerance)
            ):
                return n
        n = self._points or 0
        if LAST + 2 <= n <= len(rows) and _counts(rows, n) and _goes_on(energy[:n]):
            return n
        return None

    def learn(self, sweep: Array) -> None:
        """Take note of a sweep that has ended, (n, columns), unless it fell short of the one before."""
        energy = sweep[:, 0]
        if len(sweep) <= LAST + 1 or not _counts(sweep, len(sweep)) or not np.isfinite(energy[[0, -1]]).all():
            return
        upwards = bool(energy[-1] > energy[0])
        before = self._before.get(upwards)
        short = 0.0 if before is None else (before[-1] - energy[-1]) * (1.0 if upwards else -1.0)
        if before is None or short <= _SAME_STEP * abs(before[-1] - before[-2]):
            self._before[upwards] = energy.copy()

    def was_wrong(self) -> None:
        """Expect nothing of the plan any more: a sweep went on, or turned elsewhere."""
        self._points, self._planned = None, ()


def _counts(rows: Array, n: int) -> bool:
    """Return whether the first n rows are one event each, and none is missing."""
    return len(rows) >= n and bool(rows[n - 1, -1] - rows[0, -1] == n - 1)


def _repeats(energy: Array, before: Array, tolerance: float) -> bool:
    """Return whether a sweep begins and ends as the one before did."""
    return _near(energy, before, min(tolerance, _SAME_STEP * abs(before[-1] - before[-2])))


def _near(energy: Array, expected: Array, within: float) -> bool:
    """Return whether the first energy and the last ones lie where they are expected."""
    ends = [0, *range(-LAST, 0)]
    return bool(np.all(np.abs(energy[ends] - expected[ends]) <= within))


def _goes_on(energy: Array) -> bool:
    """Return whether the last points go on in the sweep's direction, none of them misread."""
    steps = np.diff(energy[-LAST - 1 :]) * np.sign(energy[-1] - energy[0])
    return bool(np.all(steps > 0) and all(b <= _LONGEST_STEP * a for a, b in pairwise(steps)))


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) <= 0:
        return None
    return int(value)


def _stream(hints: object) -> str:
    """Return the stream of the points, by the hints of the plan."""
    dimensions = hints.get("dimensions") if isinstance(hints, Mapping) else None
    match dimensions:
        case [[_, str(stream)], *_]:
            return stream
    return Plan().stream


def _numbers(values: object) -> Array:
    """Return values as numbers, (n,); none where they are none."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)
    return numbers if numbers.ndim == 1 and np.isfinite(numbers).all() else np.empty(0)
