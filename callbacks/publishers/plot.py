"""LiveStructurePlot: the figure that grows while the plan runs."""

from __future__ import annotations

import io
import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from xas_live.callbacks.assembly import edge_energy
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.callbacks.publishers.drawing import Screen, lock_of, new_figure
from xas_live.callbacks.publishers.layout import Layout
from xas_live.callbacks.publishers.output_panel import OutputPanel
from xas_live.callbacks.publishers.output_panels import likeness, panel_of, results_of
from xas_live.callbacks.publishers.panels import (
    Average,
    Cloud,
    Key,
    LatentPanel,
    LightsPanel,
    Point,
    SpectrumPanel,
    XAxis,
)
from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.prediction import Degree, Prediction
from xas_live.spectrum import Array, Spectrum

if TYPE_CHECKING:
    from event_model.documents import RunStop

    from xas_live.models import Bundle

MOST_PANELS = 8
"""A figure shows so many results unless `targets` names them."""


class FigureError(Refusal):
    """Settings of a live figure that cannot be used."""


class LiveStructurePlot(BasePublisher):
    """A live figure: the spectrum over the foil, what the model gives, two lights, and the latent map.

    A band at the top says how far to believe the latest sweep, and why. The first result shows what the
    model gives; from then on numbers (with the particle's size), the chemistry, classes and curves have a
    panel each.

    In a window or a notebook widget it draws in the main thread, one to five times a second, never in the
    worker: by the window's event loop, and after `attach` also while a plan runs. Without one (Agg) it draws
    on `refresh`, `save` and `figure_png`. Closing its window ends the drawing and nothing else.
    It shows the absorber measured last; a change of element or edge begins a new history, a refused sweep of
    which neither is known does not. Of several models it shows the primary one's predictions.

    Parameters
    ----------
    x : "scan" lays the predictions out one by one, "time" by the clock.
    targets : what to show, by name, one panel each, as ("CN1", "size"). Default: all that the model gives.
    ax : your own axes, to embed the plot, by panel: any of "spectrum", "lights", "size", "latent" and the
        names of targets and outputs, and "chemistry". Only these are drawn into.
    fig : your own figure or subfigure to lay all panels out in. Default: a new figure.
    history : number of predictions kept.

    Raises
    ------
    FigureError : for both `ax` and `fig`, panels that do not exist, or another `x`.

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
        targets: Sequence[str] | None = None,
        ax: Mapping[str, Axes] | None = None,
        fig: Figure | SubFigure | None = None,
        history: int = 2000,
    ) -> None:
        if x not in get_args(XAxis):
            raise FigureError(f"x is 'scan' or 'time', not {x!r}")
        if ax is not None and fig is not None:
            raise FigureError("give either ax (your axes by panel) or fig (a figure to fill), not both")
        panels = ("spectrum", "lights", *(targets or ()), "size", "latent")
        if ax is not None and targets is not None and (unknown := sorted(set(ax) - set(panels))):
            raise FigureError(f"there are no panels {', '.join(unknown)}: choose from {', '.join(panels)}")
        if ax is not None and not ax:
            raise FigureError(f"ax names no panel: choose from {', '.join(panels)} and what the model gives")
        self._lock = threading.Lock()
        self._points: deque[Point] = deque(maxlen=history)
        self._averages: dict[tuple[str | None, str], Point] = {}
        self._last: tuple[Spectrum, Prediction] | None = None
        self._absorber: tuple[str | None, str | None] | None = None
        self._growing: Spectrum | None = None
        self._preview: Prediction | None = None
        self._clouds: dict[str, Cloud] = {}
        self._changed = True
        self._x: XAxis = x
        self._targets = None if targets is None else tuple(targets)
        self._layout = None if ax is not None else Layout(fig if fig is not None else new_figure())
        self._given = dict(ax or {})
        axes = self._given if self._layout is None else self._layout.common
        self.figure: Figure = next(iter(axes.values())).get_figure(root=True)  # type: ignore[assignment]
        self._panels: dict[str, OutputPanel] = {}
        self._shown: dict[str, tuple[object, ...]] = {}
        self._spectrum = SpectrumPanel(axes["spectrum"]) if "spectrum" in axes else None
        self._latent = LatentPanel(axes["latent"]) if "latent" in axes else None
        beside = None if self._layout is None else axes["latent"]
        self._lights = LightsPanel(axes["lights"], beside) if "lights" in axes else None
        self._drawing = lock_of(self.figure)
        self.screen = Screen(self.figure, self._refreshed)
        if ax is None and fig is None:
            self.screen.show()

    # --- called in the worker thread: only takes notes ---------------------------------------------------

    def models_used(self, models: Sequence[Bundle]) -> None:
        """Remember the training spectra of models that have a latent map."""
        clouds = {model.sha256: _cloud(model) for model in models if "latent_cloud" in model.tensors}
        with self._lock:
            self._clouds |= clouds

    def measuring(self, spectrum: Spectrum, preview: Prediction | None = None) -> None:
        """Show the growing sweep as a preview, at the next redraw."""
        with self._lock:
            self._growing, self._preview = spectrum, preview
            self._changed = True

    def predicted(self, result: SweepResult) -> None:
        """Add the primary model's prediction, at the next redraw."""
        spectrum, prediction = result.spectrum, result.primary
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

    def run_stopped(self, stop: RunStop) -> None:
        """Take the preview away: what was still growing came to nothing."""
        with self._lock:
            self._growing = None
            self._changed = True

    # --- called in the main thread -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the figure up to date now. Call it from the thread that owns the figure."""
        with self._drawing:
            self._refresh()

    def _refresh(self) -> None:
        with self._lock:
            points, growing, last = list(self._points), self._growing, self._last
            prediction, cloud = self._preview, self._cloud_of(points)
            averages = _laid_over(points, self._averages.values())
        self._make_panels(points)
        for panel in self._panels.values():
            panel.update(points, averages)
        if self._spectrum is not None:
            preview, note = None, ""
            if growing is not None:
                preview = previewed(growing, last)
                where = growing.provenance
                note = f"measuring scan {where.scan}: {np.nanmax(growing.energy):.0f} eV{_words(prediction)}"
            self._spectrum.update(points, preview, note)
        if self._latent is not None:
            self._latent.update(points, cloud)
        if self._lights is not None:
            self._lights.update(points[-1].prediction if points else None)
        self._head_line(points, averages)

    def save(self, path: str | Path, dpi: int = 150) -> Path:
        """Bring the figure up to date and write it to a file of any kind matplotlib knows."""
        with self._drawing:
            self.refresh()
            self.figure.savefig(path, dpi=dpi)
        return Path(path)

    def figure_png(self) -> bytes | None:
        """Return a picture of the figure as it is now; None while nothing is measured.

        Call it from the thread that owns the figure; of a figure without a window, from any thread.
        """
        with self._lock:
            if not self._points and self._growing is None:
                return None
        picture = io.BytesIO()
        with self._drawing:
            self.refresh()
            self.figure.savefig(picture, format="png")
        return picture.getvalue()

    def _cloud_of(self, points: Sequence[Point]) -> Cloud | None:
        """The training spectra of the model that judged last; None where none did, or they are not there."""
        judged = next((p.prediction for p in reversed(points) if p.prediction.domain.latent), None)
        return None if judged is None else self._clouds.get(judged.model_sha256)

    def _refreshed(self) -> bool:
        """Bring the figure up to date where something has changed; return whether it has."""
        with self._lock:
            changed, self._changed = self._changed, False
        if changed:
            self.refresh()
        return changed

    def _make_panels(self, points: Sequence[Point]) -> None:
        """Make the panels anew where the results to show are of other names or kinds than before."""
        results = results_of(points)
        if self._layout is None:
            results = {name: each for name, each in results.items() if name in self._given}
        elif self._targets is not None:
            results = {name: results[name] for name in (*self._targets, "size") if name in results}
        else:
            results = dict(list(results.items())[:MOST_PANELS])
        shown = {name: likeness(each) for name, each in results.items()}
        if shown == self._shown:
            return
        if self._layout is not None:
            axes = self._layout.place(results)
        else:
            axes = {name: self._given[name] for name in results}
            for name in self._panels:  # what was drawn before; what else is in the user's axes stays
                self._given[name].clear()
        lowest = [name for name, each in results.items() if panel_of(each).by_sweep][-1:]
        self._panels = {
            name: panel_of(each)(axes[name], name, each, self._x, last=name in lowest)
            for name, each in results.items()
        }
        self._shown = shown

    def _head_line(self, points: Sequence[Point], averages: Sequence[Average]) -> None:
        if self._layout is None:
            return
        latest = points[-1] if points else None
        if latest is None:
            self._layout.say("xas_live", "waiting for the first sweep")
            return
        p = latest.prediction
        absorber = " ".join(filter(None, _absorber(p))) or "unknown absorber"
        metadata = p.provenance.metadata
        sample = metadata.get("sample_name") or metadata.get("sample")
        parts = [f"scan {latest.label}", str(sample) if isinstance(sample, str) else "", p.model]
        parts += ["unanchored" if Flag.UNANCHORED in p.flags else ""]
        self._layout.say(
            "   ".join(filter(None, (absorber, _in_short(p)))), "  ·  ".join(filter(None, parts))
        )
        self._layout.judge(latest)
        self._key(points, averages)

    def _key(self, points: Sequence[Point], averages: Sequence[Average]) -> None:
        assert self._layout is not None
        predictions = [point.prediction for point in points]
        by_sweep = [panel for panel in self._panels.values() if panel.by_sweep]
        names: list[Key] = list(dict.fromkeys(name for panel in by_sweep for name in panel.keys))
        if not names:
            return
        given = (average.point.prediction.outcome.results for average in averages)
        degrees = {p.verdict.degree for p in predictions if p.refused is None}
        judged = bool(degrees - {None})
        further: dict[Key, bool] = {
            "trusted": judged and "prediction" in names and Degree.TRUSTED in degrees,
            "caution": Degree.CAUTION in degrees,
            "unusable": Degree.NOT_USABLE in degrees,
            "adsorbates": any(p.chemistry is not None and p.chemistry.adsorbates for p in predictions),
            "average": any(panel.name in results for results in given for panel in by_sweep),
            "truth": any(panel.knows_truth(points) for panel in by_sweep),
            "refused": any(p.refused is not None for p in predictions),
        }
        if judged and None not in degrees:
            names = [name for name in names if name != "prediction"]
        results = (each for p in reversed(predictions) for each in p.outcome.results.values())
        level = next((each.level for each in results), 0.9)
        self._layout.show_key(names + [name for name, shown in further.items() if shown], level)


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
    (energy from the edge (eV), preview), in the order of energy; None while nothing can be said, and where
    spectra are shown as chi(k).
    """
    good = np.isfinite(growing.energy) & np.isfinite(growing.mu)
    energy, mu = growing.energy[good], growing.mu[good]
    if len(energy) < 2 or _in_k(last):
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


def _cloud(model: Bundle) -> Cloud:
    """Return the training spectra of a model, in the first two of its latent coordinates."""
    at, target = model.array("latent_cloud")[:, :2], model.array("latent_target")
    latent = model.card.sections.latent
    if latent is None or latent.shown_by is None:  # no number tells them apart: one shade
        return Cloud(model.sha256, at, np.zeros_like(target), "")
    return Cloud(model.sha256, at, target, latent.shown_by)


def _point(prediction: Prediction) -> Point:
    where = prediction.provenance
    time = where.time if where.time is not None else math.nan
    return Point(prediction, where.scan if where.sweep == 0 else f"{where.scan}.{where.sweep + 1}", time)


def _run(point: Point) -> tuple[str | None, str]:
    where = point.prediction.provenance
    return where.run_uid, where.stream


def _laid_over(points: Sequence[Point], averages: Iterable[Point]) -> list[Average]:
    """The averages of those points that are still shown."""
    first: dict[tuple[str | None, str], int] = {}
    last: dict[tuple[str | None, str], int] = {}
    for k, point in enumerate(points):
        first.setdefault(_run(point), k)
        last[_run(point)] = k
    return [Average(first[_run(a)], last[_run(a)], a) for a in averages if _run(a) in first]


def _words(preview: Prediction | None) -> str:
    """Return the first value of a growing sweep's preview, as the figure says it."""
    if preview is None or not preview.values:
        return ""
    name, value = next(iter(preview.values.items()))
    degree = preview.verdict.degree
    doubt = f" ({degree})" if degree in (Degree.CAUTION, Degree.NOT_USABLE) else ""
    return f"; {name} so far {value.lower:.1f} to {value.upper:.1f}{doubt}"


def _in_k(last: tuple[Spectrum, Prediction] | None) -> bool:
    reduced = None if last is None else last[1].reduced
    return reduced is not None and reduced.kind == "chi"


def _in_short(prediction: Prediction) -> str:
    """The size, or the likeliest class, of a sweep that may be used; else nothing."""
    if not prediction.verdict.usable:
        return ""
    if prediction.size is not None:
        return prediction.size.label
    return next((each.likeliest for each in prediction.classes.values() if each.members), "")


def _absorber(prediction: Prediction) -> tuple[str | None, str | None]:
    return prediction.element, prediction.edge
