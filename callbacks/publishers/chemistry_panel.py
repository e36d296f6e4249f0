"""Panel of the chemistry: the share that is no metal, and the share of atoms that carry adsorbates."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from xas_live.callbacks.publishers.marks import (
    ADSORBATES,
    BLUE,
    GREY,
    INK,
    PALE,
    Bars,
    colour_of,
    figures_of,
    line,
)
from xas_live.callbacks.publishers.output_panel import Key, OutputPanel
from xas_live.callbacks.publishers.series import Shown, numbers
from xas_live.callbacks.publishers.trails import Means, Trails
from xas_live.prediction import Chemistry, OutputResult

_PLACES = 2  # decimals of a share


class ChemistryPanel(OutputPanel):
    """The share that is no metal, sweep by sweep, from 0 to 1; diamonds for adsorbates."""

    keys = ("interval",)

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: str, *, last: bool) -> None:
        super().__init__(ax, name, example, x, last=last)
        self._intervals = Bars(ax)
        self._means = Means(ax)
        self._spans = line(ax, color=INK, lw=0.8, alpha=0.6, zorder=3)
        self._trails = Trails(ax, clip_on=False)
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

    def needs(self, shown: Shown) -> set[Key]:
        """See `OutputPanel`."""
        found: dict[Key, bool] = {
            "adsorbates": bool(np.isfinite(self._adsorbed.get_ydata()).any()),
            "average": any(a.point.prediction.chemistry is not None for a in shown.averages),
        }
        return {key for key, there in found.items() if there}

    def update(self, shown: Shown) -> None:
        """See `OutputPanel`."""
        at = shown.at
        size, width = self._size_of_one(shown)
        told = [point.prediction.chemistry for point in shown.points]
        share, lower, upper = numbers([None if each is None else each.non_metal for each in told])
        known = np.isfinite(share) & np.isfinite(at)
        self._intervals.draw(
            at[known], lower[known], upper[known], shown.rank[known], shown.mark[known], width
        )
        self._trails.draw(shown, at, share, size)
        covered, lower, upper = numbers([None if each is None else each.adsorbates for each in told])
        gap = np.full_like(at, math.nan)
        self._spans.set_data(
            np.stack([at, at, gap], axis=1).ravel(), np.stack([lower, upper, gap], axis=1).ravel()
        )
        self._adsorbed.set_data(at, covered)
        self._adsorbed.set_markersize(0.75 * size)
        self._frame_sweeps(shown)
        averaged = [(average, average.point.prediction.chemistry) for average in shown.averages]
        self._means.draw(shown, [(average, each.non_metal) for average, each in averaged if each is not None])
        self._latest(told[-1] if told else None, shown)

    def _latest(self, told: Chemistry | None, shown: Shown) -> None:
        """Say the shares of the newest sweep; of one whose interval begins at zero only what it is below."""
        self._value.set_text("–")
        self._value.set_color(GREY)
        self._interval.set_text("")
        self._adsorbates.set_text("")
        self._value.set_fontsize(self._letters(15.0))
        for text in (self._interval, self._adsorbates):
            text.set_fontsize(self._letters(10.0))
        if told is None or shown.latest is None:
            return
        share = told.non_metal
        number, interval = figures_of(share, _PLACES)
        self._value.set_text(number if share.lower > 0 else f"< {share.upper:.{_PLACES}f}")
        self._value.set_color(colour_of(shown.latest.prediction.verdict, shown.mark[-1]))
        self._interval.set_text(interval)
        if told.adsorbates is not None:
            self._adsorbates.set_text(f"◇ {figures_of(told.adsorbates, _PLACES)[0]}")
