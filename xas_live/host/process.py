"""Helper processes, started apart from the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_WATCH_SECONDS = 0.5


def start_module(
    module: str,
    arguments: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    talk: bool = False,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[str]:
    """Start `python -m module arguments` with its messages appended to the file `log`.

    The process gets a session of its own: Ctrl-C in the terminal, which pauses a plan, must not end it.

    Parameters
    ----------
    environment : variables set for it besides those of this process.
    talk : give it pipes for stdin and stdout (text, one message a line).
    keep_open : file descriptors that it inherits.

    Raises
    ------
    OSError : when the log cannot be opened or the process not started.
    """
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talk else stream,
            stderr=stream,
            text=True,
            bufsize=1,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            pass_fds=tuple(keep_open),
        )


def end_process(process: subprocess.Popen[str], timeout: float) -> None:
    """Ask a process of ours to end, and end it after `timeout` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def when_parent_ends(parent: int, act: Callable[[], None]) -> None:
    """Call `act` once, from a thread, when the process `parent` is no longer the parent of this one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        act()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
