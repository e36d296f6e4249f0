"""LiveAnalysis: the callback that turns a running scan into predictions."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from xas_live.callbacks.assembler import SpectrumAssembler
from xas_live.callbacks.channels import ChannelMapping
from xas_live.callbacks.notices import ErrorRecord, Notices
from xas_live.callbacks.publisher import Publisher
from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:  # analysis brings torch, which a publisher's own tests can do without
    from xas_live.analysis import Analyzes

MEASURING_INTERVAL_S = 0.2
"""Publishers see the growing sweep at most this often (s)."""

_AT_ONCE = 10_000  # documents taken from the queue before their results are published


@dataclass(frozen=True)
class Status:
    """Where a LiveAnalysis stands.

    Attributes
    ----------
    running : False after `close`.
    waiting : documents not yet worked on.
    documents : documents worked on.
    sweeps, refused : sweeps predicted, and how many of them were refused.
    fragments : pieces of runs too short to be a sweep.
    errors : errors met so far.
    lag : from the document that completed the last sweep to its prediction (s), or None.
    """

    running: bool
    waiting: int
    documents: int
    sweeps: int
    refused: int
    fragments: int
    errors: int
    lag: float | None


class LiveAnalysis:
    """Analyses sweeps while a plan runs; subscribe it to a RunEngine or feed it any stream of documents.

    In the caller's thread it only puts the document on a queue. A worker thread assembles sweeps, analyses
    them (a backlog as one batch) and calls the publishers. Whatever fails there is counted, kept in `errors`
    and shown once; neither the plan nor the other publishers notice, and no completed sweep is dropped.

    Parameters
    ----------
    analyzer : what predicts: an AnalyzerPool, an Analyzer. May be replaced at any time
        (`live.analyzer = ...`); the next batch uses the new one.
    publishers : told about every run, sweep and prediction, in this order; closed with this object.
    mapping : fields to read; what it leaves out is guessed.
    source : written to the provenance of the spectra.
    history : number of predictions kept for `predictions` and `table`.
    console : where lines for the user are shown; default: standard output.

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
        console: Console | None = None,
    ) -> None:
        self.analyzer = analyzer
        self.publishers = tuple(publishers)
        self._notices = Notices(console)
        self._assembler = SpectrumAssembler(mapping, source=source, say=self._notices.say)
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._lock = threading.Lock()
        self._results: deque[_Result] = deque(maxlen=history)
        self._documents = self._sweeps = self._refused = 0
        self._measuring_due = False
        self._measured_at = 0.0
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="xas_live", daemon=True)
        self._worker.start()
        atexit.register(self.close)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document, in any thread; returns at once. After `close` documents are ignored."""
        if not self._closed:
            self._queue.put(_Document(name, doc, time.monotonic()))

    @property
    def latest(self) -> Prediction | None:
        """The prediction of the last completed sweep."""
        with self._lock:
            return self._results[-1].prediction if self._results else None

    @property
    def predictions(self) -> list[Prediction]:
        """Predictions so far, oldest first; the last `history` ones."""
        with self._lock:
            return [result.prediction for result in self._results]

    @property
    def errors(self) -> list[ErrorRecord]:
        """What failed so far, oldest first; the last 200."""
        return self._notices.errors

    @property
    def table(self) -> pd.DataFrame:
        """One row per sweep: scan, sweep, time, values with their intervals, size, verdicts, lag (s)."""
        with self._lock:
            results = list(self._results)
        return pd.DataFrame([result.row() for result in results], columns=_columns(results))

    def say(self, text: str) -> None:
        """Show the user one line, where the analysis shows its own."""
        self._notices.say(text)

    def status(self) -> Status:
        """Counts, and how far behind the analysis is."""
        with self._lock:
            return Status(
                running=not self._closed,
                waiting=self._queue.qsize(),
                documents=self._documents,
                sweeps=self._sweeps,
                refused=self._refused,
                fragments=self._assembler.fragments,
                errors=self._notices.error_count,
                lag=self._results[-1].lag if self._results else None,
            )

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every document given so far is analysed and published.

        Parameters
        ----------
        timeout : seconds; None waits as long as it takes.

        Returns
        -------
        False if the time was not enough.

        Raises
        ------
        RuntimeError : when called from a publisher, which would wait for itself.
        """
        if threading.current_thread() is self._worker:
            raise RuntimeError("wait() was called from a publisher: the worker thread cannot wait for itself")
        if not self._worker.is_alive():
            return True
        reached = _Mark()
        self._queue.put(reached)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            patience = 0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))
            if reached.event.wait(patience):
                return True
            if not self._worker.is_alive():  # it did all there was, but ended before it met this mark
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def close(self, timeout: float | None = 60.0) -> bool:
        """Analyse and publish what is waiting, close the publishers, end the worker. Safe to call twice.

        Parameters
        ----------
        timeout : seconds to wait for that; None waits as long as it takes.

        Returns
        -------
        False if the worker did not end in time (it goes on, but no longer takes documents).
        """
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._queue.put(_CLOSE)
        if threading.current_thread() is self._worker:
            return False
        self._worker.join(timeout)
        ended = not self._worker.is_alive()
        if not ended:
            self._notices.say(f"still busy after {timeout} s: {self._queue.qsize()} documents are waiting")
        return ended

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
        text = f"<LiveAnalysis {'watching' if status.running else 'closed'}: {', '.join(counts)}>"
        if (latest := self.latest) is not None:
            where = f"scan {latest.provenance.scan}, sweep {latest.provenance.sweep}"
            text += f"\n  {where}: {_verdict(latest)}"
        return text

    # --- in the worker thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            marks = [item for item in batch if isinstance(item, _Mark)]
            try:
                self._process([item for item in batch if isinstance(item, _Document)])
                self._publish_growing()
            except Exception as error:  # noqa: BLE001 the last guard: the worker must live
                self._notices.error("LiveAnalysis", error)
            for mark in marks:
                mark.event.set()
            if _CLOSE in marks:
                for publisher in self.publishers:
                    self._tell(publisher, "close")
                return

    def _next_batch(self) -> list[_Item]:
        """Everything on the queue; waits for something, or until the growing sweep should be shown."""
        patience = None
        if self._measuring_due:
            patience = max(0.0, self._measured_at + MEASURING_INTERVAL_S - time.monotonic())
        batch: list[_Item] = []
        with suppress(Empty):
            batch.append(self._queue.get(timeout=patience))
            while len(batch) < _AT_ONCE and batch[-1] is not _CLOSE:
                batch.append(self._queue.get_nowait())
        return batch

    def _process(self, documents: list[_Document]) -> None:
        """Assemble, analyse all completed sweeps as one batch, publish in the order of the documents."""
        events: list[tuple[_Document, list[Spectrum]]] = []
        for document in documents:
            try:
                spectra = self._assembler(document.name, document.doc)
            except Exception as error:  # noqa: BLE001 a bad document must not stop those after it
                self._notices.error("SpectrumAssembler", error)
                spectra = []
            if spectra or document.name in ("start", "stop"):
                events.append((document, spectra))
            self._measuring_due |= document.name in ("event", "event_page")
        predictions = iter(self._analyze([spectrum for _, spectra in events for spectrum in spectra]))
        for document, spectra in events:
            if document.name == "start":
                self._publish("run_started", document.doc)
            for spectrum in spectra:
                prediction = next(predictions)
                self._keep(_Result(prediction, time.monotonic() - document.received))
                self._publish("predicted", spectrum, prediction)
            if document.name == "stop":
                self._publish("run_stopped", document.doc)
        with self._lock:
            self._documents += len(documents)

    def _analyze(self, spectra: list[Spectrum]) -> list[Prediction]:
        """One prediction for each sweep, whatever the analyzer does."""
        if not spectra:
            return []
        analyzer = self.analyzer
        try:
            return _analyze_checked(analyzer, spectra)
        except Exception as error:  # noqa: BLE001 one bad sweep must not take the others with it
            self._notices.error(type(analyzer).__name__, error)
            if len(spectra) == 1:
                return [_refused(spectra[0], error)]
        return [prediction for spectrum in spectra for prediction in self._analyze([spectrum])]

    def _keep(self, result: _Result) -> None:
        with self._lock:
            self._results.append(result)
            self._sweeps += 1
            self._refused += result.prediction.refused is not None

    def _publish_growing(self) -> None:
        now = time.monotonic()
        if not self._measuring_due or now < self._measured_at + MEASURING_INTERVAL_S:
            return
        self._measuring_due = False
        self._measured_at = now
        if self.publishers and (spectrum := self._assembler.growing) is not None:
            self._publish("measuring", spectrum)

    def _publish(self, method: str, *arguments: Any) -> None:
        for publisher in self.publishers:
            self._tell(publisher, method, *arguments)

    def _tell(self, publisher: Publisher, method: str, *arguments: Any) -> None:
        try:
            getattr(publisher, method)(*arguments)
        except Exception as error:  # noqa: BLE001 a publisher that fails must not stop the others
            self._notices.error(f"{type(publisher).__name__}.{method}", error)


@dataclass(frozen=True)
class _Document:
    name: str
    doc: Mapping[str, Any]
    received: float


class _Mark:
    """A place in the queue that someone waits for."""

    def __init__(self) -> None:
        self.event = threading.Event()


_CLOSE = _Mark()
_Item = _Document | _Mark


@dataclass(frozen=True)
class _Result:
    prediction: Prediction
    lag: float

    def row(self) -> dict[str, Any]:
        p = self.prediction
        time = p.provenance.time
        row: dict[str, Any] = {
            "scan": p.provenance.scan,
            "sweep": p.provenance.sweep,
            "time": None if time is None else datetime.fromtimestamp(time),
            "size": p.size.label if p.size else "",
            "in_domain": p.in_domain,
            "flags": ", ".join(p.flags),
            "refused": p.refused or "",
            "lag": self.lag,
        }
        for name, value in p.values.items():
            row |= {name: value.value, f"{name}_lower": value.lower, f"{name}_upper": value.upper}
        return row


def _columns(results: Sequence[_Result]) -> list[str]:
    names = dict.fromkeys(name for result in results for name in result.prediction.values)
    values = [column for name in names for column in (name, f"{name}_lower", f"{name}_upper")]
    return ["scan", "sweep", "time", *values, "size", "in_domain", "flags", "refused", "lag"]


def _analyze_checked(analyzer: Analyzes, spectra: list[Spectrum]) -> list[Prediction]:
    predictions = list(analyzer.analyze(spectra))
    if len(predictions) != len(spectra):
        raise RuntimeError(f"analyzer gave {len(predictions)} predictions for {len(spectra)} spectra")
    return predictions


def _refused(spectrum: Spectrum, error: Exception) -> Prediction:
    return Prediction(
        model="",
        model_sha256="",
        element=spectrum.element,
        edge=spectrum.edge,
        provenance=spectrum.provenance,
        partial=not spectrum.complete,
        refused=f"the analysis failed ({type(error).__name__}: {error})",
    )


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _verdict(prediction: Prediction) -> str:
    if prediction.refused:
        return f"refused, {prediction.refused}"
    values = ", ".join(f"{name} {value}" for name, value in prediction.values.items())
    size = f"; {prediction.size.label}" if prediction.size else ""
    domain = "in domain" if prediction.in_domain else "OUT OF DOMAIN"
    flags = f"; {', '.join(prediction.flags)}" if prediction.flags else ""
    return f"{values}{size}; {domain}{flags}"
