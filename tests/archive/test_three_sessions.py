"""Three sessions on one folder, which they open at once; one of them and the server are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xas_live.archive import open_archive
from xas_live.archive.state import ServerState

SESSION = """
import sys
import time
from bluesky import RunEngine
from bluesky.plans import scan
from ophyd.sim import det, motor
from xas_live.archive import open_archive

archive = open_archive(sys.argv[1])
writer = archive.raw_writer()
RE = RunEngine({})
RE.subscribe(writer)
for k in range(4):
    (uid,) = RE(scan([det], motor, 0, 1, 5))
    while writer.status().queued:  # what is not on disk yet is lost with its session
        time.sleep(0.01)
    print(uid, flush=True)
    if k == 1:
        sys.stdin.readline()
print(writer.flush(90), writer.close())
archive.close()
"""


@pytest.mark.slow
def test_three_sessions_lose_nothing_when_one_and_the_server_are_killed(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    folder = tmp_path / "archive"
    command = [sys.executable, "-c", SESSION, str(folder)]
    sessions = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        said = [[each.stdout.readline().strip() for _ in range(2)] for each in sessions if each.stdout]
        server = ServerState.load(folder)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)
        sessions[2].kill()
        for k in range(2):
            rest, _ = sessions[k].communicate("go on\n", timeout=120)
            *runs, kept = rest.splitlines()
            assert kept == "True True"
            said[k] += runs
    finally:
        for each in sessions:
            each.kill()
            each.wait()
    uids = [uid for runs in said for uid in runs]
    assert len(uids) == 4 + 4 + 2
    with open_archive(folder) as archive:
        until(lambda: sorted(archive.client) == sorted(uids), 60)
        until(lambda: all(archive.client[uid].metadata.get("stop") for uid in uids), 60)
        for uid in uids:
            rows = archive.client[uid].v3["primary"].base["internal"].read()
            assert list(rows["seq_num"]) == [1, 2, 3, 4, 5]
            assert archive.client[uid].metadata["stop"]["num_events"] == {"primary": 5}
