"""The one place where the golden tests touch the package: when something moves, only this file follows.

Everything else under `tests/golden` deals with arrays, paths, documents and plain dictionaries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner

from xas_live import AnalysisConfig, Analyzer, AnalyzerPool, AnalyzerProcess, FoilAnchor, load_model
from xas_live.analysis import Averages, Earlier, RunHistory
from xas_live.callbacks.live import LiveAnalysis
from xas_live.callbacks.publishers import BasePublisher, PredictionWriter
from xas_live.cli import app
from xas_live.energy import xanes_grid
from xas_live.prediction import Prediction
from xas_live.simulator import Mismatch, Sample
from xas_live.simulator.absorption import measured as absorption
from xas_live.simulator.library import site_library
from xas_live.sources.files import read_file
from xas_live.sources.replay import replay, spectra_of
from xas_live.spectrum import Provenance, Spectrum
from xas_live.theory.oxides import MESH, Oxides

Array = NDArray[np.float64]
Record = dict[str, Any]

_HASH = re.compile(r"\b[0-9a-f]{64}\b")
_FOIL = re.compile(r"\bfoil [0-9a-f]{8}\b")


# --- what is in the beam ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metal:
    """Element, edge, its energy (eV) and the axis of a scan of one library of site spectra."""

    element: str
    edge: str
    edge_energy: float
    energy: Array


def metal(library: str, end: float = 600.0) -> Metal:
    """A library's absorber, with the energies of a scan that ends so many eV past its edge."""
    known = site_library(library)
    return Metal(known.element, known.edge, known.edge_energy, xanes_grid(known.edge_energy, end))


def absorbed(library: str, particles: Mapping[str, float] | None, energy: Array) -> Array:
    """Absorption of simulated particles in edge steps, None is the foil; theory and beamline disagree."""
    sample = None if particles is None else Sample(particles, library)
    return absorption(energy, library, sample, Mismatch())


def oxide(library: str, name: str, energy: Array) -> Array:
    """Absorption of one of the package's oxides in edge steps, as the same beamline sees it."""
    above = energy - site_library(library).edge_energy - Mismatch.shift
    own = above / np.where(above > 0, Mismatch.stretch, 1.0)
    known = Oxides((name,), MESH, np.zeros_like(MESH)).at(0, 0.0)
    return np.interp(own, MESH, known) * (energy / site_library(library).edge_energy) ** -2.7


# --- what analyses ----------------------------------------------------------------------------------------


def spectrum(energy: Array, mu: Array, *, scan: str = "", run: str | None = None, sweep: int = 0,
             **rest: Any) -> Spectrum:  # fmt: skip
    """One sweep, of the run named."""
    where = Provenance(source="golden", scan=scan, run_uid=run, sweep=sweep, time=1.7e9 + sweep)
    return Spectrum(energy=energy, mu=mu, provenance=where, **rest)


def counted(energy: Array, counts: Mapping[str, Array], *, scan: str = "", **rest: Any) -> Spectrum:
    """One sweep from the counts of its detectors."""
    where = Provenance(source="golden", scan=scan, time=1.7e9)
    return Spectrum.from_counts(energy, counts, provenance=where, **rest)


def cut(whole: Spectrum, end: float) -> Spectrum:
    """The sweep as far as an energy (eV), still growing."""
    n = int(np.searchsorted(whole.energy, end))
    return replace(whole, energy=whole.energy[:n], mu=whole.mu[:n], reference=None, counts={}, complete=False)


def later(measured: Spectrum, days: float) -> Spectrum:
    """The same sweep, measured so many days later."""
    where = measured.provenance
    return replace(measured, provenance=replace(where, time=(where.time or 0.0) + 86400.0 * days))


def fitted(foil: Spectrum, model: str) -> FoilAnchor:
    """A foil laid on a model's theory."""
    return FoilAnchor.fit(foil, load_model(model))


def config(align: str | float = "auto", level: float = 0.9) -> AnalysisConfig:
    """The user's choices."""
    return AnalysisConfig(align=align, level=level)  # type: ignore[arg-type]


class Remembering:
    """An analyzer with the history of what it was asked, from which previews are made."""

    def __init__(self, analyzes: Analyzer | AnalyzerPool | AnalyzerProcess) -> None:
        self._analyzes = analyzes
        self._history = RunHistory()

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        predictions = self._analyzes.analyze(spectra)
        for prediction in predictions:
            self._history.add([prediction])
        return predictions

    def preview(
        self, growing: Spectrum, step: tuple[float, float] | Earlier | None = None
    ) -> Prediction | None:
        if isinstance(step, Earlier):  # a live analysis keeps a history of its own
            return self._analyzes.preview(growing, step)
        before = self._history.before(growing)
        return self._analyzes.preview(growing, Earlier(before.anchor, before.shift, step))

    def __enter__(self) -> Remembering:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._analyzes, AnalyzerProcess):
            self._analyzes.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._analyzes, name)


def analyzer(model: str, anchor: Any = None, align: str | float = "auto", **rest: Any) -> Remembering:
    """One model with one anchor, on the CPU."""
    level = rest.pop("level", 0.9)
    return Remembering(Analyzer(load_model(model), anchor, config(align, level), "cpu", **rest))


def pool(model: Any, anchor: Any = "auto", align: str | float = "auto", **rest: Any) -> Remembering:
    """One model or several, on the CPU."""
    return Remembering(AnalyzerPool(model, anchor, config(align), "cpu", **rest))


def process(model: Any, anchor: Any = "auto") -> Remembering:
    """The same in a second process."""
    return Remembering(AnalyzerProcess(model, anchor, config(), "cpu"))


def averages_of(spectra: Sequence[Spectrum], predictions: Sequence[Prediction]) -> list[Spectrum]:
    """The newest average of every run that repeats."""
    return list(Averages().add(spectra, predictions).values())


# --- whole ways: files, live runs, command line -----------------------------------------------------------


def scans_in(path: Path, columns: Mapping[str, int] | None = None) -> list[Any]:
    """What the reader of files finds in one."""
    return list(read_file(path, columns=None if columns is None else dict(columns)))


def spectrum_in(path: Path, columns: Mapping[str, int] | None = None) -> Spectrum:
    """The spectrum of a file that holds one."""
    (scan,) = scans_in(path, columns)
    (found,) = spectra_of(scan)
    return found


def replayed(sources: Sequence[Any], analyzes: Any) -> list[Prediction]:
    """Predictions of paths, or of scans that were read, in order."""
    return list(replay(sources, analyzes))


@dataclass(frozen=True)
class Watched:
    """What a live analysis leaves: predictions, averages, the table by column, documents of derived runs."""

    predictions: list[Prediction]
    averages: list[Prediction]
    table: dict[str, list[Any]]
    documents: list[tuple[str, Mapping[str, Any]]]
    errors: list[str]


class _Averaged(BasePublisher):
    """Keeps every average."""

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        self.predictions.append(prediction)


def watched(analyzes: Any, documents: Iterator[tuple[str, Mapping[str, Any]]]) -> Watched:
    """Feed documents to a LiveAnalysis with a PredictionWriter.

    It waits after each document, so that the batches do not depend on the speed of the machine.
    """
    written: list[tuple[str, Mapping[str, Any]]] = []
    averaged = _Averaged()
    writer = PredictionWriter(lambda name, doc: written.append((name, doc)))
    with LiveAnalysis(analyzes, [writer, averaged]) as live:
        for name, doc in documents:
            live(name, doc)
            live.wait(60)
        table = {str(name): column.tolist() for name, column in live.table.items()}
        predictions, errors = live.predictions, [str(error) for error in live.errors]
    return Watched(predictions, averaged.predictions, table, written, errors)


def command(*arguments: object) -> tuple[int, str]:
    """Run `xas-live` with these arguments: exit code and output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.output


@contextmanager
def home(folder: Path) -> Iterator[None]:
    """Let saved anchors be those of this folder."""
    before = os.environ.get("XAS_LIVE_HOME")
    os.environ["XAS_LIVE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XAS_LIVE_HOME"]
        else:
            os.environ["XAS_LIVE_HOME"] = before


# --- predictions in plain words ---------------------------------------------------------------------------

LEFT_OUT = ("source", "model_sha256", "seconds")
"""Of the JSON record: what is another in every place, or every time."""


def plain(prediction: Prediction | None, *, curves: bool = False) -> Record | None:
    """All that a prediction says, without hashes, times and paths.

    Parameters
    ----------
    curves : with the reduced spectrum point by point: for simulated spectra only.
    """
    if prediction is None:
        return None
    record = prediction.to_json()
    if not curves and any(record["curves"].values()):
        raise ValueError("curves of a measured spectrum are not kept")
    for name in LEFT_OUT:
        del record[name]
    where, reduced = prediction.provenance, prediction.reduced
    record |= {
        "shift": prediction.shift,
        "partial": prediction.partial,
        "calibrated_on": prediction.calibrated_on,
        "configuration": dict(prediction.configuration),
        "sweep": where.sweep,
        "stream": where.stream,
        "averaged": where.averaged,
        "said": str(prediction),
    }
    if curves and reduced is not None:
        names = ("grid", "flat", "foil", "network_input", "denoised")
        found = {name: getattr(reduced, name) for name in names}
        record["reduced"] = {k: None if v is None else v.tolist() for k, v in found.items()}
    return without_hashes(record)


def without_hashes(found: Any) -> Any:
    """The same with hashes of anchors and standards masked."""
    if isinstance(found, str):
        return _FOIL.sub("foil HASH", _HASH.sub("HASH", found))
    if isinstance(found, Mapping):
        return {str(key): without_hashes(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [without_hashes(value) for value in found]
    return found
