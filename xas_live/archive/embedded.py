"""The embedded server of a folder, as its users see it: started by the first, ended with the last.

Two locks in the folder say how things stand, for as long as the processes that hold them live. The server
holds `server.lock` from before its start to its end, so that there is never a second one, however slow the
first is. All who have the folder open share `users.lock`; the server ends when it gets that for itself.
"""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from xas_live.archive.errors import ArchiveError
from xas_live.archive.state import ServerState
from xas_live.archive.unix_socket import SocketTransport
from xas_live.host import FileLock, start_module, tail

USERS_LOCK = "users.lock"
_SERVER_LOCK = "server.lock"
_LOG = "server.log"
_PREVIOUS_LOG = "server.previous.log"
_START_SECONDS = 90.0
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PROBE_SECONDS = 5.0
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")

logger = logging.getLogger(__name__)
_started: list[subprocess.Popen[str]] = []
"""Servers that this process started; kept so that the system forgets those that have ended."""


def begin_use(folder: Path) -> FileLock:
    """Return a part in the use of a folder: its server, once started, runs until nobody has one.

    Raises
    ------
    ArchiveError : when a server that is about to end does not.
    OSError : when the folder cannot be used.
    """
    deadline = time.monotonic() + _START_SECONDS
    while (part := FileLock.take(folder / USERS_LOCK, shared=True)) is None:
        if time.monotonic() > deadline:
            raise ArchiveError(f"the server of {folder} does not end; {_how_to_end(folder)}")
        time.sleep(_POLL_SECONDS)
    return part


def end_use(folder: Path, part: FileLock) -> None:
    """Give up a part in the use of a folder; if it was the last, wait some seconds for the server to end."""
    part.release()
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(OSError):  # somebody removed the folder
        while _server_lives(folder) and not _has_users(folder) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def ensure_server(folder: Path, readable: tuple[str, ...] = ()) -> ServerState:
    """Return what the server of a folder in use says of itself; start one if none lives.

    A server that lives and does not answer is waited for: DuckDB admits no second one.

    Parameters
    ----------
    readable : folders of detector files, for a server that is started. One in place of a server that crashed
        also reads what that did.

    Raises
    ------
    ArchiveError : when nobody has the folder open, or its server does not start or answer.
    OSError : when the folder cannot be used.
    """
    deadline = time.monotonic() + _START_SECONDS
    log = folder / _LOG
    started = False
    while True:
        lock = FileLock.take(folder / _SERVER_LOCK)
        if lock is not None:
            with lock:
                if started:
                    raise ArchiveError(
                        f"the server of {folder} does not start: {_last_error(log)} (see {log})"
                    )
                if not _has_users(folder):
                    raise ArchiveError(f"nobody has the archive {folder} open: use open_archive(folder)")
                _start(folder, readable, lock)
                started = True
        state = ServerState.load(folder)
        if state is not None and _answers(folder, state):
            return state
        if time.monotonic() > deadline:
            raise ArchiveError(
                f"the server of {folder} does not answer for {_START_SECONDS:.0f} s. If it goes on, "
                f"{_how_to_end(folder)}; another one is started then (see {log})"
            )
        time.sleep(_POLL_SECONDS)


def connect(folder: Path, catalog: str) -> Any:
    """Return a Tiled client of a catalog of a folder in use, whose server is started if none lives.

    The client outlives servers: when one has died, its next request starts another.

    Raises
    ------
    ArchiveError, OSError : see `ensure_server`.
    """
    from tiled.client import from_context
    from tiled.client.context import Context
    from tiled.client.transport import Transport

    state = ensure_server(folder)
    # Its one request of its own, before it knows the key, asks what kind of server it is.
    context = Context(f"{state.uri}/", trust_env=False)
    first = context.http_client
    context.api_key = state.api_key  # for subscriptions, which are no requests
    context.http_client = httpx.Client(
        transport=Transport(transport=_StartingTransport(folder)),
        headers=first.headers,
        cookies=first.cookies,
        timeout=first.timeout,
        follow_redirects=True,
    )
    first.close()
    return from_context(context, node_path_parts=[catalog])


class _StartingTransport(SocketTransport):
    """Starts the server if none lives, once for a request that did not reach one."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return super().handle_request(request)
        except httpx.ConnectError:
            try:
                ensure_server(self._folder)
            except (ArchiveError, OSError) as error:
                raise httpx.ConnectError(str(error), request=request) from error
            return super().handle_request(request)


def _start(folder: Path, readable: tuple[str, ...], lock: FileLock) -> None:
    """Start the process of a server, which inherits the lock."""
    crashed = ServerState.load(folder)
    if crashed is not None:
        logger.warning("the server of %s (process %d) has died: starting another one", folder, crashed.pid)
        readable = tuple(dict.fromkeys((*crashed.readable, *readable)))
    log = folder / _LOG
    if log.exists():  # what the last one said may still be wanted
        log.replace(folder / _PREVIOUS_LOG)
    arguments = [str(folder), "--lock", str(lock.fileno())]
    for path in readable:
        arguments += ["--readable", path]
    _started[:] = [process for process in _started if process.poll() is None]
    _started.append(start_module("xas_live.archive.server", arguments, log, keep_open=[lock.fileno()]))


def _answers(folder: Path, state: ServerState) -> bool:
    """Whether the server of a folder serves us now."""
    with httpx.Client(transport=SocketTransport(folder), timeout=_PROBE_SECONDS) as client:
        try:
            return client.get(f"{state.uri}/metadata/").is_success
        except httpx.HTTPError:
            return False


def _last_error(log: Path) -> str:
    """Return the last line of a log that names an error, or else its last line."""
    lines = tail(log, 100).splitlines()
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "no reason")


def _server_lives(folder: Path) -> bool:
    lock = FileLock.take(folder / _SERVER_LOCK)
    if lock is not None:
        lock.release()
    return lock is None


def _has_users(folder: Path) -> bool:
    """Whether somebody has the folder open; False when nobody has, or its server holds the lock to end."""
    alone = FileLock.take(folder / USERS_LOCK)
    if alone is not None:
        alone.release()
        return False
    together = FileLock.take(folder / USERS_LOCK, shared=True)
    if together is not None:
        together.release()
    return together is not None


def _how_to_end(folder: Path) -> str:
    state = ServerState.load(folder)
    who = "its process" if state is None else f"process {state.pid} on {state.host}"
    return f"end {who}, with `kill -9` if need be"
