"""attach: one line in a beamline session, and every scan becomes a structure while it runs."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from xas_live.analysis import (
    Alignment,
    AnalysisConfig,
    AnalyzerPool,
    AnalyzerProcess,
    Analyzes,
    SettingsError,
    checked_alignment,
)
from xas_live.archive import Archive, RunWriter, open_archive
from xas_live.callbacks.assembly import ChannelMapping
from xas_live.callbacks.live import LiveAnalysis, Notices, Status
from xas_live.callbacks.publishers import (
    LiveFigure,
    LiveStructurePlot,
    PictureFile,
    PredictionWriter,
    Publisher,
    SeriesWatch,
    checked_publisher,
    draw_while_plans_run,
    picture_path,
    registered_publishers,
    why_no_window,
    windowless_figure,
)
from xas_live.host import user_folder
from xas_live.models import models_by_absorber
from xas_live.reduction import FoilAnchor
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from event_model.documents import Document

    from xas_live.models import Bundle

Callback = Callable[[str, "Document"], None]

_ROWS = 8  # of the table, under the picture in a notebook


class Subscribable(Protocol):
    """A RunEngine, or whatever else callbacks can be subscribed to in its way."""

    def subscribe(self, callback: Callback, /) -> int:
        """Send all documents to the callback; returns a token."""

    def unsubscribe(self, token: int, /) -> None:
        """End a subscription."""


class AttachedAnalysis(LiveAnalysis):
    """A LiveAnalysis subscribed to a RunEngine. `close` detaches it and closes what `attach` opened.

    Attributes
    ----------
    plot : the live figure, or None.
    archive : where derived runs go, or None.
    """

    def __init__(
        self,
        RE: Subscribable,
        analyzer: Analyzes,
        publishers: Iterable[Publisher],
        mapping: ChannelMapping | None,
        *,
        plot: LiveStructurePlot | None,
        archive: Archive | None,
        writers: Mapping[str, RunWriter],
        notices: Notices,
        afterwards: ExitStack,
    ) -> None:
        super().__init__(analyzer, publishers, mapping, notices=notices)
        self.plot = plot
        self.archive = archive
        self._writers = writers
        self._afterwards = afterwards
        self._engine = RE
        raw = [writers["raw"]] if "raw" in writers else []
        callbacks: list[Callback] = [*raw, self]
        self._tokens = [RE.subscribe(callback) for callback in callbacks]

    def status(self) -> Status:
        """Counts, how far behind the analysis is, and how the writers into the archive do."""
        return replace(
            super().status(), writers={name: writer.status() for name, writer in self._writers.items()}
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the state, the figure as it is now, the last rows of the table."""
        parts = [f"<pre>{html.escape(repr(self))}</pre>"]
        picture = None
        try:
            picture = None if self.plot is None else self.plot.figure_png()
        except Exception as error:  # noqa: BLE001 whatever cannot be drawn, the table can be shown
            self._notices.error("LiveStructurePlot", error)
        if picture is not None:
            data = base64.b64encode(picture).decode()
            parts.append(f'<img alt="live figure" style="max-width:100%" src="data:image/png;base64,{data}">')
        if not (rows := self.table.tail(_ROWS)).empty:
            values = [name for name in rows if f"{name}_lower" in rows and f"{name}_x" not in rows]
            shown = rows[["scan", "sweep", "model", *values, "size", "verdict", "refused"]]
            parts.append(shown.to_html(index=False, na_rep="", float_format="{:.2f}".format, border=0))
        return "\n".join(parts)

    def close(self, timeout: float | None = 60.0) -> bool:
        """Detach, analyse and publish what is waiting, then close the publishers and an archive opened here.

        Parameters
        ----------
        timeout : seconds to wait for what is waiting; None waits as long as it takes.

        Returns
        -------
        False if the time was not enough.
        """
        while self._tokens:
            self._engine.unsubscribe(self._tokens.pop())
        ended = super().close(timeout)
        self._afterwards.close()
        return ended


def attach(
    RE: Subscribable,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    anchor: FoilAnchor | Sequence[FoilAnchor] | Literal["auto", "reference"] | None = "auto",
    align: Alignment | float = "auto",
    archive: Archive | str | Path | None = None,
    plot: bool | str | Path | LiveStructurePlot = True,
    mapping: ChannelMapping | None = None,
    device: str = "auto",
    publishers: Iterable[Publisher] = (),
    write_raw: bool = False,
    standards: Mapping[str, Spectrum] | None = None,
    process: bool = False,
) -> AttachedAnalysis:
    """Analyse every energy scan of a RunEngine while it runs.

    Call it in the main thread; the plans are not slowed down, and nothing that fails here stops them.

    Parameters
    ----------
    RE : the RunEngine.
    model : name or folder of the model to use, or several: all that are for a scan's absorber judge it, and
        the first of them is the primary one. Default: by each scan's element and edge.
    anchor : a fitted foil, or one for each absorber; "reference", the scan's own reference channel; None for
        unanchored; "auto", the reference channel where there is one, else the newest saved anchor of the
        absorber, else unanchored.
    align : how the scan's energies are laid on the foil's: see `AnalysisConfig`.
    archive : where to write derived runs: an archive, or a folder or URI to open (and close with the rest).
    plot : True opens a live figure in a window or a notebook widget, and where there is neither keeps its
        picture in the user's folder (`figures`); the path of a PNG file keeps it there, without a window; or
        a figure of your own.
    mapping : fields that hold energy and detectors; what it leaves out is guessed.
    device : "auto", or torch's name of a device.
    publishers : others to tell of every prediction. Those that installed packages register, as entry points
        of the group `xas_live.publishers`, are told too; one that cannot be made is named and left out.
    standards : measured spectra of other phases by name, as {"oxide": spectrum}: their shares are fitted.
    write_raw : also write the raw runs into `archive`. Leave it False where the beamline writes them itself.
    process : analyse in a second process, for sessions with much to do: the plan then shares its interpreter
        with less. A sweep takes a little longer, and the process a few hundred MB.

    Returns
    -------
    The analysis: look at `.latest`, `.table`, `.errors`; `.wait()` for it, `.close()` to detach.

    Raises
    ------
    Refusal : when a model cannot be had (ModelError) or a device, for settings that do not exist or cannot be
        used (SettingsError), or `write_raw` without an archive.
    ArchiveError : when the archive cannot be had.
    OSError : when no second process can be started.

    Examples
    --------
    >>> xas = xas_live.attach(RE, archive="~/xas_archive")
    >>> RE(scan([i0, it, ir], energy, 11400, 12200, 401, md={"element": "Pt", "edge": "L3"}))
    >>> xas.latest
    """
    everyone = list(publishers)
    _check_settings(RE, anchor, mapping, plot, everyone)
    if write_raw and archive is None:
        raise SettingsError("write_raw=True needs an archive: give archive='FOLDER' or a URI")
    config = AnalysisConfig(align=checked_alignment(align))
    notices = Notices()
    with ExitStack() as opened:
        analyzer: AnalyzerPool | AnalyzerProcess
        if process:
            analyzer = opened.enter_context(AnalyzerProcess(model, anchor, config, device, standards))
        else:
            analyzer = AnalyzerPool(model, anchor, config, device, standards)
        store = archive
        if store is not None and not isinstance(store, Archive):
            store = open_archive(store)
            opened.callback(store.close)
        writers = {} if store is None else _writers(store, notices, raw_too=write_raw)
        figure = _figure(plot)
        picture = None if figure is None else _picture(plot, figure, notices)
        registered = registered_publishers(notices.say)
        everyone += [*registered.values(), SeriesWatch(notices.say)]
        everyone += [PredictionWriter(writers["derived"])] if "derived" in writers else []
        everyone += [each for each in (figure, picture) if each is not None]
        if figure is not None:
            figure.screen.failed = notices.error
            opened.callback(draw_while_plans_run(RE, figure.screen))
        live = AttachedAnalysis(
            RE,
            analyzer,
            everyone,
            mapping,
            plot=figure,
            archive=store,
            writers=writers,
            notices=notices,
            afterwards=opened.pop_all(),
        )
    live.say(
        _summary(
            live,
            analyzer.models,
            anchor,
            registered=list(registered),
            process=process,
            raw_too=write_raw,
        )
    )
    if figure is not None and picture is not None:
        why = "" if isinstance(plot, str | Path) else f" No live figure, for {why_no_window(figure.figure)}."
        live.say(f"The figure is kept in {picture.path}, and shown by `xas` in a notebook.{why}")
    return live


def _writers(archive: Archive, notices: Notices, *, raw_too: bool) -> dict[str, RunWriter]:
    """Return the writers into an archive, by what they write."""

    def tell(line: str) -> None:
        notices.trouble("archive", line)

    raw = {"raw": archive.raw_writer(tell)} if raw_too else {}
    return raw | {"derived": archive.derived_writer(tell)}


def _figure(plot: bool | str | Path | LiveStructurePlot) -> LiveStructurePlot | None:
    """Return the figure given, or a new one where that is asked for."""
    if isinstance(plot, LiveStructurePlot):
        return plot
    if isinstance(plot, bool):
        return LiveStructurePlot() if plot else None
    return LiveStructurePlot(fig=windowless_figure())


def _picture(
    plot: bool | str | Path | LiveStructurePlot, figure: LiveStructurePlot, notices: Notices
) -> PictureFile | None:
    """Return what keeps the picture of a figure of ours that is not shown live."""
    if figure.screen.live or not isinstance(figure.figure, LiveFigure):
        return None
    if isinstance(plot, str | Path):
        path = Path(plot).expanduser()
    else:
        path = picture_path(user_folder("figures", make=False))
    return PictureFile(path.absolute(), figure.figure_png, notices.error)


def _check_settings(
    RE: object, anchor: object, mapping: object, plot: object, publishers: Iterable[Publisher]
) -> None:
    """Refuse, before anything is made, what would make every scan fail.

    Raises
    ------
    Refusal : with the reason.
    """
    if not hasattr(RE, "subscribe"):
        raise SettingsError(f"{RE!r} is no RunEngine: nothing can be subscribed to it")
    foils = anchor if isinstance(anchor, list | tuple) else [anchor]
    fitted = bool(foils) and all(isinstance(foil, FoilAnchor) for foil in foils)
    if not (fitted or anchor is None or anchor in ("auto", "reference")):
        raise SettingsError(
            f"anchor={anchor!r}: give 'auto', 'reference', None, a FoilAnchor or several; of a foil's file "
            "`xas-live anchor FILE` makes the one that 'auto' finds"
        )
    if not (mapping is None or isinstance(mapping, ChannelMapping)):
        raise SettingsError(
            f"mapping={mapping!r}: give a ChannelMapping, as ChannelMapping(energy='mono_energy')"
        )
    if not isinstance(plot, bool | LiveStructurePlot) and not (
        isinstance(plot, str | Path) and Path(plot).suffix.lower() == ".png"
    ):
        raise SettingsError(
            f"plot={plot!r}: give True, False, the path of a .png file, or a LiveStructurePlot"
        )
    for publisher in publishers:
        checked_publisher(publisher)


def _summary(
    live: AttachedAnalysis,
    models: Sequence[Bundle],
    anchor: FoilAnchor | Sequence[FoilAnchor] | str | None,
    *,
    registered: Sequence[str],
    process: bool,
    raw_too: bool,
) -> str:
    """Return what attach did, in one line."""
    by_absorber = f"by element and edge ({', '.join(models_by_absorber())})"
    by = f"with {' and '.join(model.name for model in models)}" if models else by_absorber
    foil = "unanchored" if anchor is None else "anchored by the foil given"
    if anchor == "auto":
        foil = "anchored by the reference channel or the newest saved foil"
    elif anchor == "reference":
        foil = "anchored by the reference channel"
    if models and not any(each.anchor != "none" for model in models for each in model.inputs):
        foil = "without an anchor"
    parts = [f"Watching for energy scans, {by}, {foil}"]
    if process:
        parts.append("analysed in a second process")
    if live.archive is not None:
        parts.append(f"{'raw and derived' if raw_too else 'derived'} runs go to {live.archive.uri}")
    if registered:
        parts.append(f"predictions also go to {', '.join(registered)}")
    return "; ".join(parts) + ". See .latest, .table, .errors; .close() ends it."
