"""Points of the live figure by sample: each sample has its marks, and a line that joins them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from xas_live.callbacks.publishers.marks import MEAN_BAND, PLAIN, STYLES, DegreeDots, colour_of, line
from xas_live.callbacks.publishers.series import Average, Shown
from xas_live.prediction import Value
from xas_live.spectrum import Array

LARGEST, SMALLEST = 7.5, 2.6  # of a point (typographical points)
_SHORTEST = 0.02  # of an average's line, in widths of the axis


class Trails:
    """Points in the order measured, joined within each sample; artists are made once a sample's mark.

    Parameters
    ----------
    ax : where to draw.
    zorder : of the points; the lines lie under everything else of them.
    style : of the points.
    """

    def __init__(self, ax: Axes, *, zorder: float = 4.0, **style: Any) -> None:
        self._ax, self._zorder, self._style = ax, zorder, style
        self.dots: dict[int, DegreeDots] = {}
        self.paths: dict[int, Line2D] = {}

    def draw(
        self, shown: Shown, x: Array, y: Array, size: float, *, joined: NDArray[np.bool_] | None = None
    ) -> None:
        """Show these points.

        Parameters
        ----------
        shown : what is shown, for samples and degrees.
        x, y : (n,) where the points stand; NaN where there is none.
        size : of a point (typographical points).
        joined : (n,) which points a line may join; default: all.
        """
        lined = y if joined is None else np.where(joined, y, np.nan)
        nothing = np.empty(0, dtype=np.intp)
        rows: dict[int, NDArray[np.intp]] = dict.fromkeys(self.dots, nothing)
        for group in shown.groups:  # earlier samples share a mark: no line joins one with another
            before = rows.get(group.mark, nothing)
            rows[group.mark] = np.concatenate([before, [-1], group.rows]) if len(before) else group.rows
        x, y, lined = (np.append(each, np.nan) for each in (x, y, lined))  # the last one parts the samples
        rank = np.append(shown.rank, 0)
        for mark, of in rows.items():
            if mark not in self.dots:
                colour = STYLES[mark][1]
                self.paths[mark] = line(self._ax, color=colour, lw=1.0, alpha=0.5, zorder=2.5)
                self.dots[mark] = DegreeDots(self._ax, mark, zorder=self._zorder, **self._style)
            self.dots[mark].draw(x[of], y[of], rank[of], size)
            self.paths[mark].set_data(x[of], lined[of])


class Means:
    """Averages over repeats: a line across their sweeps, over a pale band of the interval."""

    def __init__(self, ax: Axes) -> None:
        self._ax = ax
        self.bands = PolyCollection([], lw=0.0, zorder=1.5)
        self.lines = LineCollection([], lw=1.8, alpha=0.85, zorder=3.5)
        for each in (self.bands, self.lines):
            ax.add_collection(each, autolim=False)

    def draw(self, shown: Shown, values: Sequence[tuple[Average, Value]]) -> None:
        """Show these averages of the points that are shown; the limits of x must be set."""
        left, right = self._ax.get_xlim()
        least = _SHORTEST * (right - left)
        lines, bands, colours = [], [], []
        for average, value in values:
            over = shown.at[average.first : average.last + 1]
            over = over[np.isfinite(over)]
            if not len(over):
                continue
            first, last = float(over.min()), float(over.max())
            if last - first < least:  # repeats at one temperature, say
                first, last = 0.5 * (first + last - least), 0.5 * (first + last + least)
            lines.append([(first, value.value), (last, value.value)])
            low, high = value.lower, value.upper
            bands.append([(first, low), (last, low), (last, high), (first, high)])
            mark = shown.mark[average.last]
            verdict = average.point.prediction.verdict
            colours.append(colour_of(verdict) if mark == PLAIN else STYLES[mark][1])
        self.lines.set_segments(lines)
        self.lines.set_color(colours)
        self.bands.set_verts(bands)
        self.bands.set_facecolor([to_rgba(colour, MEAN_BAND) for colour in colours])
