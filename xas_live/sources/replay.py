"""Replay: files and stored runs through the same path as a live scan, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from xas_live.analysis.averages import Averages
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.live.several import ask_all, ask_lead
from xas_live.prediction import Prediction
from xas_live.sources.documents import Document, documents
from xas_live.sources.files import read_file
from xas_live.sources.scan import Scan, Unreadable, UnreadableError
from xas_live.spectrum import Provenance, Spectrum

if TYPE_CHECKING:
    from xas_live.analysis import Analyzes
    from xas_live.callbacks.publishers.base import Publisher

BATCH = 64
"""Spectra analysed together: enough for speed, few enough for a progress bar that moves."""

_NO_SWEEP = "it holds no spectrum: at least 5 points with an energy are needed, over more than 2 eV"


class Recorded(Protocol):
    """A run recorded earlier, which gives its documents again."""

    source: str
    scan: str

    @property
    def whole(self) -> bool:
        """Whether it is one sweep whatever its energies do, as a file is."""
        ...

    def documents(self) -> Iterator[Document]:
        """Its documents in order; raises UnreadableError when they cannot be had."""


Source = str | Path | Scan | Unreadable | Recorded


@dataclass
class _Run:
    """A run between its assembly and its publication."""

    refusal: Unreadable | None = None
    documents: list[Document] = field(default_factory=list)
    spectra: list[Spectrum] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def replay(
    sources: Iterable[Source],
    analyzer: Analyzes,
    *,
    mapping: ChannelMapping | None = None,
    raw: Callable[[str, Mapping[str, object]], None] | None = None,
    publishers: Sequence[Publisher] = (),
    model: tuple[str, str] = ("", ""),
    batch: int = BATCH,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Prediction]:
    """Analyse files and recorded runs; predictions come in the order of the sources.

    A file gives one prediction, a project one a group, a recorded run one a sweep; of several models each
    gives its own, the lead first. What cannot be read comes back as a refused prediction with the reason; it
    never stops the others.

    Parameters
    ----------
    sources : paths of data files, what `read_file` gives, or recorded runs.
    analyzer : what predicts.
    mapping : fields of recorded runs to read; default: guessed as in a live run.
    raw : takes the documents of files too, as a `RunWriter` does.
    publishers : told about every run and prediction, and of every run's last average, as in a live run; not
        closed.
    model : name and hash that refusals of unreadable files carry; of several models, the lead's.
    batch : number of spectra analysed together.
    say : takes lines for the user, each once: the fields guessed for recorded runs.

    Examples
    --------
    >>> for prediction in replay(["foil.xdi", "series.prj"], AnalyzerPool("pt-l3")):
    ...     print(prediction.provenance.scan, prediction.values["CN1"])
    """
    runs: list[_Run] = []
    waiting = 0
    said: set[str] = set()
    for entry in _entries(sources):
        run = _assemble(entry, mapping)
        for text in run.said:
            if text not in said:
                said.add(text)
                say(text)
        runs.append(run)
        waiting += max(1, len(run.spectra))
        if waiting >= batch:
            yield from _publish(runs, analyzer, raw, publishers, model)
            runs, waiting = [], 0
    yield from _publish(runs, analyzer, raw, publishers, model)


def spectra_of(scan: Scan) -> list[Spectrum]:
    """Return the spectrum of one scan of a file, assembled from its documents as a live run is; else none."""
    return _assemble(scan, None).spectra


def _entries(sources: Iterable[Source]) -> Iterator[Scan | Unreadable | Recorded]:
    for source in sources:
        if isinstance(source, str | Path):
            yield from read_file(source)
        else:
            yield source


def _assemble(entry: Scan | Unreadable | Recorded, mapping: ChannelMapping | None) -> _Run:
    if isinstance(entry, Unreadable):
        return _Run(refusal=entry)
    whole = isinstance(entry, Scan) or entry.whole
    if isinstance(entry, Scan):
        own = ChannelMapping(energy="energy", mode=entry.mode, element=entry.element, edge=entry.edge)
        mapping = own.with_channels({name: name for name in entry.channels if name != "energy"})
    run = _Run()
    assembler = SpectrumAssembler(mapping, source=entry.source, whole_runs=whole, say=run.said.append)
    try:
        for name, doc in documents(entry) if isinstance(entry, Scan) else entry.documents():
            run.documents.append((name, doc))
            run.spectra += [_labelled(spectrum, entry) for spectrum in assembler(name, doc)]
    except UnreadableError as error:
        return _Run(refusal=Unreadable(entry.source, entry.scan, str(error)))
    if not run.spectra:  # the assembler's last word is the reason
        reason = run.said.pop() if run.said else _NO_SWEEP
        run.refusal = Unreadable(entry.source, entry.scan, reason)
    return run


def _labelled(spectrum: Spectrum, entry: Scan | Recorded) -> Spectrum:
    """The spectrum with the label and notes that its file gives it."""
    notes = entry.notes if isinstance(entry, Scan) else {}
    metadata = {**spectrum.provenance.metadata, **notes}
    return replace(spectrum, provenance=replace(spectrum.provenance, scan=entry.scan, metadata=metadata))


def _publish(
    runs: Sequence[_Run],
    analyzer: Analyzes,
    raw: Callable[[str, Mapping[str, object]], None] | None,
    publishers: Sequence[Publisher],
    model: tuple[str, str],
) -> Iterator[Prediction]:
    spectra = [spectrum for run in runs for spectrum in run.spectra]
    found = ask_all(analyzer, spectra) if spectra else []
    averages = Averages().add(spectra, [lead for lead, *_ in found])
    of_averages = ask_lead(analyzer, list(averages.values())) if averages else []
    averaged = {k: average for k, (average,) in zip(averages, of_averages, strict=True)}
    numbered = enumerate(found)
    for run in runs:
        for name, doc in run.documents:
            if raw is not None:
                raw(name, doc)
        start = next((doc for name, doc in run.documents if name == "start"), None)
        stop = next((doc for name, doc in run.documents if name == "stop"), None)
        for publisher in publishers if start else ():
            publisher.run_started(start or {})
        for spectrum in run.spectra:
            k, predictions = next(numbered)
            for publisher in publishers:
                for prediction in predictions:
                    publisher.predicted(spectrum, prediction)
                if k in averaged:
                    publisher.averaged(averages[k], averaged[k])
            yield from predictions
        if run.refusal is not None and not run.spectra:
            yield _refused(run.refusal, model)
        for publisher in publishers if stop else ():
            publisher.run_stopped(stop or {})
    for publisher in publishers if spectra else ():
        publisher.published()


def _refused(entry: Unreadable, model: tuple[str, str]) -> Prediction:
    where = Provenance(source=entry.source, scan=entry.scan)
    return Prediction.refusal(
        Spectrum(np.empty(0), np.empty(0), provenance=where),
        entry.reason,
        model=model[0],
        model_sha256=model[1],
    )
