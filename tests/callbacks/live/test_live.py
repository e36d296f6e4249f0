"""LiveAnalysis beside a real RunEngine."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections import Counter as Tally
from pathlib import Path

import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky import preprocessors as bpp
from bluesky.utils import RunEngineInterrupted

from tests.callbacks.edges import GRID, Counter, Edges, Energy, counts_of, documents
from xas_live.analysis import Analyzer
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.models.registry import load_model
from xas_live.simulator import Sample


class Diary(BasePublisher):
    """Writes down what it is told, and in which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.threads: set[str] = set()

    def _note(self, name, what):
        self.calls.append((name, what))
        self.threads.add(threading.current_thread().name)

    def run_started(self, start):
        self._note("run_started", start)

    def measuring(self, spectrum, preview):
        self._note("measuring", spectrum)

    def predicted(self, result):
        assert result.spectrum.provenance is result.primary.provenance
        assert len(result.drift) == len(result.predictions)
        self._note("predicted", result.primary)

    def averaged(self, spectrum, prediction):
        assert spectrum.provenance is prediction.provenance
        self._note("averaged", prediction)

    def run_stopped(self, stop):
        self._note("run_stopped", stop)

    def close(self):
        self._note("close", None)

    def names(self):
        return [name for name, _ in self.calls if name not in ("measuring", "averaged")]

    @property
    def averages(self):
        return [what for name, what in self.calls if name == "averaged"]


class Broken(BasePublisher):
    """Fails at everything."""

    def run_started(self, start):
        raise OSError("disk full")

    predicted = measuring = lambda self, *_: 1 / 0

    def close(self):
        raise OSError("disk full")


@pytest.fixture
def beamline():
    energy = Energy(name="energy")
    return energy, [Counter(name=name, energy=energy) for name in ("i0", "it", "ir")]


def sweeps(beamline, count, **md):
    """A plan: one run with so many sweeps upwards."""
    energy, detectors = beamline
    return bp.list_scan(detectors, energy, GRID.tolist() * count, md={"element": "Pt", "edge": "L3"} | md)


def tally(RE):
    counts: Tally[str] = Tally()
    token = RE.subscribe(lambda name, _: counts.update([name]))
    return counts, token


def test_a_scan_is_predicted(beamline):
    RE = RunEngine({})
    diary = Diary()
    with LiveAnalysis(Edges(), [diary]) as live:
        RE.subscribe(live)
        [uid] = RE(sweeps(beamline, 3, sample_name="foil"))
        assert live.wait(20)
        assert [p.provenance.sweep for p in live.predictions] == [0, 1, 2]
        assert live.latest is live.predictions[-1]
        assert live.latest.provenance.run_uid == uid
        assert live.latest.values["CN1"].value == len(GRID)
        table = live.table
        assert table["CN1"].tolist() == [len(GRID)] * 4
        assert table["averaged"].tolist() == [1, 1, 1, 3]
        assert {"scan", "sweep", "time", "CN1_lower", "CN1_upper", "size", "refused", "lag"} <= set(table)
        assert (table["lag"][:3] < 5).all()
        assert max(map(len, repr(live).splitlines())) <= 80
        assert "1, mean of 3" in repr(live)
        assert "1, mean of 3" in live._repr_html_()
        status = live.status()
        assert (status.sweeps, status.refused, status.waiting, status.errors) == (3, 0, 0, 0)
        assert "3 sweeps" in repr(live)
        assert "CN1" in repr(live)
        assert diary.threads == {"xas_live"}
    assert diary.names() == ["run_started", *["predicted"] * 3, "run_stopped", "close"]


def test_predictions_appear_while_the_plan_runs(beamline):
    RE = RunEngine({})
    seen: list[int] = []
    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)
        energy, detectors = beamline

        @bpp.run_decorator()
        def plan():
            for _ in range(4):
                for value in GRID:
                    yield from bps.mv(energy, value)
                    yield from bps.trigger_and_read([energy, *detectors])
                yield from bps.sleep(0.3)
                seen.append(live.status().sweeps)

        RE(plan())
        assert live.wait(20)
        assert seen == [0, 2, 3, 4]  # the first shows where the others end
        assert live.status().sweeps == 4


@pytest.mark.parametrize("analyzer", [Edges(fail_on=1), Edges(fail_batches=True)])
def test_failures_leave_the_plan_alone(beamline, analyzer, capsys):
    RE = RunEngine({})
    alone, token = tally(RE)
    RE(sweeps(beamline, 3))
    RE.unsubscribe(token)
    stops: list[dict] = []
    watched, _ = tally(RE)
    diary = Diary()
    with LiveAnalysis(analyzer, [Broken(), diary]) as live:
        RE.subscribe(live)
        RE.subscribe(lambda _, doc: stops.append(doc), "stop")
        RE(sweeps(beamline, 3))
        assert live.wait(20)
        assert watched == alone
        assert stops[0]["exit_status"] == "success"
        refused = [p.provenance.sweep for p in live.predictions if p.refused]
        assert refused == ([1] if analyzer.fail_on is not None else [])
        assert len(live.predictions) == 3
        assert diary.names() == ["run_started", *["predicted"] * 3, "run_stopped"]
        where = {error.where for error in live.errors}
        assert {"Broken.run_started", "Broken.predicted"} <= where
    shown = capsys.readouterr().out
    assert shown.count("disk full") == 2  # at run_started and at close: each once
    assert shown.count("Broken.predicted") == 1
    assert live.status().errors >= 5


def test_a_sweep_that_fails_is_kept_as_refused(capsys):
    with LiveAnalysis(Edges(fail_on=0)) as live:
        for name, doc in documents(np.tile(GRID, 3)):
            live(name, doc)
        assert live.wait(20)
        assert [bool(p.refused) for p in live.predictions] == [True, False, False]
        assert "no weights" in live.predictions[0].refused
        assert live.status().refused == 1
    assert "no weights" in capsys.readouterr().out


def test_a_backlog_is_one_batch():
    analyzer = Edges(delay=0.3)
    with LiveAnalysis(analyzer) as live:
        for _ in range(6):
            for name, doc in documents(GRID, page=[len(GRID)]):
                live(name, doc)
        assert live.wait(20)
        assert sum(analyzer.calls) == 6
        assert len(analyzer.calls) <= 3
        assert live.status().sweeps == 6


def test_repeats_are_averaged_beside_the_sweeps():
    diary = Diary()
    with LiveAnalysis(Edges(fail_on=1), [diary]) as live:
        assert live.average is None
        for sizes in ([len(GRID)] * 4, [len(GRID)]):
            for name, doc in documents(np.tile(GRID, len(sizes)), page=sizes, scan_id=len(sizes)):
                live(name, doc)
                assert live.wait(20)  # sweep by sweep: no backlog
        counts = [(p.provenance.sweep, p.provenance.averaged) for p in diary.averages]
        assert counts == [(2, 2), (3, 3)]
        assert live.average is diary.averages[-1]
        assert [p.provenance.averaged for p in live.predictions] == [1] * 5
        order = [name for name, _ in diary.calls if name != "measuring"]
        assert order[:8] == [
            "run_started",
            *["predicted"] * 3,
            "averaged",
            "predicted",
            "averaged",
            "run_stopped",
        ]
        assert live._history.averages._runs == {}


def test_publishers_are_told_when_a_batch_ends():
    class Batches(Diary):
        def batch_finished(self):
            self._note("batch_finished", None)

    batches = Batches()
    with LiveAnalysis(Edges(), [batches]) as live:
        for name, doc in documents(np.tile(GRID, 3), page=[len(GRID)] * 3):
            live(name, doc)
            assert live.wait(20)  # page by page: a batch each
    assert batches.names() == [
        "run_started",
        *["predicted", "predicted", "batch_finished"],  # the second page ends two sweeps
        *["predicted", "batch_finished"],
        *["run_stopped", "close"],
    ]


def test_of_a_backlog_only_the_newest_average_of_each_run_is_analysed():
    entered, gate = threading.Event(), threading.Event()

    class Slow(BasePublisher):
        def run_started(self, start):
            entered.set()
            gate.wait(10)

    analyzer, diary = Edges(), Diary()
    with LiveAnalysis(analyzer, [Slow(), diary]) as live:
        live("start", {"uid": "first", "time": 0.0})
        assert entered.wait(10)
        for scan in (1, 2):
            for name, doc in documents(np.tile(GRID, 5), page=[len(GRID)] * 5, scan_id=scan):
                live(name, doc)
        gate.set()
        assert live.wait(20)
        assert analyzer.calls == [10, 2]  # the sweeps first: none waits for an average
        found = [(p.provenance.scan, p.provenance.averaged) for p in diary.averages]
        assert found == [("1", 5), ("2", 5)]
        assert diary.names()[-1] == "run_stopped"
        assert live.status().sweeps == 10


def test_an_average_that_fails_costs_nothing_else(capsys):
    class NoAverages(Edges):
        def analyze(self, spectra):
            if any(s.provenance.averaged > 1 for s in spectra):
                raise RuntimeError("out of memory for averages")
            return super().analyze(spectra)

    with LiveAnalysis(NoAverages()) as live:
        for name, doc in documents(np.tile(GRID, 3)):
            live(name, doc)
        assert live.wait(20)
        assert [p.refused for p in live.predictions] == [None] * 3
        assert "out of memory" in live.average.refused
        assert live.status().refused == 0
    assert "out of memory for averages" in capsys.readouterr().out


def test_wait_gives_up_and_close_drains():
    diary = Diary()
    live = LiveAnalysis(Edges(delay=0.5), [diary])
    for name, doc in documents(np.tile(GRID, 4), page=[len(GRID)] * 4):
        live(name, doc)
    assert not live.wait(0.05)
    assert live.close()
    assert live.close()
    assert live.wait(1)
    assert live.status().sweeps == 4
    assert diary.names()[-1] == "close"
    for name, doc in documents(GRID):
        live(name, doc)
    assert live.status().waiting == 0
    assert "closed" in repr(live)


def test_a_publisher_cannot_wait_for_itself():
    class Waits(BasePublisher):
        def predicted(self, result):
            live.wait()

    with LiveAnalysis(Edges(), [Waits()]) as live:
        for name, doc in documents(GRID):
            live(name, doc)
        assert live.wait(20)
        assert "cannot wait for itself" in live.errors[0].message


def test_the_analyzer_can_be_swapped():
    first, second = Edges(), Edges()
    with LiveAnalysis(first) as live:
        for name, doc in documents(GRID):
            live(name, doc)
        assert live.wait(20)
        live.analyzer = second
        for name, doc in documents(GRID):
            live(name, doc)
        assert live.wait(20)
    assert (sum(first.calls), sum(second.calls)) == (1, 1)


def test_the_growing_sweep_is_shown_at_most_five_times_a_second():
    diary = Diary()
    with LiveAnalysis(Edges(), [diary]) as live:
        run = list(documents(GRID))
        began = time.monotonic()
        for name, doc in run[:-1]:
            live(name, doc)
            time.sleep(0.015)
        took = time.monotonic() - began
        time.sleep(0.4)
        shown = [spectrum for name, spectrum in diary.calls if name == "measuring"]
        assert 2 <= len(shown) <= 5 * (took + 0.4) + 2
        assert not shown[-1].complete
        assert len(shown[-1]) == len(GRID)  # the last state arrives though nothing follows
        live(*run[-1])


def test_a_growing_sweep_has_a_preview_once_its_edge_is_passed(au_anchor, scan_of):
    scan = scan_of(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"), noise=0.002)
    passed = int(np.searchsorted(scan.energy, 11919.0 + 60.0))
    run = event_model.compose_run(metadata={"element": "Au", "edge": "L3", "sample_temperature": 295.0})
    keys = {name: {"source": "SIM", "dtype": "number", "shape": []} for name in ("energy", "mu")}
    stream = run.compose_descriptor(name="primary", data_keys=keys)

    def events(points):
        for energy, mu in zip(scan.energy[points], scan.mu[points], strict=True):
            data = {"energy": float(energy), "mu": float(mu)}
            yield "event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0))

    mapping = ChannelMapping(energy="energy", mu="mu")
    with LiveAnalysis(Analyzer(load_model("au-l3"), au_anchor), [], mapping) as live:
        live("start", run.start_doc)
        live("descriptor", stream.descriptor_doc)
        for name, doc in events(slice(0, passed)):
            live(name, doc)
        deadline = time.monotonic() + 20
        while live.preview is None and time.monotonic() < deadline:
            time.sleep(0.02)
        preview = live.preview
        assert preview.partial
        assert not live.predictions
        for name, doc in events(slice(passed, None)):
            live(name, doc)
        live("stop", run.compose_stop())
        assert live.wait(20)
        assert live.preview is None
        whole = live.latest.values["CN1"]
        assert not live.latest.partial
        assert preview.values["CN1"].lower < whole.value < preview.values["CN1"].upper


def test_a_preview_that_fails_costs_nothing():
    class Blind(Edges):
        def preview(self, spectrum, earlier=None):
            raise RuntimeError("no idea")

    with LiveAnalysis(Blind()) as live:
        run = list(documents(GRID))
        for name, doc in run[:-1]:
            live(name, doc)
        time.sleep(0.4)
        live(*run[-1])
        assert live.wait(20)
        assert live.status().sweeps == 1
        assert any("preview" in error.where for error in live.errors)


def test_bad_documents_are_counted_and_the_next_run_is_fine(capsys):
    with LiveAnalysis(Edges()) as live:
        live("event", {"descriptor": "x"})  # of a run that began before: left alone
        live("event", {})
        live("start", {})
        for name, doc in documents(GRID):
            live(name, doc)
        assert live.wait(20)
        assert len(live.errors) == 2
        assert live.status().sweeps == 1


def passes(energies, count, fill):
    """A run whose every event is a whole pass; `fill(k)` gives the data of pass k."""
    [start, descriptor, *_, stop] = list(documents(energies, element="Pt", edge="L3"))
    yield start
    yield descriptor
    for k in range(count):
        event = {"descriptor": descriptor[1]["uid"], "time": 5.0 + k, "seq_num": k + 1, "uid": "e"}
        yield "event", event | {"data": fill(k), "timestamps": {}}
    yield stop


@pytest.mark.parametrize("as_lists", [False, True])
def test_a_detector_may_use_its_buffers_again(as_lists):
    """What counts is what stood in the arrays when the document came."""
    entered, gate = threading.Event(), threading.Event()

    class Slow(BasePublisher):
        def run_started(self, start):
            entered.set()
            gate.wait(10)

    counts = counts_of(GRID)
    kind = list if as_lists else np.array
    buffers = {name: kind(np.zeros(len(GRID))) for name in ("energy", "i0", "it", "ir")}

    def fill(k):
        for name, buffer in buffers.items():
            buffer[:] = GRID if name == "energy" else counts[name] * (k + 1 if name == "it" else 1)
        return buffers

    class Keeps(Edges):
        def analyze(self, spectra):
            seen.extend(spectrum for spectrum in spectra if spectrum.provenance.averaged == 1)
            return super().analyze(spectra)

    seen = []
    with LiveAnalysis(Keeps(), [Slow()]) as live:
        for name, doc in passes(GRID, 3, fill):
            live(name, doc)
            assert entered.wait(10)
        gate.set()
        assert live.wait(20)
    for k, spectrum in enumerate(seen):
        np.testing.assert_allclose(spectrum.counts["it"], counts["it"] * (k + 1))
    assert len(seen) == 3


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_nothing_that_a_publisher_raises_ends_the_worker(kind, capsys):
    class Quits(BasePublisher):
        def predicted(self, result):
            raise kind("bye")

    class QuitsToo(Edges):
        def analyze(self, spectra):
            raise kind("no more")

    diary = Diary()
    with LiveAnalysis(QuitsToo(), [Quits(), diary]) as live:
        for _ in range(2):
            for name, doc in documents(GRID):
                live(name, doc)
            assert live.wait(20)
        assert live.status().running
        assert [p.refused is not None for p in live.predictions] == [True, True]
        assert diary.names() == ["run_started", "predicted", "run_stopped"] * 2
        assert {"Quits.predicted", "QuitsToo"} <= {error.where for error in live.errors}
    assert kind.__name__ in capsys.readouterr().out


def test_a_worker_that_has_ended_does_not_look_well(capsys):
    live = LiveAnalysis(Edges())
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(live._worker.ident), ctypes.py_object(SystemExit)
    )
    live("start", {})  # wakes it up
    live._worker.join(10)
    for name, doc in documents(GRID):
        live(name, doc)
    assert not live.status().running
    assert not live.wait(5)
    assert not live.close(5)
    assert "attach again" in live.errors[-1].where
    assert "attach again" in capsys.readouterr().out


def test_a_publisher_that_does_not_return_is_named(monkeypatch, capsys):
    monkeypatch.setattr("xas_live.callbacks.live.live_analysis.STUCK_S", 0.3)
    gate = threading.Event()

    class Stuck(BasePublisher):
        def run_started(self, start):
            gate.wait(20)

    live = LiveAnalysis(Edges(), [Stuck()])
    for name, doc in documents(GRID):
        live(name, doc)
    assert not live.wait(1.5)
    assert "Stuck.run_started for" in live.status().busy
    assert "Stuck.run_started for" in repr(live)
    assert not live.close(0.2)
    shown = capsys.readouterr().out
    assert shown.count("Stuck.run_started: has not returned for") == 1
    assert "documents wait for it" in shown
    assert "not all is done after 0.2 s" in shown
    gate.set()
    assert live.close(10)
    assert "Stuck.run_started: has returned after" in capsys.readouterr().out
    assert live.status().sweeps == 1


def test_the_end_of_a_session_says_what_it_waits_for():
    """A process whose publisher hangs: it ends soon, and not without a word."""
    script = """
import time
from tests.callbacks.edges import GRID, Edges, documents
from xas_live.callbacks.live import live_analysis as live
from xas_live.callbacks.publishers.base import BasePublisher
live._EXIT_S = 1.0
class Stuck(BasePublisher):
    def run_started(self, start):
        time.sleep(60)
analysis = live.LiveAnalysis(Edges(), [Stuck()])
for name, doc in documents(GRID):
    analysis(name, doc)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    assert "the session ends, but waits up to 1 s" in done.stdout
    assert "the worker is in Stuck.run_started" in done.stdout


def test_times_that_are_none_are_left_out(capsys):
    """Milliseconds taken for seconds must cost neither the prediction nor the table."""
    with LiveAnalysis(Edges()) as live:
        for name, doc in documents(GRID):
            live(name, doc | {"time": doc["time"] * 1000} if name == "event" else doc)
        assert live.wait(20)
        assert live.table["time"].isna().all()
        assert not live.errors


def test_two_runs_at_once(beamline):
    RE = RunEngine({})
    energy, detectors = beamline

    def plan():
        for key in ("a", "b"):
            yield from bpp.set_run_key_wrapper(bps.open_run({"sample_name": key}), key)
        for value in GRID:
            for key in ("a", "b"):
                yield from bps.mv(energy, value)
                yield from bpp.set_run_key_wrapper(bps.trigger_and_read([energy, *detectors]), key)
        for key in ("a", "b"):
            yield from bpp.set_run_key_wrapper(bps.close_run(), key)

    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)
        RE(plan())
        assert live.wait(20)
        assert [p.provenance.metadata["sample_name"] for p in live.predictions] == ["a", "b"]
        assert [p.values["CN1"].value for p in live.predictions] == [len(GRID)] * 2


def test_an_aborted_plan_gives_a_partial_sweep(beamline):
    RE = RunEngine({})
    energy, detectors = beamline

    def plan():
        yield from bps.open_run()
        for k, value in enumerate(GRID):
            if k == 30:
                raise ValueError("shutter closed")
            yield from bps.mv(energy, value)
            yield from bps.trigger_and_read([energy, *detectors])

    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)
        with pytest.raises(ValueError, match="shutter closed"):
            RE(plan())
        assert live.wait(20)
        [prediction] = live.predictions
        assert prediction.values["CN1"].value == 30


def test_a_paused_and_resumed_plan_gives_whole_sweeps(beamline):
    RE = RunEngine({})
    energy, detectors = beamline
    paused = []

    def plan():
        """No checkpoint inside a sweep: on resume, it is measured again from its first point."""
        yield from bps.open_run()
        yield from bps.checkpoint()
        for k, value in enumerate(GRID):
            yield from bps.abs_set(energy, value, wait=True)
            yield from bps.create()
            for device in (energy, *detectors):
                yield from bps.read(device)
            yield from bps.save()
            if k == 20 and not paused:
                paused.append(True)
                yield from bps.pause()
        yield from bps.close_run()

    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)
        with pytest.raises(RunEngineInterrupted):
            RE(plan())
        RE.resume()
        assert live.wait(20)
        assert [p.values["CN1"].value for p in live.predictions] == [len(GRID)]


def test_time_in_the_run_engines_thread(record_property):
    """Not a limit, a measurement: what one document costs the plan."""
    run = list(documents(np.tile(GRID, 50)))
    with LiveAnalysis(Edges()) as live:
        began = time.perf_counter()
        for name, doc in run:
            live(name, doc)
        each = (time.perf_counter() - began) / len(run)
        assert live.wait(60)
    record_property("microseconds_per_document", each * 1e6)
    print(f"{each * 1e6:.1f} microseconds per document in the caller's thread")
