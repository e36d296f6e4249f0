"""The analysis process, `python -m xas_live.analysis.child FD PARENT`: does the work of an `AnalyzerProcess`.

FD is its end of a pair of sockets, PARENT the process id of the session. The first message describes an
`AnalyzerPool`; each one after that is a request, answered in turn. It ends with its session.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from xas_live.analysis.messages import answer, pieces
from xas_live.analysis.pool import AnalyzerPool
from xas_live.host.process import when_parent_ends
from xas_live.spectrum import Spectrum


class ForwardingHandler(logging.Handler):
    """Sends log records to the session, where the user sees them."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, ahead of the answer to the request in which it was made."""
        self._connection.send(("log", (record.name, record.levelno, record.getMessage())))


def serve(connection: Connection) -> None:
    """Answer requests until the session hangs up.

    It says "begun" once the models are loaded. A request is a name, a number of spectra and what earlier
    sweeps tell, followed by the spectra's fields in pieces; an answer is in pieces too, followed by "done" or
    "failed".
    """
    pool = AnalyzerPool(**connection.recv())
    connection.send(("begun", ""))
    while True:
        try:
            what, count, earlier = connection.recv()
            sent: list[Mapping[str, Any]] = []
            while len(sent) < count:
                sent += connection.recv()
        except EOFError:
            return
        try:
            for piece in pieces(answer(pool, what, [Spectrum(**fields) for fields in sent], earlier)):
                connection.send(("piece", piece))
            connection.send(("done", ""))
        except OSError:  # the session has hung up
            raise
        except Exception as error:  # noqa: BLE001 the session decides what an error means
            connection.send(("failed", (f"{type(error).__name__}: {error}", traceback.format_exc())))


def main(fd: int, parent: int) -> None:
    """Serve the session, with one thread: the others are the session's."""
    when_parent_ends(parent, lambda: os._exit(0))  # it may be amid a batch, or the socket held open by a fork
    torch.set_num_threads(1)
    with Connection(fd) as connection:
        log = logging.getLogger("xas_live")
        log.addHandler(ForwardingHandler(connection))
        log.propagate = False
        serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
