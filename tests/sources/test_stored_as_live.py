"""A run from the archive is read as it was live: paused and rewound, aborted, failed, in several streams."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from xas_live.analysis import Analyzer
from xas_live.archive import Archive, RunWriter
from xas_live.callbacks.assembly import SpectrumAssembler
from xas_live.models.registry import load_model
from xas_live.sources.stored import StoredRun, stored_runs
from xas_live.spectrum import Spectrum

_SPEC = importlib.util.spec_from_file_location(
    "mutations", Path(__file__).resolve().parents[2] / "benchmarks" / "mutations.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
mutations = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mutations)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(load_model("pt-l3"))


def spectra_of(documents: list[tuple[str, dict]]) -> list[Spectrum]:
    assembler = SpectrumAssembler()
    return [s for name, doc in documents for s in assembler(name, doc)] + assembler.finish()


def in_order(spectra: list[Spectrum]) -> list[Spectrum]:
    """By stream and sweep: from the archive one stream comes after the other."""
    return sorted(spectra, key=lambda s: (s.provenance.stream, s.energy[0], s.provenance.time or 0.0))


@pytest.mark.slow
def test_random_runs_of_a_run_engine(archive: Archive, raw_writer: RunWriter, analyzer: Analyzer) -> None:
    rng = np.random.default_rng(11)
    runs = [mutations.random_run(int(rng.integers(6)), rng) for _ in range(12)]
    rewound = sum(
        len(numbers) != len(set(numbers))
        for docs in runs
        for numbers in [[d["seq_num"] for n, d in docs if n == "event" and "i0" in d["data"]]]
    )
    assert rewound >= 3
    assert sum(docs[-1][1]["exit_status"] != "success" for docs in runs) >= 2
    for docs in runs:
        for name, doc in docs:
            raw_writer(name, doc)
    assert raw_writer.flush(120)
    found = stored_runs(archive.client, [docs[0][1]["uid"] for docs in runs], archive.uri)
    for docs, run in zip(runs, found, strict=True):
        assert isinstance(run, StoredRun)
        live, stored = in_order(spectra_of(docs)), in_order(spectra_of(list(run.documents())))
        assert len(live) == len(stored)
        for one, other in zip(live, stored, strict=True):
            np.testing.assert_array_equal(one.energy, other.energy)
            np.testing.assert_array_equal(one.mu, other.mu)
            assert (one.flags, one.complete) == (other.flags, other.complete)
        predictions = zip(analyzer.analyze(live), analyzer.analyze(stored), strict=True)
        for p, q in predictions:
            assert p.flags == q.flags
            assert (p.refused is None) is (q.refused is None)
            for target, value in p.values.items():
                assert value.value == pytest.approx(q.values[target].value, abs=1e-4)
