"""LiveAnalysis: the callback that turns a running scan into predictions."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xas_live.analysis.history import RunHistory
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.live.backlog import Backlog, Item, Mark, Received, bytes_of
from xas_live.callbacks.live.notices import ErrorRecord, Notices
from xas_live.callbacks.live.several import ask_all, ask_lead, one_each
from xas_live.callbacks.live.watch import Watch
from xas_live.callbacks.publishers.base import Publisher
from xas_live.callbacks.publishers.results import Result, table
from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:  # analysis brings torch, which a publisher's own tests can do without
    from xas_live.analysis import Analyzes
    from xas_live.archive import WriterStatus

SWEEPS_AT_ONCE = 256  # from which on a batch is analysed: larger ones gain nothing and fill the memory
MEASURING_INTERVAL_S = 0.2
"""Publishers see the growing sweep at most this often (s)."""

STUCK_S = 10.0
"""The user is told of a publisher or an analyzer that does not return for so long (s)."""

_EXIT_S = 10.0  # how long the end of the session waits for what is not done


@dataclass(frozen=True)
class Status:
    """Where a LiveAnalysis stands.

    Attributes
    ----------
    running : False after `close`, and when the worker thread has ended.
    waiting : documents not yet worked on; on_disk : those of them that wait on disk.
    documents : documents worked on.
    sweeps, refused : sweeps predicted, and how many of them were refused, by the lead of several models.
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


class LiveAnalysis:
    """Analyses sweeps while a plan runs; subscribe it to a RunEngine or feed it any stream of documents.

    In the caller's thread it only puts the document on a queue, its arrays copied. A worker thread assembles
    sweeps, analyses them (a backlog as one batch) and calls the publishers. Whatever fails there is counted,
    kept in `errors` and shown once; neither the plan nor the other publishers notice, and no completed sweep
    is dropped. A publisher that does not return keeps the others waiting: after 10 s the user is told which.

    Parameters
    ----------
    analyzer : what predicts: an AnalyzerPool, an Analyzer. May be replaced at any time
        (`live.analyzer = ...`); the next batch uses the new one. Of a pool with several models the first
        leads: averages and what is foreseen are its alone.
    publishers : told about every run, sweep and prediction, in this order; closed with this object.
    mapping : fields to read; what it leaves out is guessed.
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
        self.analyzer = analyzer
        self.publishers = tuple(publishers)
        self._notices = notices or Notices()
        self._assembler = SpectrumAssembler(mapping, source=source, say=self._notices.say)
        self._lock = threading.Lock()
        self._results: deque[Result] = deque(maxlen=history)
        self._latest: Result | None = None
        self._history = RunHistory()
        self._average: Prediction | None = None
        self._documents = self._sweeps = self._refused = 0
        self._preview: Prediction | None = None
        self._measuring_due = False
        self._measured_at = 0.0
        self._closed = False
        self._finished = False
        self._backlog = Backlog(self._notices.say)
        self._watch = Watch(self._notices.trouble, self._backlog.__len__, STUCK_S)
        self._worker = threading.Thread(target=self._work, name="xas_live", daemon=True)
        self._worker.start()
        atexit.register(self._at_exit)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document, in any thread; returns at once. After `close` documents are ignored."""
        if not self._closed:
            size = 0
            if name in ("event", "event_page"):
                doc, size = _with_own_arrays(doc)
            # A single point completes no sweep: the worker need not be woken for it.
            point = name == "event" and not size
            self._backlog.put(Received(name, doc, time.monotonic(), size), patient=point)

    @property
    def latest(self) -> Prediction | None:
        """The prediction of the last completed sweep; of several models, the lead's."""
        with self._lock:
            return self._latest.prediction if self._latest else None

    @property
    def average(self) -> Prediction | None:
        """The prediction of the newest average over the sweeps of one run; None while no run has had two."""
        with self._lock:
            return self._average

    @property
    def preview(self) -> Prediction | None:
        """What is foreseen of the sweep being measured, once its edge is passed; None between sweeps."""
        with self._lock:
            return self._preview

    @property
    def predictions(self) -> list[Prediction]:
        """Predictions so far, oldest first, of each sweep the lead's first; the last `history` ones."""
        with self._lock:
            return [result.prediction for result in self._results]

    @property
    def errors(self) -> list[ErrorRecord]:
        """What failed so far, oldest first; the last 200."""
        return self._notices.errors

    @property
    def table(self) -> pd.DataFrame:
        """One row per sweep and model: scan, sweep, time, model, values with intervals, verdicts, lag (s)."""
        with self._lock:
            results = list(self._results)
        return table(results)

    def say(self, text: str) -> None:
        """Show the user one line, where the analysis shows its own."""
        self._notices.say(text)

    def status(self) -> Status:
        """Counts, and how far behind the analysis is."""
        with self._lock:
            return Status(
                running=not self._closed and self._worker.is_alive(),
                waiting=len(self._backlog),
                on_disk=self._backlog.on_disk,
                documents=self._documents,
                sweeps=self._sweeps,
                refused=self._refused,
                fragments=self._assembler.fragments,
                errors=self._notices.error_count,
                lag=self._latest.lag if self._latest else None,
                busy=self._watch.busy,
            )

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
        reached = Mark()
        self._backlog.put(reached)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            patience = 0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))
            if reached.event.wait(patience):
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
        text = f"<LiveAnalysis {state}: {', '.join(counts)}>"
        if (latest := self.latest) is not None:
            where = f"scan {latest.provenance.scan}, sweep {latest.provenance.sweep}"
            text += f"\n  {where}: {latest}"
        return text

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
                self._process([item for item in batch if isinstance(item, Received)])
                self._publish_growing()
            except BaseException as error:  # noqa: BLE001 the last guard: the worker must live
                self._notices.error("LiveAnalysis", error)
            for mark in marks:
                mark.event.set()
            if _CLOSE in marks:
                self._backlog.close()
                for publisher in self.publishers:
                    self._tell(publisher, "close")
                return

    def _next_batch(self) -> list[Item]:
        """Everything on the queue; waits for something, or until the growing sweep should be shown."""
        patience = None
        if self._measuring_due:
            patience = max(0.0, self._measured_at + MEASURING_INTERVAL_S - time.monotonic())
        return self._backlog.take(patience, _CLOSE)

    def _process(self, documents: list[Received]) -> None:
        """Assemble, analyse completed sweeps in batches, publish in the order of the documents."""
        events: list[tuple[Received, list[Spectrum]]] = []
        waiting = 0
        ahead: _Batch | None = None
        for document in documents:
            try:
                spectra = self._assembler(document.name, document.doc)
            except BaseException as error:  # noqa: BLE001 a bad document must not stop those after it
                self._notices.error("SpectrumAssembler", error)
                spectra = []
            if spectra or document.name in ("start", "stop"):
                events.append((document, spectra))
            self._measuring_due |= document.name in ("event", "event_page", "stream_datum")
            waiting += len(spectra)
            if waiting >= SWEEPS_AT_ONCE:
                ahead = self._hand_on(_Batch(self.analyzer, events), ahead)
                events, waiting = [], 0
        for batch in (ahead, _Batch(self.analyzer, events)):
            if batch is not None:
                self._analyze_and_publish(batch)
        with self._lock:
            self._documents += len(documents)

    def _hand_on(self, batch: _Batch, before: _Batch | None) -> _Batch | None:
        """Have a batch analysed by itself, where the analyzer can, and publish the one before it meanwhile.

        Returns the batch when it is under way, None when it is published.
        """
        if before is not None:
            self._ask(before)
            for k in self._averages_of(before):  # now: soon the analyzer is busy
                self._ask_average(before, k)
        submit = getattr(batch.analyzer, "submit", None)
        if submit is not None:
            try:
                batch.under_way = submit(batch.sweeps)
            except BaseException as error:  # noqa: BLE001 it is analysed here and now instead
                self._notices.error(f"{type(batch.analyzer).__name__}.submit", error)
        if before is not None:
            self._analyze_and_publish(before)
        if batch.under_way is not None:
            return batch
        self._analyze_and_publish(batch)
        return None

    def _ask(self, batch: _Batch) -> list[list[Prediction]]:
        """The predictions of a batch's sweeps."""
        if batch.found is None:
            batch.found = self._analyze(batch.analyzer, batch.sweeps, batch.ask)
        return batch.found

    def _averages_of(self, batch: _Batch) -> dict[int, Spectrum]:
        """The newest average of each run that grew, by the last sweep in it."""
        if batch.averages is None:
            try:
                batch.averages = self._history.averages.add(
                    batch.sweeps, [lead for lead, *_ in self._ask(batch)]
                )
            except BaseException as error:  # noqa: BLE001 an average that fails must not cost the sweeps
                self._notices.error("Averages", error)
                batch.averages = {}
        return batch.averages

    def _ask_average(self, batch: _Batch, k: int) -> Prediction:
        if k not in batch.of_averages:
            average = self._averages_of(batch)[k]
            [[prediction]] = self._analyze(batch.analyzer, [average], ask_lead)
            self._history.align(prediction)
            batch.of_averages[k] = prediction
        return batch.of_averages[k]

    def _analyze_and_publish(self, batch: _Batch) -> None:
        numbered = enumerate(self._ask(batch))
        for document, spectra in batch.events:
            if document.name == "start":
                self._publish("run_started", document.doc)
            for spectrum in spectra:
                k, predictions = next(numbered)
                lag = time.monotonic() - document.received
                self._keep([Result(prediction, lag) for prediction in predictions])
                for prediction in predictions:
                    self._publish("predicted", spectrum, prediction)
                averages = self._averages_of(batch)  # only now: the sweep itself does not wait for them
                if k in averages:
                    average = self._ask_average(batch, k)
                    with self._lock:
                        self._average = average
                    self._publish("averaged", averages[k], average)
            if document.name == "stop":
                self._history.forget(document.doc.get("run_start", ""))
                self._publish("run_stopped", document.doc)
        if batch.sweeps:
            self._publish("published")

    def _analyze(self, analyzer: Analyzes, spectra: list[Spectrum], ask: _Ask) -> list[list[Prediction]]:
        """At least one prediction for each spectrum, the lead's first, whatever the analyzer does."""
        if not spectra:
            return []
        try:
            with self._watch.over(f"{type(analyzer).__name__}.analyze"):
                return ask(analyzer, spectra)
        except BaseException as error:  # noqa: BLE001 one bad sweep must not take the others with it
            self._notices.error(type(analyzer).__name__, error)
            if len(spectra) == 1:
                reason = f"the analysis failed ({type(error).__name__}: {error})"
                return [[Prediction.refusal(spectra[0], reason)]]
        return [found for spectrum in spectra for found in self._analyze(analyzer, [spectrum], ask)]

    def _keep(self, results: list[Result]) -> None:
        """Keep what all models say of a sweep, the lead's first."""
        lead = results[0]
        self._history.add([result.prediction for result in results])
        with self._lock:
            self._preview = None
            self._latest = lead
            self._results.extend(results)
            self._sweeps += 1
            self._refused += lead.prediction.refused is not None

    def _publish_growing(self) -> None:
        now = time.monotonic()
        if not self._measuring_due or now < self._measured_at + MEASURING_INTERVAL_S:
            return
        self._measuring_due = False
        self._measured_at = now
        spectrum = self._assembler.growing
        if spectrum is None:
            return
        preview = self._previewed(spectrum)
        with self._lock:
            self._preview = preview
        self._publish("measuring", spectrum, preview)

    def _previewed(self, spectrum: Spectrum) -> Prediction | None:
        """What the analyzer foresees of a growing sweep; None where it foresees nothing."""
        foresee = getattr(self.analyzer, "preview", None)
        if foresee is None:
            return None
        try:
            with self._watch.over(f"{type(self.analyzer).__name__}.preview"):
                found: Prediction | None = foresee(spectrum, self._history.before(spectrum))
                return found
        except BaseException as error:  # noqa: BLE001 a preview that fails must not cost the sweep
            self._notices.error(f"{type(self.analyzer).__name__}.preview", error)
            return None

    def _publish(self, method: str, *arguments: Any) -> None:
        for publisher in self.publishers:
            self._tell(publisher, method, *arguments)

    def _tell(self, publisher: Publisher, method: str, *arguments: Any) -> None:
        what = f"{type(publisher).__name__}.{method}"
        try:
            with self._watch.over(what):
                getattr(publisher, method)(*arguments)
        except BaseException as error:  # noqa: BLE001 a publisher that fails must not stop the others
            self._notices.error(what, error)


@dataclass(eq=False)
class _Batch:
    """Documents in their order, each with the sweeps that it completed, and what is known of these by now.

    Attributes
    ----------
    under_way : what the analyzer was asked for ahead, if it was.
    found : of each sweep the predictions, the lead's first; None as long as they are not there.
    averages, of_averages : that grew, by the sweep that they end with, None before they are found; and
        their predictions.
    """

    analyzer: Analyzes
    events: list[tuple[Received, list[Spectrum]]]
    under_way: Future[list[list[Prediction]]] | None = None
    found: list[list[Prediction]] | None = None
    averages: dict[int, Spectrum] | None = None
    of_averages: dict[int, Prediction] = field(default_factory=dict)

    @cached_property
    def sweeps(self) -> list[Spectrum]:
        """All sweeps, in order."""
        return [spectrum for _, spectra in self.events for spectrum in spectra]

    def ask(self, analyzer: Analyzes, spectra: list[Spectrum]) -> list[list[Prediction]]:
        """What is under way, asked for all sweeps; else `ask_all`, as for each alone when that has failed."""
        if self.under_way is None or spectra is not self.sweeps:
            return ask_all(analyzer, spectra)
        return one_each(spectra, self.under_way.result())


_Ask = Callable[["Analyzes", list[Spectrum]], list[list[Prediction]]]
_CLOSE = Mark()


def _with_own_arrays(event: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """The event with copies of its arrays, and their bytes.

    A detector may fill them again before the worker reads them.
    """
    data, own, size = event.get("data"), {}, 0
    if not isinstance(data, dict):
        return event, 0
    for name, value in data.items():
        if isinstance(value, np.ndarray):
            own[name] = value.copy()
            size += value.nbytes
        elif isinstance(value, list):
            own[name] = _own(value)
            size += bytes_of(value)
    return ({**event, "data": {**data, **own}}, size) if own else (event, 0)


def _own(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return [_own(each) for each in value] if isinstance(value, list) else value


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
