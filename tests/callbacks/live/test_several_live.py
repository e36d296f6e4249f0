"""Several models in a running session, beside a real RunEngine: all published, all written, none mixed."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from event_model import DocumentNames, schema_validators

from tests.callbacks.edges import GRID, Edges, documents, predict
from xas_live.analysis import AnalyzerPool, RunHistory
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.callbacks.publishers.drift import SeriesWatch
from xas_live.callbacks.publishers.plot import LiveStructurePlot
from xas_live.callbacks.publishers.writer import PredictionWriter
from xas_live.energy import xanes_grid
from xas_live.models.ensemble import Ensemble
from xas_live.prediction import Alignment
from xas_live.simulator import Sample, SimulatedBeamline
from xas_live.spectrum import Spectrum


class Written(list):
    """Documents of derived runs, each checked against its schema."""

    def __call__(self, name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        self.append((name, doc))

    def of(self, name):
        return [doc for n, doc in self if n == name]

    def counts(self):
        """By model the derived run's number of events in each stream, and its exit status."""
        models = {start["uid"]: start["model"] for start in self.of("start")}
        return {models[s["run_start"]]: (s["num_events"], s["exit_status"]) for s in self.of("stop")}


class Told(BasePublisher):
    """What a publisher is told, in its order."""

    def __init__(self):
        self.calls = []
        self.models = []

    def models_used(self, models):
        self.models.append([model.name for model in models])

    def predicted(self, result):
        assert all(p.provenance is result.spectrum.provenance for p in result.predictions)
        assert result.primary is result.predictions[0]
        assert {p.model for p in result.predictions} <= {name for names in self.models for name in names}
        self.calls += [(p.provenance.sweep, p.model) for p in result.predictions]

    def averaged(self, spectrum, prediction):
        self.calls.append((f"mean of {prediction.provenance.averaged}", prediction.model))

    def run_stopped(self, stop):
        self.calls.append("stop")


@pytest.fixture
def beamline():
    made = SimulatedBeamline("au_l3", counts=1e6, drift=0.0, seed=5)
    made.load(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"))
    return made


def sweeps(beamline, count, between=lambda sweep: None):
    """A plan: one run, up and down in turn; `between` is called when a sweep after the first is under way."""
    grid = xanes_grid(beamline.library.edge_energy)[::2]

    @bpp.run_decorator(md=beamline.metadata())
    def plan():
        for sweep in range(count):
            for k, energy in enumerate(grid[:: -1 if sweep % 2 else 1]):
                if sweep and k == 20:  # the turn is seen: the sweep before is complete
                    between(sweep)
                yield from bps.mv(beamline.energy, float(energy))
                yield from bps.trigger_and_read([beamline.energy, beamline.ion_chambers])

    return plan()


def test_all_models_of_a_sweep_are_published_and_written(beamline, tmp_path):
    RE, written, told = RunEngine({}), Written(), Told()
    with mpl.rc_context():
        mpl.use("Agg")
        plot = LiveStructurePlot()
    pool = AnalyzerPool(["au-l3", "au-l3-msd"])
    with LiveAnalysis(pool, [told, PredictionWriter(written), plot]) as live:
        RE.subscribe(live)
        [uid] = RE(sweeps(beamline, 2, between=lambda _: live.wait(30)))
        assert live.wait(30)
        assert not live.errors
        status = live.status()
        assert (status.sweeps, status.refused) == (2, 0)
        assert [p.model for p in live.predictions] == ["au-l3", "au-l3-msd"] * 2
        assert live.latest.model == live.average.model == "au-l3"
        table = live.table[live.table["averaged"] == 1]
    assert table["model"].tolist() == ["au-l3", "au-l3-msd"] * 2
    assert table["sweep"].tolist() == [0, 0, 1, 1]
    assert table["CN1"].notna().tolist() == table["MSD"].isna().tolist() == [True, False] * 2
    assert told.calls == [
        *((0, "au-l3"), (0, "au-l3-msd"), (1, "au-l3"), (1, "au-l3-msd")),
        ("mean of 2", "au-l3"),
        "stop",
    ]
    assert {start["model"]: start["raw_uid"] for start in written.of("start")} == {
        "au-l3": uid,
        "au-l3-msd": uid,
    }
    assert told.models == [["au-l3", "au-l3-msd"]]
    each = {"predictions": 2, "spectra": 2, "drift": 2}
    assert written.counts() == {
        "au-l3": (each | {"averages": 1}, "success"),
        "au-l3-msd": (each, "success"),
    }
    plot.save(tmp_path / "figure.png", dpi=40)
    shown = plot._panels["CN1"]._points
    assert [point.prediction.model for point in shown] == ["au-l3"] * 2


def test_models_are_swapped_within_a_run_and_nothing_is_lost(beamline, tuned):
    RE, written, told = RunEngine({}), Written(), Told()
    with LiveAnalysis(AnalyzerPool(["au-l3", tuned]), [told, PredictionWriter(written)]) as live:

        def swap(sweep):
            assert live.wait(30)
            if sweep == 1:
                live.analyzer = AnalyzerPool([tuned, "au-l3-msd"])

        RE.subscribe(live)
        RE(sweeps(beamline, 3, between=swap))
        assert live.wait(30)
        assert not live.errors
        assert live.status().sweeps == 3
    assert [call for call in told.calls if isinstance(call, tuple) and isinstance(call[0], int)] == [
        *((0, "au-l3"), (0, "au-tuned")),
        *((1, "au-tuned"), (1, "au-l3-msd"), (2, "au-tuned"), (2, "au-l3-msd")),
    ]
    assert told.models == [["au-l3", "au-tuned"], ["au-l3-msd"]], "each once, before its first result"
    assert len(written.of("start")) == len(written.of("stop")) == 3
    counted = {model: events["predictions"] for model, (events, _) in written.counts().items()}
    assert counted == {"au-l3": 1, "au-tuned": 3, "au-l3-msd": 2}
    assert all(status == "success" for _, status in written.counts().values())
    # What it said as a further model and as the primary one stands in one run, its averages beside it.
    assert written.counts()["au-tuned"][0]["averages"] == 2


def test_a_further_model_that_fails_is_refused_beside_the_primary_one(beamline, tuned, monkeypatch, caplog):
    real = Ensemble.judge

    def failing(self, inputs, wrong=None):
        if self.bundle.name == "au-tuned":
            raise MemoryError("no room")
        return real(self, inputs, wrong)

    monkeypatch.setattr(Ensemble, "judge", failing)
    RE, written = RunEngine({}), Written()
    with LiveAnalysis(AnalyzerPool(["au-l3", tuned]), [PredictionWriter(written)]) as live:
        RE.subscribe(live)
        RE(sweeps(beamline, 2))
        assert live.wait(30)
        assert not live.errors
        refused = [(p.model, p.refused is not None) for p in live.predictions]
        assert refused == [("au-l3", False), ("au-tuned", True)] * 2
        assert (live.status().sweeps, live.status().refused) == (2, 0)
    assert {model: events["predictions"] for model, (events, _) in written.counts().items()} == {
        "au-l3": 2,
        "au-tuned": 2,
    }
    assert "no room" in caplog.text


def other(prediction):
    """What another model says of the same sweep."""
    return replace(prediction, model="other", model_sha256="1" * 64)


def swept():
    energy = GRID
    return Spectrum(energy=energy, mu=np.ones(len(energy)), element="Pt", edge="L3")


def test_a_drift_is_said_of_the_primary_model_alone():
    said, history = [], RunHistory()
    watch = SeriesWatch(said.append)
    for k in range(8):
        spectrum = swept()
        shift = Alignment("reference", shift=0.0 if k < 5 else 2.0)
        prediction = replace(predict(spectrum), alignment=shift)
        predictions = (prediction, other(prediction))
        watch.predicted(SweepResult(spectrum, predictions, history.add(predictions)))
    assert len(said) == 1
    assert "the energy scale drifts (test" in said[0]


def test_an_analyzer_that_leaves_a_sweep_without_a_prediction_is_told(capsys):
    class Silent(Edges):
        """A made-up analyzer whose models say nothing."""

        def analyze_all(self, spectra):
            return [[] for _ in spectra]

    with LiveAnalysis(Silent()) as live:
        for name, doc in documents(GRID):
            live(name, doc)
        assert live.wait(20)
        assert "gave 0 predictions for 1 spectra" in live.latest.refused
    assert "gave 0 predictions" in capsys.readouterr().out
