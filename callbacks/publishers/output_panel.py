"""What every panel of a model's results has: its name beside it, and the axis of sweeps."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from xas_live.callbacks.publishers.marks import INK, quiet, shortened
from xas_live.callbacks.publishers.series import Point, Shown
from xas_live.callbacks.publishers.trails import LARGEST, SMALLEST
from xas_live.prediction import OutputResult

Key = Literal[
    "prediction", "trusted", "caution", "unusable", "refused", "interval", "noise", "probability", "member",
    "open", "adsorbates", "average", "bulk", "truth",
]  # fmt: skip
"""Entries of the figure's key."""

_TICKS, _FEWEST_TICKS = 8, 4  # along the axis of scans
_LETTER = 7.5  # width of one in a tick's label (points)
_LABEL_ROOM = 7  # letters of full size that a label has room for at the usual place beside the axis
_LABEL_LETTER = 0.03  # width of one, in widths of the axis
_UNITS = {"temperature": "temperature (K)"}
_SMALL, _FULL_HEIGHT = 7.5, 44.0  # smallest letters beside a panel; panels so high have them in full (points)
_UNDER = -0.3  # where the label of the axis stands (inches)
_SECOND = 1.0 / 86400.0  # in matplotlib's dates


class OutputPanel(ABC):
    """One result of the model; a subclass a kind of result.

    Parameters
    ----------
    ax : where to draw.
    name : of the target or output.
    example : a result of it, whose names and units the axes take.
    x : what sweeps are laid out against: "scan", "time" or the name of a signal.
    last : whether the axis of sweeps is labelled here.

    Attributes
    ----------
    by_sweep : whether sweeps are laid out along x.
    keys : what of the figure's key it needs always.
    """

    by_sweep: ClassVar[bool] = True
    keys: ClassVar[tuple[Key, ...]] = ()

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: str, *, last: bool) -> None:
        self.ax = ax
        self.name = name
        self.x = x
        self.last = last
        self._points: Sequence[Point] = ()
        self._scans = MaxNLocator(_TICKS, integer=True, min_n_ticks=1)
        quiet(ax)

    @classmethod
    def height(cls, example: OutputResult) -> float:
        """Height that it should have, in those of a number's panel."""
        return 1.0

    def needs(self, shown: Shown) -> set[Key]:
        """What of the figure's key it needs for these points, besides `keys`."""
        return set()

    @abstractmethod
    def update(self, shown: Shown) -> None:
        """Show these points, and a line across those that were averaged."""

    def _name_beside(self, label: str, at: float = -0.075) -> None:
        """Name the panel to the left of its axis, at `at`; a long name in lines and in smaller letters."""
        room = _LABEL_ROOM + round((at + 0.075) / _LABEL_LETTER)
        lines = [label] if len(label) <= room else textwrap.wrap(label.replace("_", " "), room)
        if any(len(word) > room for word in label.replace("_", " ").split()):
            lines = label.replace("_", " ").split()
        size = 13.0 * min(1.0, room / max(map(len, lines)))
        self.ax.set_ylabel(
            "\n".join(lines), rotation=0, ha="right", va="center", size=size, weight="bold", color=INK
        )
        self.ax.yaxis.set_label_coords(at, 0.5)

    def _lay_out_sweeps(self) -> None:
        """Ticks of the axis of sweeps."""
        axis = self.ax.xaxis
        axis.set_visible(self.last)
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        # At a fixed place, no label is placed anew at every redraw.
        below = ScaledTranslation(0.0, _UNDER, figure.dpi_scale_trans)
        axis.set_label_coords(0.5, 0.0, transform=self.ax.transAxes + below)
        if self.x == "scan":
            axis.set_major_locator(self._scans)
            axis.set_major_formatter(FuncFormatter(self._scan_label))
        elif self.x == "time":
            locator = AutoDateLocator(minticks=3, maxticks=6)
            axis.set_major_locator(locator)
            axis.set_major_formatter(ConciseDateFormatter(locator, show_offset=self.last))
        else:
            axis.set_major_locator(MaxNLocator(_TICKS))

    def _frame_sweeps(self, shown: Shown) -> None:
        """Limits and label of the axis of sweeps; call it before averages are drawn."""
        self._points = shown.points
        at = shown.at[np.isfinite(shown.at)]
        if self.x == "scan":
            self.ax.set_xlim(0.4, max(len(at), 5) + 0.6)
            longest = max((len(_stem(point.label)) for point in shown.points[-_TICKS:]), default=1)
            ticks = int(self._width() / (longest * _LETTER))
            self._scans.set_params(nbins=min(_TICKS, max(_FEWEST_TICKS, ticks)))
        elif len(at):
            least = 30.0 * _SECOND if self.x == "time" else max(0.01 * abs(float(at[0])), 1e-9)
            low, high = float(at.min()), float(at.max())
            margin = 0.04 * (high - low) or least
            self.ax.set_xlim(low - margin, high + margin)
        if self.x not in ("scan", "time"):
            self.ax.tick_params(labelbottom=len(at) > 0)
        if self.last:
            self.ax.set_xlabel(self._sweeps_name(shown, len(shown) - len(at)), size=12, color=INK)

    def _sweeps_name(self, shown: Shown, missing: int) -> str:
        name = _UNITS.get(self.x, self.x)
        if not missing:
            return name
        if missing < len(shown):
            return f"{name}  ·  {missing} of {len(shown)} sweeps have none and are not shown"
        known = sorted({signal for point in shown.points for signal in point.signals})
        return f"no sweep has a {self.x}: recorded are {', '.join(('scan', 'time', *known))}"

    def _size_of_one(self, shown: Shown) -> tuple[float, float]:
        """Size of a point, and width of its interval (typographical points), by the room that one has."""
        width = self._width() / max(len(shown), 5)
        return min(LARGEST, max(SMALLEST, 0.8 * width)), min(7.0, max(1.2, 0.75 * width))

    def _scan_label(self, x: float, _: int | None = None) -> str:
        index = round(x) - 1
        if not 0 <= index < len(self._points):
            return ""
        low, high = self.ax.get_xlim()
        between = np.diff(self._scans.tick_values(low, high)[:2])
        share = min(1.0, float(between[0]) / (high - low)) if len(between) else 1.0
        return shortened(_stem(self._points[index].label), max(4, int(share * self._width() / _LETTER)))

    def _letters(self, full: float) -> float:
        """Size of letters beside a panel, smaller in a low one (points)."""
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        height = 72.0 * self.ax.get_window_extent().height / figure.dpi
        return max(min(full, _SMALL), full * min(1.0, height / _FULL_HEIGHT))

    def _width(self) -> float:
        """Of the axes (typographical points)."""
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        return float(72.0 * self.ax.get_window_extent().width / figure.dpi)


def _stem(label: str) -> str:
    """The label of a scan; of a file's name what stands before its ending."""
    stem, _, ending = label.rpartition(".")
    return stem if stem and ending.isalpha() else label
