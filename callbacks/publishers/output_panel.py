"""What every panel of a model's results has: its name beside it, and the axis of sweeps."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from xas_live.callbacks.publishers.marks import INK, quiet
from xas_live.callbacks.publishers.panels import Average, Key, Point, XAxis
from xas_live.prediction import OutputResult
from xas_live.spectrum import Array

_TICKS = 8  # along the axis of scans
_LETTER = 7.5  # width of one in a tick's label (points)
_LABEL_ROOM = 7  # letters of full size that a label has room for at the usual place beside the axis
_LABEL_LETTER = 0.03  # width of one, in widths of the axis


class OutputPanel(ABC):
    """One result of the model; a subclass a kind of result.

    Parameters
    ----------
    ax : where to draw.
    name : of the target or output.
    example : a result of it, whose names and units the axes take.
    x : what sweeps are laid out against.
    last : whether the axis of sweeps is labelled here.

    Attributes
    ----------
    by_sweep : whether sweeps are laid out along x.
    keys : what of the figure's key it needs.
    """

    by_sweep: ClassVar[bool] = True
    keys: ClassVar[tuple[Key, ...]] = ()

    def __init__(self, ax: Axes, name: str, example: OutputResult, x: XAxis, *, last: bool) -> None:
        self.ax = ax
        self.name = name
        self.x: XAxis = x
        self.last = last
        self._points: Sequence[Point] = ()
        quiet(ax)

    @classmethod
    def height(cls, example: OutputResult) -> float:
        """Height that it should have, in those of a number's panel."""
        return 1.0

    def knows_truth(self, points: Sequence[Point]) -> bool:
        """Whether the truth of any point is known."""
        return False

    @abstractmethod
    def update(self, points: Sequence[Point], averages: Sequence[Average] = ()) -> None:
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
        """Ticks and label of the axis of sweeps."""
        ax = self.ax
        ax.tick_params(labelbottom=self.last)
        if self.x == "scan":
            ax.xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True, min_n_ticks=1))
            ax.xaxis.set_major_formatter(FuncFormatter(self._scan_label))
        else:
            locator = AutoDateLocator(maxticks=6)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        if self.last:
            ax.set_xlabel(self.x, size=12, color=INK)

    def _frame_sweeps(self, at: Array) -> None:
        at = at[np.isfinite(at)]
        if self.x == "scan":
            self.ax.set_xlim(0.4, max(len(at), 5) + 0.6)
        elif len(at):
            margin = max(0.02 * (at.max() - at.min()), 1.0 / (24 * 60))
            self.ax.set_xlim(at.min() - margin, at.max() + margin)

    def _width_of_one(self, count: int) -> float:
        """Room that one point has along the axis (typographical points)."""
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        return 72.0 * self.ax.get_window_extent().width / figure.dpi / max(count, 5)

    def _scan_label(self, x: float, _: int | None = None) -> str:
        index = round(x) - 1
        if not 0 <= index < len(self._points):
            return ""
        label = self._points[index].label  # a scan's number, or a file's name, which may be long
        room = int(self._width_of_one(min(len(self._points), _TICKS)) / _LETTER)
        return label if len(label) <= room else f"{label[: max(3, room - 1)]}…"
