"""Processes of the tests of PVs: the IOC, a session, and a client of Channel Access.

This process never talks Channel Access itself: another test may have imported `epics` before, with other
addresses.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
PATIENCE = 60.0


def free_port() -> int:
    """A port that is free now, for both UDP and TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def loopback(port: int) -> dict[str, str]:
    """Variables that keep Channel Access on this host, at a port of its own."""
    return {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
    }


def until(condition: Callable[[], Any], what: str, seen: Callable[[], Any] = lambda: "") -> Any:
    """Wait until a condition holds, and return what it gave; what is seen else stands in the error."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE:.0f} s: {what}; {seen()}")


class Process:
    """A program of ours; its lines are read as they come, and it is ended by its id."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._stream = log.open("a")
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stream,
            text=True,
            bufsize=1,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the process has ended: {self.log.read_text()[-3000:]}")
        return line.strip()

    def line_with(self, word: str) -> str:
        while word not in (line := self.line()):
            pass
        return line

    def ask(self, **command: Any) -> Any:
        """Send a client a command, and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        return json.loads(self.line())

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self._stream):
            if stream is not None:
                stream.close()
        return code


def start_ioc(environment: dict[str, str], log: Path, *arguments: str) -> Process:
    """`xas-live ioc`, serving."""
    ioc = Process(["-c", "from xas_live.cli import app; app()", "ioc", *arguments], environment, log)
    ioc.line_with("are served")
    return ioc
