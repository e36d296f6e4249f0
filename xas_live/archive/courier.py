"""The session's side of the delivery process: keeps one running, and passes on what it reports."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from xas_live.archive.messages import Order, Report
from xas_live.host import end_process, start_module

_RESTART_SECONDS = (0.5, 2.0, 10.0, 30.0)
_SETTLED_SECONDS = 60.0
_END_SECONDS = 5.0
# Tiled reads these when imported: its own patience, a minute a request, would hold up all other runs.
_ENVIRONMENT = {"TILED_RETRY_ATTEMPTS": "1", "TILED_RETRY_TIMEOUT": "2"}


class Courier:
    """Runs the delivery process, and starts another when it dies.

    Parameters
    ----------
    order : what to deliver where to.
    lock : descriptor of the session folder's lock, which the process holds too.
    on_report : called with every report, from the courier's thread.
    """

    def __init__(self, order: Order, lock: int, on_report: Callable[[Report], None]) -> None:
        self.restarts = 0
        self._order = order
        self._lock = lock
        self._on_report = on_report
        self._closing = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="RunWriter courier", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Process id of the delivery process; None while there is none."""
        return self._process.pid if self._process else None

    def close(self, *, finish: bool) -> None:
        """End the process; with `finish`, let it look at the spool once more before."""
        self._closing.set()
        process = self._process
        if process is not None:
            assert process.stdin is not None
            if finish:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    process.stdin.write("close\n")
                    process.wait(_END_SECONDS)
            end_process(process, _END_SECONDS)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        quick_deaths = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except OSError as error:
                self._on_report(Report("offline", error=f"the delivery process cannot run: {error}"))
            if self._closing.is_set():
                return
            if time.monotonic() - began > _SETTLED_SECONDS:
                quick_deaths = 0
            self.restarts += 1
            self._on_report(
                Report("died", error=f"the delivery process ended and is started again; see {self._log}")
            )
            self._closing.wait(_RESTART_SECONDS[min(quick_deaths, len(_RESTART_SECONDS) - 1)])
            quick_deaths += 1

    @property
    def _log(self) -> Path:
        return Path(self._order.session) / "delivery.log"

    def _follow(self) -> None:
        process = start_module(
            "xas_live.archive.deliver",
            [],
            self._log,
            environment=_ENVIRONMENT,
            talk=True,
            keep_open=[self._lock],
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(self._order)) + "\n")
        for line in process.stdout:
            if (report := _read(line)) is not None:
                self._on_report(report)
        process.wait()


def _read(line: str) -> Report | None:
    """Return a report; None for what a library printed in its place."""
    try:
        return Report(**json.loads(line))
    except (TypeError, ValueError):
        return None
