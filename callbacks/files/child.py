"""The reading process, `python -m xas_live.callbacks.files.child FD`; FD is its end of a pair of sockets.

A file may never answer: a mount hangs, or HDF5 waits for the other end of a pipe and holds the interpreter
meanwhile. Here nothing else waits. It ends with its session.
"""

from __future__ import annotations

import signal
import stat
import sys
from multiprocessing.connection import Connection

import numpy as np

from xas_live.callbacks.files.rows import OtherShapeError, Rows, Values

LONGEST_S = 30
"""A read that takes longer ends the process (s): its session has given it up before that, or is gone."""


def serve(connection: Connection) -> None:
    """Answer requests until the session hangs up.

    A request is `(rows, start, stop)`. The answer is "begun", once it is understood, then a kind and what is
    said with it: "values" with their shape, followed by their bytes; "other shape"; or "failed", and why.
    """
    while True:
        try:
            rows, start, stop = connection.recv()
            rows.prepare()
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 a reader that is not there, or that only the session knows
            connection.send("begun")
            connection.send(("failed", f"{type(error).__name__}: {error}; its reader must be importable"))
            continue
        connection.send("begun")
        signal.alarm(LONGEST_S)
        kind, said, values = _answer(rows, start, stop)
        signal.alarm(0)
        connection.send((kind, said))
        if values is not None:
            connection.send_bytes(values.tobytes())


def _answer(rows: Rows, start: int, stop: int) -> tuple[str, object, Values | None]:
    """Return the kind of answer, what is said with it, and the values."""
    try:
        for path in rows.paths:
            if path.exists() and not (path.is_file() or path.is_dir()):
                return "failed", f"{path} is no file but a {_kind(path.stat().st_mode)}", None
        values = np.ascontiguousarray(rows.read(start, stop))
    except OtherShapeError as error:
        return "other shape", str(error), None
    except Exception as error:  # noqa: BLE001 whatever a format's reader raises
        return "failed", str(error) or type(error).__name__, None
    return "values", values.shape, values


def _kind(mode: int) -> str:
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the session
    with Connection(int(sys.argv[1])) as session:
        serve(session)
