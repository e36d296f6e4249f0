"""Processes that tests of the profile start, each ended by its own id."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def simulated_beamline(port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `xas-live beamline` at a port of its own; it is there once it has said so."""
    command = [sys.executable, "-m", "xas_live.cli", "beamline", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "process variables" in process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def ipython(profile: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in an IPython session that starts from a profile."""
    command = [sys.executable, "-m", "IPython", f"--profile-dir={profile}", "--simple-prompt", "--no-banner"]
    return subprocess.run(
        [*command, "--HistoryManager.enabled=False", "-c", code],
        env={**os.environ, "MPLBACKEND": "Agg", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
