"""Where the panels of the live figure stand, its head line and its key."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from xas_live.callbacks.publishers.marks import (
    ADSORBATES,
    BLUE,
    EARLIER,
    GREY,
    INK,
    LAMPS,
    MEAN_BAND,
    NOISE_WIDTH,
    ORANGE,
    SIGNS,
    STYLES,
    VERMILION,
    said,
    shortened,
)
from xas_live.callbacks.publishers.output_panel import Key
from xas_live.callbacks.publishers.output_panels import panel_of
from xas_live.callbacks.publishers.series import Group, Point
from xas_live.prediction import Degree, OutputResult

_GAP = 0.13  # under axes with a label, in heights of all panels together
_LEFT = 0.065
_BAND = 0.937  # where the band of the verdict begins
_WHY = 2.3  # from the figure's left, where the verdict's reason begins (inches)
_KEY_COLUMNS, _SAMPLE_COLUMNS = 5, 4
_KEY_FOOT = 0.04  # above the first panel (inches)
_LETTER = 5.9  # width of one of the reason (points)
_HANDLE, _KEY_LETTER = 42.0, 5.5  # width of an entry's handle with its gaps, and of a letter (points)
_SCAN_NAME = 40  # letters that there is room for


Entry: TypeAlias = tuple[Artist | tuple[Artist, ...], str]
"""An entry of the key: its handle, or several over each other, and its words."""


class Layout:
    """Spectrum, lights and latent map at the left, for all models; what the model gives at the right.

    Parameters
    ----------
    fig : to fill.

    Attributes
    ----------
    common : axes of the left half, by panel.
    """

    def __init__(self, fig: Figure | SubFigure) -> None:
        self._fig = fig
        halves = fig.add_gridspec(
            1, 2, width_ratios=[1, 1.08], left=_LEFT, right=0.91, top=0.80, bottom=0.08, wspace=0.24
        )
        left = halves[0].subgridspec(2, 1, height_ratios=[1, 0.42], hspace=0.29)
        below = left[1].subgridspec(1, 2, width_ratios=[1.45, 1], wspace=0.08)
        self._right = halves[1]
        self.common: dict[str, Axes] = {
            "spectrum": fig.add_subplot(left[0]),
            "lights": fig.add_subplot(below[0]),
            "latent": fig.add_subplot(below[1]),
        }
        self._of_results: dict[str, Axes] = {}
        self._absorber: Text = fig.text(_LEFT, 0.875, "", size=21, weight="bold", color=INK, va="bottom")
        self._sample: Text = fig.text(_LEFT, 0.868, "", size=12.5, color=GREY, va="top")
        self._band = Rectangle(
            (0.0, _BAND), 1.0, 1.0 - _BAND, transform=fig.transSubfigure, lw=0.0, visible=False
        )
        fig.add_artist(self._band)
        middle, root = 0.5 * (1.0 + _BAND), fig.get_figure(root=True)
        inwards = ScaledTranslation(_WHY, 0.0, root.dpi_scale_trans)
        self._verdict: Text = fig.text(0.02, middle, "", size=16, weight="bold", va="center")
        self._why: Text = fig.text(
            0.02, middle, "", size=11.5, va="center", linespacing=1.05, transform=fig.transSubfigure + inwards
        )
        self._shown_key: tuple[object, ...] = ()
        self._legends: list[Legend] = []

    def place(self, results: Mapping[str, OutputResult]) -> dict[str, Axes]:
        """Axes for these results, one above the other; those before are taken away.

        Panels that lay sweeps out along x share it; curves, each with an axis of its own, stand below.
        """
        for ax in self._of_results.values():
            ax.remove()
        self._of_results, self._shown_key, self._legends = {}, (), []
        by_sweep = {name: each for name, each in results.items() if panel_of(each).by_sweep}
        curves = {name: each for name, each in results.items() if name not in by_sweep}
        heights = [panel_of(each).height(each) for each in by_sweep.values()]
        if heights:
            heights[0] += 0.35
            heights[-1] += 0.1
        tall = [panel_of(each).height(each) for each in curves.values()]
        blocks = [sum(part) for part in (heights, tall) if part]
        if not blocks:
            return {}
        rows = self._right.subgridspec(len(blocks), 1, height_ratios=blocks, hspace=_hspace(len(blocks)))
        first: Axes | None = None
        if heights:
            block = rows[0].subgridspec(len(heights), 1, height_ratios=heights, hspace=0.2)
            for k, name in enumerate(by_sweep):
                self._of_results[name] = self._fig.add_subplot(block[k], sharex=first)
                first = first or self._of_results[name]
        if tall:
            block = rows[-1].subgridspec(len(tall), 1, height_ratios=tall, hspace=_hspace(len(tall)))
            for k, name in enumerate(curves):
                self._of_results[name] = self._fig.add_subplot(block[k])
        return self._of_results

    def say(self, absorber: str, sample: str) -> None:
        """Set the head line and the line under it."""
        self._absorber.set_text(absorber)
        self._sample.set_text(sample)

    def judge(self, latest: Point, absorber: str) -> None:
        """Say in the band at the top how far to believe the latest sweep, and why.

        Parameters
        ----------
        latest : the sweep.
        absorber : its absorber where that is not the one shown, else empty.
        """
        degree = latest.prediction.verdict.degree
        ink = INK if degree in (Degree.CAUTION, None) else "white"
        self._band.set_visible(True)
        self._band.set_facecolor(LAMPS[degree])
        for text in (self._verdict, self._why):
            text.set_color(ink)
        self._verdict.set_text(f"{SIGNS[degree]}  {str(degree or 'not judged').upper()}")
        width = 72.0 * (0.96 * self._fig.bbox.width / self._fig.get_figure(root=True).dpi - _WHY)
        of = f" ({absorber})" if absorber else ""
        words = f"scan {shortened(latest.label, _SCAN_NAME)}{of}: {said(latest.prediction)}"
        lines = textwrap.wrap(words, max(20, int(width / _LETTER)), max_lines=2, placeholder=" …")
        self._why.set_text("\n".join(lines))

    def show_key(self, names: Collection[Key], level: float, groups: Sequence[Group]) -> None:
        """Explain the marks above the first panel of results; the key is made anew only where it changes.

        Parameters
        ----------
        names : entries to show.
        level : nominal coverage of intervals and sets.
        groups : samples that are told apart by their marks; empty where there is one.
        """
        samples = tuple((group.sample, group.mark) for group in groups)
        shown = (tuple(names), level, samples, self._fig.bbox.width)
        if not self._of_results or not names or shown == self._shown_key:
            return
        self._shown_key = shown
        for legend in self._legends:
            legend.remove()
        every = _entries(level, by_sample=bool(groups))
        entries = [entry for name, entry in every.items() if name in names]
        ax = next(iter(self._of_results.values()))
        self._legends = [self._legend(ax, entries, _KEY_FOOT)]
        if groups:
            ax.add_artist(self._legends[0])  # a second legend would take its place
            above = self._legends[0].get_window_extent().height / self._fig.get_figure(root=True).dpi
            columns = min(len(groups), _SAMPLE_COLUMNS)
            room = self._width_from(ax) / columns - _HANDLE
            entries = _samples(groups, max(5, int(room / _KEY_LETTER)))
            self._legends.append(self._legend(ax, entries, above + 1.5 * _KEY_FOOT, columns))

    def _width_from(self, ax: Axes) -> float:
        """From the left of the axes to the right of the figure (points)."""
        pixels = 0.99 * self._fig.bbox.x1 - ax.get_window_extent().x0
        return float(72.0 * pixels / self._fig.get_figure(root=True).dpi)

    def _legend(
        self, ax: Axes, entries: Sequence[Entry], height: float, columns: int = _KEY_COLUMNS
    ) -> Legend:
        """A key so far above the axes (inches), in as many columns as have room in the figure."""
        above = ax.transAxes + ScaledTranslation(0.0, height, self._fig.get_figure(root=True).dpi_scale_trans)
        for number in range(min(len(entries), columns), 0, -1):
            legend = ax.legend(
                handles=[handle for handle, _ in entries],
                labels=[words for _, words in entries],
                loc="lower left",
                bbox_to_anchor=(-0.02, 1.0),
                bbox_transform=above,
                ncols=number,
                frameon=False,
                fontsize=10,
                labelcolor=INK,
                columnspacing=1.3,
                handletextpad=0.5,
                borderaxespad=0.0,
                borderpad=0.2,
                labelspacing=0.35,
                handler_map={tuple: HandlerTuple(ndivide=1, pad=0.0)},
            )
            if legend.get_window_extent().x1 < self._fig.bbox.x1:
                break
        return legend


def _hspace(rows: int) -> float:
    """Room between rows, in mean heights of one, for the labels under each."""
    return _GAP * rows / (1.0 - _GAP * (rows - 1))


def _samples(groups: Sequence[Group], room: int) -> list[Entry]:
    """Marks of the samples, with their names in so many letters."""
    entries: list[Entry] = []
    for group in groups:
        if group.mark != EARLIER:
            marker, colour = STYLES[group.mark]
            name = shortened(group.sample or "without a name", room)
            entries.append((Line2D([], [], marker=marker, color=colour, mec="white", ms=9, lw=1.2), name))
    if earlier := sum(group.mark == EARLIER for group in groups):
        marker, colour = STYLES[EARLIER]
        entries.append((Line2D([], [], marker=marker, color=colour, ms=7, lw=1.2), f"{earlier} earlier"))
    return entries


def _entries(level: float, *, by_sample: bool) -> dict[Key, Entry]:
    """All entries, in their order; where samples have colours, degrees have none."""
    percent = f"{level:.0%}".replace("%", " %")
    blue, orange, vermilion = (GREY, GREY, GREY) if by_sample else (BLUE, ORANGE, VERMILION)
    full = Line2D([], [], marker="o", color=blue, ls="", mec="white", ms=8)
    doubted = {"color": to_rgba(ORANGE, 0.42), "lw": 7} if by_sample else {"ls": ""}
    bar = Line2D([], [], color=blue, alpha=0.28, lw=7)
    cross = partial(Line2D, [], [], marker="x", ls="")
    dashed = partial(Line2D, [], [], color=INK)
    mean = Patch(facecolor=blue, alpha=MEAN_BAND), Line2D([], [], color=blue, lw=1.8, alpha=0.85)
    return {
        "prediction": (full, "prediction"),
        "trusted": (full, "trusted"),
        "caution": (Line2D([], [], marker="o", mfc="white", mec=orange, mew=1.8, ms=7, **doubted), "caution"),
        "unusable": (cross(color=vermilion, mew=1.8, ms=7), "not usable"),
        "refused": (cross(color=GREY, mew=1.6, ms=6), "refused"),
        "interval": (bar, f"{percent} interval"),
        "noise": (Line2D([], [], color=INK, marker="|", ls="", ms=11, mew=NOISE_WIDTH), "by noise alone"),
        "probability": (bar, "probability"),
        "member": (full, f"in the {percent} set"),
        "open": (Line2D([], [], marker="^", color=GREY, ls="", ms=7), "no upper end"),
        "adsorbates": (Line2D([], [], ls="", ms=6, **ADSORBATES), "adsorbates"),
        "average": (mean, "mean of sweeps"),
        "bulk": (dashed(ls=(0, (1, 2)), lw=1.0), "bulk"),
        "truth": (dashed(ls=(0, (4, 2.5)), lw=1.3), "truth"),
    }
