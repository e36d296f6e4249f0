"""The embedded Tiled server: `python -m xas_live.archive.server FOLDER --lock DESCRIPTOR`.

One process per folder, since DuckDB admits one: it inherits the lock that says so. It listens on a Unix
socket in the folder and on the loopback, writes its address and a new key to the folder when it serves, and
ends when nobody uses the folder any more.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from xas_live.archive.embedded import USERS_LOCK
from xas_live.archive.state import ServerState
from xas_live.archive.unix_socket import ListeningSocket
from xas_live.host import FileLock

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 3
_END_SECONDS = 10.0


class _AnnouncingServer(uvicorn.Server):
    """Can be found from the time when requests are served to the time when it ends."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, folder: Path, listener: ListeningSocket
    ) -> None:
        super().__init__(config)
        self._state = state
        self._folder = folder
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            # In this order: who finds the socket finds its key.
            self._state.save(self._folder)
            self._listener.announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._listener.remove()
        ServerState.remove(self._folder)
        await super().shutdown(sockets)


def serve(folder: Path, readable: tuple[str, ...]) -> None:
    """Serve a folder until nobody uses it or a signal comes."""
    os.umask(0o077)
    crashed = ServerState.load(folder)
    api_key = secrets.token_hex(32)
    local = ListeningSocket(folder)
    # The same port, if free: addresses that were copied from a server that died stay right.
    listener = _listen(crashed.port if crashed else 0)
    port = listener.getsockname()[1]
    state = ServerState(f"http://{LOOPBACK}:{port}/api/v1", api_key, os.getpid(), readable)
    config = uvicorn.Config(
        _application(folder, api_key, readable),
        log_config=_logging(),
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _AnnouncingServer(config, state, folder, local)
    threading.Thread(target=_end_when_unused, args=[folder, server], name="users", daemon=True).start()
    server.run(sockets=[local.socket, listener])


def _application(folder: Path, api_key: str, readable: tuple[str, ...]) -> Any:
    """Import Tiled and return its application."""
    # The garbage collector would take a quarter of the time, and what is imported stays.
    gc.disable()
    try:
        from xas_live.archive.application import build_archive_app
    finally:
        gc.freeze()
        gc.enable()
    return build_archive_app(folder, api_key, readable)


def _logging() -> dict[str, Any]:
    """Return Tiled's way of logging, without colours, of warnings and errors."""
    from tiled.server.logging_config import LOGGING_CONFIG

    logging: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    for formatter in logging["formatters"].values():
        formatter["use_colors"] = False
    for logger in logging["loggers"].values():
        logger["level"] = "WARNING"
    return logging


def _end_when_unused(folder: Path, server: uvicorn.Server) -> None:
    """Wait until nobody uses the folder; from then on it takes no new users until this process has ended."""
    FileLock.take(folder / USERS_LOCK, wait=True)
    server.should_exit = True
    time.sleep(_END_SECONDS)  # a thread that writes may hang
    os._exit(1)


def _listen(preferred: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, preferred))
    except OSError:
        listener.bind((LOOPBACK, 0))
    return listener


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the lock that it inherits")
    parser.add_argument("--readable", action="append", default=[])
    arguments = parser.parse_args()
    serve(arguments.folder, tuple(arguments.readable))


if __name__ == "__main__":
    main()
