"""Does anything pass silently wrong? Mutated files and document streams, lost documents, holes, rewound runs.

Every input is made from a simulated scan, so that the right answer is known (benchmarks/mutations.py). A result is
silently wrong where it is in the domain, has no flag but of the temperature, nothing left out, guessed or told, and
CN1 is further from that of the whole scan than its interval. `--share S` draws a share of the numbers (1: 20,000 files and
20,000 streams). Writes benchmarks/results/reading.json.
"""

from __future__ import annotations

import argparse
import io
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import mutations
import numpy as np
from mutations import E0, ENERGY, SAMPLES, Document, Random
from record import claim, record

from xas_live.analysis import Analyzer, AnalyzerPool
from xas_live.archive import open_archive
from xas_live.callbacks.assembly import SpectrumAssembler
from xas_live.flags import Flag
from xas_live.models.registry import load_model
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.simulator import growth
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.sources.files import read_file
from xas_live.sources.replay import replay
from xas_live.sources.stored import StoredRun, stored_runs
from xas_live.spectrum import Spectrum

FILES, STREAMS, DISORDERED, STORED, HOLES = 20_000, 20_000, 1000, 200, 600
LONGEST_S, MEMORY_MB = 30, 1000
SEED = 20261128
KINDS = ("files", "streams")
SHARD = 500
MILD = {Flag.TEMPERATURE_UNKNOWN, Flag.ANCHOR_OLD}


@dataclass
class Fuzz:
    """What came of inputs that are wrong.

    Attributes
    ----------
    outcomes : number of inputs by outcome.
    escaped : exceptions that reached the user, by kind; silent : results that are silently wrong.
    slowest : s; memory_mb : the largest of the process.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    escaped: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory_mb: float = 0.0


@dataclass(frozen=True)
class Recorded:
    """A document stream as `replay` takes it."""

    docs: Sequence[Document]
    source: str = "mutated"
    scan: str = "stream"
    whole: bool = False

    def documents(self) -> Iterator[Any]:
        """Give the documents."""
        yield from self.docs


class TooLongError(Exception):
    """An input took over 30 s."""


def too_long(number: int, frame: FrameType | None) -> None:
    """Raise for an input that takes too long."""
    raise TooLongError


def foil() -> FoilAnchor:
    """Return the anchor of the simulated beamline."""
    spectrum = Spectrum(ENERGY, mutations.FOIL, element="Pt", edge="L3", temperature=295.0)
    return FoilAnchor.fit(spectrum, load_model("pt-l3"))


def true_values(pool: AnalyzerPool) -> list[float]:
    """Return CN1 of each sample's whole scan."""
    whole = [Spectrum(ENERGY, mu, element="Pt", edge="L3") for mu in SAMPLES]
    return [prediction.values["CN1"].value for prediction in pool.analyze(whole)]


def judge(
    fuzz: Fuzz, predictions: Sequence[Prediction], said: Sequence[str], truth: float, label: str
) -> None:
    """Take note of what came of one input."""
    if not predictions:
        fuzz.outcomes["nothing" if not said else "told only"] += 1
    for p in predictions:
        read = p.provenance.read
        told = bool(read.get("left_out") or read.get("guessed")) or any("lost" in line for line in said)
        if p.refused is not None:
            fuzz.outcomes["refused"] += 1
        elif not p.in_domain or set(p.flags) - MILD:
            fuzz.outcomes["flagged"] += 1
        else:
            value = p.values["CN1"]
            right = abs(value.value - truth) <= 0.5 * (value.upper - value.lower)
            fuzz.outcomes["right" if right else "told" if told else "silently wrong"] += 1
            if not right and not told:
                fuzz.silent.append(f"{label}: {value.value:.2f} for {truth:.2f}, {read.get('channels')}")


def fuzzed(kind: str, first: int, count: int) -> Fuzz:
    """Analyse inputs that are wrong, numbered from `first`, and return what came of them.

    Parameters
    ----------
    kind : "files" or "streams".
    """
    warnings.simplefilter("ignore")
    pool = AnalyzerPool(None, foil())
    fuzz, truths = Fuzz(), true_values(pool)
    signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory() as folder:
        make = mutated_file(Path(folder)) if kind == "files" else mutated_stream
        for k in range(first, first + count):
            rng = np.random.default_rng([SEED, KINDS.index(kind), k])
            which = int(rng.integers(len(SAMPLES)))
            said: list[str] = []
            began = time.perf_counter()
            signal.alarm(LONGEST_S)
            try:
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    predictions = list(replay(make(which, rng), pool, say=said.append))
                judge(fuzz, predictions, said, truths[which], f"{kind} {k}")
            except Exception as error:  # noqa: BLE001 whatever escapes is what is counted
                fuzz.escaped[f"{kind} {k}: {type(error).__name__}: {error}"[:120]] += 1
            finally:
                signal.alarm(0)
            fuzz.slowest = max(fuzz.slowest, time.perf_counter() - began)
    fuzz.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return fuzz


def all_fuzzed(kind: str, count: int) -> Fuzz:
    """Analyse so many inputs of a kind in two processes, and return what came of them."""
    total, done = Fuzz(), 0
    shards = [(kind, first, min(SHARD, count - first)) for first in range(0, count, SHARD)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        for found in workers.map(fuzzed, *zip(*shards, strict=True)):
            total.outcomes += found.outcomes
            total.escaped += found.escaped
            total.silent += found.silent
            total.slowest = max(total.slowest, found.slowest)
            total.memory_mb = max(total.memory_mb, found.memory_mb)
            done += SHARD
            print(
                f"{kind} {min(done, count)}: {dict(total.outcomes)}, escaped {total.escaped.total()}",
                flush=True,
            )
    return total


def mutated_file(folder: Path) -> Callable[[int, Random], Any]:
    """Return what writes a mutated file and reads it."""

    def make(which: int, rng: Random) -> Any:
        name, raw = mutations.file_of(which, rng)
        path = folder / name
        path.write_bytes(mutations.mutated_bytes(raw, rng))
        return read_file(path)

    return make


def mutated_stream(which: int, rng: Random) -> Any:
    """Return a mutated document stream."""
    return [Recorded(mutations.mutated_stream(mutations.stream_of(which, rng), rng))]


def disordered(count: int, pool: AnalyzerPool) -> tuple[int, int, int]:
    """Return how many runs with lost, repeated and late documents have sweeps unlike the whole run's without a flag.

    Returns
    -------
    Wrong without a word, equal to the whole run's, flagged.
    """
    wrong = equal = flagged = 0
    for k in range(count):
        rng = np.random.default_rng([SEED, 2, k])
        docs = mutations.stream_of(int(rng.integers(len(SAMPLES))), rng)
        whole = {p.values["CN1"].value for p in replay([Recorded(docs)], pool) if p.refused is None}
        said: list[str] = []
        for p in replay([Recorded(mutations.disordered_stream(docs, rng))], pool, say=said.append):
            if p.refused is not None or set(p.flags) - MILD:
                flagged += 1
            elif any(abs(p.values["CN1"].value - value) < 1e-4 for value in whole):
                equal += 1
            else:
                wrong += 1
    return wrong, equal, flagged


def stored_as_live(count: int, analyzer: Analyzer) -> tuple[int, int, float]:
    """Return how many of random runs differ in flags or number of sweeps, their sweeps, and the largest difference."""
    rng = np.random.default_rng([SEED, 3])
    differing, sweeps, largest = 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder, open_archive(Path(folder) / "archive") as archive:
        writer = archive.raw_writer()
        for _ in range(0, count, 20):
            runs = [mutations.random_run(int(rng.integers(len(SAMPLES))), rng) for _ in range(20)]
            for docs in runs:
                for name, doc in docs:
                    writer(name, doc)
            writer.flush(300)
            found = stored_runs(archive.client, [docs[0][1]["uid"] for docs in runs], archive.uri)
            for docs, run in zip(runs, found, strict=True):
                assert isinstance(run, StoredRun)
                live, stored = (analyzer.analyze(_sweeps(each)) for each in (docs, list(run.documents())))
                same = [p.flags for p in live] == [p.flags for p in stored]
                differing += not same
                sweeps += len(live)
                for p, q in zip(live, stored, strict=False):
                    for name, value in p.values.items():
                        largest = max(
                            largest, abs(value.value - q.values[name].value) if name in q.values else 99.0
                        )
    return differing, sweeps, largest


def _sweeps(docs: Sequence[Document]) -> list[Spectrum]:
    """Return the sweeps of a run, by stream and time."""
    assembler = SpectrumAssembler()
    spectra = [s for name, doc in docs for s in assembler(name, doc)] + assembler.finish()
    return sorted(spectra, key=lambda s: (s.provenance.stream, s.provenance.time or 0.0))


def holes(count: int) -> dict[str, float]:
    """Return the share of truths in their intervals, of sweeps with holes, and the share of whole sweeps flagged."""
    inside, flagged, refused, whole_flagged, analysed, unsafe = 0, 0, 0, 0, 0, 0
    models = (("pt-l3", "pt_l3", 11564.0), ("au-l3", "au_l3", 11919.0), ("pd-k", "pd_k", 24350.0))
    for m, (name, library, edge) in enumerate(models):
        rng = np.random.default_rng([SEED, 4, m])
        energy = ENERGY - E0 + edge
        bundle = load_model(name)
        element, label = bundle.absorbers[0]
        known: dict[str, Any] = {"element": element, "edge": label, "temperature": 295.0}
        anchor = FoilAnchor.fit(
            Spectrum(energy, measured(energy, library, None, Mismatch()), **known), bundle
        )
        analyzer, samples = Analyzer(bundle, anchor), growth(12, library)
        for _ in range(count // len(models)):
            sample = samples[rng.integers(len(samples))]
            mu = measured(energy, library, sample, Mismatch()) + 0.2 + 8e-4 * rng.standard_normal(len(energy))
            at = edge + rng.uniform(-25.0, 90.0)
            kept = (energy <= at) | (energy >= at + rng.uniform(5.0, 40.0))
            spectra = [Spectrum(energy, mu, **known), Spectrum(energy[kept], mu[kept], **known)]
            whole, cut = analyzer.analyze(spectra)
            whole_flagged += Flag.HOLE in whole.flags
            if cut.refused is not None:
                refused += 1
                continue
            value, truth = cut.values["CN1"], sample.truth()["CN1"]
            analysed += 1
            flagged += Flag.HOLE in cut.flags
            inside += value.lower <= truth <= value.upper
            unsafe += Flag.HOLE not in cut.flags and not value.lower <= truth <= value.upper
    drawn = count // len(models) * len(models)
    return {
        "inside": inside / analysed,
        "inside_or_flagged": 1.0 - unsafe / drawn,
        "flagged": flagged / analysed,
        "refused": refused / drawn,
        "whole_flagged": whole_flagged / drawn,
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs that are drawn")
    share = parser.parse_args().share
    warnings.simplefilter("ignore")
    pool = AnalyzerPool(None, foil())
    files = all_fuzzed("files", round(FILES * share))
    streams = all_fuzzed("streams", round(STREAMS * share))
    peak_mb = max(files.memory_mb, streams.memory_mb)
    wrong, equal, flagged = disordered(round(DISORDERED * share), pool)
    differing, sweeps, largest = stored_as_live(
        max(20, round(STORED * share)), Analyzer(load_model("pt-l3"), foil())
    )
    gaps = holes(round(HOLES * share))
    escaped = sum(files.escaped.values()) + sum(streams.escaped.values())
    slowest = max(files.slowest, streams.slowest)
    claims = [
        claim("escaped", "exceptions that reach the user, of mutated files and streams", escaped, equal=0),
        claim("silent_files", "mutated files silently wrong", len(files.silent), equal=0),
        claim("silent_streams", "mutated streams silently wrong", len(streams.silent), equal=0),
        claim("slowest", "longest time for one input (s)", slowest, below=LONGEST_S),
        claim("memory", "largest memory of the process (MB)", peak_mb, below=MEMORY_MB),
        claim("disordered", "sweeps of lossy runs unlike the whole run's without a flag", wrong, equal=0),
        claim("stored_flags", "random runs whose flags differ live and from the archive", differing, equal=0),
        claim(
            "stored_values", "largest difference of a value live and from the archive", largest, at_most=1e-4
        ),
        claim(
            "holes",
            "truths in their intervals or flagged, holes of 5 to 40 eV",
            gaps["inside_or_flagged"],
            at_least=0.95,
        ),
        claim("holes_inside", "truths in the intervals of sweeps with holes", gaps["inside"], at_least=0.9),
        claim("whole", "whole sweeps flagged as having holes", gaps["whole_flagged"], at_most=0.02),
    ]
    data = {
        "share": share,
        "files": dict(files.outcomes) | {"escaped": dict(files.escaped)},
        "streams": dict(streams.outcomes) | {"escaped": dict(streams.escaped)},
        "silently_wrong": [*files.silent, *streams.silent][:40],
        "disordered": {"wrong": wrong, "equal": equal, "flagged": flagged},
        "stored": {"sweeps": sweeps},
        "holes": gaps,
    }
    record("reading", claims, data)


if __name__ == "__main__":
    main()
