"""LiveStructurePlot: the figure that grows while the plan runs."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from xas_live.callbacks.assembly.absorber import edge_energy
from xas_live.callbacks.live.several import Leads
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.callbacks.publishers.panels import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    Average,
    Cloud,
    LatentPanel,
    LightsPanel,
    Point,
    SeriesPanel,
    SpectrumPanel,
    XAxis,
)
from xas_live.prediction import Prediction
from xas_live.spectrum import Array, Spectrum

REDRAW_INTERVAL_MS = 200
"""A figure on the screen is redrawn at most this often (ms)."""

TARGETS = ("CN1", "CN2", "CN3", "CN4", "R1")


class LiveStructurePlot(BasePublisher):
    """A live figure: the spectrum over the foil, coordination numbers, size, two lights, and the latent map.

    On a screen it draws in the main thread's event loop, at most five times a second, never in the worker;
    without one (Agg) it draws on `refresh` and `save`. Closing its window ends the drawing and nothing else.
    It shows the absorber measured last; a change of element or edge begins a new history, a refused sweep of
    which neither is known does not. Of several models it shows the lead's predictions.

    Parameters
    ----------
    x : "scan" lays the predictions out one by one, "time" by the clock.
    targets : values to show, one panel each.
    ax : your own axes, to embed the plot, by panel: any of "spectrum", "lights", "size", "latent" and the
        targets. Only these are drawn into.
    fig : your own figure or subfigure to lay all panels out in. Default: a new figure.
    history : number of predictions kept.

    Raises
    ------
    ValueError : for both `ax` and `fig`, panels that do not exist, or another `x`.

    Examples
    --------
    >>> plot = LiveStructurePlot(x="time")
    >>> live = LiveAnalysis(AnalyzerPool(), [plot])
    >>> plot.save("structure.png")
    """

    def __init__(
        self,
        *,
        x: XAxis = "scan",
        targets: Sequence[str] = TARGETS,
        ax: Mapping[str, Axes] | None = None,
        fig: Figure | SubFigure | None = None,
        history: int = 2000,
    ) -> None:
        if x not in get_args(XAxis):
            raise ValueError(f"x is 'scan' or 'time', not {x!r}")
        if ax is not None and fig is not None:
            raise ValueError("give either ax (your axes by panel) or fig (a figure to fill), not both")
        panels = ("spectrum", "lights", *targets, "size", "latent")
        if ax is not None and (unknown := sorted(set(ax) - set(panels))):
            raise ValueError(f"there are no panels {', '.join(unknown)}: choose from {', '.join(panels)}")
        self._lock = threading.Lock()
        self._points: deque[Point] = deque(maxlen=history)
        self._averages: dict[tuple[str | None, str], Point] = {}
        self._last: tuple[Spectrum, Prediction] | None = None
        self._absorber: tuple[str | None, str | None] | None = None
        self._leads = Leads()
        self._growing: Spectrum | None = None
        self._foreseen: Prediction | None = None
        self._clouds: dict[str, Cloud | None] = {}
        self._changed = True
        self._open = True
        self._titles: dict[str, Any] = {}
        axes = (
            dict(ax) if ax is not None else self._lay_out(fig if fig is not None else _new_figure(), targets)
        )
        if not axes:
            raise ValueError(f"ax names no panel: choose from {', '.join(panels)}")
        self.figure: Figure = next(iter(axes.values())).get_figure(root=True)  # type: ignore[assignment]
        series = [name for name in (*targets, "size") if name in axes]
        self._series = [
            SeriesPanel(axes[name], name, "R1 (Å)" if name == "R1" else name, x, last=name == series[-1])
            for name in series
        ]
        self._spectrum = SpectrumPanel(axes["spectrum"]) if "spectrum" in axes else None
        self._latent = LatentPanel(axes["latent"]) if "latent" in axes else None
        beside = axes["latent"] if ax is None else None
        self._lights = LightsPanel(axes["lights"], beside) if "lights" in axes else None
        self.figure.canvas.mpl_connect("close_event", self._window_closed)
        # Backends without an event loop give a timer that never fires.
        self._timer = self.figure.canvas.new_timer(interval=REDRAW_INTERVAL_MS)
        self._timer.add_callback(self._tick)
        self._timer.start()

    # --- called in the worker thread: only takes notes ---------------------------------------------------

    def measuring(self, spectrum: Spectrum, preview: Prediction | None = None) -> None:
        """Show the growing sweep as a preview, at the next redraw."""
        with self._lock:
            self._growing, self._foreseen = spectrum, preview
            self._changed = True

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Add the lead's prediction, at the next redraw."""
        if not self._leads(spectrum, prediction):
            return
        with self._lock:
            if (absorber := _absorber(prediction)) != (None, None):
                if self._absorber not in (None, absorber):
                    self._points.clear()
                    self._averages.clear()
                    self._last = None
                self._absorber = absorber
            self._points.append(_point(prediction))
            if prediction.reduced is not None:
                self._last = (spectrum, prediction)
            self._growing = None
            self._changed = True

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Draw a line across the sweeps that it is the average of, at the next redraw."""
        with self._lock:
            point = _point(prediction)
            self._averages[_run(point)] = point
            shown = {_run(p) for p in self._points}
            self._averages = {run: p for run, p in self._averages.items() if run in shown}
            self._changed = True

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        """Take the preview away: what was still growing came to nothing."""
        with self._lock:
            self._growing = None
            self._changed = True

    # --- called in the main thread -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the figure up to date now. Call it from the thread that owns the figure."""
        with self._lock:
            points, growing, last = list(self._points), self._growing, self._last
            foreseen = self._foreseen
            averages = _laid_over(points, self._averages.values())
            self._changed = False
        for panel in self._series:
            panel.update(points, averages)
        if self._spectrum is not None:
            preview, note = None, ""
            if growing is not None:
                preview = previewed(growing, last)
                where = growing.provenance
                note = f"measuring scan {where.scan}: {np.nanmax(growing.energy):.0f} eV{_words(foreseen)}"
            self._spectrum.update(points, preview, note)
        if self._latent is not None:
            self._latent.update(points, self._cloud_of(points))
        if self._lights is not None:
            self._lights.update(points[-1].prediction if points else None)
        self._head_line(points, averages)

    def save(self, path: str | Path, dpi: int = 150) -> Path:
        """Bring the figure up to date and write it to a file of any kind matplotlib knows."""
        self.refresh()
        self.figure.savefig(path, dpi=dpi)
        return Path(path)

    def _cloud_of(self, points: Sequence[Point]) -> Cloud | None:
        """The training spectra of the model that judged last; None where none did, or they are not there."""
        judged = next((p.prediction for p in reversed(points) if p.prediction.domain.latent), None)
        if judged is None:
            return None
        if judged.model_sha256 not in self._clouds:
            self._clouds[judged.model_sha256] = _load_cloud(judged.model_sha256)
        return self._clouds[judged.model_sha256]

    def _tick(self) -> None:
        if self._open and self._changed:
            self.refresh()
            self.figure.canvas.draw_idle()

    def _window_closed(self, _: Any) -> None:
        self._open = False
        self._timer.stop()

    def _lay_out(self, fig: Figure | SubFigure, targets: Sequence[str]) -> dict[str, Axes]:
        halves = fig.add_gridspec(
            1, 2, width_ratios=[1, 1.08], left=0.065, right=0.915, top=0.845, bottom=0.085, wspace=0.24
        )
        left = halves[0].subgridspec(2, 1, height_ratios=[1, 0.42], hspace=0.29)
        below = left[1].subgridspec(1, 2, width_ratios=[1.45, 1], wspace=0.08)
        right = halves[1].subgridspec(
            len(targets) + 1, 1, height_ratios=[1.35, *[1] * (len(targets) - 1), 1.1], hspace=0.2
        )
        axes = {
            "spectrum": fig.add_subplot(left[0]),
            "lights": fig.add_subplot(below[0]),
            "latent": fig.add_subplot(below[1]),
        }
        first: Axes | None = None
        for k, name in enumerate((*targets, "size")):
            axes[name] = fig.add_subplot(right[k], sharex=first)
            first = first or axes[name]
        self._titles = {
            "absorber": fig.text(0.065, 0.925, "", size=21, weight="bold", color=INK, va="bottom"),
            "sample": fig.text(0.065, 0.915, "", size=12.5, color=GREY, va="top"),
        }
        keys = [
            Line2D([], [], marker="o", color=BLUE, ls="", mec="white", ms=8, label="prediction"),
            Line2D([], [], color=BLUE, alpha=0.28, lw=7, label="interval"),
            Line2D([], [], color=BLUE, lw=1.6, alpha=0.85, label="mean of sweeps"),
            Line2D([], [], color=INK, ls=(0, (4, 2.5)), lw=1.3, label="truth"),
            Line2D(
                [], [], marker="o", mfc="white", mec=VERMILION, mew=1.6, ls="", ms=7, label="out of domain"
            ),
            Line2D([], [], marker="x", color=GREY, mew=1.6, ls="", ms=6, label="refused"),
        ]
        names = ("prediction", "interval", "average", "truth", "outside", "refused")
        self._keys = dict(zip(names, keys, strict=True))
        self._key_box = axes[targets[0]]
        return axes

    def _head_line(self, points: Sequence[Point], averages: Sequence[Average]) -> None:
        if not self._titles:
            return
        latest = points[-1] if points else None
        if latest is None:
            self._titles["absorber"].set_text("xas_live")
            self._titles["sample"].set_text("waiting for the first sweep")
            return
        p = latest.prediction
        absorber = " ".join(filter(None, _absorber(p))) or "unknown absorber"
        size = f"   {p.size.label}" if p.size is not None and p.in_domain else ""
        self._titles["absorber"].set_text(f"{absorber}{size}")
        metadata = p.provenance.metadata
        sample = metadata.get("sample_name") or metadata.get("sample")
        parts = [f"scan {latest.label}", str(sample) if isinstance(sample, str) else "", p.model]
        parts += ["unanchored" if not p.anchored and p.refused is None else ""]
        self._titles["sample"].set_text("  ·  ".join(filter(None, parts)))
        self._key(points, averages)

    def _key(self, points: Sequence[Point], averages: Sequence[Average]) -> None:
        predictions = [point.prediction for point in points]
        level = next((v.level for p in reversed(predictions) for v in p.values.values()), 0.9)
        self._keys["interval"].set_label(f"{level:.0%} interval".replace("%", " %"))
        names = ["prediction", "interval"]
        names += ["average"] if any(average.point.prediction.values for average in averages) else []
        names += (
            ["truth"] if any(math.isfinite(q.truth(s.name)) for q in points for s in self._series) else []
        )
        names += ["outside"] if any(p.refused is None and not p.in_domain for p in predictions) else []
        names += ["refused"] if any(p.refused is not None for p in predictions) else []
        self._key_box.legend(
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


def previewed(growing: Spectrum, last: tuple[Spectrum, Prediction] | None) -> tuple[Array, Array] | None:
    """A growing sweep on about the scale of the normalised ones.

    With a sweep of the same absorber before it, that one's normalised curve is taken, and what the new sweep
    differs by is added; else the sweep is scaled between its first and its last points, once over the edge.

    Parameters
    ----------
    growing : what is measured so far.
    last : the last sweep that was reduced.

    Returns
    -------
    (energy from the edge (eV), preview), in the order of energy; None while nothing can be said.
    """
    good = np.isfinite(growing.energy) & np.isfinite(growing.mu)
    energy, mu = growing.energy[good], growing.mu[good]
    if len(energy) < 2:
        return None
    if last is not None and last[1].reduced is not None and last[1].edge_step > 0:
        before, prediction, reduced = last[0], last[1], last[1].reduced
        known = np.isfinite(before.energy) & np.isfinite(before.mu)
        x, step = energy - prediction.e0, prediction.edge_step

        def before_at(where: Array) -> Array:
            return np.interp(where + prediction.e0, before.energy[known], before.mu[known])

        # Beyond the grid the curve goes on as the absorption did.
        on_grid = np.clip(x, reduced.grid[0], reduced.grid[-1])
        flat = np.interp(on_grid, reduced.grid, reduced.flat) + (before_at(x) - before_at(on_grid)) / step
        change = mu - before_at(x)
        return x, flat + (change - np.median(change[: max(2, len(mu) // 10)])) / step
    e0 = edge_energy(growing.element, growing.edge)
    if e0 is None:
        return None
    start, end = np.median(mu[:5]), np.median(mu[-5:])
    step = end - start if energy[-1] > e0 + 20 and end > start else 1.0
    return energy - e0, (mu - start) / step


def _load_cloud(model_sha256: str) -> Cloud | None:
    from xas_live.models.bundle import ModelError
    from xas_live.models.registry import model_in_use

    try:
        bundle = model_in_use(model_sha256)
    except ModelError:
        return None
    if bundle is None:
        return None
    at, target = bundle.array("latent_cloud")[:, :2], bundle.array("latent_target")
    return Cloud(model_sha256, at, target, bundle.target_names[0])


def _point(prediction: Prediction) -> Point:
    where = prediction.provenance
    time = where.time if where.time is not None else math.nan
    return Point(prediction, where.scan if where.sweep == 0 else f"{where.scan}.{where.sweep + 1}", time)


def _run(point: Point) -> tuple[str | None, str]:
    where = point.prediction.provenance
    return where.run_uid, where.stream


def _laid_over(points: Sequence[Point], averages: Iterable[Point]) -> list[Average]:
    """The averages of those points that are still shown."""
    first: dict[Any, int] = {}
    last: dict[Any, int] = {}
    for k, point in enumerate(points):
        first.setdefault(_run(point), k)
        last[_run(point)] = k
    return [Average(first[_run(a)], last[_run(a)], a) for a in averages if _run(a) in first]


def _words(foreseen: Prediction | None) -> str:
    """The first value that is foreseen of a growing sweep, as the figure says it."""
    if foreseen is None or not foreseen.values:
        return ""
    name, value = next(iter(foreseen.values.items()))
    doubt = "" if foreseen.in_domain else " (out of domain)"
    return f"; {name} so far {value.lower:.1f} to {value.upper:.1f}{doubt}"


def is_headless() -> bool:
    """Whether matplotlib's backend has no window that an event loop keeps alive."""
    backend = mpl.get_backend().lower()
    return backend in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template") or "inline" in backend


def _new_figure() -> Figure:
    size = (13.5, 7.8)
    if is_headless():
        return Figure(figsize=size)
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=size)
    if figure.canvas.manager is not None:
        figure.canvas.manager.set_window_title("xas_live")
    figure.show()
    return figure


def _absorber(prediction: Prediction) -> tuple[str | None, str | None]:
    return prediction.element, prediction.edge
