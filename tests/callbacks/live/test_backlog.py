"""Documents that wait: in order, none lost, in bounded memory."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.callbacks.edges import GRID, Edges, documents
from xas_live.callbacks.live import backlog as module
from xas_live.callbacks.live.backlog import Backlog, Mark, Received
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher


def received(k, n=10):
    return Received("event", {"k": k, "data": {"x": np.arange(n) + 0.1 * k}}, float(k), 8 * n)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.01)


def test_what_is_too_much_waits_on_disk_and_comes_back_in_order(quick):
    said, last = [], Mark()
    queue = Backlog(said.append, in_memory=100)
    for k in range(500):
        queue.put(received(k))
    mark = Mark()
    queue.put(mark)
    until(lambda: queue.on_disk > 0)
    for k in range(500, 600):
        queue.put(received(k))
    taken = []
    while len(queue):
        taken += queue.take(0.1, last)
    assert taken.index(mark) == 500
    documents_ = [item for item in taken if isinstance(item, Received)]
    assert [item.doc["k"] for item in documents_] == list(range(600))
    assert [item.received for item in documents_] == list(map(float, range(600)))
    for item in documents_:
        np.testing.assert_array_equal(item.doc["data"]["x"], np.arange(10) + 0.1 * item.doc["k"])
    assert "none is lost" in said[0]
    assert said[-1] == "the documents that waited on disk are analysed"
    queue.close()


def test_what_is_taken_just_before_it_would_go_to_disk_is_not_told(quick):
    said = []
    queue = Backlog(said.append, in_memory=4)
    with queue._lock:  # as `take` holds it, while the thread that would spill waits for it
        for k in range(8):
            queue.put(received(k))
        time.sleep(0.2)
        assert [item.doc["k"] for item in queue._from_memory(Mark())] == list(range(8))
    time.sleep(0.2)
    assert said == []
    queue.close()


def test_a_document_that_no_text_can_hold_waits_in_memory(quick):
    endless = {"k": 3, "data": {}}
    endless["data"]["itself"] = endless
    queue, last = Backlog(lambda line: None, in_memory=4), Mark()
    for k in range(8):
        queue.put(Received("event", endless, 3.0) if k == 3 else received(k))
    until(lambda: queue.on_disk == 8)
    assert [item.doc["k"] for item in queue.take(0.1, last)] == list(range(8))
    queue.close()


def test_bytes_count_too(quick):
    queue = Backlog(lambda line: None, bytes_in_memory=80_000)
    for k in range(20):
        queue.put(received(k, n=1000))
    until(lambda: queue.on_disk == 20)
    assert len(queue) == 20
    queue.close()


def test_a_disk_that_is_full_loses_nothing(quick, monkeypatch):
    """A full disk cannot be made here: pwrite is a mock that takes half a line now and then, or refuses."""
    rng, write = np.random.default_rng(1), os.pwrite

    def refusing(fd, line, at):
        if rng.random() < 0.5:
            write(fd, line[: len(line) // 2], at)
            raise OSError(28, "No space left on device")
        return write(fd, line[:100], at)

    monkeypatch.setattr(module.os, "pwrite", refusing)
    said, last = [], Mark()
    queue = Backlog(said.append, in_memory=10)
    for k in range(50):
        queue.put(received(k))
    until(lambda: any("No space left" in line for line in said))
    taken = []
    while len(queue):
        taken += queue.take(0.1, last)
    assert [item.doc["k"] for item in taken] == list(range(50))
    queue.close()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), most=st.integers(1, 50))
def test_any_pace_keeps_the_order(seed, most):
    rng = np.random.default_rng(seed)
    queue, last = Backlog(lambda line: None, in_memory=most), Mark()
    before, module.LOOK_S = module.LOOK_S, 0.001

    def put():
        for k in range(400):
            queue.put(received(k))
            if rng.random() < 0.05:
                time.sleep(0.001)
        queue.put(last)

    thread = threading.Thread(target=put)
    thread.start()
    taken = []
    while not taken or taken[-1] is not last:
        taken += queue.take(0.5, last)
        if len(taken) % 7 == 0:
            time.sleep(0.003)
    thread.join()
    module.LOOK_S = before
    assert [item.doc["k"] for item in taken[:-1]] == list(range(400))
    queue.close()


def test_a_session_that_falls_behind_loses_no_sweep(quick, capsys):
    gate = threading.Event()

    class Slow(BasePublisher):
        def run_started(self, start):
            gate.wait(20)

    with LiveAnalysis(Edges(), [Slow()]) as live:
        live._backlog._most = 50
        for scan in range(1, 7):
            for name, doc in documents(np.tile(GRID, 3), page=[len(GRID)] * 3, scan_id=scan):
                live(name, doc)
        for name, doc in documents(GRID, scan_id=7):
            live(name, doc)
        until(lambda: live.status().on_disk > 0)
        gate.set()
        assert live.wait(20)
        assert live.status().sweeps == 19
        assert live.status().on_disk == 0
        scans = [p.provenance.scan for p in live.predictions]
        assert scans == sorted(scans, key=int)
    assert "wait, from now on on disk" in capsys.readouterr().out
