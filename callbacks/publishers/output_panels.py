"""Panels of what models give: one class a kind of result, and which belongs to which."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from xas_live.callbacks.publishers.chemistry_panel import ChemistryPanel
from xas_live.callbacks.publishers.marks import (
    BLUE,
    GREY,
    INK,
    NOISE_WIDTH,
    PALE,
    STYLES,
    Bars,
    DegreeDots,
    colour_of,
    figures_of,
    line,
    shortened,
)
from xas_live.callbacks.publishers.output_panel import Key, OutputPanel
from xas_live.callbacks.publishers.series import SIZE, Average, Point, Shown
from xas_live.callbacks.publishers.trails import Means, Trails
from xas_live.prediction import Chemistry, Classes, Curve, OutputResult, Value, nanometres
from xas_live.spectrum import Array

_ROOM = 0.65  # of a panel's axis to each side of the middle, in the room of what is shown: bars end inside
_LEAST_ROOM = 1.2  # of a panel's axis, in widths of an interval
_NEAR = 1.5  # a reference of the bulk is shown that lies no further from the values, in their room
_FAINT = 0.28
_OPEN_ROOM = 1.6  # of a panel's axis above a lower end without an upper one, in its own height
_TOP = 0.92  # where intervals without upper end point on (heights of the panel)


class SeriesPanel(OutputPanel):
    """One number with its intervals, sweep by sweep, and its latest value in large figures."""

    keys = ("prediction", "interval")

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: str, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        unit = example.unit if isinstance(example, Value) else ""
        self._intervals = Bars(ax)
        self._noise = line(ax, color=INK, lw=NOISE_WIDTH, solid_capstyle="butt", zorder=3.2)
        self._means = Means(ax)
        self._truth = line(ax, color=INK, lw=1.3, ls=(0, (4, 2.5)), zorder=3)
        self._trails = Trails(ax)
        foot = ax.get_xaxis_transform()
        self._refused = line(
            ax, marker="x", color=GREY, mew=1.6, ls="", transform=foot, clip_on=False, zorder=3
        )
        self._open = line(ax, marker="^", color=GREY, ls="", transform=foot, clip_on=False, zorder=4)
        self._bulk = ax.axhline(0.0, color=INK, lw=1.0, ls=(0, (1, 2)), zorder=1, visible=False)
        self._value = ax.text(1.025, 0.56, "", transform=ax.transAxes, size=19, weight="bold", color=BLUE)
        self._interval = ax.text(1.027, 0.48, "", transform=ax.transAxes, size=10, color=GREY, va="top")
        # A number with a unit mostly has longer figures at its ticks.
        self._name_beside(f"{name} ({unit})" if unit else name, at=-0.105 if unit else -0.075)
        low = self._letters(10.0) < 10.0
        ax.yaxis.set_major_locator(MaxNLocator(2 if low else 4, integer=not unit, min_n_ticks=2))
        self._lay_out_sweeps()
        ax.grid(axis="y", color=PALE, lw=0.6, alpha=0.7)
        ax.set_axisbelow(True)

    def needs(self, shown: Shown) -> set[Key]:
        """See `OutputPanel`."""
        found: dict[Key, bool] = {
            "truth": bool(np.isfinite(self._truth.get_ydata()).any()),
            "average": any(self.name in a.point.prediction.values for a in shown.averages),
            "bulk": bool(self._bulk.get_visible()),
            "noise": bool(np.size(self._noise.get_xdata())),
            "open": bool(np.size(self._open.get_xdata())),
        }
        return {key for key, there in found.items() if there}

    def update(self, shown: Shown) -> None:
        """See `OutputPanel`."""
        at, rank = shown.at, shown.rank
        middle, lower, upper = shown.of_values(self.name)
        truth = np.array([point.truth(self.name) for point in shown.points])
        size, width = self._size_of_one(shown)
        # What is not usable may lie anywhere with an interval of any width: the others set the scale.
        usable = rank < 2
        unbounded = np.isposinf(upper)
        known = np.isfinite(middle) & np.isfinite(at)
        scale = usable if (usable & (known | unbounded)).any() else known
        finite = np.where(unbounded, _OPEN_ROOM * lower, upper)
        bulk = shown.bulk.get(self.name, math.nan)
        self._limits(np.where(scale, lower, middle), np.where(scale, finite, middle), truth, bulk)
        self._frame_sweeps(shown)
        top = self.ax.get_ylim()[1]
        drawn = known | (unbounded & usable & np.isfinite(at))
        self._intervals.draw(
            at[drawn],
            lower[drawn],
            np.where(unbounded, top, upper)[drawn],
            rank[drawn],
            shown.mark[drawn],
            width,
        )
        self._draw_noise(shown, at, middle, usable)
        self._trails.draw(shown, at, middle, size, joined=usable)
        self._truth.set_data(at, truth)
        self._truth.set_marker("_" if np.isfinite(truth).sum() == 1 else "")
        self._truth.set_markersize(14)
        self._refused.set_data(at[shown.refused], np.full(shown.refused.sum(), 0.06))
        self._refused.set_markersize(max(3.5, size - 1.0))
        sized = [self.name == SIZE and point.prediction.size is not None for point in shown.points]
        onwards = np.array(sized, dtype=bool) & usable & (unbounded | np.isnan(lower))
        self._open.set_data(at[onwards], np.full(onwards.sum(), _TOP))
        self._open.set_markersize(max(5.0, size))
        values = [(average, average.point.value(self.name)) for average in shown.averages]
        self._means.draw(shown, [(a, v) for a, v in values if v is not None and math.isfinite(v.value)])
        self._latest(shown.latest, shown)

    def _draw_noise(self, shown: Shown, at: Array, middle: Array, usable: NDArray[np.bool_]) -> None:
        """Show the part of each interval that the noise of the sweep causes."""
        values = [point.value(self.name) for point in shown.points]
        part = np.array([math.nan if value is None else value.statistical for value in values])
        known = usable & np.isfinite(part) & np.isfinite(at) & np.isfinite(middle)
        x, y, half = at[known], middle[known], part[known]
        gap = np.full_like(x, np.nan)
        self._noise.set_data(np.stack([x, x, gap], 1).ravel(), np.stack([y - half, y + half, gap], 1).ravel())

    def _limits(self, lower: Array, upper: Array, truth: Array, bulk: float) -> None:
        values = np.concatenate([lower, upper, truth])
        values = values[np.isfinite(values)]
        self.ax.tick_params(labelleft=len(values) > 0)
        self._bulk.set_visible(False)
        if not len(values):
            return
        low, high = float(values.min()), float(values.max())
        width = (upper - lower)[np.isfinite(upper - lower)]
        least = _LEAST_ROOM * float(np.median(width)) if len(width) else 0.0
        room = max(least, high - low) or 0.1 * abs(high) or 1.0
        if high - _NEAR * room < bulk < low + _NEAR * room:
            self._bulk.set_visible(True)
            self._bulk.set_ydata([bulk, bulk])
            low, high = min(low, bulk), max(high, bulk)
            room = max(room, high - low)
        middle = 0.5 * (low + high)
        self.ax.set_ylim(middle - _ROOM * room, middle + _ROOM * room)

    def _latest(self, point: Point | None, shown: Shown) -> None:
        last = None if point is None else point.prediction
        if point is None or last is None or last.refused is not None:
            self._value.set_text("–" if last else "")
            self._interval.set_text("")
            self._value.set_color(GREY)
            return
        value = point.value(self.name)
        self._value.set_color(colour_of(last.verdict, shown.mark[-1]))
        if not last.verdict.usable:
            figures, interval = "–", "not usable"
        elif value is None:
            figures, interval = "–", last.size.label if self.name == SIZE and last.size else ""
        elif value.upper == math.inf:
            figures, interval = f"> {nanometres(value.lower)}", "no upper end"
        elif self.name == SIZE:
            figures, interval = (
                nanometres(value.value),
                f"{nanometres(value.lower)} – {nanometres(value.upper)}",
            )
        else:
            figures, interval = figures_of(value)
        self._value.set_text(figures)
        self._value.set_fontsize(self._letters(19.0) * min(1.0, 6 / len(figures)))
        self._interval.set_fontsize(self._letters(10.0))
        self._interval.set_text(interval.replace(", ", ",\n"))


_FOOT, _ROW = 0.1, 0.78  # of a class's row: where it begins, and the height of probability 1
_CLASS_NAME = 13  # letters of a class's name that there is room for
_SHORT_NAME = 6  # and beside its probability, in full size
_SCAN_NAME = 10  # letters of a scan's name beside a curve


class ClassesPanel(OutputPanel):
    """Probabilities of all classes, sweep by sweep, a row a class; dots for members of the set.

    At the right stand the classes with their probabilities in the latest sweep: blue in its set, else
    grey.
    """

    keys = ("probability", "member")

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: str, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        assert isinstance(example, Classes)
        self.names = tuple(example.probabilities)
        n = len(self.names)
        self._feet = np.arange(n - 1.0, -1.0, -1.0) + _FOOT
        self._bars = Bars(ax, capstyle="butt")
        self._means = Means(ax)
        self._truth = line(ax, color=INK, lw=1.3, ls=(0, (4, 2.5)), zorder=3, drawstyle="steps-mid")
        self._dots: dict[int, DegreeDots] = {}
        foot = ax.get_xaxis_transform()
        self._refused = line(
            ax, marker="x", color=GREY, mew=1.6, ls="", transform=foot, clip_on=False, zorder=3
        )
        for y in self._feet:
            ax.axhline(y, color=PALE, lw=0.6, alpha=0.9, zorder=0)
            ax.axhline(y + _ROW, color=PALE, lw=0.6, alpha=0.5, ls=(0, (1, 2)), zorder=0)
        beside = ax.get_yaxis_transform()
        self._rows = [
            ax.text(1.02, y + 0.5 * _ROW, one, transform=beside, size=10, color=GREY, va="center")
            for y, one in zip(self._feet, self.names, strict=True)
        ]
        self._name_beside(name, at=-0.04)
        ax.set_ylim(0.0, n)
        ax.yaxis.set_major_locator(FixedLocator([self._feet[0], self._feet[0] + _ROW]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{round((y - self._feet[0]) / _ROW)}"))
        ax.tick_params(axis="y", length=2)
        self._lay_out_sweeps()

    @classmethod
    def height(cls, example: OutputResult) -> float:
        """Grows with the number of classes, and where their names are long."""
        assert isinstance(example, Classes)
        row = 0.28 if max(map(len, example.probabilities)) <= _SHORT_NAME else 0.36
        return 0.4 + row * len(example.probabilities)

    def needs(self, shown: Shown) -> set[Key]:
        """See `OutputPanel`."""
        found: dict[Key, bool] = {
            "truth": bool(np.isfinite(self._truth.get_ydata()).any()),
            "average": any(self.name in a.point.prediction.classes for a in shown.averages),
        }
        return {key for key, there in found.items() if there}

    def update(self, shown: Shown) -> None:
        """See `OutputPanel`."""
        at, rank, mark = shown.at, shown.rank, shown.mark
        results = [point.prediction.classes.get(self.name) for point in shown.points]
        heights = self._feet + _ROW * np.array([self._shares(each) for each in results]).reshape(
            -1, len(self.names)
        )
        members = np.array(
            [[each is not None and one in each.members for one in self.names] for each in results], dtype=bool
        ).reshape(heights.shape)
        size, width = self._size_of_one(shown)
        i, k = np.nonzero(np.isfinite(heights) & np.isfinite(at)[:, None])
        self._bars.draw(at[i], self._feet[k], heights[i, k], rank[i], mark[i], width)
        i, k = np.nonzero(members)
        for each in {*self._dots, *mark[i].tolist()}:
            if each not in self._dots:
                self._dots[each] = DegreeDots(self.ax, each, zorder=4)
            of = mark[i] == each
            self._dots[each].draw(at[i][of], heights[i, k][of], rank[i][of], size)
        true = [point.true_class(self.name) for point in shown.points]
        tops = np.array(
            [self._feet[self.names.index(t)] + _ROW if t in self.names else math.nan for t in true]
        )
        self._truth.set_data(at, tops)
        self._truth.set_marker("_" if np.isfinite(tops).sum() == 1 else "")
        self._truth.set_markersize(14)
        self._refused.set_data(at[shown.refused], np.full(shown.refused.sum(), 0.03))
        self._refused.set_markersize(max(3.5, size - 1.0))
        self._frame_sweeps(shown)
        self._means.draw(shown, [each for average in shown.averages for each in self._mean(average)])
        self._latest(results[-1] if results else None, shown)

    def _shares(self, classes: Classes | None) -> list[float]:
        return [
            math.nan if classes is None else classes.probabilities.get(one, math.nan) for one in self.names
        ]

    def _mean(self, average: Average) -> list[tuple[Average, Value]]:
        """Heights of the probabilities in an average; they have no intervals."""
        classes = average.point.prediction.classes.get(self.name)
        heights = [] if classes is None else (self._feet + _ROW * np.array(self._shares(classes))).tolist()
        return [(average, Value(y, math.nan, y, y)) for y in heights]

    def _latest(self, classes: Classes | None, shown: Shown) -> None:
        last = shown.latest
        colour = BLUE if last is None else colour_of(last.prediction.verdict, shown.mark[-1])
        for one, text in zip(self.names, self._rows, strict=True):
            name = shortened(one, _CLASS_NAME)
            member = classes is not None and one in classes.members
            short = len(name) <= _SHORT_NAME
            share = "" if classes is None else f"{classes.probabilities.get(one, 0.0):.2f}"
            text.set_text(("  " if short else "\n").join(filter(None, (name, share))))
            text.set_fontsize(10.0 if short else 8.5)
            text.set_color(colour if member else GREY)
            text.set_fontweight("bold" if member else "normal")


class CurvePanel(OutputPanel):
    """The latest curve with its band, and the ones before it, faint."""

    TRACES = 6
    by_sweep = False

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: str, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        assert isinstance(example, Curve)
        self._band = PolyCollection([], facecolor=BLUE, alpha=_FAINT, lw=0.0, zorder=2)
        ax.add_collection(self._band, autolim=False)
        self._traces = [line(ax, lw=1.0, alpha=0.08 + 0.04 * k) for k in range(self.TRACES)]
        self._key: tuple[str, ...] = ()
        self._curve = line(ax, color=BLUE, lw=2.2, zorder=3)
        self._name_beside(f"{name} ({example.unit})" if example.unit else name, at=-0.105)
        unit = f" ({example.x_unit})" if example.x_unit else ""
        ax.set_xlabel(f"{example.x_name}{unit}", size=12, color=INK)
        ax.set_xlim(float(example.x[0]), float(example.x[-1]))
        ax.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
        ax.grid(axis="y", color=PALE, lw=0.6, alpha=0.7)
        ax.set_axisbelow(True)

    @classmethod
    def height(cls, example: OutputResult) -> float:
        """That of two numbers and more."""
        return 2.3

    def update(self, shown: Shown) -> None:
        """See `OutputPanel`."""
        pairs = zip(shown.points, shown.mark.tolist(), strict=True)
        every = [
            (p, mark, p.prediction.curves[self.name]) for p, mark in pairs if self.name in p.prediction.curves
        ]
        every = every[-self.TRACES - 1 :]
        for artist in self._traces:
            artist.set_data([], [])
        self._band.set_verts([])
        self._curve.set_data([], [])
        if not every:
            return
        point, mark, latest = every[-1]
        for artist, (_, of, old) in zip(reversed(self._traces), reversed(every[:-1]), strict=False):
            artist.set_data(old.x, old.y)
            artist.set_color(STYLES[of][1])
        around = (
            np.concatenate([latest.x, latest.x[::-1]]),
            np.concatenate([latest.lower, latest.upper[::-1]]),
        )
        self._band.set_verts([np.transpose(around)])
        self._curve.set_data(latest.x, latest.y)
        colour = colour_of(point.prediction.verdict, mark)
        self._band.set_facecolor(colour)
        self._curve.set_color(colour)
        heights = np.concatenate([latest.lower, latest.upper, *(old.y for _, _, old in every[:-1])])
        heights = heights[np.isfinite(heights)]
        if len(heights):
            low, high = float(heights.min()), float(heights.max())
            room = (high - low) or 0.1 * abs(high) or 1.0
            self.ax.set_ylim(low - 0.06 * room, high + 0.06 * room)
        self._explain(
            f"scan {shortened(point.label, _SCAN_NAME)}",
            f"{latest.level:.0%} band".replace("%", " %"),
            colour,
        )

    def _explain(self, curve: str, band: str, colour: str) -> None:
        """Show the key beside the panel; it is made anew only where it has changed."""
        if self._key == (curve, band, colour):
            return
        self._key = (curve, band, colour)
        self._curve.set_label(curve)
        self._band.set_label(band)
        self.ax.legend(
            handles=[self._curve, self._band], loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False,
            fontsize=10, labelcolor=INK, handlelength=1.2, borderaxespad=0.2, handletextpad=0.5,
        )  # fmt: skip


PANELS: dict[type, type[OutputPanel]] = {
    Value: SeriesPanel,
    Chemistry: ChemistryPanel,
    Classes: ClassesPanel,
    Curve: CurvePanel,
}
"""Which panel shows which kind of result."""


def panel_of(result: OutputResult) -> type[OutputPanel]:
    """Which panel shows this result."""
    return PANELS[type(result)]


def in_order(results: Mapping[str, OutputResult]) -> dict[str, OutputResult]:
    """The results in the order of their panels: by kind, the size after the numbers."""
    kinds = list(PANELS)
    order = {name: (kinds.index(type(each)), name == SIZE) for name, each in results.items()}
    return {name: results[name] for name in sorted(results, key=lambda name: order[name])}


def likeness(result: OutputResult) -> tuple[object, ...]:
    """What a panel was made for: results that agree in it can be shown by the same."""
    if isinstance(result, Classes):
        return Classes, *result.probabilities
    if isinstance(result, Curve):
        return Curve, result.x_name, result.x_unit, result.unit, float(result.x[0]), float(result.x[-1])
    return (type(result), result.unit) if isinstance(result, Value) else (type(result),)
