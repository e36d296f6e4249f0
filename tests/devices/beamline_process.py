"""A simulated beamline in a process of its own, and sessions at it in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xas_live.host import end_process, free_port, loopback_variables, start_module, tail

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def simulated_beamline(folder: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run `xas-live beamline`; gives its port, and its process."""
    port, log = free_port(), folder / "beamline.log"
    arguments = ["beamline", "--port", str(port), "--dwell", "0.002", "--parent", str(os.getpid()), *options]
    process = start_module("xas_live.cli", arguments, log, environment={"PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 120
        while "export" not in tail(log):
            assert process.poll() is None, tail(log)
            assert time.monotonic() < deadline, tail(log)
            time.sleep(0.1)
        yield port, process
    finally:
        end_process(process, timeout=5.0)


def session_at(port: int, script: str, *arguments: object, timeout: float = 240.0) -> dict[str, Any]:
    """Run one of the scripts beside this module with pyepics; what it found, which it prints as JSON."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)],
        env={**os.environ, **loopback_variables(port), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
