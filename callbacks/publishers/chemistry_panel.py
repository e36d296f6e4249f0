"""Panel of the chemistry: the share that is no metal, and the share of atoms that carry adsorbates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from xas_live.callbacks.publishers.marks import (
    ADSORBATES,
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
from xas_live.callbacks.publishers.panels import Average, Point, XAxis, positions
from xas_live.prediction import OutputResult, Value
from xas_live.spectrum import Array


class ChemistryPanel(OutputPanel):
    """The share that is no metal against scan or time, from 0 to 1; diamonds for adsorbates."""

    keys = ("interval",)

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: XAxis, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        bars = partial(LineCollection, [], capstyle="round")
        self._intervals, self._spans = bars(zorder=2), bars(zorder=3, color=INK, lw=0.8, alpha=0.6)
        self._averages = bars(lw=1.6, alpha=0.85, zorder=3.5)
        for each in (self._intervals, self._spans, self._averages):
            ax.add_collection(each, autolim=False)
        self._path = line(ax, color=BLUE, lw=1.0, alpha=0.5, zorder=2.5)
        self._dots = DegreeDots(ax, zorder=4, clip_on=False)
        self._adsorbed = line(ax, ls="", zorder=3.8, clip_on=False, **ADSORBATES)
        beside = partial(ax.text, transform=ax.transAxes, va="center")
        self._value = beside(1.025, 0.80, "", size=15, weight="bold", color=BLUE)
        self._interval = beside(1.027, 0.46, "", size=10, color=GREY)
        self._adsorbates = beside(1.027, 0.12, "", size=10, color=INK)
        self._name_beside("non-metal share")
        ax.set_ylim(-0.06, 1.06)
        ax.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
        self._lay_out_sweeps()
        ax.grid(axis="y", color=PALE, lw=0.6, alpha=0.7)
        ax.set_axisbelow(True)

    def update(self, points: Sequence[Point], averages: Sequence[Average] = ()) -> None:
        """See `OutputPanel`."""
        self._points = points
        at, rank = positions(points, self.x), ranks([point.prediction.verdict for point in points])
        width = self._width_of_one(len(points))
        size = min(7.5, max(2.6, 0.8 * width))
        shares = [None if c is None else c.non_metal for c in (p.prediction.chemistry for p in points)]
        adsorbed = [None if c is None else c.adsorbates for c in (p.prediction.chemistry for p in points)]
        middle, known = _drawn(self._intervals, at, shares)
        self._intervals.set_linewidth(min(7.0, max(1.2, 0.75 * width)))
        self._intervals.set_color(bars_of(rank[known]))
        self._dots.draw(at[known], middle[known], rank[known], size)
        self._path.set_data(at, middle)
        covered, known = _drawn(self._spans, at, adsorbed)
        self._adsorbed.set_data(at[known], covered[known])
        self._adsorbed.set_markersize(0.75 * size)
        self._draw_averages(at, averages)
        self._frame_sweeps(at)
        self._latest(shares[-1] if shares else None, adsorbed[-1] if adsorbed else None)

    def _draw_averages(self, at: Array, averages: Sequence[Average]) -> None:
        lines, colours = [], []
        for average in averages:
            prediction = average.point.prediction
            over = at[average.first : average.last + 1]
            over = over[np.isfinite(over)]
            if prediction.chemistry is not None and len(over):
                share = prediction.chemistry.non_metal.value
                lines.append([(over.min(), share), (over.max(), share)])
                colours.append(colour_of(prediction.verdict))
        self._averages.set_segments(lines)
        self._averages.set_color(colours)

    def _latest(self, share: Value | None, adsorbed: Value | None) -> None:
        self._value.set_text("–" if share is None else _told(share))
        self._value.set_color(GREY if share is None else colour_of(self._points[-1].prediction.verdict))
        self._interval.set_text("" if share is None else f"{share.lower:.2f} – {share.upper:.2f}")
        self._adsorbates.set_text("" if adsorbed is None else f"◇ {adsorbed.value:.2f}")


def _drawn(
    bars: LineCollection, at: Array, values: Sequence[Value | None]
) -> tuple[Array, NDArray[np.bool_]]:
    """Draw the intervals; (n,) the values, NaN where there is none, and which are shown."""
    middle, lower, upper = (
        np.array([math.nan if value is None else getattr(value, part) for value in values])
        for part in ("value", "lower", "upper")
    )
    known = np.isfinite(middle) & np.isfinite(at)
    ends = zip(at[known], lower[known], upper[known], strict=True)
    bars.set_segments([[(x, a), (x, b)] for x, a, b in ends])
    return middle, known


def _told(share: Value) -> str:
    """A share as it may be quoted: where its interval begins at zero, only what it is below."""
    return f"{share.value:.2f}" if share.lower > 0 else f"< {share.upper:.2f}"
