"""IocLink: the session's side of the IOC that publishes predictions as PVs."""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from xas_live.callbacks.publishers import BasePublisher, SweepResult
from xas_live.signals.heartbeat import Heartbeat
from xas_live.signals.snapshot import Snapshot
from xas_live.signals.wire import HEARTBEAT_S, LONGEST_LINE, Answer, Hello, line_of, socket_path

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis

_PATIENCE_S = 1.0  # with an IOC that does not take what it is sent
_AGAIN_S = 2.0  # after an IOC that refused


class IocLink(BasePublisher):
    """Sends the newest prediction to the IOC of a prefix, from a thread of its own.

    It is a publisher: give it to `attach(RE, publishers=[link])`. Nothing waits for the IOC. When it is not
    there, or ends, the user is told once; when it is there, it gets the newest prediction at once. Of sweeps
    that follow each other faster than the IOC takes them, the newest counts.

    Parameters
    ----------
    prefix : of the PVs, as given to `xas-live ioc --prefix`.

    Raises
    ------
    Refusal : when the prefix cannot be used, or the path of the socket is too long.
    OSError : when the folder of the socket cannot be made.

    Examples
    --------
    >>> link = IocLink("XAS:")
    >>> xas = xas_live.attach(RE, publishers=[link])
    """

    def __init__(self, prefix: str = "XAS:") -> None:
        self.prefix = prefix
        self._path = socket_path(prefix)
        self._analysis: LiveAnalysis | None = None
        self._heartbeat: Heartbeat | None = None
        self._lock = threading.Lock()
        self._newest = Snapshot()
        self._socket: socket.socket | None = None
        self._said = ""
        self._not_before = 0.0

    def bind(self, analysis: LiveAnalysis) -> None:
        """Begin to send what an analysis predicts, until `close`.

        Parameters
        ----------
        analysis : the one that this is a publisher of.
        """
        self._analysis = analysis
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(self._send, HEARTBEAT_S, f"PVs {self.prefix}")

    @property
    def state(self) -> str:
        """How it stands, in words."""
        return self._said or f"the PVs {self.prefix} are not fed so far"

    def predicted(self, result: SweepResult) -> None:
        """Take the primary model's prediction, to be sent."""
        snapshot = Snapshot.of(result.primary, self._newest.sweeps + 1)
        if self._analysis is not None:
            snapshot = snapshot.model_copy(update={"lag": self._analysis.current().age})
        with self._lock:
            self._newest = snapshot
        if self._heartbeat is not None:
            self._heartbeat.wake()

    def close(self) -> None:
        """End; the IOC sets its PVs INVALID."""
        if self._heartbeat is not None:
            self._heartbeat.end(4.0 * _PATIENCE_S)
            self._heartbeat = None
        self._disconnect()

    # --- in the thread of the heartbeat -----------------------------------------------------------------

    def _send(self) -> None:
        """Send the newest snapshot, with its age by now."""
        connection = self._socket or self._connect()
        if self._analysis is None or connection is None:
            return
        with self._lock:
            snapshot = self._newest
        try:
            connection.sendall(line_of(snapshot.at(self._analysis.current())))
        except OSError as error:
            why = _last_word(connection) or f"it does not answer ({error})"
            self._disconnect()
            self._say(f"the IOC of the PVs {self.prefix} is lost: {why}. They are INVALID until it is back")

    def _connect(self) -> socket.socket | None:
        """Return a connection, if the IOC is there and takes this session."""
        if time.monotonic() < self._not_before:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(os.fspath(self._path))
            connection.sendall(line_of(Hello(session=f"{getpass.getuser()}, process {os.getpid()}")))
            refused = Answer.model_validate_json(_line(connection)).refused
        except (OSError, ValueError):
            connection.close()
            if not self._said:
                self._say(
                    f"no IOC serves the PVs {self.prefix}: start `xas-live ioc --prefix {self.prefix}` on "
                    "this host; it is looked for again and again"
                )
            return None
        if refused:
            connection.close()
            self._not_before = time.monotonic() + _AGAIN_S
            self._say(f"the IOC of the PVs {self.prefix} refuses this session: {refused}")
            return None
        self._socket = connection
        self._say(f"predictions go to the PVs {self.prefix}")
        return connection

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, text: str) -> None:
        """Tell the user, unless this was said last."""
        if text != self._said and self._analysis is not None:
            self._said = text
            self._analysis.say(text)


def _last_word(connection: socket.socket) -> str:
    """Return why the IOC ended a connection, as far as it says."""
    try:
        return Answer.model_validate_json(_line(connection)).refused
    except (OSError, ValueError):
        return ""


def _line(connection: socket.socket) -> bytes:
    """Return the next line; what there is of it when the other side ends."""
    received = b""
    while not received.endswith(b"\n") and len(received) < LONGEST_LINE:
        more = connection.recv(4096)
        if not more:
            break
        received += more
    return received
