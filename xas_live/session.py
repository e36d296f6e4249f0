"""attach: one line in a beamline session, and every scan becomes a structure while it runs."""

from __future__ import annotations

import base64
import weakref
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

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
from xas_live.callbacks.assembly import ChannelMapping, checked_mapping
from xas_live.callbacks.live import LiveAnalysis, Notices, Status
from xas_live.callbacks.publishers import (
    COPIED,
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
from xas_live.rules import Actuator, Rule, RuleWatch, checked_rules, read_rules
from xas_live.signals import PredictionSignals
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from bluesky import RunEngine
    from event_model.documents import Document

    from xas_live.models import Bundle

Callback = Callable[[str, "Document"], None]

_attached: weakref.WeakSet[AttachedAnalysis] = weakref.WeakSet()
"""Those that may be attached to an engine still."""


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
    signals : the latest prediction as an ophyd device, for plans and suspenders.
    rules : what is done because of predictions, or None.
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
        signals: PredictionSignals,
        rules: RuleWatch | None,
        writers: Mapping[str, RunWriter],
        notices: Notices,
        opened_here: bool,
        afterwards: ExitStack,
    ) -> None:
        super().__init__(analyzer, publishers, mapping, notices=notices)
        self.plot = plot
        self.archive = archive
        self.signals = signals
        self.rules = rules
        self._writers = writers
        self._opened_here = opened_here
        self._afterwards = afterwards
        self._engine = RE
        raw = [writers["raw"]] if "raw" in writers else []
        callbacks: list[Callback] = [*raw, self]
        self._tokens = [RE.subscribe(callback) for callback in callbacks]
        _attached.add(self)

    def watches(self, RE: Subscribable) -> bool:
        """Return whether it is attached to this engine still."""
        return bool(self._tokens) and self._engine is RE

    def status(self) -> Status:
        """Counts, how far behind the analysis is, and how the writers into the archive do."""
        return replace(
            super().status(), writers={name: writer.status() for name, writer in self._writers.items()}
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the state, the last rows of the table, the figure as it is now."""
        text = super()._repr_html_()
        try:
            picture = None if self.plot is None else self.plot.figure_png()
        except Exception as error:  # noqa: BLE001 whatever cannot be drawn, the table can be shown
            self._notices.error("LiveStructurePlot", error)
            return text
        if picture is None:
            return text
        data = base64.b64encode(picture).decode()
        return f'{text}<img alt="live figure" style="max-width:100%" src="data:image/png;base64,{data}">'

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
        if self.archive is not None and self._opened_here:
            self.archive.close()  # what Ctrl-C ends here is done by a second call, in an ExitStack it is not
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
    write_raw: bool | None = None,
    standards: Mapping[str, Spectrum] | None = None,
    process: bool = False,
    rules: str | Path | Sequence[Rule] | RuleWatch | None = None,
    actuators: Iterable[Actuator] = (),
) -> AttachedAnalysis:
    """Analyse every energy scan of a RunEngine while it runs.

    Call it in the main thread; the plans are not slowed down, and nothing that fails here stops them. It
    takes the place of the analysis that is attached to the engine already, which is closed.

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
    mapping : fields that hold energy and detectors; what it leaves out is guessed. `xas.mapping = ...`
        changes it from the next run on.
    device : "auto", or torch's name of a device.
    publishers : others to tell of every prediction. Those that installed packages register, as entry points
        of the group `xas_live.publishers`, are told too; one that cannot be made is named and left out.
    standards : measured spectra of other phases by name, as {"oxide": spectrum}: their shares are fitted.
    write_raw : also write the raw runs into `archive`. Default: into a folder's archive, unless RE has a
        writer of runs already, as a beamline's TiledWriter; never into a catalog elsewhere.
    process : analyse in a second process, for sessions with much to do: the plan then shares its interpreter
        with less. A sweep takes a little longer, and the process a few hundred MB.
    rules : what is done because of predictions: the path of a TOML file, a list of rules, or a RuleWatch of
        your own.
    actuators : what the rules may drive.

    Returns
    -------
    The analysis: look at `.latest`, `.table`, `.errors`; `.wait()` for it, `.close()` to detach.

    Raises
    ------
    Refusal : when a model cannot be had (ModelError) or a device, for rules that cannot be used (RuleError),
        for settings that do not exist or cannot be
        used (SettingsError), or `write_raw` without an archive.
    ArchiveError : when the archive cannot be had.
    OSError : when no second process can be started.

    Examples
    --------
    >>> xas = xas_live.attach(RE, archive="~/xas_archive")
    >>> RE(scan([i0, it, ir], energy, 11400, 12200, 401, md={"element": "Pt", "edge": "L3"}))
    >>> xas.latest
    """
    signals, watch = PredictionSignals(), _watch(RE, rules, actuators)
    everyone: list[Publisher] = [signals, *([] if watch is None else [watch]), *_listed(publishers)]
    _check_settings(RE, anchor, mapping)
    _check_types(
        model=model,
        archive=archive,
        plot=plot,
        device=device,
        write_raw=write_raw,
        standards=standards,
        process=process,
    )
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
        replaced = _close_others(RE)  # before the archive: a folder is open once only
        store = archive
        if store is not None and not isinstance(store, Archive):
            store = open_archive(store)
            opened.callback(store.close)
        others = writers_of(RE)
        raw_too = store is not None and store.folder is not None and not others
        raw_too = raw_too if write_raw is None else write_raw
        writers = {} if store is None else _writers(store, notices, raw_too=raw_too)
        figure = _figure(plot)
        picture = None if figure is None else _picture(plot, figure, notices)
        registered = registered_publishers(notices.say)
        everyone += [*registered.values(), SeriesWatch(notices.say)]
        everyone += [PredictionWriter(writers["derived"], copied=(*COPIED, *store.copied))] if store else []
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
            signals=signals,
            rules=watch,
            writers=writers,
            notices=notices,
            opened_here=store is not archive,
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
            replaced=replaced,
        )
    )
    if figure is not None and picture is not None:
        why = "" if isinstance(plot, str | Path) else f" No live figure, for {why_no_window(figure.figure)}."
        live.say(f"The figure is kept in {picture.path}, and shown by `xas` in a notebook.{why}")
    return live


def _watch(
    RE: Subscribable, rules: str | Path | Sequence[Rule] | RuleWatch | None, actuators: Iterable[Actuator]
) -> RuleWatch | None:
    """Return what acts on predictions by rules; None without rules."""
    if rules is None or isinstance(rules, RuleWatch):
        return rules
    read = read_rules(rules) if isinstance(rules, str | Path) else checked_rules(rules)
    return RuleWatch(cast("RunEngine", RE), read, actuators=actuators)


def _close_others(RE: Subscribable) -> bool:
    """Close what is attached to an engine; return whether there was anything."""
    others = [other for other in _attached if other.watches(RE)]
    for other in others:
        other.close()
    return bool(others)


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


def _figure(plot: bool | str | Path | LiveStructurePlot) -> LiveStructurePlot | None:
    """Return the figure given, or a new one where that is asked for."""
    if isinstance(plot, LiveStructurePlot):
        return plot
    if isinstance(plot, bool):
        return LiveStructurePlot() if plot else None
    return LiveStructurePlot(fig=windowless_figure())


def _listed(publishers: object) -> list[Publisher]:
    """Return the publishers as a list; refuse what is none."""
    if isinstance(publishers, str) or not isinstance(publishers, Iterable):
        raise SettingsError(f"publishers={publishers!r}: give a list of publishers, as [MyPublisher()]")
    return [checked_publisher(publisher) for publisher in publishers]


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


def _check_settings(RE: object, anchor: object, mapping: object) -> None:
    """Refuse, before anything is made, what would make every scan fail.

    Raises
    ------
    Refusal : with the reason.
    """
    if not hasattr(RE, "subscribe"):
        raise SettingsError(f"{RE!r} is no RunEngine: nothing can be subscribed to it")
    foils = anchor if isinstance(anchor, list | tuple) else [anchor]
    fitted = bool(foils) and all(isinstance(foil, FoilAnchor) for foil in foils)
    named = anchor is None or (isinstance(anchor, str) and anchor in ("auto", "reference"))
    if not (fitted or named):
        raise SettingsError(
            f"anchor={anchor!r}: give 'auto', 'reference', None, a FoilAnchor or several; of a foil's file "
            "`xas-live anchor FILE` makes the one that 'auto' finds"
        )
    checked_mapping(mapping)


def _check_types(**given: object) -> None:
    """Refuse arguments of a wrong type: the truth of "no" would be yes.

    Raises
    ------
    SettingsError : with what to give.
    """
    path = (str, Path)
    wanted: dict[str, tuple[str, bool]] = {
        "plot": (
            "True, False, the path of a .png file, or a LiveStructurePlot",
            isinstance(given["plot"], bool | LiveStructurePlot)
            or (isinstance(given["plot"], path) and Path(given["plot"]).suffix.lower() == ".png"),
        ),
        "device": ("'auto', or torch's name of a device, as 'cpu'", isinstance(given["device"], str)),
        "archive": (
            "an Archive, a folder or a URI",
            given["archive"] is None or isinstance(given["archive"], (*path, Archive)),
        ),
        "model": (
            "the name or folder of a model, or a list of them",
            given["model"] is None
            or isinstance(given["model"], path)
            or (isinstance(given["model"], Sequence) and all(isinstance(m, path) for m in given["model"])),
        ),
        "standards": (
            "spectra by name, as {'oxide': spectrum}",
            given["standards"] is None
            or (
                isinstance(given["standards"], Mapping)
                and all(isinstance(each, Spectrum) for each in given["standards"].values())
            ),
        ),
        "write_raw": ("True, False or None", isinstance(given["write_raw"], bool | None)),
        "process": ("True or False", isinstance(given["process"], bool)),
    }
    for name, (what, right) in wanted.items():
        if not right:
            raise SettingsError(f"{name}={given[name]!r}: give {what}")


def _summary(
    live: AttachedAnalysis,
    models: Sequence[Bundle],
    anchor: FoilAnchor | Sequence[FoilAnchor] | str | None,
    *,
    registered: Sequence[str],
    process: bool,
    writers: Sequence[str],
    replaced: bool,
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
    if replaced:
        parts.append("in place of what was attached before, which is closed")
    if process:
        parts.append("analysed in a second process")
    if live.archive is not None:
        parts.append(_places(live.archive, live.status().writers, writers))
    if registered:
        parts.append(f"predictions also go to {', '.join(registered)}")
    return "; ".join(parts) + ". See .latest, .table, .errors; .close() ends it."
