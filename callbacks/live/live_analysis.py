"""LiveAnalysis: the callback that turns a running scan into predictions."""

from __future__ import annotations

import atexit
import html
import textwrap
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, cast

from xas_live.analysis import RunHistory, foil_anchor
from xas_live.callbacks.assembly import SWEEP_DONE, ChannelMapping, SpectrumAssembler, checked_mapping
from xas_live.callbacks.live.arrays import OwnArrays
from xas_live.callbacks.live.backlog import Backlog, Item, Mark, Received
from xas_live.callbacks.live.current import Current, SweepTimes
from xas_live.callbacks.live.notices import ErrorRecord, Notices
from xas_live.callbacks.live.pipeline import Completed, PipelineHooks, SweepPipeline
from xas_live.callbacks.live.scans import LastScans
from xas_live.callbacks.live.watch import Watch
from xas_live.callbacks.publishers import Publisher, Result, SweepResult
from xas_live.callbacks.publishers.results import LastAverages, with_averages
from xas_live.prediction import Decision, Prediction
from xas_live.reduction import FoilAnchor, known_foils
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:  # analysis brings torch, which a publisher's own tests can do without
    from event_model.documents import Document

    from xas_live.analysis import Analyzes
    from xas_live.archive import WriterStatus
    from xas_live.callbacks.publishers.result_table import ResultTable

SWEEPS_AT_ONCE = 256  # from which on a batch is analysed: larger ones gain nothing and fill the memory
MEASURING_INTERVAL_S = 0.2
"""Publishers see the growing sweep at most this often (s)."""

STUCK_S = 10.0
"""The user is told of a publisher or an analyzer that does not return for so long (s)."""

_ROWS = 5  # of the table that are shown with the state
_EXIT_S = 10.0  # how long the end of the session waits for what is not done


@dataclass(frozen=True)
class Status:
    """Where a LiveAnalysis stands.

    Attributes
    ----------
    running : False after `close`, and when the worker thread has ended.
    waiting : documents not yet worked on; on_disk : those of them that wait on disk.
    documents : documents worked on.
    sweeps, refused : sweeps predicted, and how many of them the primary model refused.
    fragments : pieces of runs too short to be a sweep.
    errors : errors met so far.
    lag : from the document that completed the last sweep to its prediction (s), or None.
    busy : what the worker has waited for over a second, as "Slow.predicted for 14 s", else "".
    writers : how the writers into the archive do, by what they write; empty without an archive.
    """

    running: bool
    waiting: int
    on_disk: int
    documents: int
    sweeps: int
    refused: int
    fragments: int
    errors: int
    lag: float | None
    busy: str = ""
    writers: Mapping[str, WriterStatus] = field(default_factory=dict)


class _Results(PipelineHooks):
    """What a live analysis keeps of its pipeline: results for the user, in any thread, and errors.

    Parameters
    ----------
    history : number of predictions kept.
    notices : takes the errors.
    calls : notes what the worker thread is busy with.
    """

    caught = BaseException  # the worker must live

    def __init__(self, history: int, notices: Notices, calls: Watch) -> None:
        self._notices = notices
        self._calls = calls
        self._lock = threading.Lock()
        self._kept: deque[Result] = deque(maxlen=history)
        self.latest: Result | None = None
        self.average: Prediction | None = None
        self.preview: Prediction | None = None
        self.scans = LastScans()
        self.times = SweepTimes()
        self._averages = LastAverages(history)
        self._sweeps = self._refused = 0

    def failed(self, where: str, error: BaseException) -> None:
        self._notices.error(where, error)

    def watch(self, what: str) -> AbstractContextManager[None]:
        return self._calls.over(what)

    def previewed(self, preview: Prediction | None) -> None:
        self.preview = preview

    def completed(self, document: Completed, result: SweepResult) -> None:
        lag = time.monotonic() - document.received
        results = [Result(prediction, lag) for prediction in result.predictions]
        with self._lock:
            self.preview = None
            self.latest = results[0]
            self.times.completed(document.received)
            self._kept.extend(results)
            self._sweeps += 1
            self._refused += result.primary.refused is not None
        self.scans.add(result.spectrum)

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        self.average = prediction
        self.scans.add(spectrum)
        with self._lock:
            self._averages.averaged(spectrum, prediction)

    def current(self, max_age: float | None, dead: str) -> Current:
        """Return the latest prediction, and why it must not be acted on; `dead` says why none will follow."""
        with self._lock:
            prediction = self.latest.prediction if self.latest else None
            age, limit = self.times.age(), self.times.limit if max_age is None else max_age
        return Current.judged(prediction, age, limit, dead)

    def counts(self) -> tuple[int, int, float | None]:
        """Return the number of sweeps, of those refused, and the lag of the last (s)."""
        with self._lock:
            return self._sweeps, self._refused, self.latest.lag if self.latest else None

    def kept(self) -> list[Result]:
        """Return the last results, oldest first."""
        with self._lock:
            return list(self._kept)

    def rows(self) -> list[Result]:
        """Return the last results, each run's average after its sweeps."""
        with self._lock:
            return with_averages(self._kept, self._averages.predictions)

    def table(self, last: int | None = None) -> ResultTable:
        """Return the rows as a table, all or the last ones."""
        from xas_live.callbacks.publishers.result_table import table  # brings pandas

        rows = self.rows()
        return table(rows if last is None else rows[-last:])


class _NewMapping(Mark):
    """From here on runs are read by this mapping."""

    def __init__(self, mapping: ChannelMapping | None) -> None:
        super().__init__()
        self.mapping = mapping


class _Decided(Mark):
    """A decision for the publishers."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


class LiveAnalysis:
    """Analyses sweeps while a plan runs; subscribe it to a RunEngine or feed it any stream of documents.

    In the caller's thread it only puts the document on a queue, with copies of the arrays that make spectra
    (`OwnArrays`). A worker thread assembles sweeps, analyses them (a backlog as one batch) and calls the
    publishers. Whatever fails there is counted, kept in `errors` and shown once; neither the plan nor the
    other publishers notice, and no completed sweep is dropped. A publisher that does not return keeps the
    others waiting: after 10 s the user is told which.

    Parameters
    ----------
    analyzer : what predicts: an AnalyzerPool, an Analyzer. May be replaced at any time
        (`live.analyzer = ...`); the next batch uses the new one. Of a pool with several models the first
        is the primary one: averages and previews are its alone.
    publishers : told about every run, model and sweep, in this order; closed with this object.
    mapping : fields to read; what it leaves out is guessed. May be replaced (`live.mapping = ...`) for the
        runs that begin from then on.
    source : written to the provenance of the spectra.
    history : number of predictions kept for `predictions` and `table`.
    notices : shows lines to the user and keeps errors; default: on standard output.

    Examples
    --------
    >>> live = LiveAnalysis(AnalyzerPool())
    >>> token = RE.subscribe(live)
    >>> RE(scan([i0, it], energy, 11400, 12200, 401))
    >>> live.wait(); live.table
    """

    def __init__(
        self,
        analyzer: Analyzes,
        publishers: Iterable[Publisher] = (),
        mapping: ChannelMapping | None = None,
        *,
        source: str = "live",
        history: int = 2000,
        notices: Notices | None = None,
    ) -> None:
        self._notices = notices or Notices()
        self._mapping = checked_mapping(mapping)
        self._assembler = SpectrumAssembler(mapping, source=source, say=self._notices.say)
        self._arrays = OwnArrays()
        self._backlog = Backlog(self._notices.say)
        self._watch = Watch(self._notices.trouble, self._backlog.__len__, STUCK_S)
        self._results = _Results(history, self._notices, self._watch)
        self._decisions: deque[Decision] = deque(maxlen=history)
        self._history = RunHistory()
        self._pipeline = SweepPipeline(analyzer, publishers, self._history, self._results)
        self._documents = 0
        self._measuring_due = False
        self._measured_at = 0.0
        self._closed = False
        self._finished = False
        self._worker = threading.Thread(target=self._work, name="xas_live", daemon=True)
        self._worker.start()
        atexit.register(self._at_exit)
        self._pipeline.bind(self)

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document, in any thread; returns at once, and raises nothing: the plan must go on.

        After `close` documents are ignored.
        """
        if self._closed:
            return
        try:
            size = 0
            if name in ("event", "event_page"):
                doc, size = self._arrays.copied(doc)
            # A single point seldom completes a sweep: the worker is not woken for it.
            point = name == "event" and not size and not _says_done(doc)
            self._backlog.put(Received(name, doc, time.monotonic(), size), patient=point)
        except Exception as error:  # noqa: BLE001 also when memory is short
            with suppress(Exception):
                self._notices.error("LiveAnalysis, in the plan's thread", error)

    @property
    def analyzer(self) -> Analyzes:
        """What predicts. Set it to use another from the next batch on."""
        return self._pipeline.analyzer

    @analyzer.setter
    def analyzer(self, analyzer: Analyzes) -> None:
        self._pipeline.analyzer = analyzer

    @property
    def mapping(self) -> ChannelMapping | None:
        """Fields to read; what it leaves out is guessed. Set it for the runs that begin from then on.

        Raises
        ------
        MappingError : when it is set to anything but a ChannelMapping or None.
        """
        return self._mapping

    @mapping.setter
    def mapping(self, mapping: ChannelMapping | None) -> None:
        self._mapping = checked_mapping(mapping)
        self._backlog.put(_NewMapping(mapping))  # in its place among the documents

    @property
    def publishers(self) -> tuple[Publisher, ...]:
        """Who is told, in this order."""
        return self._pipeline.publishers

    @property
    def latest(self) -> Prediction | None:
        """The prediction of the last completed sweep; of several models, the primary one's."""
        latest = self._results.latest
        return latest.prediction if latest else None

    @property
    def average(self) -> Prediction | None:
        """The prediction of the newest average over the sweeps of one run; None while no run has had two."""
        return self._results.average

    @property
    def preview(self) -> Prediction | None:
        """The preview of the sweep being measured, once its edge is passed; None between sweeps."""
        return self._results.preview

    @property
    def predictions(self) -> list[Prediction]:
        """Predictions so far, oldest first, of each sweep the primary one first; the last `history` ones."""
        return [result.prediction for result in self._results.kept()]

    def current(self, max_age: float | None = None) -> Current:
        """Return the latest prediction, and whether it may be acted on by its age. For any thread.

        Verdict, anchor and flags are not looked at: see `prediction`.

        Parameters
        ----------
        max_age : seconds after the end of its sweep; default: two sweep times, and at least 2 s.
        """
        ended = "was closed" if self._closed else "has ended by an error: attach again"
        dead = "" if not self._closed and self._worker.is_alive() else f"the analysis {ended}"
        return self._results.current(max_age, dead)

    def decided(self, decision: Decision) -> None:
        """Take what a rule or a plan did because of a prediction: shown, kept, and told to the publishers.

        For any thread. A publisher's own decision is told after the sweep that it is being told of.
        """
        self._decisions.append(decision)
        self._notices.say(str(decision))
        if threading.current_thread() is self._worker:
            self._pipeline.decided(decision)
        else:
            self._backlog.put(_Decided(decision))

    @property
    def decisions(self) -> list[Decision]:
        """What rules and plans did so far, oldest first; the last `history` ones."""
        return list(self._decisions)

    @property
    def errors(self) -> list[ErrorRecord]:
        """What failed so far, oldest first; the last 200."""
        return self._notices.errors

    @property
    def table(self) -> ResultTable:
        """One row per sweep and model, and one per run of several sweeps for their average.

        First what it is of (`averaged` counts the sweeps), the leading result with its interval, the size
        (nm) and the verdict; then all the rest: other results, reasons, model, time, flags, lag (s). A pandas
        table, of which the important columns are printed.
        """
        return self._results.table()

    def anchor_from(self, scan: int | str = -1, *, vouch: bool = False) -> FoilAnchor:
        """Fit a scan of this session as a foil, and save it as the anchor of its absorber.

        It is used from the next sweep on, where `attach` was left to find the anchor and a scan has no
        reference channel.

        Parameters
        ----------
        scan : -1 is the last scan, 12 that of scan id 12; or the beginning of its uid. Of several sweeps
            their average is the foil.
        vouch : save it although it looks like a particle; the anchor says so.

        Raises
        ------
        Refusal : when there is no such scan, or no model for it.
        AnchorError : when it cannot be fitted; NoFoilError, one of them, when it looks like a particle.
        OSError : when it cannot be saved.
        """
        self.wait()
        foil = self._results.scans.find(scan)
        where = foil.provenance
        if where.source == "live":
            named = f"scan {where.scan} ({(where.run_uid or '')[:8]})"
            foil = replace(foil, provenance=replace(where, source=named))
        bundle = self.analyzer.models_for(foil)[0]
        target = bundle.input_for(foil.element, foil.edge) or bundle.inputs[0]
        known = known_foils(target.element, target.edge, where.beamline)
        anchor = foil_anchor(foil, bundle, known, vouch=vouch)
        folder = anchor.save()
        self.say(f"{anchor.source} is saved as the foil {folder.name} of {anchor.element} {anchor.edge}")
        return anchor

    def say(self, text: str) -> None:
        """Show the user one line, where the analysis shows its own."""
        self._notices.say(text)

    def status(self) -> Status:
        """Counts, and how far behind the analysis is."""
        sweeps, refused, lag = self._results.counts()
        return Status(
            running=not self._closed and self._worker.is_alive(),
            waiting=len(self._backlog),
            on_disk=self._backlog.on_disk,
            documents=self._documents,
            sweeps=sweeps,
            refused=refused,
            fragments=self._assembler.fragments,
            errors=self._notices.error_count,
            lag=lag,
            busy=self._watch.busy,
        )

    def reached(self) -> threading.Event:
        """Return an event that is set once all documents given so far are analysed and published.

        For plans, which look at it and sleep in between: nothing may wait in the RunEngine's thread. It is
        never set where the analysis was closed before, or has ended.
        """
        mark = Mark()
        self._backlog.put(mark)
        return mark.event

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every document given so far is analysed and published.

        Parameters
        ----------
        timeout : seconds; None waits as long as it takes.

        Returns
        -------
        False if the time was not enough, or the worker thread has ended before its time.

        Raises
        ------
        RuntimeError : when called from a publisher, which would wait for itself.
        """
        if threading.current_thread() is self._worker:
            raise RuntimeError("wait() was called from a publisher: the worker thread cannot wait for itself")
        if not self._worker.is_alive():
            return self._finished
        reached = self.reached()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            patience = 0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))
            if reached.wait(patience):
                return True
            if not self._worker.is_alive():  # after `close` it did all there was, and never meets this mark
                return self._finished
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def close(self, timeout: float | None = 60.0) -> bool:
        """Analyse and publish what is waiting, close the publishers, end the worker. Safe to call twice.

        Parameters
        ----------
        timeout : seconds to wait for that; None waits as long as it takes.

        Returns
        -------
        False if the worker did not end in time (it goes on, but takes no more documents), or had ended
        before.
        """
        self._take_no_more()
        if threading.current_thread() is self._worker:
            return False
        self._worker.join(timeout)
        if self._worker.is_alive():
            self._notices.say(f"not all is done after {timeout:g} s: {self._what_waits()}")
        return self._finished

    def __enter__(self) -> LiveAnalysis:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        latest = self.latest
        if latest is None:
            return self._state()
        rows = self._results.table(_ROWS).brief().splitlines()
        return "\n  ".join([self._state(), *rows, *textwrap.wrap(f"last: {latest}", 78)])

    def _repr_html_(self) -> str:
        latest = self.latest
        text = f"<p>{html.escape(self._state())}</p>"
        if latest is None:
            return text
        rows = self._results.table(_ROWS)
        return f"{text}{rows._repr_html_()}<p>last: {html.escape(str(latest))}</p>"

    def _state(self) -> str:
        """Whether it runs, and what there is so far, in one line."""
        status = self.status()
        counts = [_many(status.sweeps, "sweep")]
        counts += [f"{status.refused} refused"] if status.refused else []
        counts += [f"{_many(status.waiting, 'document')} waiting"] if status.waiting else []
        counts += [f"{_many(status.errors, 'error')}, see .errors"] if status.errors else []
        counts += [f"in {status.busy}"] if status.busy else []
        counts += [
            f"{_many(writer.queued + writer.spooled, 'document')} of {name} runs not in the archive"
            for name, writer in status.writers.items()
            if not writer.healthy
        ]
        state = "watching" if status.running else "closed" if self._closed else "ENDED by an error"
        return f"<LiveAnalysis {state}: {', '.join(counts)}>"

    def _take_no_more(self) -> None:
        if not self._closed:
            self._closed = True
            atexit.unregister(self._at_exit)
            self._backlog.put(_CLOSE)

    def _what_waits(self) -> str:
        busy = self._watch.busy
        return (
            f"{_many(len(self._backlog), 'document')} waiting{f', the worker is in {busy}' if busy else ''}"
        )

    def _at_exit(self) -> None:
        """The session ends: say what it waits for, and not for long."""
        self._take_no_more()
        self._worker.join(1.0)
        if self._worker.is_alive():
            self._notices.say(f"the session ends, but waits up to {_EXIT_S:.0f} s: {self._what_waits()}")
        self.close(_EXIT_S)

    # --- in the worker thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._work_until_closed()
            self._finished = True
        except BaseException as error:  # noqa: BLE001 whatever ends the worker, the user must know
            self._notices.error("LiveAnalysis has ended, attach again", error)
        finally:
            self._watch.close()

    def _work_until_closed(self) -> None:
        while True:
            batch = self._next_batch()
            marks = [item for item in batch if isinstance(item, Mark)]
            try:
                self._process(batch)
                for mark in marks:
                    if isinstance(mark, _Decided):
                        self._pipeline.decided(mark.decision)
                self._pipeline.tell_decisions()
                self._publish_growing()
            except BaseException as error:  # noqa: BLE001 the last guard: the worker must live
                self._notices.error("LiveAnalysis", error)
            for mark in marks:
                mark.event.set()
            if _CLOSE in marks:
                self._finish_open_runs()
                self._backlog.close()
                self._pipeline.close()
                return

    def _next_batch(self) -> list[Item]:
        """Everything on the queue; waits for something, or until the growing sweep should be shown."""
        patience = None
        if self._measuring_due:
            patience = max(0.0, self._measured_at + MEASURING_INTERVAL_S - time.monotonic())
        return self._backlog.take(patience, _CLOSE)

    def _process(self, items: list[Item]) -> None:
        """Assemble the documents among these, and give the pipeline their sweeps in batches."""
        batch: list[Completed] = []
        sweeps = 0
        for document in items:
            if isinstance(document, _NewMapping):
                self._assembler.mapping = document.mapping
            if isinstance(document, Mark):
                continue
            self._documents += 1
            if document.name == "start":
                self._results.times.began(document.received)
            spectra = self._assemble(document)
            if spectra or document.name in ("start", "stop"):
                batch.append(Completed(document.name, document.doc, spectra, document.received))
            self._measuring_due |= document.name in ("event", "event_page", "stream_datum")
            for line in self._arrays.missed():
                self._notices.trouble("LiveAnalysis", line)
            sweeps += len(spectra)
            if sweeps >= SWEEPS_AT_ONCE:
                self._pipeline.process(batch, last=False)
                batch, sweeps = [], 0
        self._pipeline.process(batch)

    def _assemble(self, document: Received) -> Sequence[Spectrum]:
        """Return the sweeps that a document completes."""
        try:
            with self._watch.over("SpectrumAssembler"):
                spectra = self._assembler(document.name, document.doc)
            if document.name == "descriptor":
                self._note_fields(str(document.doc.get("uid")))
        except BaseException as error:  # noqa: BLE001 a bad document must not stop those after it
            self._notices.error("SpectrumAssembler", error)
            return ()
        return spectra

    def _note_fields(self, descriptor: str) -> None:
        """From now on only the arrays of these fields are copied in the plan's thread."""
        fields = self._assembler.fields_read(descriptor)
        if fields is not None:
            self._arrays.read(descriptor, fields)

    def _finish_open_runs(self) -> None:
        """Publish what is left of runs whose stop document has not come."""
        try:
            with self._watch.over("SpectrumAssembler"):
                spectra = self._assembler.finish()
            if spectra:
                self._pipeline.process(
                    [Completed("unfinished", cast("Document", {}), spectra, time.monotonic())]
                )
        except BaseException as error:  # noqa: BLE001 the publishers must be closed all the same
            self._notices.error("SpectrumAssembler", error)

    def _publish_growing(self) -> None:
        now = time.monotonic()
        if not self._measuring_due or now < self._measured_at + MEASURING_INTERVAL_S:
            return
        self._measuring_due = False
        self._measured_at = now
        spectrum = self._assembler.growing
        if spectrum is not None:
            self._pipeline.measuring(spectrum)


_CLOSE = Mark()


def _says_done(event: Document) -> bool:
    """Return whether an event says that a sweep has ended."""
    data = event.get("data")
    return isinstance(data, dict) and SWEEP_DONE in data


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
