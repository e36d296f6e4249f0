"""What the live figure keeps: predictions by absorber and sample, and the part of them that is shown."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath

import numpy as np
from matplotlib.dates import date2num
from numpy.typing import NDArray

from xas_live.callbacks.publishers.marks import EARLIER, MOST_SAMPLES, PLAIN, ranks
from xas_live.prediction import OutputResult, Prediction, Value
from xas_live.reduction.quality import point_noise
from xas_live.spectrum import Array, Provenance, Spectrum

SIZE, CHEMISTRY = "size", "chemistry"
"""Names of the particle's size, and of the chemistry, among what a model gives."""

PRE_EDGE = -50.0
"""Where the spectra begin that are shown (eV from the edge), if they are measured from there."""

_FITTED = -20.0  # eV from the edge: the line under the edge is fitted to what lies below
_STEP = 1.0  # eV between points shown before the edge
_APART, _MOST_APART = 0.014, 0.06  # between samples, and all together (of the range of a signal)


@dataclass(frozen=True, eq=False)
class Point:
    """One prediction in the history, and what the figure needs of its sweep.

    Attributes
    ----------
    prediction : the prediction.
    label : for the axis, as "12" or "12.3" (scan and sweep).
    sample : name of its sample; empty where nobody names it.
    time : Unix time of the sweep's last point (s), NaN if unknown.
    signals : numbers that were recorded with the sweep, by name: its temperature (K), and those of the run's
        metadata.
    curve : energies from the edge (eV) and normalised absorption, from before the edge on; None for a
        refused sweep.
    noise : standard error of a point of `curve`, in edge steps; NaN where not known.
    """

    prediction: Prediction
    label: str
    sample: str = ""
    time: float = math.nan
    signals: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Array, Array] | None = None
    noise: float = math.nan

    @classmethod
    def of(cls, spectrum: Spectrum, prediction: Prediction) -> Point:
        """Return the point of a sweep."""
        where = prediction.provenance
        return cls(
            prediction,
            where.scan if where.sweep == 0 else f"{where.scan}.{where.sweep + 1}",
            sample_of(where),
            math.nan if where.time is None else where.time,
            _signals(spectrum, where.metadata),
            _whole(spectrum, prediction),
            _noise(spectrum, prediction),
        )

    @property
    def absorber(self) -> str:
        """Element and edge, as "Pt L3"; empty where they are not known."""
        return " ".join(filter(None, (self.prediction.element, self.prediction.edge)))

    @property
    def run(self) -> tuple[str | None, str]:
        """The run and stream that it comes from: repeats in one are averaged."""
        return self.prediction.provenance.run_uid, self.prediction.provenance.stream

    def value(self, name: str) -> Value | None:
        """The value called `name`; `SIZE` is the diameter (nm), of which the upper end may be infinite."""
        value, size = self.prediction.values.get(name), self.prediction.size
        if value is not None or name != SIZE or size is None or size.lower is None:
            return value
        if size.diameter_nm is None or size.upper is None:
            return Value(math.nan, math.nan, size.lower, math.inf, unit="nm")
        return Value(size.diameter_nm, math.nan, size.lower, size.upper, unit="nm")

    def truth(self, name: str) -> float:
        """What a simulation says the value is; NaN when nobody knows."""
        known = self._known("diameter_nm" if name == SIZE else name)
        return float(known) if isinstance(known, int | float) else math.nan

    def true_class(self, name: str) -> str:
        """What a simulation says the class is; empty when nobody knows."""
        known = self._known(name)
        return known if isinstance(known, str) else ""

    def _known(self, name: str) -> object:
        truth = self.prediction.provenance.metadata.get("truth")
        return truth.get(name) if isinstance(truth, dict) else None


@dataclass(frozen=True, eq=False)
class Average:
    """The average over repeats, and the points of those shown that it is made of: from `first` to `last`."""

    first: int
    last: int
    point: Point


class Samples:
    """Which mark each sample has, for as many of them as can be told apart: those measured last.

    A sample keeps its mark while it is among them.
    """

    def __init__(self) -> None:
        self._marks: OrderedDict[str, int] = OrderedDict()
        self._seen: dict[str, None] = {}

    def add(self, sample: str) -> None:
        """Take a sample that was measured now."""
        self._seen[sample] = None
        if sample not in self._marks:
            full = len(self._marks) == MOST_SAMPLES
            self._marks[sample] = self._marks.popitem(last=False)[1] if full else len(self._marks)
        self._marks.move_to_end(sample)

    def __getitem__(self, sample: str) -> int:
        """Index of its mark; `PLAIN` where there is one sample, `EARLIER` where it has none of its own."""
        return PLAIN if len(self._seen) < 2 else self._marks.get(sample, EARLIER)

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)


@dataclass(eq=False)
class Series:
    """All that was measured of one absorber.

    Attributes
    ----------
    points : in the order of the sweeps.
    averages : by run, the newest of each.
    samples : their marks.
    results : the newest result of each name that any prediction had.
    last : the sweep reduced last, and its prediction.
    """

    points: deque[Point]
    averages: dict[tuple[str | None, str], Point] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    results: dict[str, OutputResult] = field(default_factory=dict)
    last: tuple[Spectrum, Prediction] | None = None

    def add(self, spectrum: Spectrum, point: Point) -> None:
        """Take a sweep."""
        prediction = point.prediction
        self.points.append(point)
        if prediction.refused is None:
            self.samples.add(point.sample)
        self.results |= prediction.outcome.results
        if prediction.chemistry is not None:
            self.results[CHEMISTRY] = prediction.chemistry
        if prediction.size is not None:
            self.results.setdefault(SIZE, Value(math.nan, math.nan, math.nan, math.nan, unit="nm"))
        if prediction.reduced is not None:
            self.last = (spectrum, prediction)


class History:
    """Predictions by absorber: what is measured at one erases nothing at another.

    A sweep of which nobody knows the absorber is taken to be of the one before it.

    Parameters
    ----------
    limit : predictions kept of each absorber.

    Attributes
    ----------
    series : by absorber, as "Pt L3".
    newest : the sweep measured last, whatever its absorber.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.series: dict[str, Series] = {}
        self.newest: tuple[Spectrum, Point] | None = None
        self._measured = self._analysed = ""

    def add(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take a sweep and what is said of it."""
        point = Point.of(spectrum, prediction)
        absorber = point.absorber or self._measured
        if absorber and "" in self.series:  # what came before any absorber was known
            self.series[absorber] = self.series.pop("")
        self.of(absorber).add(spectrum, point)
        self.newest, self._measured = (spectrum, point), absorber
        if prediction.refused is None:
            self._analysed = absorber

    def average(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take an average over repeats, in place of an earlier one of its run."""
        point = Point.of(spectrum, prediction)
        series = self.of(point.absorber or self._measured)
        series.averages[point.run] = point
        kept = {each.run for each in series.points}
        series.averages = {run: each for run, each in series.averages.items() if run in kept}

    def of(self, absorber: str) -> Series:
        """The series of an absorber; an empty one where nothing was measured."""
        return self.series.setdefault(absorber, Series(deque(maxlen=self._limit)))

    @property
    def latest(self) -> str:
        """The absorber of the last sweep that was analysed, else of the last one measured."""
        return self._analysed or self._measured


@dataclass(frozen=True, eq=False)
class Group:
    """Points of one sample among those shown.

    Attributes
    ----------
    sample : its name.
    mark : index of its mark.
    rows : their indices.
    """

    sample: str
    mark: int
    rows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Shown:
    """The points that are shown, and what all panels need of them.

    Attributes
    ----------
    points : in the order measured.
    x : what they are laid out against: "scan", "time", or the name of a signal.
    at : (n,) where they stand along it: counted from 1, as matplotlib dates, or the signal, of which samples
        stand a little beside each other; NaN if unknown.
    rank : (n,) 0 where nothing speaks against a prediction, 1 for caution, 2 for not usable.
    refused : (n,) whether there is none.
    mark : (n,) indices of their samples' marks.
    groups : those with a prediction by sample, in the order of the samples' first points.
    averages : those over points that are shown.
    bulk : values that the bulk has, by target, where the model names them.
    """

    points: Sequence[Point]
    x: str
    at: Array
    rank: NDArray[np.intp]
    refused: NDArray[np.bool_]
    mark: NDArray[np.intp]
    groups: Sequence[Group]
    averages: Sequence[Average]
    bulk: Mapping[str, float]

    @classmethod
    def of(cls, series: Series, x: str, samples: Sequence[str] | None, bulk: Mapping[str, float]) -> Shown:
        """Return what is to be shown of a series: these samples of it, or all."""
        points = [p for p in series.points if samples is None or p.sample in samples]
        rows: dict[str, list[int]] = {}
        for k, point in enumerate(points):
            if point.prediction.refused is None:
                rows.setdefault(point.sample, []).append(k)
        marks = {sample: series.samples[sample] for sample in rows}
        groups = [Group(name, marks[name], np.array(of, dtype=np.intp)) for name, of in rows.items()]
        return cls(
            points=points,
            x=x,
            at=_positions(points, x) if x in ("scan", "time") else _beside(_positions(points, x), groups),
            rank=ranks([point.prediction.verdict for point in points]),
            refused=np.array([point.prediction.refused is not None for point in points], dtype=bool),
            mark=np.array([marks.get(point.sample, PLAIN) for point in points], dtype=np.intp),
            groups=groups,
            averages=_laid_over(points, series.averages.values()),
            bulk=bulk,
        )

    @property
    def latest(self) -> Point | None:
        """The newest point."""
        return self.points[-1] if self.points else None

    @property
    def several(self) -> bool:
        """Whether samples are told apart."""
        return any(group.mark != PLAIN for group in self.groups)

    def __len__(self) -> int:
        return len(self.points)

    def of_values(self, name: str) -> tuple[Array, Array, Array]:
        """(n,) value, lower and upper end of the interval; NaN where there is none."""
        values = [point.value(name) for point in self.points]
        return numbers(values)


def numbers(values: Sequence[Value | None]) -> tuple[Array, Array, Array]:
    """(n,) value, lower and upper end of each; NaN where there is none."""
    nothing = (math.nan, math.nan, math.nan)
    rows = [nothing if v is None else (v.value, v.lower, v.upper) for v in values]
    middle, lower, upper = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return middle, lower, upper


def sample_of(where: Provenance) -> str:
    """Name of the sample that a sweep is of, by its run's metadata; empty where nobody names it.

    What only repeats the name of a data file says nothing of the sample.
    """
    metadata = where.metadata
    given = metadata.get("sample")
    name = metadata.get("sample_name") or (given.get("name") if isinstance(given, Mapping) else given)
    text = name if isinstance(name, str) else ""
    return "" if text in (where.scan, PurePath(where.scan).stem) else text


def measured_as(energy: Array, prediction: Prediction) -> Array:
    """Measured energies (eV) as energies from the edge, on the axis of the model's grid."""
    reduced = prediction.reduced
    if reduced is None or reduced.energy is None:
        return energy - prediction.e0
    first, last = reduced.energy[0], reduced.energy[-1]
    within = np.interp(energy, reduced.energy, reduced.grid)
    return within + np.minimum(energy - first, 0.0) + np.maximum(energy - last, 0.0)


def _signals(spectrum: Spectrum, metadata: Mapping[str, object]) -> dict[str, float]:
    given = metadata.get("sample")
    entries = {**(given if isinstance(given, Mapping) else {}), **metadata}
    found = {
        str(key): float(value)
        for key, value in entries.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if spectrum.temperature is not None:
        found["temperature"] = spectrum.temperature
    return found


def _whole(spectrum: Spectrum, prediction: Prediction) -> tuple[Array, Array] | None:
    """The reduced spectrum, and before its grid what was measured there over the line under the edge."""
    reduced = prediction.reduced
    if reduced is None:
        return None
    good = np.isfinite(spectrum.energy) & np.isfinite(spectrum.mu)
    x, mu = measured_as(spectrum.energy[good], prediction), spectrum.mu[good]
    start, step = float(reduced.grid[0]), prediction.edge_step
    before = np.arange(max(PRE_EDGE, float(x.min(initial=math.inf))), start, _STEP)
    if reduced.kind == "chi" or not len(before) or not step > 0:
        return reduced.grid, reduced.flat
    order = np.argsort(x, kind="stable")
    x, mu = x[order], mu[order]
    below = x < _FITTED
    under = np.polyfit(x[below], mu[below], 1)[0] if below.sum() > 2 and x[0] < 2.0 * _FITTED else 0.0
    rise = np.interp(before, x, mu) - np.interp(start, x, mu) - under * (before - start)
    return np.concatenate([before, reduced.grid]), np.concatenate(
        [reduced.flat[0] + rise / step, reduced.flat]
    )


def _noise(spectrum: Spectrum, prediction: Prediction) -> float:
    """Standard error of a point (edge steps): of an average its scatter, else what neighbours tell."""
    if prediction.reduced is None or prediction.reduced.kind == "chi" or not prediction.edge_step > 0:
        return math.nan
    mu = spectrum.mu[np.isfinite(spectrum.mu)]
    if spectrum.mu_error is not None:
        return float(np.nanmedian(spectrum.mu_error)) / prediction.edge_step
    return point_noise(mu) / prediction.edge_step if len(mu) > 3 else math.nan


def _positions(points: Sequence[Point], x: str) -> Array:
    if x == "scan":
        return np.arange(1.0, len(points) + 1)
    if x == "time":
        dates = (math.nan if math.isnan(p.time) else date2num(datetime.fromtimestamp(p.time)) for p in points)
        return np.fromiter(dates, dtype=np.float64, count=len(points))
    return np.array([point.signals.get(x, math.nan) for point in points], dtype=np.float64)


def _beside(at: Array, groups: Sequence[Group]) -> Array:
    """Positions with those of several samples a little apart: they may be measured at the same ones."""
    known = at[np.isfinite(at)]
    if len(groups) < 2 or not len(known):
        return at
    step = min(_APART, _MOST_APART / len(groups)) * float(np.ptp(known))
    moved = at.copy()
    for k, group in enumerate(groups):
        moved[group.rows] += (k - 0.5 * (len(groups) - 1)) * step
    return moved


def _laid_over(points: Sequence[Point], averages: Iterable[Point]) -> list[Average]:
    """The averages of those points that are shown."""
    first: dict[tuple[str | None, str], int] = {}
    last: dict[tuple[str | None, str], int] = {}
    for k, point in enumerate(points):
        first.setdefault(point.run, k)
        last[point.run] = k
    return [Average(first[a.run], last[a.run], a) for a in averages if a.run in first]
