"""The IOC of predictions: a process of its own that a session feeds over a Unix domain socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from xas_live.errors import Refusal
from xas_live.signals.pvs import PredictionPVs
from xas_live.signals.quantities import Target
from xas_live.signals.snapshot import Snapshot
from xas_live.signals.wire import LONGEST_LINE, Answer, Hello, line_of, socket_path

LONGEST_SILENCE_S = 10.0
"""After so much silence (s) everything is INVALID; sooner where predictions get too old sooner."""

_FIRST_LINE_S = 5.0


class PredictionIoc:
    """Serves the PVs of a prefix, with what one session at a time sends.

    Parameters
    ----------
    prefix : of the PVs.
    targets : of the model.
    say : shows a line to whoever started it.

    Raises
    ------
    Refusal : when the prefix cannot be used, or the path of the socket is too long.
    OSError : when the folder of the socket cannot be made.
    """

    def __init__(self, prefix: str, targets: Sequence[Target], say: Callable[[str], None]) -> None:
        self._targets = {target.name for target in targets}
        self.pvs = PredictionPVs(prefix, targets)
        self._path = socket_path(prefix)
        self._prefix = prefix
        self._say = say
        self._session = ""
        self._refused = ""

    def run(self, interfaces: Sequence[str]) -> None:
        """Serve until the process is interrupted or asked to end.

        Parameters
        ----------
        interfaces : addresses to listen on, as ["127.0.0.1"].

        Raises
        ------
        Refusal : when another IOC of this prefix runs on this host.
        OSError : when an interface cannot be listened on.
        """
        with _alone(self._path, self._prefix), contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self._serve(list(interfaces)))

    async def _serve(self, interfaces: list[str]) -> None:
        from caproto import CaprotoRuntimeError
        from caproto.asyncio.server import start_server

        _keep_beacons_local(interfaces)
        _shorten_logs()
        await self.pvs.no_session()
        me = asyncio.current_task()
        assert me is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)

        async def started(_: Any) -> None:
            self._say(f"{len(self.pvs.channels)} PVs {self._prefix}... are served on {', '.join(interfaces)}")

        server = await asyncio.start_unix_server(self._welcome, os.fspath(self._path), limit=LONGEST_LINE)
        async with server:
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    await start_server(self.pvs.channels, interfaces=interfaces, startup_hook=started)
                except CaprotoRuntimeError as error:
                    raise OSError(str(error)) from error

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a session, unless there is one."""
        try:
            line = await asyncio.wait_for(reader.readline(), _FIRST_LINE_S)
            if not line:
                return
            hello = Hello.model_validate_json(line)
            if self._session:
                reason = f"{self._session} feeds it; end that session first"
                if self._refused != hello.session:
                    self._say(f"refused {hello.session}: {reason}")
                self._refused = hello.session
                await _answer(writer, reason)
                return
            await self._follow(hello.session, reader, writer)
        except ValueError as error:
            reason = f"a message cannot be read: {_in_words(error)}"
            self._say(f"{reason}; the connection is closed")
            with contextlib.suppress(OSError):
                await _answer(writer, reason)
        except (OSError, TimeoutError):
            pass  # it has gone, or says nothing
        finally:
            writer.close()

    async def _follow(self, session: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Show what a session sends until it ends."""
        self._session = session
        self._say(f"fed by {session}")
        told: set[str] = set()
        try:
            await _answer(writer, "")
            async for snapshot in self._snapshots(reader):
                await self.pvs.show(snapshot)
                if unserved := snapshot.values.keys() - self._targets - told:
                    told |= unserved
                    names = ", ".join(sorted(unserved))
                    self._say(f"the model predicts {names} too, for which there are no PVs: see --target")
        finally:
            self._session = self._refused = ""
            await self.pvs.no_session()
            self._say(f"{session} has gone: all PVs are INVALID")

    async def _snapshots(self, reader: asyncio.StreamReader) -> AsyncIterator[Snapshot]:
        """Give each snapshot; while none comes, show that the session is silent."""
        patience, silence = LONGEST_SILENCE_S, 0.0
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), patience)
            except TimeoutError:
                silence += patience
                await self.pvs.silent(silence)
                continue
            if not line:
                return
            snapshot, silence = Snapshot.model_validate_json(line), 0.0
            patience = min(LONGEST_SILENCE_S, snapshot.limit if snapshot.limit > 0 else LONGEST_SILENCE_S)
            yield snapshot


async def _answer(writer: asyncio.StreamWriter, refused: str) -> None:
    message: BaseModel = Answer(refused=refused)
    writer.write(line_of(message))
    await writer.drain()


def _in_words(error: ValueError) -> str:
    """Return the first thing that is wrong with a message."""
    if not isinstance(error, ValidationError):  # by the reader: the line does not end
        return f"it is longer than {LONGEST_LINE} bytes"
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


@contextlib.contextmanager
def _alone(path: Path, prefix: str) -> Iterator[None]:
    """Hold the lock of a socket; one that was left behind is removed, and this one at the end."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(
                f"another IOC of the prefix {prefix} runs on this host: end it, or choose another --prefix"
            ) from None
        path.unlink(missing_ok=True)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _keep_beacons_local(interfaces: Sequence[str]) -> None:
    """Send no beacons into the network where the IOC listens to this host alone."""
    if all(ip_address(interface).is_loopback for interface in interfaces):
        os.environ |= {"EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1", "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO"}


def _shorten_logs() -> None:
    """Log a put that is refused in one line, and nothing of beacons that nobody on this host waits for."""

    def without_traceback(record: logging.LogRecord) -> bool:
        if "write request" in str(record.msg):
            record.exc_info = None
        return True

    logging.getLogger("caproto.circ").addFilter(without_traceback)
    logging.getLogger("caproto.ctx").addFilter(lambda record: "send beacon" not in str(record.msg))
