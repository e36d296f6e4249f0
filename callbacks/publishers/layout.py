"""Where the panels of the live figure stand, its head line and its key."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from xas_live.callbacks.publishers.marks import (
    ADSORBATES,
    BLUE,
    GREY,
    INK,
    LAMPS,
    ORANGE,
    SIGNS,
    VERMILION,
    said,
)
from xas_live.callbacks.publishers.output_panels import panel_of
from xas_live.callbacks.publishers.panels import Key, Point
from xas_live.prediction import Degree, OutputResult

_GAP = 0.13  # under axes with a label, in heights of all panels together
_LEFT = 0.065
_BAND = 0.937  # where the band of the verdict begins
_WHY = 2.3  # from the figure's left, where the verdict's reason begins (inches)
_KEY_COLUMNS = 4
_LETTER = 5.9  # width of one of the reason (points)


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
            1, 2, width_ratios=[1, 1.08], left=_LEFT, right=0.915, top=0.80, bottom=0.08, wspace=0.24
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
        self._keys = _keys()

    def place(self, results: Mapping[str, OutputResult]) -> dict[str, Axes]:
        """Axes for these results, one above the other; those before are taken away.

        Panels that lay sweeps out along x share it; curves, each with an axis of its own, stand below.
        """
        for ax in self._of_results.values():
            ax.remove()
        self._of_results = {}
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

    def judge(self, latest: Point) -> None:
        """Say in the band at the top how far to believe the latest sweep, and why."""
        degree = latest.prediction.verdict.degree
        ink = INK if degree in (Degree.CAUTION, None) else "white"
        self._band.set_visible(True)
        self._band.set_facecolor(LAMPS[degree])
        for text in (self._verdict, self._why):
            text.set_color(ink)
        self._verdict.set_text(f"{SIGNS[degree]}  {str(degree or 'not judged').upper()}")
        width = 72.0 * (0.96 * self._fig.bbox.width / self._fig.get_figure(root=True).dpi - _WHY)
        words = f"scan {latest.label}: {said(latest.prediction)}"
        lines = textwrap.wrap(words, max(20, int(width / _LETTER)), max_lines=2, placeholder=" …")
        self._why.set_text("\n".join(lines))

    def show_key(self, names: Collection[Key], level: float) -> None:
        """Show these entries of the key above the first panel of results."""
        if not self._of_results or not names:
            return
        percent = f"{level:.0%}".replace("%", " %")
        self._keys["interval"].set_label(f"{percent} interval")
        self._keys["member"].set_label(f"in the {percent} set")
        next(iter(self._of_results.values())).legend(
            handles=[handle for name, handle in self._keys.items() if name in names],
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.04),
            ncols=min(len(names), _KEY_COLUMNS),  # in two rows what would run out of the figure
            frameon=False,
            fontsize=10.5,
            labelcolor=INK,
            columnspacing=1.3,
            handletextpad=0.5,
            borderaxespad=0.0,
        )


def _hspace(rows: int) -> float:
    """Room between rows, in mean heights of one, for the labels under each."""
    return _GAP * rows / (1.0 - _GAP * (rows - 1))


def _keys() -> dict[Key, Line2D]:
    """Handles of all entries, in their order."""
    full = partial(Line2D, [], [], marker="o", color=BLUE, ls="", mec="white", ms=8)
    bar = partial(Line2D, [], [], color=BLUE, alpha=0.28, lw=7)
    cross = partial(Line2D, [], [], marker="x", ls="")
    return {
        "prediction": full(label="prediction"),
        "trusted": full(label="trusted"),
        "caution": Line2D([], [], marker="o", mfc="white", mec=ORANGE, mew=1.8, ls="", ms=7, label="caution"),
        "unusable": cross(color=VERMILION, mew=1.8, ms=7, label="not usable"),
        "refused": cross(color=GREY, mew=1.6, ms=6, label="refused"),
        "interval": bar(label="interval"),
        "probability": bar(label="probability (0 to 1)"),
        "member": full(),
        "adsorbates": Line2D([], [], ls="", ms=6, label="adsorbates", **ADSORBATES),
        "average": Line2D([], [], color=BLUE, lw=1.6, alpha=0.85, label="mean of sweeps"),
        "truth": Line2D([], [], color=INK, ls=(0, (4, 2.5)), lw=1.3, label="truth"),
    }
