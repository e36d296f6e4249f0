"""The analysis in a second process: the same predictions, and what happens when one of them ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bluesky import RunEngine
from threadpoolctl import threadpool_limits

import xas_live
from xas_live.analysis import AnalysisConfig, AnalyzerPool, Earlier
from xas_live.analysis import process as analysis_process
from xas_live.analysis.process import AnalysisProcessError, AnalyzerProcess
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.models.bundle import ModelError
from xas_live.modes import I0, Channel, DetectorMode, register_mode, unregister_mode
from xas_live.simulator import Sample, SimulatedBeamline, growing_particles, simulated_scan
from xas_live.sources.replay import replay
from xas_live.spectrum import Provenance

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


@pytest.fixture(autouse=True)
def _one_thread_here_too():
    """Shared among threads, sums round differently."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="module")
def process(au_anchor):
    with AnalyzerProcess("au-l3", au_anchor, AnalysisConfig(level=0.8), "cpu") as analyzer:
        yield analyzer


@pytest.fixture(scope="module")
def pool(au_anchor):
    return AnalyzerPool("au-l3", au_anchor, AnalysisConfig(level=0.8), "cpu")


def said(prediction):
    """All that a prediction says, but for the time it took."""
    arrays = prediction.reduced
    return prediction.to_json() | {
        "seconds": None,
        "configuration": prediction.configuration,
        "reduced": None
        if arrays is None
        else [a.tolist() for a in (arrays.grid, arrays.flat, arrays.foil, arrays.network_input)],
    }


def cn1(prediction):
    """Its first number: sums round differently from the second sweep of an axis on."""
    assert prediction.refused is None, prediction.refused
    return prediction.values["CN1"].value


def is_gone(pid):
    """Whether a process has ended, be it that nobody has asked for its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@contextmanager
def killing(analyzer, *, once_begun=False):
    """Kills every process that the analyzer starts: at once, or when its models are loaded."""
    enough = threading.Event()

    def kill():
        while not enough.wait(0.02):
            with suppress(TypeError, AttributeError, ProcessLookupError):
                if not once_begun or analyzer._child.begun:
                    os.kill(analyzer.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_predictions_are_those_of_this_process(process, pool, scan_of):
    spectra = [scan_of(SAMPLE, noise=0.002, seed=seed) for seed in range(70)]  # more than one message
    spectra[1] = scan_of(None, reference=None)
    spectra[2] = scan_of(SAMPLE, element="Fe", edge="K")
    spectra[3] = replace(spectra[3], mu=0 * spectra[3].mu)
    found, expected = process.analyze(spectra), pool.analyze(spectra)
    assert [k for k, p in enumerate(found) if p.refused] == [2, 3]
    assert [said(p) for p in found] == [said(p) for p in expected]
    assert process.analyze([]) == []


def test_several_models_and_a_folder_that_the_session_has_left(au_anchor, scan_of, tuned, monkeypatch):
    monkeypatch.chdir(tuned.parent)
    spectra = [scan_of(SAMPLE), scan_of(None)]
    with AnalyzerProcess(["au-l3", tuned.name], au_anchor, device="cpu") as analyzer:
        expected = AnalyzerPool(["au-l3", tuned.name], au_anchor, device="cpu").analyze_all(spectra)
        assert [bundle.name for bundle in analyzer.models] == ["au-l3", "au-tuned"]
        analyzer.close()
        monkeypatch.chdir("/")
        found = analyzer.analyze_all(spectra)
    assert [[said(p) for p in models] for models in found] == [[said(p) for p in m] for m in expected]
    assert all(p.provenance is s.provenance for m, s in zip(found, spectra, strict=True) for p in m)


def test_provenance_stays_here_whatever_it_holds(process, scan_of):
    spectrum = scan_of(SAMPLE, provenance=Provenance(scan="7", metadata={"not_to_be_sent": lambda: None}))
    (found,) = process.analyze([spectrum])
    assert found.provenance is spectrum.provenance


def test_growing_sweeps_have_previews(process, pool, scan_of):
    scan = scan_of(SAMPLE, reference=None)
    n = int(np.searchsorted(scan.energy, 11919.0 + 55.0))
    growing = replace(scan, energy=scan.energy[:n], mu=scan.mu[:n], complete=False)
    early = replace(growing, energy=scan.energy[:10], mu=scan.mu[:10])
    earlier = Earlier(pool.anchor, step=(1.0, 0.03))
    found = process.preview(growing, earlier)
    assert found.partial
    assert found.provenance is growing.provenance
    assert said(found) == said(pool.preview(growing, earlier))
    assert said(found) != said(process.preview(growing, Earlier(pool.anchor)))
    assert process.preview(early) is None


def test_a_detector_mode_that_only_this_session_knows_is_warned_of_once(process, scan_of, caplog):
    register_mode(DetectorMode("tey", (I0, Channel("iey")), lambda counts: counts["iey"] / counts["i0"]))
    try:
        spectrum = scan_of(SAMPLE)
        caplog.set_level(logging.WARNING)
        process.analyze([spectrum])
        assert "session only" not in caplog.text
        for _ in range(2):
            (found,) = process.analyze([replace(spectrum, mode="tey")])
            assert found.refused is None
    finally:
        unregister_mode("tey")
    assert caplog.text.count("the detector mode tey is registered in this session only") == 1


def test_an_error_there_is_raised_here(process, scan_of):
    spectrum, pid = scan_of(SAMPLE), process.pid
    object.__setattr__(spectrum, "mu", spectrum.mu[:-1])
    with pytest.raises(AnalysisProcessError, match="Refusal: channels of one sweep") as caught:
        process.analyze([spectrum])
    assert "analysis/child" in caught.value.__notes__[0]
    assert process.pid == pid


def test_what_it_logs_is_logged_here(scan_of, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    broken = tmp_path / "anchors" / "Au-L3-broken" / "anchor.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{}")
    with AnalyzerProcess(device="cpu") as analyzer:
        (found,) = analyzer.analyze([scan_of(SAMPLE)])
    assert found.model == "au-l3"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("xas_live", logging.WARNING)
    assert "Au-L3-broken" in record.getMessage()


def test_one_thread_there_and_nothing_set_here(scan_of, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "3")  # what the session asks for itself
    before, environment = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(2)
    try:
        with AnalyzerProcess("au-l3", None, device="cpu") as analyzer:
            analyzer.analyze([scan_of(SAMPLE)] * 64)
            threads = list(Path(f"/proc/{analyzer.pid}/task").iterdir())
            assert os.getsid(analyzer.pid) == analyzer.pid, "Ctrl-C in the terminal must not reach it"
        assert torch.get_num_threads() == 2
        assert dict(os.environ) == environment
    finally:
        torch.set_num_threads(before)
    assert len(threads) == 2, "one that computes, one that watches the session"


@pytest.mark.slow
def test_a_process_that_ended_is_replaced(process, pool, scan_of, caplog):
    spectra = [scan_of(SAMPLE, noise=0.002, seed=seed) for seed in range(3)]
    process.analyze(spectra)
    first = process.pid
    os.kill(first, signal.SIGSTOP)  # so that it ends with the request in hand
    found = []
    asking = threading.Thread(target=lambda: found.extend(process.analyze(spectra)))
    asking.start()
    time.sleep(0.3)
    os.kill(first, signal.SIGKILL)
    asking.join(60)
    assert [said(p) for p in found] == [said(p) for p in pool.analyze(spectra)]
    assert process.pid != first
    [record] = caplog.records
    assert record.getMessage() == (
        "the analysis process was ended by SIGKILL: another is started, and tries again"
    )


@pytest.mark.slow
def test_a_sweep_over_which_each_process_ends_is_refused_and_the_next_is_not(monkeypatch, caplog):
    monkeypatch.setattr(analysis_process, "PAUSES_S", (0.0, 0.0, 0.0))
    RE, beamline = RunEngine({}), SimulatedBeamline("au_l3", seed=1)
    with AnalyzerProcess("au-l3", None, device="cpu") as analyzer, LiveAnalysis(analyzer) as live:
        RE.subscribe(live)
        monkeypatch.setattr(analyzer, "preview", lambda spectrum, earlier=None: None)
        with killing(analyzer, once_begun=True):
            RE(simulated_scan(beamline, None))
            assert live.wait(120)
        RE(simulated_scan(beamline, None))
        assert live.wait(120)
        first, second = live.predictions
        errors = [str(error) for error in live.errors if "AnalysisProcessError" in str(error)]
    assert "the analysis process was ended by SIGKILL, and so did others over the same" in first.refused
    assert second.refused is None
    assert len(errors) == 1
    assert len([m for m in caplog.messages if "another is started" in m]) == 1


@pytest.mark.slow
def test_where_none_can_be_kept_running_the_sweeps_are_analysed_here(
    scan_of, pool, au_anchor, monkeypatch, caplog
):
    monkeypatch.setattr(analysis_process, "PAUSES_S", (0.0, 0.0, 0.0, 0.0, 0.0, 0.1))
    spectra = [scan_of(SAMPLE, noise=0.002, seed=seed) for seed in range(5)]
    expected = [pytest.approx(cn1(p), rel=1e-5) for p in pool.analyze(spectra)]
    with AnalyzerProcess("au-l3", au_anchor, AnalysisConfig(level=0.8), "cpu") as analyzer:
        with killing(analyzer):
            found = [analyzer.analyze([spectrum])[0] for spectrum in spectra]
        assert [cn1(p) for p in found] == expected
        assert analyzer.pid is None
        told = [message for message in caplog.messages if "analysis process" in message]
        assert len(told) == 2, told
        assert "the analysis goes on in this process, on the CPU" in told[1]
        monkeypatch.setattr(analyzer, "_rests_until", 0.0)
        assert [cn1(p) for p in analyzer.analyze(spectra)] == expected
        assert analyzer.pid is not None
        assert caplog.messages[-1] == "the analysis process is running again"


@pytest.mark.slow
def test_a_sweep_waits_for_a_process_that_is_killed_many_times(scan_of, pool, au_anchor):
    """As the kernel does when memory is short."""
    spectrum = scan_of(SAMPLE, noise=0.002, seed=1)
    with AnalyzerProcess("au-l3", au_anchor, AnalysisConfig(level=0.8), "cpu") as analyzer:
        for _ in range(4):
            answered = analyzer.submit([spectrum])
            with suppress(ProcessLookupError):
                os.kill(analyzer.pid, signal.SIGKILL)
            assert cn1(answered.result(60)[0][0]) == pytest.approx(cn1(pool.analyze([spectrum])[0]), rel=1e-5)


def test_a_forked_process_leaves_the_analysis_process_to_its_parent(scan_of, process):
    process.analyze([scan_of(SAMPLE)])
    running = process.pid
    child = os.fork()
    if not child:
        with suppress(BaseException):
            process.close()
        os._exit(0)
    os.waitpid(child, 0)
    process.analyze([scan_of(SAMPLE)])
    assert process.pid == running


def test_settings_that_cannot_be_had_are_refused_here():
    with pytest.raises(ModelError, match="no model 'no-such-model'"):
        AnalyzerProcess("no-such-model")
    with pytest.raises(ValueError, match="cannot be used here"):
        xas_live.attach(RunEngine({}), device="abacus", plot=False, process=True)


def test_it_ends_when_closed_and_starts_again_when_asked(scan_of):
    analyzer = AnalyzerProcess("au-l3", None, device="cpu")
    first = analyzer.pid
    analyzer.close()
    analyzer.close()
    assert is_gone(first)
    assert analyzer.pid is None
    (found,) = analyzer.analyze([scan_of(SAMPLE)])
    assert found.refused is None
    second = analyzer.pid
    del analyzer
    assert wait_for(lambda: is_gone(second)), "nobody needs it any more"


SESSION = """
import sys, time
from xas_live.analysis.process import AnalyzerProcess

analyzer = AnalyzerProcess("au-l3", None, device="cpu")
analyzer.analyze([])
print(analyzer.pid, flush=True)
if sys.argv[1] == "stays":
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stays", "leaves"])
def test_it_ends_with_its_session(tmp_path, how):
    """A script without a main guard, that is killed or comes to its end without closing anything."""
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, str(script), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as session:
        pid = int(session.stdout.readline())
        if how == "stays":
            assert not is_gone(pid)
            session.kill()
        assert session.wait(30) == (-signal.SIGKILL if how == "stays" else 0)
    assert wait_for(lambda: is_gone(pid), 30)


class Order(BasePublisher):
    """Notes what it is told."""

    def __init__(self):
        self.calls = []

    def run_started(self, start):
        self.calls.append(("started", start["uid"]))

    def predicted(self, result):
        assert result.spectrum.provenance is result.primary.provenance
        self.calls.append(("predicted", result.primary.provenance.run_uid))

    def run_stopped(self, stop):
        self.calls.append(("stopped", stop["run_start"]))


@pytest.mark.slow
def test_analyzers_are_exchanged_while_the_analysis_runs(process, pool):
    RE, beamline, order = RunEngine({}), SimulatedBeamline("au_l3", seed=1), Order()
    uids = []
    with LiveAnalysis(pool, [order]) as live:
        RE.subscribe(live)
        for analyzer in (process, pool, process):
            live.analyzer = analyzer
            uids += RE(growing_particles(beamline, 2))
        assert live.wait(60)
        assert not live.errors
        found = live.predictions
    assert order.calls == [(what, uid) for uid in uids for what in ("started", "predicted", "stopped")]
    assert [p.refused for p in found] == [None] * 6


def test_replay_works_through_it_in_order(process, pool, tmp_path, scan_of):
    """It analyses the next batch while the last is published."""
    files = []
    for seed in range(6):
        scan = scan_of(SAMPLE, noise=0.002, seed=seed)
        files.append(tmp_path / f"{seed}.dat")
        np.savetxt(files[-1], np.column_stack([scan.energy, scan.mu]), header="energy mu")
    found, order = list(replay(files, process, publishers=[told := Order()], batch=2)), Order()
    assert [said(p) for p in found] == [said(p) for p in replay(files, pool, publishers=[order], batch=2)]
    assert told.calls == order.calls
    assert len(told.calls) == 18


@pytest.mark.slow
def test_a_session_with_its_analysis_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    RE, beamline = RunEngine({}), SimulatedBeamline("au_l3", seed=1)
    xas = xas_live.attach(RE, plot=False, process=True)
    assert "analysed in a second process" in capsys.readouterr().out
    pid = xas.analyzer.pid
    uids = RE(growing_particles(beamline, 2))
    assert xas.wait(60)
    assert not xas.errors
    assert xas.analyzer.pid == pid
    assert [p.provenance.run_uid for p in xas.predictions] == list(uids)
    assert all(p.anchored and p.refused is None for p in xas.predictions)
    assert xas.close()
    assert is_gone(pid)
