"""What the archive does not take is stored as far as it can be, and set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_model import compose_run
from hypothesis import given
from hypothesis import strategies as st
from tiled.adapters.sql import COLUMN_NAME_PATTERN, is_safe_identifier

from xas_live.archive import Archive, RunWriter
from xas_live.archive.aside import runs_set_aside
from xas_live.archive.documents import encode
from xas_live.archive.names import checked_uid, original, renamed_descriptor, stored_names, valid_start
from xas_live.archive.spool import SessionFolder
from xas_live.sources.stored import stored_runs

Documents = list[tuple[str, dict[str, Any]]]
MakeRun = Callable[..., Documents]
NAMES = ("I(0)", "i0", "I0", "µ", "x" * 64, "1abc", "a%b", "_private", "select")


def send(to: RunWriter, documents: Documents) -> None:
    for name, doc in documents:
        to(name, doc)


def leave(root: Path, documents: Documents, change: Callable[[list[bytes]], list[bytes]] = list) -> None:
    """Leave a run in a spool as a killed session does."""
    folder = SessionFolder.create(root)
    lines = [encode(name, doc, lambda kind: None) for name, doc in documents]
    (folder.path / "000001-left.jsonl").write_bytes(b"".join(change(lines)))
    folder.release()


@given(st.lists(st.text(max_size=70), unique=True, max_size=12), st.sampled_from(["number", "array"]))
def test_every_name_becomes_one_that_tiled_takes_and_back(names: list[str], dtype: str) -> None:
    keys = {name: {"source": "s", "dtype": dtype, "shape": []} for name in names}
    doc = {"uid": "d", "name": "primary", "data_keys": keys, "object_keys": {"det": list(names)}}
    stored = stored_names(keys)
    columns = [*stored.values(), *(f"ts_{name}" for name in stored.values()), "seq_num", "time"]
    assert len({column.lower() for column in columns}) == len(columns)
    assert all(is_safe_identifier(column, COLUMN_NAME_PATTERN) for column in columns)
    assert not any(column.startswith("_") for column in columns)
    back, _ = original(renamed_descriptor(doc, stored, "primary"))
    kept = {"time", "seq_num"}
    assert [name for name in back["data_keys"] if name.rstrip("_") not in kept] == [
        name for name in names if name.rstrip("_") not in kept
    ]


def test_names_that_tiled_takes_stay() -> None:
    keys = {name: {"dtype": "number"} for name in ("XF:06BM{ES}I0", "det-1", "det 1", "température", "a#1")}
    assert stored_names(keys) == {name: name for name in keys}


@pytest.mark.parametrize("growing", [False, True])
def test_fields_of_any_name_are_stored_and_read_back(archive: Archive, tmp_path: Path, growing: bool) -> None:
    told: list[str] = []
    to = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    run = compose_run(metadata={})
    key = {"source": "test", "dtype": "number", "shape": []}
    keys = {**dict.fromkeys(NAMES, key), "image/1": {"source": "test", "dtype": "array", "shape": [30]}}
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys=keys,
        object_keys={"det": list(keys)},
        configuration={},
        hints={"det": {"fields": ["I(0)"]}},
        validate=False,
    )
    send(to, [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc)])
    for k in range(3):
        data = {**{name: float(k) for name in NAMES}, "image/1": [float(k)] * 30}
        to("event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0), validate=False))
        assert not growing or to.flush(20)
    to("stop", run.compose_stop())
    assert to.flush(20)
    assert to.close()
    assert ["'I(0)' as 'I_0_'" in line for line in told] == [True]
    stored = archive.client[run.start_doc["uid"]].v3
    assert "Renamed 'I(0)' to 'I_0_'" in " ".join(stored.metadata["notes"])
    (found,) = stored_runs(archive.client, [run.start_doc["uid"]])
    documents = dict(found.documents())
    assert documents["descriptor"]["hints"] == {"det": {"fields": ["I(0)"]}}
    page = documents["event_page"]["data"]
    assert {name: page[name] for name in NAMES} == {name: [0.0, 1.0, 2.0] for name in NAMES}
    assert np.shape(page["image/1"]) == (3, 30)


def _bad_shape(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"2.5,", b'"broken",') if number == 3 else line for number, line in enumerate(lines)]


def _bad_byte(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"data":{', b'"data":\xff{') if k == 3 else line for k, line in enumerate(lines)]


@pytest.mark.parametrize("spoil", [_bad_shape, _bad_byte])
def test_one_bad_row_does_not_withhold_the_others(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any, spoil: Any
) -> None:
    documents = make_run([[k] * 20 for k in (1.0, 2.5, 3.0, 4.0)], dtype="array", shape=(20,))
    leave(tmp_path, documents, spoil)
    told: list[str] = []
    to = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    to.begin()
    until(lambda: to.status().set_aside == 1, 60)
    assert not to.status().healthy
    to.close()
    run = archive.client[documents[0][1]["uid"]].v3
    assert run["primary"].base["det"].read()[:, 0].tolist() == [1.0, 3.0, 4.0]
    assert run["primary"].base["internal"].read()["seq_num"].tolist() == [1, 3, 4]
    assert run.metadata["stop"]["num_events"] == {"primary": 4}
    (aside,) = runs_set_aside(tmp_path)
    assert aside.run.uid == documents[0][1]["uid"]
    assert list(aside.left_out) == [4]
    assert any(str(aside.run.path) in line and "line 4" in line for line in told)
    assert not list(tmp_path.glob("2*"))


@pytest.mark.parametrize("uid", ["", ".", "..", "raw", "xas_live", "{known}/primary", "%2e"])
def test_a_uid_addresses_nothing_but_a_run(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any, uid: str
) -> None:
    known = make_run([1.0])
    to = RunWriter(archive.address, tmp_path)
    send(to, known)
    assert to.flush(20)
    before = set(archive.client)
    run = make_run([2.0])
    uid = uid.format(known=known[0][1]["uid"])
    text = json.dumps(run).replace(run[0][1]["uid"], uid)
    send(to, json.loads(text))
    until(lambda: to.status().set_aside == 1)
    assert not to.flush(5)
    assert not to.close()
    assert set(archive.client) == before
    assert list(archive.client[known[0][1]["uid"]].v3["primary"].base["internal"].read()["det"]) == [1.0]
    (aside,) = runs_set_aside(tmp_path)
    assert "cannot be the uid" in aside.why


def test_something_else_under_the_uid_of_a_run_stays(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any
) -> None:
    documents = make_run([1.0])
    uid = documents[0][1]["uid"]
    archive.client.create_container(uid, metadata={"important": True})
    to = RunWriter(archive.address, tmp_path)
    send(to, documents)
    until(lambda: to.status().set_aside == 1)
    to.close()
    assert archive.client[uid].metadata["important"] is True
    archive.client.delete_contents(uid)


def test_a_start_document_becomes_one_that_is_valid() -> None:
    doc = {"uid": "u", "time": 1.0, "a.b": 1, "sample": ["a"], "deep": {"x/y": {"p.q": 2}}}
    valid, notes = valid_start(doc)
    assert valid == {"uid": "u", "time": 1.0, "a_b": 1, "sample": "['a']", "deep": {"x_y": {"p_q": 2}}}
    assert len(notes) == 4
    with pytest.raises(ValueError, match="not valid"):
        valid_start({"uid": "u"})
    assert checked_uid("0a1b-2c") == "0a1b-2c"
