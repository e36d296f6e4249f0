"""Where the panels of the live figure stand, its head line and its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from xas_live.callbacks.publishers.output_panels import panel_of
from xas_live.callbacks.publishers.panels import BLUE, GREY, INK, VERMILION, Key
from xas_live.prediction import OutputResult

_GAP = 0.13  # under axes with a label, in heights of all panels together


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
            1, 2, width_ratios=[1, 1.08], left=0.065, right=0.915, top=0.845, bottom=0.085, wspace=0.24
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
        self._absorber: Text = fig.text(0.065, 0.925, "", size=21, weight="bold", color=INK, va="bottom")
        self._sample: Text = fig.text(0.065, 0.915, "", size=12.5, color=GREY, va="top")
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

    def show_key(self, names: Sequence[Key], level: float) -> None:
        """Show these entries of the key above the first panel of results."""
        if not self._of_results or not names:
            return
        percent = f"{level:.0%}".replace("%", " %")
        self._keys["interval"].set_label(f"{percent} interval")
        self._keys["member"].set_label(f"in the {percent} set")
        next(iter(self._of_results.values())).legend(
            handles=[self._keys[name] for name in names],
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.04),
            ncols=len(names) if len(names) <= 4 else 3,  # in two rows what would run out of the figure
            frameon=False,
            fontsize=11,
            labelcolor=INK,
            columnspacing=1.3,
            handletextpad=0.5,
            borderaxespad=0.0,
        )


def _hspace(rows: int) -> float:
    """Room between rows, in mean heights of one, for the labels under each."""
    return _GAP * rows / (1.0 - _GAP * (rows - 1))


def _keys() -> dict[Key, Line2D]:
    return {
        "prediction": Line2D([], [], marker="o", color=BLUE, ls="", mec="white", ms=8, label="prediction"),
        "interval": Line2D([], [], color=BLUE, alpha=0.28, lw=7, label="interval"),
        "probability": Line2D([], [], color=BLUE, alpha=0.28, lw=7, label="probability (0 to 1)"),
        "member": Line2D([], [], marker="o", color=BLUE, ls="", mec="white", ms=8),
        "average": Line2D([], [], color=BLUE, lw=1.6, alpha=0.85, label="mean of sweeps"),
        "truth": Line2D([], [], color=INK, ls=(0, (4, 2.5)), lw=1.3, label="truth"),
        "outside": Line2D(
            [], [], marker="o", mfc="white", mec=VERMILION, mew=1.6, ls="", ms=7, label="out of domain"
        ),
        "refused": Line2D([], [], marker="x", color=GREY, mew=1.6, ls="", ms=6, label="refused"),
    }
