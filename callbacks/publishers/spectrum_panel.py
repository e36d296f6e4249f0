"""Panel of the spectra: the latest over the foil, a waterfall of the last ones, or the raw channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from xas_live.callbacks.publishers.marks import (
    BLUE,
    GREY,
    INK,
    PALE,
    PLAIN,
    PURPLE,
    STYLES,
    line,
    quiet,
    shortened,
)
from xas_live.callbacks.publishers.series import PRE_EDGE, Point, Shown
from xas_live.prediction import Reduced
from xas_live.spectrum import Array, Spectrum

TRACES = 6
"""Earlier spectra behind the latest one."""

IN_WATERFALL = 12
"""Spectra of a waterfall."""

_STEP = 0.15  # from one spectrum of a waterfall to the next (edge steps)
_NAMES = 8.0  # room for the names beside them (eV)
_VISIBLE = 0.004  # noise below is narrower than the line
_TAIL = 30.0  # eV from the edge: the key stands above what lies beyond
_KEY_ROW = 0.07  # height of one of its rows, in heights of the panel
_LABEL, _SHORT_LABEL = 22, 7  # letters of a scan's name
_NOTE = 32  # and above the panel
_CHANNELS = (BLUE, "#117733", "#882255", GREY, INK)


@dataclass(frozen=True, eq=False)
class Growing:
    """A sweep that is being measured.

    Attributes
    ----------
    label : of its scan.
    curve : energies from the edge (eV) and about its normalised absorption; None while it cannot be said.
    words : how far it is, and what the preview says.
    foreign : it is of another absorber than the spectra shown.
    """

    label: str
    curve: tuple[Array, Array] | None
    words: str
    foreign: bool = False


class SpectrumPanel:
    """Normalised spectra from before the edge on, their differences from the foil, and the growing sweep."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax
        quiet(ax)
        self._steps = [ax.axhline(level, color=PALE, lw=0.7, zorder=0) for level in (0, 1)]
        self._foil = line(ax, color=GREY, lw=4.5, alpha=0.45, solid_capstyle="round", label="foil")
        self._traces = [line(ax, lw=1.0) for _ in range(IN_WATERFALL - 1)]
        self._names = [ax.text(0, 0, "", size=8.5, va="center") for _ in range(IN_WATERFALL)]
        self._noise = PolyCollection([], lw=0.0, alpha=0.22, zorder=1.9, label="noise of a point")
        ax.add_collection(self._noise, autolim=False)
        self._latest = line(ax, color=BLUE, lw=2.2)
        self._growing = line(ax, color=PURPLE, lw=2.0, ls=(0, (2.2, 1.2)), label="measuring (preview)")
        self._head = line(ax, marker="o", color=PURPLE, mec="white", ms=10, zorder=5)
        self._channels = [line(ax, color=colour, lw=1.4) for colour in _CHANNELS]
        self._note = ax.set_title("", loc="left", size=10.5, color=PURPLE, weight="bold", y=1.0)
        self._inset = ax.inset_axes((0.53, 0.13, 0.44, 0.34))
        quiet(self._inset)
        self._inset.axhline(0, color=PALE, lw=0.7, zorder=0)
        self._inset.set_title("minus the foil, over eV", size=10, color=GREY, loc="left", pad=3, y=1.0)
        self._inset.tick_params(labelsize=9)
        self._inset.yaxis.set_major_locator(MaxNLocator(3))
        self._old_differences = [line(self._inset, lw=0.9) for _ in range(TRACES)]
        self._difference = line(self._inset, color=BLUE, lw=1.8)
        self._key: tuple[object, ...] = ()
        ax.xaxis.set_label_coords(0.5, -0.085)
        ax.yaxis.set_label_coords(-0.095, 0.5)
        self._name_axes(None, waterfall=False)
        ax.set_xlim(PRE_EDGE, 90)
        ax.set_ylim(-0.08, 1.3)
        self._inset.set_visible(False)

    def update(
        self,
        shown: Shown,
        growing: Growing | None = None,
        *,
        waterfall: bool = False,
        raw: Spectrum | None = None,
    ) -> None:
        """Show the last spectra, and the growing one.

        Parameters
        ----------
        shown : what is shown.
        growing : the sweep that is being measured.
        waterfall : shift earlier spectra up, one above the other.
        raw : show the channels of this sweep instead.
        """
        self._clear()
        label = "" if growing is None else shortened(growing.label, _NOTE)
        self._note.set_text("" if growing is None else f"measuring scan {label}{growing.words}")
        if raw is not None:
            self._show_channels(raw)
            return
        points = [p for p in shown.points if p.prediction.reduced is not None]
        if growing is not None and growing.foreign and growing.curve is not None:
            points = []  # spectra of another edge
        points = points[-IN_WATERFALL if waterfall else -TRACES - 1 :]
        kind = _reduced(points[-1]).kind if points else None
        points = [p for p in points if _reduced(p).kind == kind]  # others have another axis
        waterfall = waterfall and kind != "chi"
        heights = [1.3]
        if growing is not None and growing.curve is not None:
            x, y = growing.curve
            self._growing.set_data(x, y)
            self._head.set_data(x[-1:], y[-1:])
            heights.append(1.1 * min(1.6, float(np.nanmax(y, initial=0.0))))
        self._name_axes(_reduced(points[-1]) if points else None, waterfall=waterfall)
        self.ax.set_xlim(PRE_EDGE, 90.0)
        if points:
            heights += self._show_spectra(points, _colours(points, shown), waterfall=waterfall)
        traces = [self._traces[0]] if len(points) > 1 else []
        key = [] if waterfall else [self._foil, self._latest, self._noise, *traces, self._growing]
        room = 1.0 - _KEY_ROW * self._explain(key)
        tails = [_tail(points[-1]) / room] if points else []
        self.ax.set_ylim(-0.08, max(heights + tails))
        if kind == "chi":
            self._frame_chi([_reduced(p) for p in points])

    def _clear(self) -> None:
        for artist in (*self._traces, *self._old_differences, *self._channels):
            artist.set_data([], [])
        for artist in (self._foil, self._latest, self._difference, self._growing, self._head):
            artist.set_data([], [])
        for name in self._names:
            name.set_text("")
        self._noise.set_verts([])
        self._inset.set_visible(False)

    def _show_spectra(
        self, points: Sequence[Point], colours: Sequence[str], *, waterfall: bool
    ) -> list[float]:
        """Draw the spectra, in a waterfall each earlier one above the next; returns the heights they need."""
        latest, (x, y) = points[-1], _curve(points[-1])
        step = _STEP if waterfall else 0.0
        if not waterfall:
            self._differ([_reduced(p) for p in points], colours)
        room = _NAMES if waterfall else 0.0
        self.ax.set_xlim(min(-30.0, float(x[0])), max(90.0, float(x[-1])) + room)
        self._latest.set_data(x, y)
        self._latest.set_color(colours[-1])
        self._latest.set_label(f"scan {shortened(latest.label, _LABEL)}")
        if latest.noise > _VISIBLE:
            around = np.concatenate([y - latest.noise, (y + latest.noise)[::-1]])
            self._noise.set_verts([np.stack([np.concatenate([x, x[::-1]]), around], axis=1)])
            self._noise.set_facecolor(colours[-1])
        before = list(zip(reversed(points[:-1]), reversed(colours[:-1]), strict=True))
        for k, (artist, (point, colour)) in enumerate(zip(self._traces, before, strict=False), start=1):
            of_x, of_y = _curve(point)
            artist.set_data(of_x, of_y + k * step)
            artist.set_color(colour)
            artist.set_alpha(0.7 if step else max(0.12, 0.4 - 0.05 * k))
            artist.set_label("sweeps before" if k == 1 else "_")
        if step:
            everyone = [(latest, colours[-1]), *before]
            for k, (name, (point, colour)) in enumerate(zip(self._names, everyone, strict=False)):
                of_x, of_y = _curve(point)
                name.set_position((float(of_x[-1]) + 1.0, float(of_y[-1]) + k * step))
                name.set_text(shortened(point.label, _SHORT_LABEL))
                name.set_color(colour)
                name.set_fontweight("normal" if k else "bold")
        return [1.1 * float(np.nanmax(_curve(p)[1])) + k * step for k, p in enumerate(reversed(points))]

    def _name_axes(self, reduced: Reduced | None, *, waterfall: bool) -> None:
        """Axis labels and lines for mu(E), or for chi(k)."""
        x, y = "energy from the edge (eV)", "normalised absorption"
        if reduced is not None and reduced.kind == "chi":
            power = ("", "k", "k²", "k³")[reduced.k_weight]
            unit = f" ({reduced.unit})" if reduced.unit else ""
            x, y = f"k ({reduced.x_unit})", f"{power}\u2009χ(k){unit}".lstrip()
        if waterfall:
            y = f"normalised, sweeps before shifted by {_STEP:g} each"
        self.ax.set_xlabel(x, size=12, color=INK)
        self.ax.set_ylabel(y, size=10.5 if waterfall else 12, color=INK)
        self._steps[0].set_visible(True)
        self._steps[1].set_visible(reduced is None or reduced.kind != "chi")

    def _frame_chi(self, reduced: Sequence[Reduced]) -> None:
        grid = reduced[-1].grid
        height = max(float(np.nanmax(np.abs(r.flat), initial=1e-6)) for r in reduced)
        self.ax.set_xlim(float(grid[0]), float(grid[-1]))
        self.ax.set_ylim(-1.1 * height, 1.4 * height)  # the legend stands above

    def _differ(self, reduced: Sequence[Reduced], colours: Sequence[str]) -> None:
        """Sample minus foil, of the latest and the ones before; hidden where there is no foil."""
        foil = reduced[-1].foil
        self._inset.set_visible(foil is not None)
        if foil is None:
            return
        self._foil.set_data(reduced[-1].grid, foil)
        pairs = zip(reduced, colours, strict=True)
        curves = [(r.grid, r.flat - r.foil, colour) for r, colour in pairs if r.foil is not None]
        x, y, colour = curves[-1]
        self._difference.set_data(x, y)
        self._difference.set_color(colour)
        for k, (artist, curve) in enumerate(zip(self._old_differences, reversed(curves[:-1]), strict=False)):
            artist.set_data(*curve[:2])
            artist.set_color(curve[2])
            artist.set_alpha(max(0.15, 0.4 - 0.05 * k))
        low = min(float(np.nanmin(y, initial=-0.01)) for _, y, _ in curves)
        high = max(float(np.nanmax(y, initial=0.01)) for _, y, _ in curves)
        self._inset.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        self._inset.set_xlim(float(x[0]), float(x[-1]))

    def _show_channels(self, sweep: Spectrum) -> None:
        """Draw the counts of a sweep, or its absorption where there are none, each over its largest value."""
        reference = {} if sweep.reference is None else {"reference": sweep.reference}
        columns = sweep.counts or {"mu": sweep.mu, **reference}
        for artist, (name, column) in zip(self._channels, columns.items(), strict=False):
            largest = float(np.nanmax(np.abs(column), initial=0.0))
            artist.set_data(sweep.energy, column / (largest or 1.0))
            artist.set_label(f"{name}, largest {largest:.3g}")
        good = sweep.energy[np.isfinite(sweep.energy)]
        if len(good) > 1:
            self.ax.set_xlim(float(good.min()), float(good.max()))
        self.ax.set_ylim(-0.08, 1.45)  # the legend stands above
        self.ax.set_xlabel("energy (eV)", size=12, color=INK)
        self.ax.set_ylabel(
            f"scan {shortened(sweep.provenance.scan, _LABEL)}, each over its largest", size=10.5, color=INK
        )
        self._steps[1].set_visible(False)
        self._explain(self._channels)

    def _explain(self, artists: Sequence[Artist]) -> int:
        """Show the key of what is drawn of these, made anew only where it has changed; returns its rows."""
        drawn = [each for each in artists if _has_points(each)]
        colours = [each.get_color() for each in drawn if each is self._latest]
        key = (*(str(each.get_label()) for each in drawn), *colours)
        if key == self._key:
            return len(drawn)
        self._key = key
        if drawn:
            self.ax.legend(handles=drawn, loc="upper right", frameon=False, fontsize=10.5, labelcolor=INK)
        elif (legend := self.ax.get_legend()) is not None:
            legend.remove()
        return len(drawn)


def _has_points(artist: Artist) -> bool:
    if isinstance(artist, PolyCollection):
        return bool(artist.get_paths())
    return bool(np.size(artist.get_xdata()))  # type: ignore[attr-defined]


def _tail(point: Point) -> float:
    """Height of what stands below the key, of the spectrum and its foil."""
    reduced = _reduced(point)
    behind = reduced.grid > _TAIL
    curves = [each[behind] for each in (reduced.flat, reduced.foil) if each is not None]
    return max(float(np.nanmax(each, initial=0.0)) for each in curves) + 0.04


def _reduced(point: Point) -> Reduced:
    reduced = point.prediction.reduced
    assert reduced is not None
    return reduced


def _curve(point: Point) -> tuple[Array, Array]:
    assert point.curve is not None
    return point.curve


def _colours(points: Sequence[Point], shown: Shown) -> list[str]:
    marks = {group.sample: group.mark for group in shown.groups}
    return [STYLES[marks.get(point.sample, PLAIN)][1] for point in points]
