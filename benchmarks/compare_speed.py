"""Is this checkout as fast as another one? Both are measured in turn, by processes of one thread.

    python benchmarks/compare_speed.py --other FOLDER

A machine that others share is faster in one second than in the next. So two fresh processes a round, one for each
checkout, take turns of a tenth of a second: both meet the same disturbances. What runs in one thread is measured by
the processor time of that thread, in which waiting for a core is not; the latency, between threads, by the clock. Of
each figure the ratio of medians is told, this checkout's over the other's, with its 95 % interval by bootstrap over
pairs of turns. Writes benchmarks/results/compare_speed.json.

The measurements are this checkout's, whichever package is measured: they keep to names that both have.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import importlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from record import ROOT, claim, commit, commit_of, record

LIMIT = 1.05  # of a figure's ratio
ROUNDS, MINUTES = 4, 3.5  # of fresh processes; that all rounds take
SECONDS = 0.1  # of a turn
BATCH, GROUP = 256, 64  # spectra reduced, and analysed, at once
REACHED = 80.0  # eV past the edge, of a growing sweep
OWN_FOILS = 32  # different reference channels
FIGURES = {
    "reduce_one": "reduction of one spectrum",
    "reduce_batch": f"reduction, {BATCH} at once, a spectrum",
    "analyze_one": "Analyzer, one sweep",
    "analyze_batch": f"Analyzer, {GROUP} sweeps at once, a sweep",
    "own_reference": "Analyzer, one sweep with its own reference",
    "preview": f"preview of a sweep, {REACHED:g} eV past the edge",
    "latency": "LiveAnalysis, last document to prediction",
    "callback": "RunEngine's thread, a document of a step scan",
}

Turn = Callable[[], float]
"""Measures for about `SECONDS`, and gives the median (s)."""


# --- in the process that measures -----------------------------------------------------------------------


def measure(checkout: Path) -> None:
    """Measure the package in a checkout: a figure's turn for each name read, until there is none."""
    import torch

    import xas_live

    assert xas_live.__file__ is not None
    assert Path(xas_live.__file__).is_relative_to(checkout), (
        f"{xas_live.__file__} is measured, not {checkout}"
    )
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # LiveAnalysis tells its user what it does
    with watching([told := Told()], mapped=True) as live, watching([]) as of_points:
        turns = {**reduction(), **analysis(), "latency": latency(live, told), "callback": callback(of_points)}
        for turn in turns.values():
            turn()
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            print(turns[line.strip()](), file=answers, flush=True)


def repeated(work: Callable[[], Any], of: int = 1) -> Turn:
    """Turns of a work of so many spectra; the first run of a turn does not count."""

    def turn() -> float:
        work()
        taken: list[float] = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(taken) < 3:
            start = time.thread_time()
            work()
            taken.append(time.thread_time() - start)
        return float(np.median(taken)) / of

    return turn


def reduction() -> dict[str, Turn]:
    """From mu to the flattened spectrum on the network's grid."""
    from sweeps import LIBRARY, MODEL, sweeps

    import xas_live
    from xas_live.reduction.normalize import NormalizationOperator, Windows
    from xas_live.simulator.library import site_library

    energy, mu = sweeps(BATCH)
    e0, grid = site_library(LIBRARY).edge_energy + 1.0, xas_live.load_model(MODEL).grid
    operator = NormalizationOperator(energy, e0, Windows(), e0 + grid)
    return {
        "reduce_one": repeated(lambda: operator.flat(mu[:1])),
        "reduce_batch": repeated(lambda: operator.flat(mu), BATCH),
    }


def analysis() -> dict[str, Turn]:
    """Sweeps to predictions."""
    from sweeps import LIBRARY, MODEL, anchor, spectra_of, sweeps

    import xas_live
    from xas_live.simulator.library import site_library

    bundle, foil = xas_live.load_model(MODEL), anchor()
    analyzer = xas_live.Analyzer(bundle, foil, device="cpu")
    energy, mu = sweeps(GROUP)
    spectra = spectra_of(energy, mu)
    noise = 1e-3 * np.random.default_rng(0).standard_normal((OWN_FOILS, len(energy)))
    clean = np.interp(energy, foil.energy, foil.mu)
    referenced = itertools.cycle(
        [replace(s, reference=clean + own) for s, own in zip(spectra[:OWN_FOILS], noise, strict=True)]
    )
    by_itself = xas_live.Analyzer(bundle, "reference", device="cpu")
    past = energy <= site_library(LIBRARY).edge_energy + REACHED
    growing = replace(spectra[0], energy=energy[past], mu=mu[0, past], complete=False)
    found = [*analyzer.analyze(spectra), *by_itself.analyze([next(referenced)])]
    assert all(p.values for p in found)
    assert analyzer.preview(growing) is not None
    return {
        "analyze_one": repeated(lambda: analyzer.analyze(spectra[:1])),
        "analyze_batch": repeated(lambda: analyzer.analyze(spectra), GROUP),
        "own_reference": repeated(lambda: by_itself.analyze([next(referenced)])),
        "preview": repeated(lambda: analyzer.preview(growing)),
    }


def either(name: str, here: str, before: str) -> Any:
    """What stands in one module now, and stood in another before."""
    try:
        return getattr(importlib.import_module(here), name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(before), name)


@contextmanager
def watching(publishers: list[Any], *, mapped: bool = False) -> Iterator[Any]:
    """A LiveAnalysis of the shipped model; mapped: its documents hold whole sweeps of `energy` and `mu`."""
    from sweeps import MODEL, anchor

    import xas_live
    from xas_live.callbacks.live import LiveAnalysis

    mapping = either("ChannelMapping", "xas_live.callbacks.assembly", "xas_live.callbacks.channels")
    analyzer = xas_live.Analyzer(xas_live.load_model(MODEL), anchor(), device="cpu")
    with LiveAnalysis(analyzer, publishers, mapping(energy="energy", mu="mu") if mapped else None) as live:
        yield live


class Told:
    """A publisher that notes when it is told of a prediction."""

    def __init__(self) -> None:
        self.event, self.when = threading.Event(), 0.0

    def predicted(self, spectrum: Any, prediction: Any) -> None:
        """See `Publisher`."""
        self.when = time.perf_counter()
        assert prediction.values
        self.event.set()

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Nothing else interests it."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *given: None


def latency(live: Any, told: Told) -> Turn:
    """From the call with the event of a run, which holds its sweep, until a publisher is told of the prediction."""
    from sweeps import sweeps

    energy, mu = sweeps(GROUP)
    rows = itertools.cycle(mu)

    def turn() -> float:
        taken: list[float] = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(taken) < 4:
            *before, event, stop = run_of_one_sweep({"energy": energy, "mu": next(rows)})
            for name, doc in before:
                live(name, doc)
            live.wait()
            told.event.clear()
            start = time.perf_counter()
            live(*event)
            live(*stop)
            assert told.event.wait(10.0), live.errors
            taken.append(told.when - start)
            live.wait()
        return float(np.median(taken[1:]))

    return turn


def run_of_one_sweep(columns: dict[str, Any]) -> list[tuple[str, Any]]:
    """The documents of a run of one event that holds whole columns."""
    from event_model import compose_run
    from sweeps import LIBRARY

    from xas_live.simulator.library import site_library

    library = site_library(LIBRARY)
    metadata = {"element": library.element, "edge": library.edge, "sample_temperature": 295.0}
    run = compose_run(metadata=metadata)
    keys = {
        name: {"source": "SIM", "dtype": "array", "dtype_numpy": "<f8", "shape": list(np.shape(values))}
        for name, values in columns.items()
    }
    primary = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"detector": list(keys)}, configuration={}
    )
    event = primary.compose_event(data=columns, timestamps=dict.fromkeys(columns, 0.0))
    return [
        ("start", run.start_doc),
        ("descriptor", primary.descriptor_doc),
        ("event", event),
        ("stop", run.compose_stop()),
    ]


def callback(live: Any) -> Turn:
    """What a document of a step scan costs the RunEngine, which is not slowed by any dwell."""
    from bluesky import RunEngine
    from scans import STEPS, point_scan

    calls: list[float] = []

    def subscribed(name: str, doc: Any) -> None:
        start = time.thread_time()
        live(name, doc)
        calls.append(time.thread_time() - start)

    engine = RunEngine()
    engine.subscribe(subscribed)

    def turn() -> float:
        calls.clear()
        engine(point_scan(0.0, STEPS))
        live.wait()
        return float(np.median(calls))

    return turn


# --- in the process that compares -----------------------------------------------------------------------


class Measured:
    """A fresh process that measures the package in a checkout."""

    def __init__(self, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--measure", str(checkout)], cwd=checkout, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its input: it ends
            pass

    def line(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise SystemExit("the process that measures has ended: see above")
        return line.strip()

    def turn(self, figure: str) -> float:
        """One turn at a figure, in seconds."""
        print(figure, file=self._process.stdin, flush=True)
        return float(self.line())


def compare(other: Path, minutes: float) -> None:
    commit()
    began = time.monotonic()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in FIGURES}
    for number in range(1, ROUNDS + 1):
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(Measured(checkout)) for checkout in (ROOT, other))
            assert ours.line() == theirs.line() == "ready"
            over = False
            while not over:
                for name, pairs in taken.items():
                    pairs.append((ours.turn(name), theirs.turn(name)))
                over = time.monotonic() >= began + 60.0 * minutes * number / ROUNDS
        so_far = ", ".join(f"{name} {ratio(np.array(pairs)):.3f}" for name, pairs in taken.items())
        print(f"after round {number} of {ROUNDS}: {so_far}", flush=True)
    claims, figures = [], {}
    for name, words in FIGURES.items():
        pairs = np.array(taken[name])
        low, high = interval(pairs)
        now, before = 1e6 * np.median(pairs, axis=0)
        text = f"{words}: {now:.4g} us over {before:.4g} us (95 %: {low:.3f} to {high:.3f})"
        claims.append(claim(name, text, ratio(pairs), at_most=LIMIT))
        figures[name] = {"now_us": now, "before_us": before, "ratio": ratio(pairs), "low": low, "high": high}
    record(
        "compare_speed",
        claims,
        {"other_commit": commit_of(other), "rounds": ROUNDS, "turns": len(taken["latency"])},
        figures=figures,
    )


def ratio(pairs: np.ndarray) -> float:
    """Of medians, the first column over the second."""
    now, before = np.median(pairs, axis=0)
    return float(now / before)


def interval(pairs: np.ndarray) -> tuple[float, float]:
    """95 % interval of the ratio, pairs drawn anew."""
    rng = np.random.default_rng(0)
    drawn = [ratio(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--other", type=Path, help="checkout to compare with")
    which.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of measuring")
    given = parser.parse_args()
    if given.measure is not None:
        measure(given.measure.resolve())
    elif given.other is None:
        print("nothing is compared: give another checkout, --other FOLDER")
    else:
        compare(given.other.resolve(), given.minutes)


if __name__ == "__main__":
    main()
