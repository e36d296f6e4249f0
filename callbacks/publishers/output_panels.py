"""Panels of what models give: one class a kind of result, and which belongs to which."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from xas_live.callbacks.publishers.chemistry_panel import ChemistryPanel
from xas_live.callbacks.publishers.marks import (
    BLUE,
    GREY,
    INK,
    PALE,
    DegreeDots,
    bars_of,
    colour_of,
    line,
    ranks,
)
from xas_live.callbacks.publishers.output_panel import OutputPanel
from xas_live.callbacks.publishers.panels import CHEMISTRY, SIZE, Average, Point, XAxis, positions
from xas_live.prediction import Chemistry, Classes, Curve, OutputResult, Value
from xas_live.spectrum import Array

_WHOLE = 0.1  # half width of an interval from which one decimal is enough for a pure number
_LEAST_ROOM = 1.2  # of a panel's axis, in widths of an interval
_FAINT = 0.28


class SeriesPanel(OutputPanel):
    """One number with its intervals against scan or time, and its latest value in large figures."""

    keys = ("prediction", "interval")

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: XAxis, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        unit = example.unit if isinstance(example, Value) and name != SIZE else ""
        self._intervals = LineCollection([], capstyle="round", zorder=2)
        ax.add_collection(self._intervals, autolim=False)
        self._path = line(ax, color=BLUE, lw=1.0, alpha=0.5, zorder=2.5)
        self._averages = LineCollection([], lw=1.6, alpha=0.85, zorder=3.5)
        ax.add_collection(self._averages, autolim=False)
        self._truth = line(ax, color=INK, lw=1.3, ls=(0, (4, 2.5)), zorder=3)
        self._dots = DegreeDots(ax, zorder=4)
        foot = ax.get_xaxis_transform()
        self._refused = line(
            ax, marker="x", color=GREY, mew=1.6, ls="", transform=foot, clip_on=False, zorder=3
        )
        self._bulk = DegreeDots(ax, marker="^", transform=foot, clip_on=False, zorder=4)
        self._value = ax.text(1.025, 0.52, "", transform=ax.transAxes, size=19, weight="bold", color=BLUE)
        self._interval = ax.text(1.027, 0.44, "", transform=ax.transAxes, size=10, color=GREY, va="top")
        # A number with a unit mostly has longer figures at its ticks.
        self._name_beside(f"{name} ({unit})" if unit else name, at=-0.105 if unit else -0.075)
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=not unit, min_n_ticks=2))
        self._lay_out_sweeps()
        ax.grid(axis="y", color=PALE, lw=0.6, alpha=0.7)
        ax.set_axisbelow(True)

    def knows_truth(self, points: Sequence[Point]) -> bool:
        """See `OutputPanel`."""
        return any(math.isfinite(point.truth(self.name)) for point in points)

    def update(self, points: Sequence[Point], averages: Sequence[Average] = ()) -> None:
        """Show these points, and a line across those that were averaged."""
        self._points = points
        at = positions(points, self.x)
        values = [point.value(self.name) for point in points]
        middle, lower, upper = (
            np.array([math.nan if v is None else getattr(v, part) for v in values])
            for part in ("value", "lower", "upper")
        )
        truth = np.array([point.truth(self.name) for point in points])
        rank = ranks([point.prediction.verdict for point in points])
        refused = np.array([point.prediction.refused is not None for point in points], dtype=bool)
        sized = [self.name == SIZE and point.prediction.size is not None for point in points]
        bulk = np.array(sized, dtype=bool) & np.isnan(middle)
        width = self._width_of_one(len(points))
        known = np.isfinite(middle) & np.isfinite(at)
        self._intervals.set_segments(
            [[(x, a), (x, b)] for x, a, b in zip(at[known], lower[known], upper[known], strict=True)]
        )
        self._intervals.set_linewidth(min(7.0, max(1.2, 0.75 * width)))
        self._intervals.set_color(bars_of(rank[known]))
        size = min(7.5, max(2.6, 0.8 * width))
        self._dots.draw(at[known], middle[known], rank[known], size)
        usable = rank < 2
        self._path.set_data(at, np.where(usable, middle, math.nan))
        self._truth.set_data(at, truth)
        self._truth.set_marker("_" if np.isfinite(truth).sum() == 1 else "")
        self._truth.set_markersize(14)
        self._refused.set_data(at[refused], np.full(refused.sum(), 0.06))
        self._refused.set_markersize(max(3.5, size - 1.0))
        self._bulk.draw(at[bulk], np.full(bulk.sum(), 0.9), rank[bulk], max(5.0, 1.2 * size))
        self._draw_averages(at, averages)
        # What is not usable may lie anywhere with an interval of any width: the others set the scale.
        scale = usable if (known & usable).any() else known
        self._limits(at, np.where(scale, lower, middle), np.where(scale, upper, middle), truth)
        self._latest(values[-1] if values else None)

    def _draw_averages(self, at: Array, averages: Sequence[Average]) -> None:
        lines, colours = [], []
        for average in averages:
            value = average.point.value(self.name)
            over = at[average.first : average.last + 1]
            over = over[np.isfinite(over)]
            if value is not None and len(over):
                lines.append([(over.min(), value.value), (over.max(), value.value)])
                colours.append(colour_of(average.point.prediction.verdict))
        self._averages.set_segments(lines)
        self._averages.set_color(colours)

    def _limits(self, at: Array, lower: Array, upper: Array, truth: Array) -> None:
        shown = np.concatenate([lower, upper, truth])
        shown = shown[np.isfinite(shown)]
        self.ax.tick_params(labelleft=len(shown) > 0)
        if len(shown):
            low, high = float(shown.min()), float(shown.max())
            width = (upper - lower)[np.isfinite(upper - lower)]
            least = _LEAST_ROOM * float(np.median(width)) if len(width) else 0.0
            room = max(least, high - low) or 0.1 * abs(high) or 1.0
            middle = 0.5 * (low + high)
            self.ax.set_ylim(middle - 0.62 * room, middle + 0.62 * room)
        self._frame_sweeps(at)

    def _latest(self, value: Value | None) -> None:
        last = self._points[-1].prediction if self._points else None
        if last is None or last.refused is not None:
            self._value.set_text("–" if last else "")
            self._interval.set_text("")
            self._value.set_color(GREY)
            return
        self._value.set_color(colour_of(last.verdict))
        if not last.verdict.usable:
            self._value.set_text("–")
            self._interval.set_text("not usable")
        elif value is not None:
            rough = self.name == SIZE or (not value.unit and value.upper - value.lower >= 2 * _WHOLE)
            places = 1 if rough else value.decimals
            unit = f" {value.unit}" if self.name == SIZE else ""
            text = f"{value.value:.{places}f}"
            self._value.set_text(text)
            self._value.set_fontsize(19.0 * min(1.0, 6 / len(text)))
            self._interval.set_text(f"{value.lower:.{places}f} – {value.upper:.{places}f}{unit}")
        else:
            self._value.set_text("–")
            label = last.size.label if self.name == SIZE and last.size else ""
            self._interval.set_text(label.replace(", ", ",\n"))


_FOOT, _ROW = 0.1, 0.78  # of a class's row: where it begins, and the height of probability 1
_CLASS_NAME = 13  # letters of a class's name that there is room for
_SHORT_NAME = 6  # and beside its probability, in full size


class ClassesPanel(OutputPanel):
    """Probabilities of all classes against scan or time, a row a class; dots for members of the set.

    At the right stand the classes with their probabilities in the latest sweep: blue in its set, else
    grey.
    """

    keys = ("probability", "member")

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: XAxis, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        assert isinstance(example, Classes)
        self.names = tuple(example.probabilities)
        n = len(self.names)
        self._feet = np.arange(n - 1.0, -1.0, -1.0) + _FOOT
        self._bars = LineCollection([], capstyle="butt", zorder=2)
        ax.add_collection(self._bars, autolim=False)
        self._averages = LineCollection([], lw=1.6, alpha=0.85, zorder=3.5)
        ax.add_collection(self._averages, autolim=False)
        self._truth = line(ax, color=INK, lw=1.3, ls=(0, (4, 2.5)), zorder=3, drawstyle="steps-mid")
        self._dots = DegreeDots(ax, zorder=4)
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

    def knows_truth(self, points: Sequence[Point]) -> bool:
        """See `OutputPanel`."""
        return any(point.true_class(self.name) in self.names for point in points)

    def update(self, points: Sequence[Point], averages: Sequence[Average] = ()) -> None:
        """See `OutputPanel`."""
        self._points = points
        at = positions(points, self.x)
        results = [point.prediction.classes.get(self.name) for point in points]
        heights = self._feet + _ROW * np.array([self._shares(each) for each in results]).reshape(
            -1, len(self.names)
        )
        members = np.array(
            [[each is not None and one in each.members for one in self.names] for each in results], dtype=bool
        ).reshape(heights.shape)
        rank = ranks([point.prediction.verdict for point in points])
        refused = np.array([point.prediction.refused is not None for point in points], dtype=bool)
        width = self._width_of_one(len(points))
        sweeps, rows = np.nonzero(np.isfinite(heights) & np.isfinite(at)[:, None])
        self._bars.set_segments(
            [[(at[i], self._feet[k]), (at[i], heights[i, k])] for i, k in zip(sweeps, rows, strict=True)]
        )
        self._bars.set_color(bars_of(rank[sweeps]))
        self._bars.set_linewidth(min(12.0, max(1.0, 0.75 * width)))
        size = min(7.5, max(2.6, 0.8 * width))
        here, row = np.nonzero(members)
        self._dots.draw(at[here], heights[here, row], rank[here], size)
        true = [point.true_class(self.name) for point in points]
        tops = np.array(
            [self._feet[self.names.index(t)] + _ROW if t in self.names else math.nan for t in true]
        )
        self._truth.set_data(at, tops)
        self._truth.set_marker("_" if np.isfinite(tops).sum() == 1 else "")
        self._truth.set_markersize(14)
        self._refused.set_data(at[refused], np.full(refused.sum(), 0.03))
        self._refused.set_markersize(max(3.5, size - 1.0))
        self._draw_averages(at, averages)
        self._frame_sweeps(at)
        self._latest(results[-1] if results else None)

    def _shares(self, classes: Classes | None) -> list[float]:
        return [
            math.nan if classes is None else classes.probabilities.get(one, math.nan) for one in self.names
        ]

    def _draw_averages(self, at: Array, averages: Sequence[Average]) -> None:
        lines, colours = [], []
        for average in averages:
            prediction = average.point.prediction
            over = at[average.first : average.last + 1]
            over = over[np.isfinite(over)]
            if self.name not in prediction.classes or not len(over):
                continue
            for y in self._feet + _ROW * np.array(self._shares(prediction.classes[self.name])):
                lines.append([(over.min(), y), (over.max(), y)])
                colours.append(colour_of(prediction.verdict))
        self._averages.set_segments(lines)
        self._averages.set_color(colours)

    def _latest(self, classes: Classes | None) -> None:
        colour = colour_of(self._points[-1].prediction.verdict) if self._points else BLUE
        for one, text in zip(self.names, self._rows, strict=True):
            name = one if len(one) <= _CLASS_NAME else f"{one[: _CLASS_NAME - 1]}…"
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

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: XAxis, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        assert isinstance(example, Curve)
        self._band = PolyCollection([], facecolor=BLUE, alpha=_FAINT, lw=0.0, zorder=2)
        ax.add_collection(self._band, autolim=False)
        self._traces = [line(ax, color=BLUE, lw=1.0, alpha=0.08 + 0.04 * k) for k in range(self.TRACES)]
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

    def update(self, points: Sequence[Point], averages: Sequence[Average] = ()) -> None:
        """See `OutputPanel`."""
        self._points = points
        every = [(p, p.prediction.curves[self.name]) for p in points if self.name in p.prediction.curves]
        every = every[-self.TRACES - 1 :]
        for artist in self._traces:
            artist.set_data([], [])
        self._band.set_verts([])
        self._curve.set_data([], [])
        if not every:
            return
        point, latest = every[-1]
        for artist, (_, old) in zip(reversed(self._traces), reversed(every[:-1]), strict=False):
            artist.set_data(old.x, old.y)
        around = (
            np.concatenate([latest.x, latest.x[::-1]]),
            np.concatenate([latest.lower, latest.upper[::-1]]),
        )
        self._band.set_verts([np.transpose(around)])
        self._curve.set_data(latest.x, latest.y)
        colour = colour_of(point.prediction.verdict)
        self._band.set_facecolor(colour)
        self._curve.set_color(colour)
        self._curve.set_label(f"scan {point.label}")
        self._band.set_label(f"{latest.level:.0%} band".replace("%", " %"))
        heights = np.concatenate([latest.lower, latest.upper, *(old.y for _, old in every[:-1])])
        heights = heights[np.isfinite(heights)]
        if len(heights):
            low, high = float(heights.min()), float(heights.max())
            room = (high - low) or 0.1 * abs(high) or 1.0
            self.ax.set_ylim(low - 0.06 * room, high + 0.06 * room)
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


def results_of(points: Sequence[Point]) -> dict[str, OutputResult]:
    """The newest result of each name that any of the points has, in the order of panels."""
    found: dict[str, OutputResult] = {}
    for point in points:
        found |= point.prediction.outcome.results
        if point.prediction.chemistry is not None:
            found[CHEMISTRY] = point.prediction.chemistry
    if SIZE not in found and any(point.prediction.size is not None for point in points):
        found[SIZE] = Value(math.nan, math.nan, math.nan, math.nan, unit="nm")
    kinds = list(PANELS)
    order = {name: (kinds.index(type(each)), name == SIZE) for name, each in found.items()}
    return {name: found[name] for name in sorted(found, key=lambda name: order[name])}


def likeness(result: OutputResult) -> tuple[object, ...]:
    """What a panel was made for: results that agree in it can be shown by the same."""
    if isinstance(result, Classes):
        return Classes, *result.probabilities
    if isinstance(result, Curve):
        return Curve, result.x_name, result.x_unit, result.unit, float(result.x[0]), float(result.x[-1])
    return (type(result), result.unit) if isinstance(result, Value) else (type(result),)
