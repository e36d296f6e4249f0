"""Whatever happens to documents on their way, it costs no others, and is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import scan
from ophyd.sim import det, motor

from tests.callbacks.assembly.test_external import streamed
from tests.hung_mount import hung_mount
from xas_live.archive import Archive, RunWriter, open_archive, writer
from xas_live.archive.spool import SessionFolder, forgotten, has_forgotten

Documents = list[tuple[str, dict[str, Any]]]
MakeRun = Callable[..., Documents]
TOO_LONG = 10**5000  # Python refuses to write it


def send(to: RunWriter, documents: Documents) -> None:
    for name, doc in documents:
        to(name, doc)


def values(archive: Archive, documents: Documents) -> list[float]:
    """The rows in the archive of a run."""
    table = archive.client[documents[0][1]["uid"]].v3["primary"].base["internal"].read()
    return list(table["det"])


def test_a_start_that_cannot_be_stored_costs_its_own_run_only(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    told: list[str] = []
    to = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    bad, good = make_run([1.0, 2.0], metadata={"serial": TOO_LONG}), make_run([3.0])
    send(to, bad)
    send(to, good)
    assert not to.flush(20)
    assert values(archive, good) == [3.0]
    assert bad[0][1]["uid"] not in archive.client
    assert to.status().lost == len(bad)
    assert not to.close()
    assert len(told) == 1
    assert bad[0][1]["uid"] in told[0]


def test_numbers_and_texts_that_json_does_not_know_are_kept(archive: Archive, make_run: MakeRun) -> None:
    to = archive.raw_writer()
    metadata = {"thickness": np.longdouble(1.5), "operator": os.fsdecode(b"M\xfcller")}
    documents = make_run([1.0], metadata=metadata)
    send(to, documents)
    assert to.flush(20)
    start = archive.client[documents[0][1]["uid"]].metadata["start"]
    assert start["thickness"] == 1.5
    assert start["operator"] == r"M\udcfcller"
    to.close()


class Unreadable(dict[str, Any]):
    """A document of which no copy fits into memory."""

    def items(self) -> Any:
        raise MemoryError


def test_a_document_that_cannot_be_copied_is_told_and_ends_no_plan(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    told: list[str] = []
    to = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    documents = make_run([1.0, 2.0])
    send(to, documents[:3])
    to("event", Unreadable(documents[3][1]))
    send(to, documents[4:])
    assert not to.flush(20)
    assert not to.close()
    assert values(archive, documents) == [1.0]
    assert ["MemoryError" in line for line in told] == [True]


def test_a_full_memory_on_a_full_disk_costs_rows_but_no_run(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MEMORY_BYTES", 5000)
    spool = tmp_path / "spool"
    spool.write_text("in the way")
    told: list[str] = []
    to = RunWriter(archive.address, spool, on_trouble=told.append)
    large, late = make_run([float(k) for k in range(100)]), make_run([1.0])
    send(to, large[:1])
    until(lambda: "spool on disk fails" in to.status().last_error)
    send(to, large[1:])
    send(to, late[:2])
    until(lambda: to.status().lost > 50)
    until(lambda: to.status().queued + to.status().lost == len(large) + 2)
    spool.unlink()
    until(lambda: not to.status().queued)
    send(to, late[2:])
    later = make_run([2.0])
    send(to, later)
    assert not to.flush(30)
    assert (values(archive, late), values(archive, later)) == ([1.0], [2.0])
    kept = values(archive, large)
    assert kept == [float(k) for k in range(len(kept))]
    stop = archive.client[large[0][1]["uid"]].metadata["stop"]
    assert stop["documents_lost"] == 100 - len(kept) == to.status().lost
    assert not to.close()
    assert sum("documents are lost" in line for line in told) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_disk_that_is_full_for_a_while_loses_nothing(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        to = RunWriter(archive.address, disk / "spool")
        first = make_run([1.0])
        send(to, first)
        assert to.flush(20)
        runs = [make_run(list(np.full((9, 4000), k)), dtype="array", shape=(4000,)) for k in range(3)]
        for run in runs:
            send(to, run)
        until(lambda: "No space" in to.status().last_error)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert to.flush(60)
        assert to.close()
        for k, run in enumerate(runs):
            stored = archive.client[run[0][1]["uid"]].v3["primary"].base["det"].read()
            np.testing.assert_array_equal(stored, np.full((9, 4000), float(k)))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_runs_whose_files_do_not_answer_are_stored_and_hold_up_no_other(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    with hung_mount(tmp_path / "detector") as folder:
        to = RunWriter(archive.address, tmp_path / "spool")
        documents = list(streamed(folder / "scan.h5", 9, 1, [("energy", 0, 9)]))
        send(to, documents)
        after = make_run([4.0])
        send(to, after)
        assert to.flush(30)
        assert values(archive, after) == [4.0]
        stored = archive.client[documents[0][1]["uid"]]
        assert stored.metadata["stop"]["exit_status"] == "success"
        assert stored["primary"].base["energy"].shape == (9,)
        assert to.close()


def test_a_spool_that_somebody_removed_is_made_again(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    told: list[str] = []
    to = RunWriter(archive.address, spool, on_trouble=told.append)
    documents, after = make_run([1.0, 2.0, 3.0]), make_run([4.0])
    send(to, documents[:3])
    assert to.flush(20)
    shutil.rmtree(spool)
    send(to, documents[3:])
    send(to, after)
    assert to.flush(30)
    assert (values(archive, documents), values(archive, after)) == ([1.0, 2.0, 3.0], [4.0])
    assert to.close()
    assert ["removed" in line for line in told] == [True]


def test_runs_that_wait_survive_the_removal_of_their_folder(
    archive: Archive, make_run: MakeRun, tmp_path: Path, until: Any
) -> None:
    to = RunWriter(archive.address, tmp_path / "spool")
    first = make_run([1.0])
    send(to, first)
    assert to.flush(20)
    os.kill(to.delivery_pid or 0, signal.SIGSTOP)
    runs = [make_run([float(k)]) for k in range(3)]
    for run in runs:
        send(to, run)
    until(lambda: to.status().spooled == 4 * len(runs))
    shutil.rmtree(tmp_path / "spool")
    assert to.flush(30)
    assert [values(archive, run) for run in runs] == [[0.0], [1.0], [2.0]]
    assert to.close()


def test_ctrl_c_while_it_closes_may_be_repeated(
    archive: Archive, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(timeout: float | None = None) -> bool:
        monkeypatch.undo()
        raise KeyboardInterrupt

    to = RunWriter(archive.address, tmp_path)
    documents = make_run([1.0])
    send(to, documents)
    monkeypatch.setattr(to, "flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        to.close(20)
    assert not to.closed
    assert to.close(20)
    assert to.closed
    assert values(archive, documents) == [1.0]


def test_an_archive_closes_its_writers_after_ctrl_c(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(timeout: float | None = None) -> bool:
        monkeypatch.undo()
        raise KeyboardInterrupt

    opened = open_archive(archive.uri, archive.api_key)
    writers = [opened.raw_writer() for _ in range(2)]
    monkeypatch.setattr(writers[1], "flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened.close()
    opened.close()
    assert [each.closed for each in writers] == [True, True]


_FORKS = """
import json, os, sys
from pathlib import Path
from xas_live.archive import RunWriter
from xas_live.archive.address import Address

documents = json.loads(sys.stdin.read())
to = RunWriter(Address.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))
for name, doc in documents[:3]:
    to(name, doc)
assert to.flush(20)
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
for name, doc in documents[3:]:
    to(name, doc)
print(json.dumps([to.flush(20), to.status().restarts, to.close()]))
"""


def test_a_forked_child_ends_nothing_of_its_parent(
    archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    documents = make_run([1.0, 2.0])
    command = [sys.executable, "-c", _FORKS, json.dumps(archive.address.to_json()), str(tmp_path)]
    done = subprocess.run(
        command, input=json.dumps(documents), capture_output=True, text=True, check=True, timeout=90
    )
    assert json.loads(done.stdout) == [True, 0, True]
    assert values(archive, documents) == [1.0, 2.0]


_HOLDS = """
import os, sys, time
from pathlib import Path
from xas_live.archive.spool import SessionFolder

folder = SessionFolder.create(Path(sys.argv[1]))
(folder.path / "000001-left.jsonl").write_bytes(b"")
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
os._exit(1)
"""


def test_a_forked_worker_holds_no_leftovers(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", _HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert ended.stdout is not None
    child = int(ended.stdout.readline())
    try:
        ended.wait(20)
        assert has_forgotten(tmp_path)
        (folder,) = forgotten(tmp_path)
        folder.release()
    finally:
        os.kill(child, signal.SIGKILL)
        ended.stdout.close()


def test_what_killed_sessions_leave_is_cleared(tmp_path: Path) -> None:
    for _ in range(2):
        folder = SessionFolder.create(tmp_path)
        (folder.path / "delivery.log").touch()
        folder.release()
    draft = tmp_path / ".new-20260101T000000-1-abcd"
    draft.mkdir()
    os.utime(draft, (0, 0))
    held = SessionFolder.create(tmp_path)
    assert not list(forgotten(tmp_path))
    assert list(tmp_path.iterdir()) == [held.path]
    held.release()


def test_leftovers_that_are_still_held_are_known(tmp_path: Path) -> None:
    held = SessionFolder.create(tmp_path)
    assert not has_forgotten(tmp_path)
    (held.path / "000001-left.jsonl").touch()
    assert has_forgotten(tmp_path)
    assert not list(forgotten(tmp_path))
    held.release()


def test_documents_that_come_twice_are_kept_once(archive: Archive, tmp_path: Path) -> None:
    told: list[str] = []
    to = RunWriter(archive.address, tmp_path, on_trouble=told.append)
    RE = RunEngine({})
    RE.subscribe(lambda name, doc: to(name, doc))
    RE.subscribe(lambda name, doc: to(name, doc))
    uids = [RE(scan([det], motor, 0, 1, 7))[0] for _ in range(2)]
    assert to.flush(20)
    for uid in uids:
        assert list(archive.client[uid].v3["primary"].base["internal"].read()["seq_num"]) == list(range(1, 8))
    assert (to.status().rejected, to.close()) == (0, True)
    assert ["twice" in line for line in told] == [True]
