"""Writers into the archive of the worker, and small Bluesky runs to write into it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

Documents = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An archive folder, and the uid of the run that a session was writing when it crashed."""
    folder = tmp_path_factory.mktemp("crashed")
    uid = str(uuid4())
    command = [sys.executable, "-c", _CRASH, str(folder), uid]
    assert subprocess.run(command, check=False, timeout=90).returncode == 1
    return folder, uid


_CRASH = """
import os, sys, time
from event_model import compose_run
from xas_live.archive import open_archive
archive = open_archive(sys.argv[1], readable_storage=[sys.argv[1]])
writer = archive.raw_writer()
writer("start", compose_run(uid=sys.argv[2], metadata={}).start_doc)
while not writer.status().spooled:
    time.sleep(0.01)
os._exit(1)
"""


@pytest.fixture
def until() -> Callable[..., None]:
    return _until


@pytest.fixture
def process_exists() -> Callable[[int], bool]:
    return _process_exists


def _until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child that has ended and was not waited for still has its number.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
