"""SweepPipeline: completed sweeps in, predictions out to the publishers; live and in replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from xas_live.analysis import Drift
from xas_live.callbacks.publishers import Publisher, SweepResult
from xas_live.flags import Flag
from xas_live.prediction import FAILED, Decision, Prediction
from xas_live.reduction.gate import quality
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from event_model.documents import Document

    from xas_live.analysis import Analyzes, RunHistory
    from xas_live.callbacks.live.live_analysis import LiveAnalysis


class Completed(NamedTuple):
    """A document, and the sweeps that it completed.

    Only documents that completed sweeps, and the start and stop documents of runs, are of interest.

    Attributes
    ----------
    name, doc : the document.
    spectra : the sweeps, in the order measured.
    received : when the document came (s, of the monotonic clock).
    """

    name: str
    doc: Document
    spectra: Sequence[Spectrum]
    received: float = 0.0


class PipelineHooks:
    """What whoever runs a pipeline adds to it; this class adds nothing.

    Attributes
    ----------
    caught : the errors that must not end the pipeline. A worker thread catches all; the main thread lets
        Ctrl-C through.
    """

    caught: type[BaseException] = Exception

    def failed(self, where: str, error: BaseException) -> None:
        """Take an error that was caught, and what failed, as "PredictionWriter.predicted"."""

    def watch(self, what: str) -> AbstractContextManager[None]:
        """Return a context in which something is called, as "PredictionWriter.predicted"."""
        return nullcontext()

    def previewed(self, preview: Prediction | None) -> None:
        """Take the preview of a growing sweep, before the publishers."""

    def completed(self, document: Completed, result: SweepResult) -> None:
        """Take the result of a completed sweep, before the publishers."""

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take an average and its prediction, before the publishers."""


class SweepPipeline:
    """Analyses completed sweeps, averages them, and tells the publishers, in the order of the documents.

    What fails is caught and reported, and costs nothing else: a batch that cannot be analysed is analysed
    sweep by sweep, a sweep that cannot be is refused with the reason, and the other publishers are told.
    Not safe to share between threads.

    Parameters
    ----------
    analyzer : what predicts. One that has `submit` works on a batch by itself while the batch before it is
        published.
    publishers : told about every run, model, sweep and average, in this order.
    history : what earlier sweeps tell; the averages and drift of the runs.
    hooks : what its owner adds.

    Attributes
    ----------
    analyzer : may be replaced; the next batch uses the new one.
    """

    def __init__(
        self,
        analyzer: Analyzes,
        publishers: Iterable[Publisher],
        history: RunHistory,
        hooks: PipelineHooks | None = None,
    ) -> None:
        self.analyzer = analyzer
        self.publishers = tuple(publishers)
        self._history = history
        self._hooks = hooks or PipelineHooks()
        self._under_way: _Batch | None = None
        self._told: set[str] = set()
        self._decisions: list[Decision] = []

    def process(self, documents: Sequence[Completed], *, last: bool = True) -> None:
        """Analyse the sweeps of these documents as one batch, and publish all in the order of the documents.

        Parameters
        ----------
        documents : in order, after those of the call before.
        last : no batch follows soon. Else the batch may be left under way with an analyzer that works by
            itself; it is published by the next call.
        """
        batch, before = _Batch(self.analyzer, documents), self._under_way
        self._under_way = None
        if before is not None and not last:
            self._averages_of(before)  # now: soon the analyzer is busy
        if not last:
            self._submit(batch)
        if before is not None:
            self._publish(before)
        if batch.under_way is None:
            self._publish(batch)
        else:
            self._under_way = batch

    def measuring(self, spectrum: Spectrum) -> None:
        """Preview a growing sweep, and publish it."""
        analyzer = self.analyzer
        preview = None
        what = f"{_name(analyzer)}.preview"
        try:
            with self._hooks.watch(what):
                preview = analyzer.preview(spectrum, self._history.before(spectrum))
        except self._hooks.caught as error:  # a preview that fails must not cost the sweep
            self._hooks.failed(what, error)
        if preview is not None:
            self._tell_models(analyzer, spectrum, [preview])
        self._hooks.previewed(preview)
        self._tell("measuring", spectrum, preview)

    def bind(self, analysis: LiveAnalysis) -> None:
        """Tell the publishers which live analysis calls them."""
        self._tell("bind", analysis)

    def decided(self, decision: Decision) -> None:
        """Keep a decision for the publishers: a rule decides while they are told of the sweep it rests on."""
        self._decisions.append(decision)

    def tell_decisions(self) -> None:
        """Tell the publishers of the decisions kept so far."""
        decisions, self._decisions = self._decisions, []
        for decision in decisions:
            self._tell("decided", decision)

    def close(self) -> None:
        """Publish what is under way, and close the publishers."""
        self.process([])
        self.tell_decisions()
        self._tell("close")

    # --- asking ------------------------------------------------------------------------------------------

    def _submit(self, batch: _Batch) -> None:
        """Let an analyzer that works by itself begin with a batch."""
        submit = getattr(batch.analyzer, "submit", None)
        if submit is None or not batch.sweeps:
            return
        try:
            batch.under_way = submit(batch.sweeps)
        except self._hooks.caught as error:  # it is analysed here and now instead
            self._hooks.failed(f"{_name(batch.analyzer)}.submit", error)

    def _predictions_of(self, batch: _Batch) -> list[list[Prediction]]:
        """Return of each sweep of a batch what all models say."""
        if batch.predictions is None:
            batch.predictions = self._analyze(batch.analyzer, batch.sweeps, batch.ask)
        return batch.predictions

    def _averages_of(self, batch: _Batch) -> dict[int, tuple[Spectrum, Prediction]]:
        """Return the newest average of each run that grew, by the last sweep in it, and its prediction."""
        if batch.averages is None:
            primary = [predictions[0] for predictions in self._predictions_of(batch)]
            try:
                grown = self._history.averages.add(batch.sweeps, primary)
            except self._hooks.caught as error:  # an average that fails must not cost the sweeps
                self._hooks.failed("Averages", error)
                grown = {}
            found = self._analyze(batch.analyzer, list(grown.values()), _ask_primary)
            pairs = zip(grown.items(), found, strict=True)
            batch.averages = {k: (average, prediction) for (k, average), (prediction, *_) in pairs}
        return batch.averages

    def _analyze(self, analyzer: Analyzes, spectra: list[Spectrum], ask: _Ask) -> list[list[Prediction]]:
        """Return at least one prediction for each spectrum, whatever the analyzer does."""
        if not spectra:
            return []
        try:
            with self._hooks.watch(f"{_name(analyzer)}.analyze"):
                return _one_each(spectra, ask(analyzer, spectra))
        except self._hooks.caught as error:  # one bad sweep must not take the others with it
            self._hooks.failed(_name(analyzer), error)
            if len(spectra) == 1:
                reason = f"{FAILED} ({type(error).__name__}: {error})"
                return [[Prediction.refusal(spectra[0], reason)]]
        return [found for spectrum in spectra for found in self._analyze(analyzer, [spectrum], ask)]

    # --- publishing --------------------------------------------------------------------------------------

    def _publish(self, batch: _Batch) -> None:
        """Publish a batch in the order of its documents."""
        numbered = enumerate(self._predictions_of(batch))
        for document in batch.documents:
            if document.name == "start":
                self._tell("run_started", document.doc)
            for spectrum in document.spectra:
                k, predictions = next(numbered)
                self._publish_sweep(batch.analyzer, document, spectrum, predictions)
                averages = self._averages_of(batch)  # only now: the sweep itself does not wait for them
                if k in averages:
                    self._publish_average(*averages[k])
            if document.name == "stop":
                self._history.forget(str(document.doc.get("run_start", "")))
                self._tell("run_stopped", document.doc)
        if batch.sweeps:
            self._tell("batch_finished")

    def _publish_sweep(
        self, analyzer: Analyzes, document: Completed, spectrum: Spectrum, predictions: list[Prediction]
    ) -> None:
        predictions = self._better(analyzer, spectrum, predictions)
        result = SweepResult(spectrum, tuple(predictions), self._drift_of(predictions))
        self._hooks.completed(document, result)
        self._tell_models(analyzer, spectrum, predictions)
        self._tell("predicted", result)
        self.tell_decisions()

    def _better(
        self, analyzer: Analyzes, spectrum: Spectrum, predictions: list[Prediction]
    ) -> list[Prediction]:
        """Of an aborted sweep put its last preview first, where that is calibrated to be the narrower.

        Where the data themselves are bad, the refusal stands.
        """
        if spectrum.complete or not quality(spectrum).usable:
            return predictions
        final, what = predictions[0], f"{_name(analyzer)}.preview"
        try:
            with self._hooks.watch(what):
                preview = analyzer.preview(spectrum, self._history.before(spectrum))
        except self._hooks.caught as error:  # the final estimate stands
            self._hooks.failed(what, error)
            return predictions
        if preview is None or final.model_sha256 not in (preview.model_sha256, ""):
            return predictions
        if _half_width(preview) >= _half_width(final):
            return predictions
        flags = dict.fromkeys((*preview.flags, str(Flag.INCOMPLETE)))
        return [replace(preview, flags=tuple(flags)), *predictions[1:]]

    def _drift_of(self, predictions: list[Prediction]) -> tuple[Drift, ...]:
        """Add a sweep to the history, and return how its series stands by each model."""
        try:
            return self._history.add(predictions)
        except self._hooks.caught as error:  # a series that fails must not cost the sweep
            self._hooks.failed("RunHistory", error)
            return tuple(Drift(math.nan) for _ in predictions)

    def _publish_average(self, spectrum: Spectrum, prediction: Prediction) -> None:
        self._history.align(prediction)
        self._hooks.averaged(spectrum, prediction)
        self._tell("averaged", spectrum, prediction)

    def _tell_models(self, analyzer: Analyzes, spectrum: Spectrum, predictions: Sequence[Prediction]) -> None:
        """Tell the publishers of the models that these predictions come from, each once."""
        new = {prediction.model_sha256 for prediction in predictions} - self._told - {""}
        if not new:
            return
        self._told |= new
        try:
            models = [model for model in analyzer.models_for(spectrum) if model.sha256 in new]
        except self._hooks.caught as error:  # the predictions stand without
            self._hooks.failed(f"{_name(analyzer)}.models_for", error)
            return
        if models:
            self._tell("models_used", models)

    def _tell(self, method: str, *arguments: object) -> None:
        """Call a method of every publisher; one that fails does not stop the others."""
        for publisher in self.publishers:
            what = f"{_name(publisher)}.{method}"
            try:
                with self._hooks.watch(what):
                    getattr(publisher, method)(*arguments)
            except self._hooks.caught as error:
                self._hooks.failed(what, error)


@dataclass(eq=False)
class _Batch:
    """Documents in their order, and what is known of their sweeps by now.

    Attributes
    ----------
    under_way : what the analyzer was asked for ahead, until it is taken.
    predictions : of each sweep, the primary model's first; None as long as they are not there.
    averages : that grew, with their predictions, by the sweep that they end with; None before they are found.
    """

    analyzer: Analyzes
    documents: Sequence[Completed]
    under_way: Future[list[list[Prediction]]] | None = None
    predictions: list[list[Prediction]] | None = None
    averages: dict[int, tuple[Spectrum, Prediction]] | None = None

    @cached_property
    def sweeps(self) -> list[Spectrum]:
        """All sweeps, in order."""
        return [spectrum for document in self.documents for spectrum in document.spectra]

    def ask(self, analyzer: Analyzes, spectra: list[Spectrum]) -> list[list[Prediction]]:
        """Take what is under way, asked for all sweeps; when that is taken, ask now."""
        ahead, self.under_way = self.under_way, None
        return analyzer.analyze_all(spectra) if ahead is None else ahead.result()


_Ask = Callable[["Analyzes", list[Spectrum]], list[list[Prediction]]]


def _ask_primary(analyzer: Analyzes, spectra: list[Spectrum]) -> list[list[Prediction]]:
    return [[prediction] for prediction in analyzer.analyze(spectra)]


def _one_each(spectra: Sequence[Spectrum], found: list[list[Prediction]]) -> list[list[Prediction]]:
    """Return what was found, if it is at least one prediction of every spectrum; else raise RuntimeError."""
    if len(found) != len(spectra) or not all(found):
        raise RuntimeError(f"analyzer gave {sum(map(bool, found))} predictions for {len(spectra)} spectra")
    return found


def _half_width(prediction: Prediction) -> float:
    """Of the interval of the leading number; infinite where there is none."""
    value = next(iter(prediction.values.values()), None)
    return math.inf if value is None else 0.5 * (value.upper - value.lower)


def _name(of: object) -> str:
    return type(of).__name__
