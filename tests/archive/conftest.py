"""Writers into the archive of the worker, and small Bluesky runs to write into it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
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


class Facility(NamedTuple):
    """Tiled servers as facilities run them, in a process of their own.

    Attributes
    ----------
    many : URI of a server with the trees `/chx/raw`, `/chx/sandbox` (`/chx` itself takes nothing), and
        `/open`, in which users may make catalogs.
    root : URI of a server whose root is a catalog of runs.
    """

    many: str
    root: str


@pytest.fixture(scope="session")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """Two real Tiled servers, whose key is "facility"."""
    folder = tmp_path_factory.mktemp("facility")
    command = [sys.executable, "-c", _FACILITY, str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        assert len(ports) == 2, (folder / "log").read_text()
        yield Facility(*(f"http://127.0.0.1:{port}" for port in ports))
    finally:
        process.terminate()
        process.wait(20)


_FACILITY = """
import asyncio, shutil, socket, subprocess, sys
import uvicorn
from tiled.server.app import build_app_from_config

folder = sys.argv[1]
empty = f"{folder}/empty.db"
subprocess.run([sys.executable, "-m", "tiled", "catalog", "init", f"sqlite:///{empty}"], check=True,
               stdout=subprocess.DEVNULL)
RUNS = [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}]

def tree(path, specs):
    name = path.strip("/").replace("/", "_") or "root"
    database = shutil.copy(empty, f"{folder}/{name}.db")
    return {"path": path, "tree": "catalog", "args": {
        "uri": f"sqlite:///{database}", "specs": specs,
        "writable_storage": [f"{folder}/{name}", f"duckdb:///{folder}/{name}.duckdb"]}}

def app(*trees):
    return build_app_from_config(
        {"authentication": {"single_user_api_key": "facility"}, "trees": list(trees)})

async def main():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    apps = [
        app(tree("/chx/raw", RUNS), tree("/chx/sandbox", []), tree("/open", [])),
        app(tree("/", RUNS)),
    ]
    servers = [uvicorn.Server(uvicorn.Config(each, log_level="warning")) for each in apps]
    for server in servers:
        server.install_signal_handlers = lambda: None
    tasks = [asyncio.create_task(s.serve(sockets=[l])) for s, l in zip(servers, sockets)]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.05)
    print(*(l.getsockname()[1] for l in sockets), flush=True)
    await asyncio.gather(*tasks)

asyncio.run(main())
"""
