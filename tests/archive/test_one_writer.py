"""However many deliver a run, and whatever answers are lost: each row is there once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow
import pytest
from bluesky import RunEngine
from bluesky.plans import scan
from ophyd.sim import det, motor

from xas_live.archive import Archive, RunWriter, deliver
from xas_live.archive.deliver import Follower
from xas_live.archive.delivery import Delivery
from xas_live.archive.documents import encode
from xas_live.archive.messages import Order
from xas_live.archive.spool import Claim, SessionFolder, take_lock

Documents = list[tuple[str, dict[str, Any]]]
MakeRun = Callable[..., Documents]


def numbers(archive: Archive, uid: str) -> list[int]:
    return [int(n) for n in archive.client[uid].v3["primary"].base["internal"].read()["seq_num"]]


@pytest.mark.parametrize("shared", [True, False], ids=["one spool", "spools of two machines"])
def test_two_sessions_that_write_one_run_write_each_row_once(
    archive: Archive, tmp_path: Path, shared: bool
) -> None:
    spools = [tmp_path / ("same" if shared else str(k)) for k in range(2)]
    writers = [RunWriter(archive.address, spool) for spool in spools]
    RE = RunEngine({})
    for each in writers:
        RE.subscribe(each)

    def growing(name: str, doc: Any) -> None:
        if name == "event" and doc["seq_num"] % 4 == 0:
            writers[doc["seq_num"] // 4 % 2].flush(1)

    RE.subscribe(growing)
    uids = [RE(scan([det], motor, 0, 1, 12))[0] for _ in range(2)]
    assert [each.flush(60) for each in writers] == [True, True]
    assert [each.close() for each in writers] == [True, True]
    for uid in uids:
        assert numbers(archive, uid) == list(range(1, 13))
        assert archive.client[uid].metadata["stop"]["num_events"] == {"primary": 12}


def test_rows_whose_answer_was_lost_are_not_doubled(
    archive: Archive, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_run([1.0, 2.0, 3.0])
    lines = [encode(name, doc, lambda kind: None) for name, doc in documents]
    path = tmp_path / "000001-run.jsonl"
    path.write_bytes(b"".join(lines[:4]))
    order = Order(str(tmp_path), "", archive.address.to_json(), None, replace_shorter=False, parent=0)
    delivery = Delivery(path, order, adopted=False)
    send, lost = httpx.Client.send, []

    def without_answer(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = send(self, request, **options)
        if "/table/partition" in request.url.path and request.method == "PATCH" and not lost:
            lost.append(request)
            raise httpx.ReadTimeout("the answer was lost", request=request)
        return answer

    monkeypatch.setattr(httpx.Client, "send", without_answer)
    with pytest.raises(httpx.ReadTimeout):
        delivery.step(archive.client)
    with path.open("ab") as stream:
        stream.write(b"".join(lines[4:]))
    while not delivery.step(archive.client):
        pass
    assert len(lost) == 1
    assert numbers(archive, documents[0][1]["uid"]) == [1, 2, 3]


def test_rows_that_another_wrote_among_ours_are_found(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    documents = make_run([1.0, 2.0, 3.0])
    uid = documents[0][1]["uid"]
    lines = [encode(name, doc, lambda kind: None) for name, doc in documents]
    path = tmp_path / "000001-run.jsonl"
    path.write_bytes(b"".join(lines[:4]))
    order = Order(str(tmp_path), "", archive.address.to_json(), None, replace_shorter=False, parent=0)
    delivery = Delivery(path, order, adopted=False)
    assert not delivery.step(archive.client)
    table = archive.client[uid].v3["primary"].base["internal"]
    rows = pyarrow.Table.from_pandas(table.read(), schema=table.structure().arrow_schema_decoded)
    table.append_partition(0, rows)
    with path.open("ab") as stream:
        stream.write(b"".join(lines[4:]))
    while not delivery.step(archive.client):
        pass
    assert numbers(archive, uid) == [1, 2, 3]


def test_a_run_is_claimed_by_one_at_a_time(tmp_path: Path) -> None:
    one, other = Claim(tmp_path, "uid"), Claim(tmp_path, "uid")
    assert (one.take(), other.take(), Claim(tmp_path, "another").take()) == (True, False, True)
    one.release()
    assert other.take()
    other.release()


def test_who_waits_for_another_session_says_so(
    archive: Archive,
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(deliver, "_TURN_SECONDS", 0.1)
    monkeypatch.setattr(deliver, "WAIT_TOLD_SECONDS", 0.0)
    folder = SessionFolder.create(tmp_path)
    documents = make_run([1.0])
    path = folder.path / "000001-run.jsonl"
    path.write_bytes(b"".join(encode(name, doc, lambda kind: None) for name, doc in documents))
    address = archive.address.to_json()
    follower = Follower(
        Order(str(tmp_path), str(folder.path), address, None, replace_shorter=False, parent=0)
    )
    assert archive.folder is not None
    turn = None
    while turn is None:  # the writers of other tests have theirs
        turn = take_lock(archive.folder / "writing.lock")
    for _ in range(2):
        follower.round(closing=False)
    assert "another session" in capsys.readouterr().out
    turn.release()
    while path.exists():
        follower.round(closing=False)
    assert numbers(archive, documents[0][1]["uid"]) == [1]
    folder.release()
