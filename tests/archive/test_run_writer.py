import os
import signal
import statistics
import time

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import scan
from databroker import Broker
from event_model import compose_run
from ophyd.sim import det, motor

from xas_live.archive import RunWriter, open_archive
from xas_live.archive.address import Address, ServerState
from xas_live.archive.spool import run_files

NOWHERE = Address.of_uri("http://127.0.0.1:9/api/v1", "no key")


def send(writer, documents):
    for name, doc in documents:
        writer(name, doc)


def test_a_plan_is_written_and_read_back(archive, raw_writer):
    RE = RunEngine({})
    RE.subscribe(raw_writer)
    (uid,) = RE(scan([det], motor, -1, 1, 25, md={"sample": "Pt/C", "purpose": {"a": np.arange(3)}}))
    assert raw_writer.flush(20)
    run = archive.client[uid]
    table = run["primary"].read()
    np.testing.assert_allclose(table["motor"], np.linspace(-1, 1, 25))
    assert run.metadata["start"]["sample"] == "Pt/C"
    assert run.metadata["stop"]["exit_status"] == "success"
    assert len(Broker(archive.client)[uid].table()) == 25
    assert len(Broker(archive.client)[-1].table()) == 25
    assert [name for name, _ in run.documents()].count("event") == 25
    status = raw_writer.status()
    assert status.spooled == status.queued == 0
    assert status.lag == 0
    assert status.online


def test_rows_of_a_running_scan_are_readable(archive, raw_writer, make_run):
    send(raw_writer, make_run([]))
    assert raw_writer.flush(20)  # the delivery process has started
    documents = make_run([1, 2.5, 3])
    send(raw_writer, documents[:4])
    began = time.monotonic()
    assert raw_writer.flush(20)
    waited = time.monotonic() - began
    run = archive.client[documents[0][1]["uid"]]
    assert list(run["primary"].read()["det"]) == [1.0, 2.5]
    assert "stop" not in run.metadata
    send(raw_writer, documents[4:])
    assert raw_writer.flush(20)
    assert list(run["primary"].read()["det"]) == [1.0, 2.5, 3.0]
    assert waited < 3


def test_the_engine_thread_spends_microseconds(raw_writer, make_run):
    spent = []
    for name, doc in make_run([1.0] * 1000, channels=("energy", "i0", "it", "ir", "iff")):
        began = time.perf_counter()
        raw_writer(name, doc)
        spent.append(time.perf_counter() - began)
    assert statistics.median(spent) < 100e-6
    assert raw_writer.flush(30)


def test_a_strange_document_loses_nothing_else(archive, raw_writer, make_run):
    before = raw_writer.status()
    documents = make_run([1.0, object(), 3.0], metadata={"device": object()})
    send(raw_writer, [("event", {"descriptor": "never seen"}), ("start", None), *documents])
    assert raw_writer.flush(20)
    run = archive.client[documents[0][1]["uid"]]
    np.testing.assert_array_equal(run["primary"].read()["det"], [1.0, np.nan, 3.0])
    assert run.metadata["start"]["device"].startswith("<object")
    assert any("'det' in event 2" in note for note in run.metadata["notes"])
    status = raw_writer.status()
    assert status.rejected == before.rejected + 2
    assert status.altered == before.altered + 2
    assert "object" in status.last_error


def test_integers_that_turn_into_fractions_are_kept_whole(archive, raw_writer, make_run):
    documents = make_run([1, 2, 2.5], dtype="integer")
    send(raw_writer, documents[:4])
    assert raw_writer.flush(20)
    send(raw_writer, documents[4:])
    assert raw_writer.flush(20)
    assert list(archive.client[documents[0][1]["uid"]]["primary"].read()["det"]) == [1.0, 2.0, 2.5]


def test_large_arrays_and_changed_buffers(archive, raw_writer, make_run):
    buffer = np.zeros(200)
    documents = make_run([buffer, buffer, buffer], dtype="array", shape=(200,))
    for i, (name, doc) in enumerate(documents):
        buffer[:] = i
        buffer[7] = np.nan
        raw_writer(name, doc)
    assert raw_writer.flush(20)
    stored = archive.client[documents[0][1]["uid"]]["primary"].read()["det"]
    np.testing.assert_array_equal(stored[:, 0], [2, 3, 4])
    assert np.isnan(stored[:, 7]).all()


def test_detector_files_are_readable_while_they_grow(archive, raw_writer, detector_folder):
    file = detector_folder / "scan.h5"
    with h5py.File(file, "w") as h5:
        h5["mu"] = np.arange(6.0)
    run = compose_run(metadata={})
    key = {"source": "test", "dtype": "number", "dtype_numpy": "<f8", "shape": [1], "external": "STREAM:"}
    descriptor = run.compose_descriptor(
        name="primary", data_keys={"mu": key}, object_keys={"mu": ["mu"]}, configuration={}
    )
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{file}",
        data_key="mu",
        parameters={"dataset": "/mu", "chunk_shape": [6]},
    )
    send(raw_writer, [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc)])
    raw_writer("stream_resource", resource.stream_resource_doc)
    stored = []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        raw_writer(
            "stream_datum",
            resource.compose_stream_datum(
                indices={"start": start, "stop": stop},
                seq_nums={"start": start + 1, "stop": stop + 1},
                descriptor=descriptor.descriptor_doc,
            ),
        )
        if start < 4:
            assert raw_writer.flush(20)
            stored.append(archive.client[run.start_doc["uid"]]["primary"].read()["mu"].size)
    raw_writer("stop", run.compose_stop())
    assert raw_writer.flush(20)
    assert stored == [1, 4]
    np.testing.assert_array_equal(
        archive.client[run.start_doc["uid"]]["primary"].read()["mu"].values.ravel(), np.arange(6.0)
    )


def test_a_run_sent_twice_is_written_once(archive, raw_writer, make_run):
    documents = make_run([1.0, 2.0])
    for _ in range(2):
        send(raw_writer, documents)
        assert raw_writer.flush(20)
    assert raw_writer.status().runs_failed == 0
    assert len(archive.client[documents[0][1]["uid"]]["primary"].read()["det"]) == 2


def test_a_derived_run_replaces_its_shorter_twin_only(archive, derived_writer, make_run):
    uid = make_run([])[0][1]["uid"]
    for values, expected in (([1.0], 1), ([1.0, 2.0, 3.0], 3), ([1.0, 2.0], 3)):
        send(derived_writer, make_run(values, uid=uid))
        assert derived_writer.flush(20)
        assert len(archive.derived[uid]["primary"].read()["det"]) == expected


def test_another_run_under_a_known_uid_stays_on_disk(archive, make_run, tmp_path, until):
    uid = make_run([])[0][1]["uid"]
    told = []
    writer = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    send(writer, make_run([1.0], uid=uid))
    assert writer.flush(20)
    send(writer, make_run([1.0, 2.0], uid=uid))
    until(lambda: writer.status().runs_failed == 1)
    assert uid in writer.status().last_error
    assert not writer.close(0.1)
    assert ["could not be delivered" in told[0], "not in the archive yet" in told[1]] == [True, True]
    assert str(tmp_path) in told[1]
    assert len(archive.client[uid]["primary"].read()["det"]) == 1
    (session,) = tmp_path.iterdir()
    assert len(run_files(session)) == 1


def test_a_delivery_process_that_dies_is_started_again(archive, raw_writer, make_run, until):
    documents = make_run([1.0, 2.0, 3.0])
    send(raw_writer, documents[:3])
    assert raw_writer.flush(20)
    before = raw_writer.status().restarts
    os.kill(raw_writer.delivery_pid, signal.SIGKILL)
    send(raw_writer, documents[3:])
    until(lambda: raw_writer.status().restarts == before + 1)
    assert raw_writer.flush(20)
    assert list(archive.client[documents[0][1]["uid"]]["primary"].read()["det"]) == [1.0, 2.0, 3.0]


def test_a_spool_that_cannot_be_written_delays_but_loses_nothing(archive, make_run, tmp_path, until):
    spool = tmp_path / "spool"
    spool.write_text("in the way")
    told = []
    writer = RunWriter(archive.address, spool, on_trouble=told.append)
    documents = make_run([1.0, 2.0])
    send(writer, documents)
    until(lambda: "spool on disk fails" in writer.status().last_error)
    until(lambda: writer.status().queued == len(documents))
    assert not writer.flush(0.1)
    assert "spool on disk fails" in told[0]
    spool.unlink()
    assert writer.flush(20)
    assert writer.close()
    assert told[1:] == ["the spool on disk takes documents again"]
    assert len(archive.client[documents[0][1]["uid"]]["primary"].read()["det"]) == 2


def test_a_closed_writer_says_so(make_run, tmp_path):
    writer = RunWriter(NOWHERE, tmp_path)
    assert writer.close(5)
    writer(*make_run([])[0])
    assert writer.status().rejected == 1
    assert "closed" in writer.status().last_error
    assert list(tmp_path.iterdir()) == []


def test_crash_of_the_session_and_of_the_server(crashed, until, process_exists):
    """What a session left is delivered by the next opening; a plan does not notice that its server dies."""
    folder, left = crashed
    state = ServerState.load(folder)
    until(lambda: not process_exists(state.pid))
    archive = open_archive(folder)
    assert archive.api_key == state.api_key
    until(lambda: left in archive.client)
    writer = archive.raw_writer()
    seen = []

    def kill_at_tenth(name, doc):
        seen.append(name)
        if len(seen) == 10:
            assert writer.flush(20)
            os.kill(ServerState.load(folder).pid, signal.SIGKILL)

    RE = RunEngine({})
    RE.subscribe(writer)
    RE.subscribe(kill_at_tenth)
    (uid,) = RE(scan([det], motor, 0, 1, 20))
    assert seen == ["start", "descriptor", *["event"] * 20, "stop"]
    until(lambda: not writer.status().online)
    assert "does not answer" in str(writer.status())
    assert not writer.flush(0.1)
    assert any(uid in path.name for path in run_files(writer.status().folder))

    with open_archive(folder) as again:
        successor = ServerState.load(folder)
        assert writer.flush(30)
        assert again.uri == archive.uri
        run = again.client[uid]
        assert list(run["primary"].read()["motor"]) == pytest.approx(np.linspace(0, 1, 20))
        assert run.metadata["stop"]["exit_status"] == "success"
        archive.close()
    assert not process_exists(successor.pid)
    assert not successor.alive()
