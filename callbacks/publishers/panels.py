"""Panels of the live figure that every model has: each keeps its artists and only moves them.

Those of what a model gives are in `output_panels`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import date2num
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from xas_live.callbacks.publishers.marks import (
    BLUE,
    GREY,
    INK,
    PALE,
    PURPLE,
    DegreeDots,
    line,
    quality_light,
    quiet,
    ranks,
    verdict_light,
)
from xas_live.prediction import Prediction, Reduced, Value
from xas_live.spectrum import Array

XAxis = Literal["scan", "time"]
Key = Literal[
    "prediction", "trusted", "caution", "unusable", "refused", "interval", "probability", "member",
    "adsorbates", "average", "truth",
]  # fmt: skip
"""Entries of the figure's key."""

SIZE, CHEMISTRY = "size", "chemistry"
"""Names of the particle's size, and of the chemistry, among what a model gives."""


@dataclass(frozen=True)
class Point:
    """One prediction in the history: where it stands and what is known to be true.

    Attributes
    ----------
    prediction : the prediction.
    label : for the axis, as "12" or "12.3" (scan and sweep).
    time : Unix time of the sweep's last point (s), NaN if unknown.
    """

    prediction: Prediction
    label: str
    time: float

    def value(self, name: str) -> Value | None:
        """The value called `name`; `SIZE` is the diameter (nm)."""
        value, size = self.prediction.values.get(name), self.prediction.size
        if value is not None or name != SIZE or size is None:
            return value
        if size.diameter_nm is None or size.lower is None or size.upper is None:
            return None
        return Value(size.diameter_nm, math.nan, size.lower, size.upper, unit="nm")

    def truth(self, name: str) -> float:
        """What a simulation says the value is; NaN when nobody knows."""
        known = self._known("diameter_nm" if name == SIZE else name)
        return float(known) if isinstance(known, int | float) else math.nan

    def true_class(self, name: str) -> str:
        """What a simulation says the class is; empty when nobody knows."""
        known = self._known(name)
        return known if isinstance(known, str) else ""

    def _known(self, name: str) -> object:
        truth = self.prediction.provenance.metadata.get("truth")
        return truth.get(name) if isinstance(truth, dict) else None


@dataclass(frozen=True)
class Average:
    """The average over repeats: `point`, over the points of the history from `first` to `last`."""

    first: int
    last: int
    point: Point


def positions(points: Sequence[Point], x: XAxis) -> Array:
    """(n,) where the points stand: counted from 1, or as matplotlib dates."""
    if x == "scan":
        return np.arange(1.0, len(points) + 1)
    return np.array(
        [math.nan if math.isnan(p.time) else date2num(datetime.fromtimestamp(p.time)) for p in points]
    )


class SpectrumPanel:
    """The latest normalised spectrum over the foil, their difference, and the growing sweep as a preview."""

    TRACES = 6

    def __init__(self, ax: Axes) -> None:
        self.ax = ax
        quiet(ax)
        self._steps = [ax.axhline(level, color=PALE, lw=0.7, zorder=0) for level in (0, 1)]
        self._foil = line(ax, color=GREY, lw=4.5, alpha=0.45, solid_capstyle="round", label="foil")
        self._traces = [line(ax, color=BLUE, lw=1.0, alpha=0.08 + 0.04 * k) for k in range(self.TRACES)]
        self._latest = line(ax, color=BLUE, lw=2.2)
        self._growing = line(ax, color=PURPLE, lw=2.0, ls=(0, (2.2, 1.2)), label="measuring (preview)")
        self._head = line(ax, marker="o", color=PURPLE, mec="white", ms=10, zorder=5)
        self._name_axes(None)
        ax.set_xlim(-30, 90)
        ax.set_ylim(-0.08, 1.3)
        self._inset = ax.inset_axes((0.50, 0.13, 0.46, 0.34))
        quiet(self._inset)
        self._inset.axhline(0, color=PALE, lw=0.7, zorder=0)
        self._inset.set_title("minus the foil", size=11, color=GREY, loc="left", pad=3)
        self._inset.tick_params(labelsize=9)
        self._inset.yaxis.set_major_locator(MaxNLocator(3))
        self._old_differences = [
            line(self._inset, color=BLUE, lw=0.9, alpha=0.10 + 0.05 * k) for k in range(self.TRACES)
        ]
        self._difference = line(self._inset, color=BLUE, lw=1.8)
        self._inset.set_visible(False)

    def update(
        self, points: Sequence[Point], growing: tuple[Array, Array] | None = None, note: str = ""
    ) -> None:
        """Show the last spectra of the history, and the growing one as (energy from the edge, preview)."""
        every = [(p, p.prediction.reduced) for p in points if p.prediction.reduced is not None]
        every = every[-self.TRACES - 1 :]
        reduced = [r for _, r in every if r.kind == every[-1][1].kind]  # others have another axis
        self._name_axes(reduced[-1] if reduced else None)
        heights = [1.3]
        for artist in (*self._traces, *self._old_differences):
            artist.set_data([], [])
        if reduced:
            latest = reduced[-1]
            self._latest.set_data(latest.grid, latest.flat)
            self._latest.set_label(f"scan {every[-1][0].label}")
            self.ax.set_xlim(min(-30.0, float(latest.grid[0])), max(90.0, float(latest.grid[-1])))
            heights.append(1.1 * float(np.nanmax(latest.flat)))
            for line, old in zip(reversed(self._traces), reversed(reduced[:-1]), strict=False):
                line.set_data(old.grid, old.flat)
            self._differ(reduced)
        x, y = growing if growing is not None else (np.empty(0), np.empty(0))
        self._growing.set_data(x, y)
        self._head.set_data(x[-1:], y[-1:])
        if len(y):
            heights.append(1.1 * min(1.6, float(np.nanmax(y))))
        self.ax.set_ylim(-0.08, max(heights))
        if reduced and reduced[-1].kind == "chi":
            self._frame_chi(reduced)
        self.ax.set_title(note, loc="left", size=10.5, color=PURPLE, weight="bold")
        drawn = (self._foil, self._latest, self._growing)
        handles = [line for line in drawn if np.size(line.get_xdata())]
        if handles:
            self.ax.legend(handles=handles, loc="upper right", frameon=False, fontsize=11, labelcolor=INK)

    def _name_axes(self, reduced: Reduced | None) -> None:
        """Axis labels and lines for mu(E), or for chi(k)."""
        x, y = "energy from the edge (eV)", "normalised absorption"
        if reduced is not None and reduced.kind == "chi":
            power = ("", "k", "k²", "k³")[reduced.k_weight]
            unit = f" ({reduced.unit})" if reduced.unit else ""
            x, y = f"k ({reduced.x_unit})", f"{power}\u2009χ(k){unit}".lstrip()
        self.ax.set_xlabel(x, size=12, color=INK)
        self.ax.set_ylabel(y, size=12, color=INK)
        self._steps[1].set_visible(reduced is None or reduced.kind != "chi")

    def _frame_chi(self, reduced: Sequence[Reduced]) -> None:
        grid = reduced[-1].grid
        height = max(float(np.nanmax(np.abs(r.flat), initial=1e-6)) for r in reduced)
        self.ax.set_xlim(float(grid[0]), float(grid[-1]))
        self.ax.set_ylim(-1.1 * height, 1.4 * height)  # the legend stands above

    def _differ(self, reduced: Sequence[Reduced]) -> None:
        """Sample minus foil, of the latest and the ones before; hidden where there is no foil."""
        curves = [(r.grid, r.flat - r.foil) for r in reduced if r.foil is not None]
        foil = reduced[-1].foil
        self._inset.set_visible(foil is not None)
        if foil is None:
            self._foil.set_data([], [])
            return
        self._foil.set_data(reduced[-1].grid, foil)
        self._difference.set_data(*curves[-1])
        for artist, curve in zip(reversed(self._old_differences), reversed(curves[:-1]), strict=False):
            artist.set_data(*curve)
        low = min(float(np.nanmin(y, initial=-0.01)) for _, y in curves)
        high = max(float(np.nanmax(y, initial=0.01)) for _, y in curves)
        self._inset.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        self._inset.set_xlim(curves[-1][0][0], curves[-1][0][-1])


@dataclass(frozen=True, eq=False)
class Cloud:
    """Training spectra of a model in its latent coordinates.

    Attributes
    ----------
    model_sha256 : of the model.
    at : (n, 2) first two coordinates.
    target : (n,) the target that is shown, of each.
    name : of that target, as "CN1".
    """

    model_sha256: str
    at: Array
    target: Array
    name: str


class LatentPanel:
    """Where the sweeps lie among the model's training spectra; hidden while that is not known.

    Sweeps beyond the training spectra stand at the rim.
    """

    def __init__(self, ax: Axes) -> None:
        self.ax = ax
        self._cloud: Cloud | None = None
        self._training = ax.scatter([], [], c=[], s=11, lw=0, cmap=_SHADES, zorder=1)
        self._way = line(ax, color=BLUE, lw=1.0, alpha=0.4, zorder=2)
        self._dots = DegreeDots(ax, clip_on=False, zorder=3)
        self._newest = DegreeDots(ax, clip_on=False, zorder=4)
        quiet(ax)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title("among training spectra", loc="left", size=10, color=GREY, pad=4)
        ax.set_visible(False)

    def update(self, points: Sequence[Point], cloud: Cloud | None) -> None:
        """Show the sweeps that the cloud's model has judged, over the cloud; the newest of all stands out."""
        self.ax.set_visible(cloud is not None)
        if cloud is None:
            return
        if cloud is not self._cloud:
            self._cloud = cloud
            self._frame(cloud)
        judged = [
            p
            for p in points
            if p.prediction.domain.latent and p.prediction.model_sha256 == cloud.model_sha256
        ]
        low, high = np.transpose([self.ax.get_xlim(), self.ax.get_ylim()])
        at = np.array([p.prediction.domain.latent[:2] for p in judged]).reshape(-1, 2).clip(low, high)
        rank = ranks([p.prediction.verdict for p in judged])
        self._way.set_data(at.T)
        self._dots.draw(at[:, 0], at[:, 1], rank, size=4.5 if len(at) <= 50 else 3.0)
        newest = slice(-1, None) if judged and judged[-1] is points[-1] else slice(0)
        self._newest.draw(at[newest, 0], at[newest, 1], rank[newest], size=10.0)

    def _frame(self, cloud: Cloud) -> None:
        self._training.set_offsets(cloud.at)
        self._training.set_array(cloud.target)
        self._training.autoscale()
        low, high = cloud.at.min(axis=0), cloud.at.max(axis=0)
        margin = 0.06 * (high - low)
        (left, bottom), (right, top) = low - margin, high + margin
        self.ax.set_xlim(left, right)
        self.ax.set_ylim(bottom, top)
        self.ax.set_xlabel(
            f"darker: higher {cloud.name}" if cloud.name else "", loc="left", size=10, color=GREY, labelpad=3
        )


_SHADES = LinearSegmentedColormap.from_list("shades", ["#E4E7EA", "#8E959C"])
_LAMP, _WORDS = 0.19, 0.54  # from the panel's left (inches)
_LETTER_OF_WORDS = 5.6  # width of one (points)


class LightsPanel:
    """Two lights, with words: how far to believe the latest sweep, and are its data sound.

    Parameters
    ----------
    ax : where to draw.
    beside : axes to the right, whose room the words take while they are hidden.
    """

    def __init__(self, ax: Axes, beside: Axes | None = None) -> None:
        self.ax = ax
        self._beside = beside
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        figure = ax.get_figure(root=True)
        assert figure is not None
        lamp, words = (
            ax.transData + ScaledTranslation(inches, 0.0, figure.dpi_scale_trans)
            for inches in (_LAMP, _WORDS)
        )
        rows = (0.92, 0.28)
        light = partial(line, ax, marker="o", ms=30, mew=2, clip_on=False, transform=lamp)
        sign = partial(ax.text, weight="bold", color="white", ha="center", va="center_baseline")
        text = partial(ax.text, 0.0, s="", transform=words)
        self._lamps = [light([0.0], [y]) for y in rows]
        self._signs = [sign(0.0, y - 0.01, "", size=17, transform=lamp) for y in rows]
        self._titles = [text(y=y + 0.07, size=14, weight="bold", color=INK, va="center") for y in rows]
        self._words = [text(y=y - 0.02, size=11, color=GREY, va="top") for y in rows]
        self.update(None)

    def update(self, prediction: Prediction | None) -> None:
        """Show the verdict on the latest sweep."""
        lights = verdict_light(prediction), quality_light(prediction)
        for k, (colour, sign, title, words) in enumerate(lights):
            self._lamps[k].set_color(colour)
            self._lamps[k].set_markeredgecolor("white")
            self._signs[k].set_text(sign)
            self._titles[k].set_text(title)
            self._words[k].set_text(self._wrapped(words, lines=(3, 4)[k]))  # nothing stands under the second

    def _wrapped(self, words: str, lines: int) -> str:
        last = self.ax if self._beside is None or self._beside.get_visible() else self._beside
        pixels = last.get_window_extent().x1 - self.ax.get_window_extent().x0
        inches = pixels / self.ax.get_figure(root=True).dpi - _WORDS  # type: ignore[union-attr]
        columns = max(24, int(72 * inches / _LETTER_OF_WORDS))
        return "\n".join(textwrap.wrap(words, columns, max_lines=lines, placeholder=" …"))
