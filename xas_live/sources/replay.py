"""Replay: files and stored runs through the same path as a live scan, many at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from xas_live.analysis import RunHistory
from xas_live.callbacks.assembly import ChannelMapping, SpectrumAssembler
from xas_live.callbacks.live import Completed, PipelineHooks, SweepPipeline
from xas_live.callbacks.publishers import SweepResult
from xas_live.prediction import Prediction
from xas_live.sources.documents import Document, documents
from xas_live.sources.files import read_file
from xas_live.sources.scan import Scan, Unreadable, UnreadableError
from xas_live.spectrum import Provenance, Spectrum

if TYPE_CHECKING:
    from event_model.documents import Document as BlueskyDocument

    from xas_live.analysis import Analyzes
    from xas_live.callbacks.publishers import Publisher

BATCH = 64
"""Spectra analysed together: enough for speed, few enough for a progress bar that moves."""

_NO_SWEEP = "it holds no spectrum: at least 5 points with an energy are needed, over more than 2 eV"

logger = logging.getLogger("xas_live")

RawWriter = Callable[[str, "BlueskyDocument"], None]
Report = Callable[[str, BaseException], None]


class Recorded(Protocol):
    """A run recorded earlier, which gives its documents again."""

    @property
    def source(self) -> str:
        """Where it stands, for the provenance."""
        ...

    @property
    def scan(self) -> str:
        """Its label."""
        ...

    @property
    def whole(self) -> bool:
        """Whether it is one sweep whatever its energies do, as a file is."""
        ...

    def documents(self) -> Iterator[Document]:
        """Its documents in order; raises UnreadableError when they cannot be had."""


Source = str | Path | Scan | Unreadable | Recorded


@dataclass
class _Run:
    """A run that was read, until its predictions are given.

    Attributes
    ----------
    documents : all of them.
    completed : those that the pipeline takes, with their sweeps.
    count : number of its sweeps.
    refusal : why it has none.
    said : lines about it for the user.
    """

    documents: list[Document] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)
    count: int = 0
    refusal: Unreadable | None = None
    said: list[str] = field(default_factory=list)


class _Results(PipelineHooks):
    """Keeps results until they are given, and reports errors."""

    def __init__(self, report: Report) -> None:
        self.results: deque[SweepResult] = deque()
        self._report = report

    def failed(self, where: str, error: BaseException) -> None:
        self._report(where, error)

    def completed(self, document: Completed, result: SweepResult) -> None:
        self.results.append(result)


def replay(
    sources: Iterable[Source],
    analyzer: Analyzes,
    *,
    mapping: ChannelMapping | None = None,
    raw: RawWriter | None = None,
    publishers: Sequence[Publisher] = (),
    model: tuple[str, str] = ("", ""),
    batch: int = BATCH,
    say: Callable[[str], None] = lambda text: None,
    report: Report | None = None,
) -> Iterator[Prediction]:
    """Analyse files and recorded runs; predictions come in the order of the sources.

    A file gives one prediction, a project one a group, a recorded run one a sweep; of several models each
    gives its own, the primary model's first. What cannot be read comes back as a refused prediction with the
    reason, and so does what cannot be analysed; neither it nor a publisher that fails stops the others.

    Parameters
    ----------
    sources : paths of data files, what `read_file` gives, or recorded runs.
    analyzer : what predicts.
    mapping : fields of recorded runs to read; default: guessed as in a live run.
    raw : takes the documents of files too, as a `RunWriter` does.
    publishers : told what they are told of a live run, but for growing sweeps; of each run only the last
        average in a batch. Not closed.
    model : name and hash that refusals of unreadable files carry; of several models, the primary one's.
    batch : number of spectra analysed together.
    say : takes lines for the user, each once: the fields guessed for recorded runs, and what failed.
    report : takes errors that were caught, with the name of what failed, instead of `say`.

    Examples
    --------
    >>> for prediction in replay(["foil.xdi", "series.prj"], AnalyzerPool("pt-l3")):
    ...     print(prediction.provenance.scan, prediction.values["CN1"])
    """
    say = _once(say)
    report = report or _said_by(say)
    results = _Results(report)
    pipeline = SweepPipeline(analyzer, publishers, RunHistory(), results)
    runs: deque[_Run] = deque()
    waiting: list[Completed] = []
    sweeps = 0
    for entry in _entries(sources):
        run = _assemble(entry, mapping, report)
        for text in run.said:
            say(text)
        if raw is not None:
            _write_raw(run, raw, report)
        runs.append(run)
        waiting += run.completed
        sweeps += max(1, run.count)
        if sweeps >= batch:
            pipeline.process(waiting, last=False)
            waiting, sweeps = [], 0
            yield from _finished(runs, results.results, model)
    pipeline.process(waiting)
    yield from _finished(runs, results.results, model)


def spectra_of(scan: Scan) -> list[Spectrum]:
    """Return the spectrum of one scan of a file, assembled as a live run's is; none if it is empty."""
    return [spectrum for document in _assemble(scan, None, _raise).completed for spectrum in document.spectra]


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says each line once."""
    said: set[str] = set()

    def say_once(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return say_once


def _said_by(say: Callable[[str], None]) -> Report:
    """Return what tells the user of errors; their traces go to the log, at level DEBUG."""

    def report(where: str, error: BaseException) -> None:
        logger.debug("%s", where, exc_info=error)
        say(f"{where}: {type(error).__name__}: {error}")

    return report


def _raise(where: str, error: BaseException) -> None:
    raise error


def _entries(sources: Iterable[Source]) -> Iterator[Scan | Unreadable | Recorded]:
    for source in sources:
        if isinstance(source, str | Path):
            yield from read_file(source)
        else:
            yield source


def _assemble(entry: Scan | Unreadable | Recorded, mapping: ChannelMapping | None, report: Report) -> _Run:
    """Return the run of an entry, with its sweeps or the reason why it has none."""
    if isinstance(entry, Unreadable):
        return _Run(refusal=entry)
    run = _Run()
    assembler = _assembler(entry, mapping, run.said.append)
    problem = ""
    try:
        for name, doc in documents(entry) if isinstance(entry, Scan) else entry.documents():
            run.documents.append((name, doc))
            try:
                spectra = [_labelled(spectrum, entry) for spectrum in assembler(name, doc)]
            except Exception as error:  # noqa: BLE001 a bad document must not stop those after it
                report("SpectrumAssembler", error)
                problem = f"a document cannot be read ({type(error).__name__}: {error})"
                continue
            run.count += len(spectra)
            if spectra or name in ("start", "stop"):
                run.completed.append(Completed(name, doc, spectra))
        if left := [_labelled(spectrum, entry) for spectrum in assembler.finish()]:
            run.count += len(left)
            run.completed.append(Completed("unfinished", cast("BlueskyDocument", {}), left))
    except UnreadableError as error:
        return _Run(refusal=Unreadable(entry.source, entry.scan, str(error)))
    except Exception as error:  # noqa: BLE001 a source with a defect must not stop those after it
        report(f"{type(entry).__name__}.documents", error)
        reason = f"it cannot be read ({type(error).__name__}: {error})"
        return _Run(refusal=Unreadable(entry.source, entry.scan, reason))
    if not run.count:  # the assembler's last word is the reason
        reason = run.said.pop() if run.said else problem or _NO_SWEEP
        run.refusal = Unreadable(entry.source, entry.scan, reason)
    return run


def _assembler(
    entry: Scan | Recorded, mapping: ChannelMapping | None, say: Callable[[str], None]
) -> SpectrumAssembler:
    """Return what puts the sweeps of an entry together."""
    whole = isinstance(entry, Scan) or entry.whole
    if isinstance(entry, Scan):
        own = ChannelMapping(energy="energy", mode=entry.mode, element=entry.element, edge=entry.edge)
        mapping = own.with_channels({name: name for name in entry.channels if name != "energy"})
    return SpectrumAssembler(mapping, source=entry.source, whole_runs=whole, say=say)


def _labelled(spectrum: Spectrum, entry: Scan | Recorded) -> Spectrum:
    """Return the spectrum with the label and notes that its file gives it."""
    notes = entry.notes if isinstance(entry, Scan) else {}
    metadata = {**spectrum.provenance.metadata, **notes}
    return replace(spectrum, provenance=replace(spectrum.provenance, scan=entry.scan, metadata=metadata))


def _write_raw(run: _Run, raw: RawWriter, report: Report) -> None:
    """Hand the documents of a run to a writer."""
    try:
        for name, doc in run.documents:
            raw(name, doc)
    except Exception as error:  # noqa: BLE001 a writer that fails must not cost the analysis
        report("raw runs", error)


def _finished(runs: deque[_Run], results: deque[SweepResult], model: tuple[str, str]) -> Iterator[Prediction]:
    """Give the predictions of the runs that are published, in order, and drop these runs."""
    while runs and runs[0].count <= len(results):
        run = runs.popleft()
        for _ in range(run.count):
            yield from results.popleft().predictions
        if run.refusal is not None:
            yield _refused(run.refusal, model)


def _refused(entry: Unreadable, model: tuple[str, str]) -> Prediction:
    where = Provenance(source=entry.source, scan=entry.scan)
    return Prediction.refusal(
        Spectrum(np.empty(0), np.empty(0), provenance=where),
        entry.reason,
        model=model[0],
        model_sha256=model[1],
    )
