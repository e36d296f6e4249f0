"""LiveStructurePlot: the figure that grows while the plan runs."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from xas_live.callbacks.assembly import edge_energy
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.callbacks.publishers.drawing import Screen, lock_of, new_figure
from xas_live.callbacks.publishers.layout import Layout
from xas_live.callbacks.publishers.marks import figures_of, shortened
from xas_live.callbacks.publishers.output_panel import Key, OutputPanel
from xas_live.callbacks.publishers.output_panels import in_order, likeness, panel_of
from xas_live.callbacks.publishers.panels import Cloud, LatentPanel, LightsPanel
from xas_live.callbacks.publishers.series import History, Point, Series, Shown, measured_as
from xas_live.callbacks.publishers.spectrum_panel import Growing, SpectrumPanel
from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.models.sections import bulk_numbers
from xas_live.prediction import Degree, OutputResult, Prediction
from xas_live.spectrum import Array, Spectrum

if TYPE_CHECKING:
    from event_model.documents import RunStop

    from xas_live.models import Bundle

MOST_PANELS = 8
"""A figure shows so many results unless `targets` names them."""

_HEAD = 50  # letters that the line under the head has room for, but for what parts them


class FigureError(Refusal):
    """Settings of a live figure that cannot be used."""


@dataclass(frozen=True)
class _Choice:
    """What the user wants to see: see `LiveStructurePlot.show`."""

    x: str
    absorber: str | None = None
    samples: tuple[str, ...] | None = None
    waterfall: bool = False
    raw: bool = False


class LiveStructurePlot(BasePublisher):
    """A live figure: the spectrum over the foil, what the model gives, two lights, and the latent map.

    A band at the top says how far to believe the latest sweep, and why. The first result shows what the
    model gives; from then on numbers (with the particle's size), the chemistry, classes and curves have a
    panel each. Samples are told apart by colour and marker, and lines join sweeps of one sample only.

    In a window or a notebook widget it draws in the main thread, one to five times a second, never in the
    worker: by the window's event loop, and after `attach` also while a plan runs. Without one (Agg) it draws
    on `refresh`, `save` and `figure_png`. Closing its window ends the drawing and nothing else.
    It keeps the history of every absorber, and shows the one analysed last; `show` chooses another, some of
    the samples, or another axis. Of several models it shows the primary one's predictions.

    Parameters
    ----------
    x : "scan" lays the predictions out one by one, "time" by the clock; or the name of a recorded signal:
        "temperature" (K), or any number in the start documents, at their top or under `sample`.
    targets : what to show, by name, one panel each, as ("CN1", "size"). Default: all that the model gives.
    ax : your own axes, to embed the plot, by panel: any of "spectrum", "lights", "size", "latent" and the
        names of targets and outputs, and "chemistry". Only these are drawn into.
    fig : your own figure or subfigure to lay all panels out in. Default: a new figure.
    history : number of predictions kept of each absorber.

    Raises
    ------
    FigureError : for both `ax` and `fig`, panels that do not exist, or an `x` that is no name.

    Examples
    --------
    >>> plot = LiveStructurePlot(x="time")
    >>> live = LiveAnalysis(AnalyzerPool(), [plot])
    >>> plot.show(absorber="Pt L3", x="temperature")
    >>> plot.save("structure.png")
    """

    def __init__(
        self,
        *,
        x: str = "scan",
        targets: Sequence[str] | None = None,
        ax: Mapping[str, Axes] | None = None,
        fig: Figure | SubFigure | None = None,
        history: int = 2000,
    ) -> None:
        self._default_x = self._checked_x(x)
        if ax is not None and fig is not None:
            raise FigureError("give either ax (your axes by panel) or fig (a figure to fill), not both")
        panels = ("spectrum", "lights", *(targets or ()), "size", "latent")
        if ax is not None and targets is not None and (unknown := sorted(set(ax) - set(panels))):
            raise FigureError(f"there are no panels {', '.join(unknown)}: choose from {', '.join(panels)}")
        if ax is not None and not ax:
            raise FigureError(f"ax names no panel: choose from {', '.join(panels)} and what the model gives")
        self._lock = threading.Lock()
        self._history = History(history)
        self._choice = _Choice(self._default_x)
        self._growing: Spectrum | None = None
        self._preview: Prediction | None = None
        self._clouds: dict[str, Cloud] = {}
        self._bulk: dict[str, Mapping[str, float]] = {}
        self._changed = True
        self._targets = None if targets is None else tuple(targets)
        self._layout = None if ax is not None else Layout(fig if fig is not None else new_figure())
        self._given = dict(ax or {})
        axes = self._given if self._layout is None else self._layout.common
        self.figure: Figure = next(iter(axes.values())).get_figure(root=True)  # type: ignore[assignment]
        self._panels: dict[str, OutputPanel] = {}
        self._laid_out: tuple[object, ...] = ()
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
        """Remember the training spectra of models that have a latent map, and what their bulk has."""
        clouds = {model.sha256: _cloud(model) for model in models if "latent_cloud" in model.tensors}
        bulk = {
            model.sha256: bulk_numbers(size)
            for model in models
            if (size := model.card.sections.size) is not None
        }
        with self._lock:
            self._clouds |= clouds
            self._bulk |= bulk

    def measuring(self, spectrum: Spectrum, preview: Prediction | None = None) -> None:
        """Show the growing sweep as a preview, at the next redraw."""
        with self._lock:
            self._growing, self._preview = spectrum, preview
            self._changed = True

    def predicted(self, result: SweepResult) -> None:
        """Add the primary model's prediction, at the next redraw."""
        with self._lock:
            self._history.add(result.spectrum, result.primary)
            self._growing = None
            self._changed = True

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Draw a line across the sweeps that it is the average of, at the next redraw."""
        with self._lock:
            self._history.average(spectrum, prediction)
            self._changed = True

    def run_stopped(self, stop: RunStop) -> None:
        """Take the preview away: what was still growing came to nothing."""
        with self._lock:
            self._growing = None
            self._changed = True

    # --- called in the main thread -----------------------------------------------------------------------

    def show(
        self,
        *,
        absorber: str | None = None,
        sample: str | Sequence[str] | None = None,
        x: str | None = None,
        waterfall: bool = False,
        raw: bool = False,
    ) -> None:
        """Choose what is shown, from the next redraw on; what is left out goes back to its default.

        Parameters
        ----------
        absorber : element and edge, as "Pt L3", or the element alone. Default: that of the last sweep that
            was analysed; of samples that are named, the one that they were measured at.
        sample : name of a sample, or several. Default: all.
        x : what sweeps are laid out against: see the class. Default: as the figure was made.
        waterfall : show the last twelve spectra, one shifted above the other; chi(k) stays as it is.
        raw : show the channels of the newest sweep as they were measured, in place of the spectra.

        Raises
        ------
        FigureError : for an absorber or a sample of which there is no sweep; the message names those there
            are.
        """
        with self._lock:
            series = self._history.series
            if absorber is not None:
                known = [name for name in series if absorber in (name, name.split(" ")[0])]
                if not known:
                    there = ", ".join(filter(None, series)) or "none so far"
                    raise FigureError(f"no sweep of {absorber!r} was measured: there are {there}")
                absorber = known[-1]
            samples = (sample,) if isinstance(sample, str) else None if sample is None else tuple(sample)
            among = {name: each.samples for name, each in series.items() if absorber in (None, name)}
            if samples is not None:
                seen = list(dict.fromkeys(name for each in among.values() for name in each))
                if unknown := [name for name in samples if name not in seen]:
                    names = ", ".join(map(repr, seen)) or "none so far"
                    raise FigureError(f"no sweep of sample {unknown[0]!r} was analysed: there are {names}")
                at = [name for name, each in among.items() if set(each) & set(samples)]
                absorber = self._history.latest if self._history.latest in at else at[-1]
            x = self._default_x if x is None else self._checked_x(x)
            self._choice = _Choice(x, absorber, samples, waterfall, raw)
            self._changed = True

    def refresh(self) -> None:
        """Bring the figure up to date now. Call it from the thread that owns the figure."""
        with self._drawing:
            self._refresh()

    def _refresh(self) -> None:
        with self._lock:
            choice, newest, growing = self._choice, self._history.newest, self._growing
            absorber = self._absorber_to_show()
            series = self._history.of(absorber)
            shown = Shown.of(series, choice.x, choice.samples, self._bulk_of(series))
            results, last, cloud = dict(series.results), series.last, self._cloud_of(shown)
            preview = self._preview
        self._make_panels(results, choice.x)
        for panel in self._panels.values():
            panel.update(shown)
        if self._spectrum is not None:
            grows = None if growing is None else _growing(growing, preview, last, absorber)
            raw = (growing or (newest and newest[0])) if choice.raw else None
            self._spectrum.update(shown, grows, waterfall=choice.waterfall, raw=raw)
        if self._latent is not None:
            self._latent.update(shown, cloud)
        if self._lights is not None:
            self._lights.update(newest[1].prediction if newest else None)
        self._head_line(shown, None if newest is None else newest[1], absorber)

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
            if self._history.newest is None and self._growing is None:
                return None
        picture = io.BytesIO()
        with self._drawing:
            self.refresh()
            self.figure.savefig(picture, format="png")
        return picture.getvalue()

    def _absorber_to_show(self) -> str:
        """The absorber chosen, else that of the growing sweep if it has a history, else the last analysed."""
        if self._choice.absorber is not None:
            return self._choice.absorber
        growing = _absorber(self._growing) if self._growing is not None else ""
        has_results = growing in self._history.series and self._history.series[growing].results
        return growing if has_results else self._history.latest

    def _cloud_of(self, shown: Shown) -> Cloud | None:
        """The training spectra of the model that judged last; None where none did, or they are not there."""
        judged = next((p.prediction for p in reversed(shown.points) if p.prediction.domain.latent), None)
        return None if judged is None else self._clouds.get(judged.model_sha256)

    def _bulk_of(self, series: Series) -> Mapping[str, float]:
        """What the bulk has by the model that was used last."""
        return {} if series.last is None else self._bulk.get(series.last[1].model_sha256, {})

    @staticmethod
    def _checked_x(x: object) -> str:
        if not isinstance(x, str) or not x:
            raise FigureError(
                f"x is 'scan', 'time', 'temperature' or the name of a recorded number, not {x!r}"
            )
        return x

    def _refreshed(self) -> bool:
        """Bring the figure up to date where something has changed; return whether it has."""
        with self._lock:
            changed, self._changed = self._changed, False
        if changed:
            self.refresh()
        return changed

    def _make_panels(self, results: Mapping[str, OutputResult], x: str) -> None:
        """Make the panels anew where the results to show are of other names or kinds than before."""
        results = in_order(results)
        if self._layout is None:
            results = {name: each for name, each in results.items() if name in self._given}
        elif self._targets is not None:
            results = {name: results[name] for name in (*self._targets, "size") if name in results}
        else:
            results = dict(list(results.items())[:MOST_PANELS])
        laid_out = (x, *((name, likeness(each)) for name, each in results.items()))
        if laid_out == self._laid_out:
            return
        if self._layout is not None:
            axes = self._layout.place(results)
        else:
            axes = {name: self._given[name] for name in results}
            for name in self._panels:  # what was drawn before; what else is in the user's axes stays
                self._given[name].clear()
        lowest = [name for name, each in results.items() if panel_of(each).by_sweep][-1:]
        self._panels = {
            name: panel_of(each)(axes[name], name, each, x, last=name in lowest)
            for name, each in results.items()
        }
        self._laid_out = laid_out

    def _head_line(self, shown: Shown, newest: Point | None, absorber: str) -> None:
        if self._layout is None:
            return
        if newest is None:
            self._layout.say("xas_live", "waiting for the first sweep")
            return
        latest = shown.latest or newest
        p = latest.prediction
        parts = [p.model, "unanchored" if Flag.UNANCHORED in p.flags else ""]
        room = _HEAD - sum(map(len, parts))
        label = shortened(latest.label, max(room // 2, room - len(latest.sample)))
        parts = [f"scan {label}", shortened(latest.sample, room - len(label)), *parts]
        self._layout.say(
            "   ".join(filter(None, (absorber or "unknown absorber", _in_short(p)))),
            "  ·  ".join(filter(None, parts)),
        )
        self._layout.judge(newest, newest.absorber if newest.absorber != absorber else "")
        self._key(shown)

    def _key(self, shown: Shown) -> None:
        assert self._layout is not None
        predictions = [point.prediction for point in shown.points]
        by_sweep = [panel for panel in self._panels.values() if panel.by_sweep]
        names: list[Key] = list(dict.fromkeys(name for panel in by_sweep for name in panel.keys))
        if not names:
            return
        degrees = {p.verdict.degree for p in predictions if p.refused is None}
        judged = bool(degrees - {None})
        further: dict[Key, bool] = {
            "trusted": judged and "prediction" in names and Degree.TRUSTED in degrees,
            "caution": Degree.CAUTION in degrees,
            "unusable": Degree.NOT_USABLE in degrees,
            "refused": bool(shown.refused.any()),
        }
        if judged and None not in degrees:
            names = [name for name in names if name != "prediction"]
        names += [name for name, there in further.items() if there]
        needed = set[Key]().union(*(panel.needs(shown) for panel in by_sweep))
        results = (each for p in reversed(predictions) for each in p.outcome.results.values())
        level = next((each.level for each in results), 0.9)
        self._layout.show_key([*names, *sorted(needed)], level, shown.groups if shown.several else ())


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
        x, step = measured_as(energy, prediction), prediction.edge_step
        before_x = measured_as(before.energy[known], prediction)

        def before_at(where: Array) -> Array:
            return np.interp(where, before_x, before.mu[known])

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


def _growing(
    growing: Spectrum, preview: Prediction | None, last: tuple[Spectrum, Prediction] | None, absorber: str
) -> Growing:
    """What the figure shows of a growing sweep; `last` is the last one of the absorber shown."""
    own = _absorber(growing)
    foreign = own not in ("", absorber)
    energy = float(np.nanmax(growing.energy, initial=-np.inf))
    words = f": {energy:.0f} eV{_words(preview)}"
    curve = previewed(growing, None if foreign else last)
    return Growing(growing.provenance.scan, curve, f" ({own}){words}" if foreign else words, foreign)


def _words(preview: Prediction | None) -> str:
    """Return the first value of a growing sweep's preview, as the figure says it."""
    if preview is None or not preview.values:
        return ""
    name, value = next(iter(preview.values.items()))
    degree = preview.verdict.degree
    doubt = f" ({degree})" if degree in (Degree.CAUTION, Degree.NOT_USABLE) else ""
    return f"; {name} so far {figures_of(value)[1]}{doubt}"


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


def _absorber(spectrum: Spectrum) -> str:
    return " ".join(filter(None, (spectrum.element, spectrum.edge)))
