"""attach: one line in a beamline session, and every scan becomes a structure while it runs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
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
from xas_live.archive import Archive, RunWriter, open_archive, writers_of
from xas_live.callbacks.assembly import ChannelMapping
from xas_live.callbacks.live import LiveAnalysis, Notices, Status
from xas_live.callbacks.publishers import (
    COPIED,
    LiveStructurePlot,
    PredictionWriter,
    Publisher,
    SeriesWatch,
    checked_publisher,
    is_headless,
    registered_publishers,
)
from xas_live.models import models_by_absorber
from xas_live.reduction import FoilAnchor
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from event_model.documents import Document

    from xas_live.models import Bundle

Callback = Callable[[str, "Document"], None]


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
    plot: bool | LiveStructurePlot = True,
    mapping: ChannelMapping | None = None,
    device: str = "auto",
    publishers: Iterable[Publisher] = (),
    write_raw: bool | None = None,
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
    plot : True opens a live figure where there is a screen; or a figure of your own.
    mapping : fields that hold energy and detectors; what it leaves out is guessed.
    device : "auto", or torch's name of a device.
    publishers : others to tell of every prediction. Those that installed packages register, as entry points
        of the group `xas_live.publishers`, are told too; one that cannot be made is named and left out.
    standards : measured spectra of other phases by name, as {"oxide": spectrum}: their shares are fitted.
    write_raw : also write the raw runs into `archive`. Default: into a folder's archive, unless RE has a
        writer of runs already, as a beamline's TiledWriter; never into a catalog elsewhere.
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
    _check_settings(RE, anchor, mapping, everyone)
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
        others = writers_of(RE)
        raw_too = store is not None and store.folder is not None and not others
        raw_too = raw_too if write_raw is None else write_raw
        writers = {} if store is None else _writers(store, notices, raw_too=raw_too)
        figure = _figure(plot)
        registered = registered_publishers(notices.say)
        everyone += [*registered.values(), SeriesWatch(notices.say)]
        everyone += [PredictionWriter(writers["derived"], copied=(*COPIED, *store.copied))] if store else []
        everyone += [] if figure is None else [figure]
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
            writers=[] if raw_too else others,
            plot_wanted=plot is True,
        )
    )
    return live


def _writers(archive: Archive, notices: Notices, *, raw_too: bool) -> dict[str, RunWriter]:
    """Return the writers into an archive, by what they write."""

    def tell(line: str) -> None:
        notices.trouble("archive", line)

    derived = archive.derived_writer(tell)  # the one that may be refused comes first
    return {**({"raw": archive.raw_writer(tell)} if raw_too else {}), "derived": derived}


def _places(archive: Archive, own: Container[str], others: Sequence[str]) -> str:
    """Return where runs go, in words.

    Parameters
    ----------
    own : "raw", "derived": what is written here.
    others : names of writers that RE has already.
    """
    derived = f"derived runs go to {archive.derived.uri}"
    if "raw" in own:
        return f"raw runs go to {archive.uri}, {derived}"
    why = f"RE has {' and '.join(others)}" if others else "write_raw=True stores them, too"
    return f"{derived}, raw runs do not go there ({why})"


def _figure(plot: bool | LiveStructurePlot) -> LiveStructurePlot | None:
    """Return the figure given, or a new one where that is asked for and there is a screen."""
    if isinstance(plot, LiveStructurePlot):
        return plot
    return LiveStructurePlot() if plot and not is_headless() else None


def _check_settings(RE: object, anchor: object, mapping: object, publishers: Iterable[Publisher]) -> None:
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
    for publisher in publishers:
        checked_publisher(publisher)


def _summary(
    live: AttachedAnalysis,
    models: Sequence[Bundle],
    anchor: FoilAnchor | Sequence[FoilAnchor] | str | None,
    *,
    registered: Sequence[str],
    process: bool,
    writers: Sequence[str],
    plot_wanted: bool,
) -> str:
    """Return what attach did, in one line.

    Parameters
    ----------
    writers : of raw runs elsewhere, by name.
    """
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
        parts.append(_places(live.archive, live.status().writers, writers))
    if registered:
        parts.append(f"predictions also go to {', '.join(registered)}")
    if plot_wanted and live.plot is None:
        parts.append("no screen, so no live figure")
    return "; ".join(parts) + ". See .latest, .table, .errors; .close() ends it."
