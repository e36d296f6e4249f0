"""SweepPipeline: the order of its calls, and that nothing that fails costs anything else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.callbacks.edges import GRID, Edges, documents, predict
from xas_live.analysis import RunHistory
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.live.pipeline import Completed, PipelineHooks, SweepPipeline
from xas_live.callbacks.publishers.base import BasePublisher


class Known(Edges):
    """Says which model it is, or fails to."""

    def __init__(self, fail: bool = False, **rest) -> None:
        super().__init__(**rest)
        self.fail = fail

    def models_for(self, spectrum):
        if self.fail:
            raise OSError("the bundle is gone")
        return [SimpleNamespace(sha256="0" * 64, name="test"), SimpleNamespace(sha256="1" * 64, name="other")]

    def preview(self, spectrum, earlier=None):
        return predict(spectrum)


class Told(BasePublisher):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def run_started(self, start):
        self.calls.append("started")

    def models_used(self, models):
        self.calls.append([model.name for model in models])

    def measuring(self, spectrum, preview):
        self.calls.append("measuring")

    def predicted(self, result):
        assert len(result.drift) == len(result.predictions)
        self.calls.append(result.primary.refused or "predicted")

    def averaged(self, spectrum, prediction):
        self.calls.append("averaged")

    def batch_finished(self):
        self.calls.append("batch finished")

    def run_stopped(self, stop):
        self.calls.append("stopped")

    def close(self):
        self.calls.append("closed")


class Fails(BasePublisher):
    """Fails at everything."""

    run_started = models_used = measuring = predicted = lambda self, *_: 1 / 0
    averaged = batch_finished = run_stopped = close = run_started


class Errors(PipelineHooks):
    def __init__(self) -> None:
        self.where: list[str] = []

    def failed(self, where, error):
        self.where.append(where)


def completed(sweeps: int = 2, **start) -> list[Completed]:
    """A run of so many sweeps, as an assembler gives it."""
    assembler = SpectrumAssembler()
    run = documents(np.tile(GRID, sweeps), page=[len(GRID)] * sweeps, element="Pt", edge="L3", **start)
    every = [Completed(name, doc, assembler(name, doc)) for name, doc in run]
    return [each for each in every if each.spectra or each.name in ("start", "stop")]


RUN = ["started", ["test"], "predicted", "predicted", "averaged", "stopped", "batch finished"]


def test_models_are_told_once_before_their_first_result_and_a_preview_is_one():
    told = Told()
    pipeline = SweepPipeline(Known(), [told], RunHistory())
    pipeline.process(completed())
    assert told.calls == RUN
    pipeline.process(completed())
    assert told.calls[len(RUN) :] == [call for call in RUN if call != ["test"]]
    told.calls.clear()
    pipeline = SweepPipeline(Known(), [told], RunHistory())
    pipeline.measuring(completed()[1].spectra[0])
    pipeline.close()
    assert told.calls == [["test"], "measuring", "closed"]


def test_whatever_fails_is_named_and_costs_nothing_else(monkeypatch):
    told, errors, history = Told(), Errors(), RunHistory()

    def fail(*_):
        raise ArithmeticError("no number")

    monkeypatch.setattr(history, "add", fail)
    monkeypatch.setattr(history.averages, "add", fail)
    pipeline = SweepPipeline(Known(fail=True, fail_batches=True), [Fails(), told], history, errors)
    pipeline.process(completed())
    pipeline.close()
    assert told.calls == [call for call in RUN if call not in (["test"], "averaged")] + ["closed"]
    assert set(errors.where) == {
        *("Known", "Known.models_for", "RunHistory", "Averages"),
        *(f"Fails.{name}" for name in ("run_started", "predicted", "batch_finished", "run_stopped", "close")),
    }


def test_a_sweep_whose_analysis_raises_is_refused_and_the_next_is_not():
    told, errors = Told(), Errors()
    SweepPipeline(Edges(fail_on=0), [told], RunHistory(), errors).process(completed())
    assert told.calls[1:3] == ["the analysis failed (RuntimeError: no weights)", "predicted"]
    assert errors.where == ["Edges", "Edges"]  # the batch, and the sweep alone


def test_ctrl_c_gets_through_in_the_main_thread():
    class Interrupted(BasePublisher):
        def predicted(self, result):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SweepPipeline(Edges(), [Interrupted()], RunHistory()).process(completed())
