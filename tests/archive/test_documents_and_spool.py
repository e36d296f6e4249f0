import math
import resource
import signal

import numpy as np
import pytest

from xas_live.archive.documents import decode, encode, is_stop, snapshot
from xas_live.archive.spool import Router, RunFile, SessionFolder, forgotten, run_files


def test_a_snapshot_does_not_follow_later_changes():
    array = np.arange(3.0)
    doc = {"data": {"det": array, "list": [1, {"a": 2}]}}
    copied = snapshot(doc)
    array[0] = 99
    doc["data"]["list"][1]["a"] = 99
    assert copied["data"]["det"][0] == 0
    assert copied["data"]["list"] == [1, {"a": 2}]


def test_a_structure_that_holds_itself_is_cut():
    doc = {"uid": "x"}
    doc["me"] = doc
    foreign = []
    name, decoded = decode(encode("start", snapshot(doc), foreign.append))
    assert (name, decoded["uid"]) == ("start", "x")


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, math.nan, -math.inf]),
        np.linspace(0, 1, 200).reshape(10, 20),
        np.arange(100, dtype=np.uint16),
        np.array(["a", "b"]),
        np.array(3.0),
        np.empty((0, 4)),
        np.asfortranarray(np.random.default_rng(0).random((9, 11))),
    ],
)
def test_arrays_come_back_exactly(array):
    _, doc = decode(encode("event", snapshot({"data": {"a": array}}), lambda kind: None))
    np.testing.assert_array_equal(np.array(doc["data"]["a"], dtype=array.dtype).reshape(array.shape), array)


def test_the_columns_of_a_page_stay_arrays():
    columns = {
        "mu": np.random.default_rng(1).random((70, 3)),
        "on": np.arange(70) % 2 == 0,
        "n": np.arange(70),
    }
    name, page = decode(encode("event_page", snapshot({"data": {**columns, "flag": ["a"] * 70}}), print))
    assert name == "event_page"
    for key, column in columns.items():
        assert page["data"][key].dtype == column.dtype
        np.testing.assert_array_equal(page["data"][key], column)
    assert page["data"]["flag"] == ["a"] * 70


def test_a_foreign_value_becomes_its_text_and_the_rest_is_kept():
    class Sample:
        def __repr__(self):
            return "Sample(3)"

    class Nasty:
        def __repr__(self):
            raise RuntimeError

    foreign = []
    doc = {"sample": Sample(), "nasty": Nasty(), "n": np.int32(4), ("a", 1): {2}, "ok": np.True_}
    _, decoded = decode(encode("start", snapshot(doc), foreign.append))
    assert decoded["sample"] == "Sample(3)"
    assert (decoded["n"], decoded["('a', 1)"], decoded["ok"]) == (4, [2], True)
    assert foreign == ["Sample", "Nasty"]


def test_a_line_that_is_not_ours_is_named():
    with pytest.raises(ValueError, match="spool file"):
        decode(b'{"doc": 1}\n')
    assert is_stop(encode("stop", {"uid": "a"}, lambda kind: None))
    assert not is_stop(encode("event", {"uid": "stop"}, lambda kind: None))


def test_documents_find_their_run():
    router = Router()
    assert router.run_of("event", {"descriptor": "d"}) is None
    router.run_of("start", {"uid": "r"})
    router.run_of("descriptor", {"uid": "d", "run_start": "r"})
    router.run_of("stream_resource", {"uid": "s", "run_start": "r"})
    assert router.run_of("event_page", {"descriptor": "d"}) == "r"
    assert router.run_of("stream_datum", {"stream_resource": "s", "descriptor": "d"}) == "r"
    assert router.run_of("resource", {"uid": "legacy"}) == "r"
    assert router.run_of("datum", {"resource": "legacy", "datum_id": "legacy/0"}) == "r"
    assert router.run_of("stop", {"uid": "x", "run_start": "r"}) == "r"
    router.forget("r")
    assert router.run_of("event", {"descriptor": "d"}) is None


def test_a_disk_that_takes_only_part_gets_the_rest_later(tmp_path):
    file = RunFile(1, "uid")
    lines = [b"a" * 70 + b"\n", b"b" * 70 + b"\n"]
    for line in lines:
        file.add(line)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            file.write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.pending == 42
    file.complete = True
    file.write(tmp_path)
    assert (tmp_path / file.name).read_bytes() == b"".join(lines)


def test_only_forgotten_folders_are_taken_over(tmp_path):
    mine = SessionFolder.create(tmp_path)
    (mine.path / "000001-a.jsonl").write_bytes(b"")
    assert list(forgotten(tmp_path)) == []
    mine.release()
    (again,) = forgotten(tmp_path)
    assert run_files(again.path) == [mine.path / "000001-a.jsonl"]
    again.release()
