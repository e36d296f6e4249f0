import math
import os
import signal
import statistics
import time
from functools import cache

import h5py
import numpy as np
import pandas as pd
import pytest
from bluesky import RunEngine
from bluesky.plans import scan
from databroker import Broker
from event_model import compose_run
from ophyd.sim import det, motor

from xas_live.archive import RunWriter
from xas_live.archive.address import Address
from xas_live.archive.aside import runs_set_aside

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


_COLUMNS = {
    "n": ("number", "<f8", [1.5, math.nan, -2.0, 4.0, 5.0, 6.0]),
    "i": ("integer", "<i8", [1, 2, 3, -4, 5, 2**40]),
    "b": ("boolean", "|b1", [True, False, True, True, False, False]),
    "s": ("string", None, ["a", "", "é", "d", "e", "f"]),
    "short": ("array", "<f8", np.arange(18.0).reshape(6, 3)),
    "long": ("array", "<f8", np.random.default_rng(2).random((6, 30))),
    "pixels": ("array", "<i8", np.arange(240).reshape(6, 40)),
    "time": ("number", "<f8", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
}


def paged(columns, pages, form=lambda name, values: values):
    """A run with these columns, its rows in pages (a tuple of start and stop) and events (a number)."""
    run = compose_run(metadata={})
    keys = {}
    for name, (dtype, dtype_numpy, values) in columns.items():
        keys[name] = {"source": "test", "dtype": dtype, "shape": list(np.shape(values)[1:])}
        keys[name] |= {"dtype_numpy": dtype_numpy} if dtype_numpy else {}
    primary = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"det": list(keys)}, configuration={}
    )
    yield "start", run.start_doc
    yield "descriptor", primary.descriptor_doc
    for rows in pages:
        of, name = (slice(*rows), "event_page") if isinstance(rows, tuple) else (rows, "event")
        data = {k: form(name, values[of]) for k, (_, _, values) in columns.items()}
        stamps = {k: np.arange(6.0)[of] for k in columns}
        compose = primary.compose_event_page if name == "event_page" else primary.compose_event
        yield name, compose(data=data, timestamps=stamps, validate=False)
    yield "stop", run.compose_stop()


def stored_run(archive, writer, documents, *, at_once=True):
    """The run in the archive; each event or page of it delivered alone, unless all come at once."""
    for name, doc in documents:
        writer(name, doc)
        if not at_once and name.startswith("event"):
            assert writer.flush(20)
    assert writer.flush(20)
    # A Broker, as another test makes one, switches the client's runs to its older interface.
    return archive.client[documents[0][1]["uid"]].v3


@pytest.fixture(scope="module")
def stored_events(archive, raw_writer):
    """The run of events alone that a run of pages is compared with, by its columns."""

    @cache
    def of(*names):
        columns = {name: _COLUMNS[name] for name in names}
        return stored_run(archive, raw_writer, list(paged(columns, range(6))))

    return of


@pytest.mark.parametrize(
    ("pages", "form", "named_time"),
    [
        ([(0, 6)], lambda _, values: np.array(values), False),
        ([(0, 1), (1, 3), 3, (4, 6)], lambda _, values: np.array(values), False),
        ([(0, 1), (1, 2), (2, 6)], lambda _, values: np.array(values).tolist(), False),
        ([(0, 2), (2, 4), (4, 6)], lambda _, values: [np.asarray(v) for v in values], False),
        ([0, (1, 4), (4, 6)], lambda _, values: np.array(values), True),
    ],
    ids=["one", "mixed with events", "lists", "lists of arrays", "a reserved name"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_pages_are_stored_as_their_events(
    archive, raw_writer, stored_events, pages, form, named_time, at_once
):
    columns = {name: column for name, column in _COLUMNS.items() if named_time or name != "time"}
    if any(isinstance(page, int) for page in pages):
        form = lambda name, values: np.array(values) if name == "event_page" else values  # noqa: E731
    run = stored_run(archive, raw_writer, list(paged(columns, pages, form)), at_once=at_once)
    runs = [stored_events(*columns), run]
    (events, table), (found, found_table) = ((r["primary"].base, _table_of(r)) for r in runs)
    pd.testing.assert_frame_equal(found_table, table)
    assert table["seq_num"].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(found) == set(events) == {"internal", "long", "pixels"}
    for name in ("long", "pixels"):
        assert found[name].dtype == events[name].dtype
        np.testing.assert_array_equal(found[name].read(), events[name].read())
        np.testing.assert_array_equal(found[name].read(), columns[name][2])
    assert runs[1].metadata["stop"]["num_events"] == {"primary": 6}
    assert raw_writer.status().runs_failed == 0


def _table_of(run):
    table = run["primary"].base["internal"].read()
    return table[sorted(table.columns)]


def test_what_does_not_fit_a_column_of_a_page(archive, raw_writer):
    """A fraction among integers is kept as the run is written as a whole; what is no number is left out."""
    columns = {
        "i": ("integer", "<i8", np.array([1.0, 2.0, 3.0, 2.5, 5.0, 6.0])),
        "n": ("number", "<f8", [1.0, 2.0, "three", 4.0, None, 6.0]),
    }
    documents = list(paged(columns, [(0, 2), (2, 6)], lambda _, values: values))
    for name, doc in documents:
        raw_writer(name, doc)
        if name == "event_page":
            raw_writer.flush(3)
    assert raw_writer.flush(30)
    run = archive.client[documents[0][1]["uid"]]
    stored = run["primary"].read()
    np.testing.assert_array_equal(stored["i"], columns["i"][2])
    np.testing.assert_array_equal(stored["n"], [1.0, 2.0, np.nan, 4.0, np.nan, 6.0])
    assert any("'n' in event 3" in note for note in run.metadata["notes"])


def test_rows_that_come_alone_share_a_file(archive, raw_writer, make_run):
    documents = make_run(list(np.random.default_rng(3).random((9, 500))), dtype="array", shape=(500,))
    send(raw_writer, documents[:3])
    assert raw_writer.flush(20)
    send(raw_writer, documents[3:])
    assert raw_writer.flush(20)
    stored = archive.client[documents[0][1]["uid"]].v3["primary"].base["det"]
    assert stored.structure().chunks == ((9,), (500,))
    np.testing.assert_array_equal(stored.read(), [doc["data"]["det"] for _, doc in documents[2:-1]])


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


def test_another_run_under_a_known_uid_is_set_aside(archive, make_run, tmp_path, until):
    uid = make_run([])[0][1]["uid"]
    told = []
    writer = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    send(writer, make_run([1.0], uid=uid))
    assert writer.flush(20)
    send(writer, make_run([1.0, 2.0], uid=uid))
    until(lambda: writer.status().set_aside == 1)
    assert not writer.flush(5)
    assert not writer.close(0.1)
    assert len(archive.client[uid]["primary"].read()["det"]) == 1
    (aside,) = runs_set_aside(tmp_path)
    assert aside.run.uid == uid
    assert ["another run" in line and str(aside.run.path) in line for line in told] == [True]


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
