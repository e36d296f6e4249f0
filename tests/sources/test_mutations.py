"""A sample of benchmarks/reading.py: whatever is wrong with an input ends in a result, a flag or a reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from xas_live.callbacks.live import LiveAnalysis

SEED_OF_TESTS = 7
BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def reading() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module("reading")
    for name in ("reading", "mutations", "record"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("files", 250), ("streams", 80)])
def test_nothing_escapes_and_nothing_is_silently_wrong(reading: ModuleType, kind: str, count: int) -> None:
    fuzz = reading.fuzzed(kind, 50_000, count)
    assert not fuzz.escaped
    assert fuzz.silent == []
    assert fuzz.outcomes.total() >= count
    assert fuzz.outcomes["nothing"] == 0
    assert fuzz.outcomes["right"] > 0.05 * count
    assert fuzz.slowest < reading.LONGEST_S


@pytest.mark.slow
def test_lossy_runs_are_the_same_or_flagged(reading: ModuleType) -> None:
    pool = reading.AnalyzerPool(None, reading.foil())
    wrong, equal, flagged = reading.disordered(25, pool)
    assert wrong == 0
    assert equal > 0
    assert flagged > 0


@pytest.mark.slow
def test_no_mutated_document_reaches_the_plan(reading: ModuleType) -> None:
    """The callback itself raises nothing, whatever it is given."""
    numpy, mutations = reading.np, reading.mutations
    live = LiveAnalysis(reading.AnalyzerPool(None, reading.foil()))
    for k in range(40):
        rng = numpy.random.default_rng([SEED_OF_TESTS, k])
        for name, doc in mutations.mutated_stream(mutations.stream_of(k % 6, rng), rng):
            live(name, doc)
    assert live.wait(120)
    assert live.status().running
    live.close(60)
