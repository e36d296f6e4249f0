"""The Unix socket in an archive folder, through which sessions and deliveries speak with its server.

Nobody but the user of the folder can listen there, so that the key never reaches another process. A TCP port
is free for anyone when its server has died.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import httpx

from xas_live.archive.errors import ArchiveError
from xas_live.archive.state import ServerState

_NAME = "server.sock"
_DRAFT = "server.sock.new"
_LONGEST = 100  # bytes: a socket's address has 108 on Linux and 104 on macOS


class ListeningSocket:
    """The server's end: others see it when it is announced.

    Parameters
    ----------
    folder : of the archive.

    Raises
    ------
    ArchiveError : when the folder takes no socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = _SocketPath(folder, _DRAFT)
        try:
            (folder / _DRAFT).unlink(missing_ok=True)
            self.socket.bind(path.text)
        except OSError as error:
            raise ArchiveError(
                f"the folder {folder} takes no Unix socket ({error}): choose one on a local disk"
            ) from error
        finally:
            path.close()

    def announce(self) -> None:
        """Put it in the place where it is looked for."""
        (self._folder / _DRAFT).replace(self._folder / _NAME)

    def remove(self) -> None:
        """Take it away: nobody connects any more."""
        (self._folder / _NAME).unlink(missing_ok=True)


class SocketTransport(httpx.BaseTransport):
    """Sends HTTP requests to the server of a folder, each with the key of the server that runs now.

    Parameters
    ----------
    folder : of the archive.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = _SocketPath(folder, _NAME)
        # Nothing to verify: no TLS through a socket, and to load certificates takes longer than a request.
        self._inner = httpx.HTTPTransport(uds=self._path.text, verify=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises
        ------
        httpx.ConnectError : when no server listens, or another user's.
        """
        state = ServerState.load(self._folder)
        if state is None:
            raise httpx.ConnectError(f"no server runs on {self._folder}", request=request)
        self._check_owner(request)
        request.headers["Authorization"] = f"Apikey {state.api_key}"
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()
        self._path.close()

    def _check_owner(self, request: httpx.Request) -> None:
        """Refuse the socket of another user, who may write into a folder that is shared."""
        try:
            owner = (self._folder / _NAME).lstat().st_uid
        except OSError as error:
            raise httpx.ConnectError(
                f"no server runs on {self._folder} ({error})", request=request
            ) from error
        if owner != os.geteuid():
            raise httpx.ConnectError(
                f"{self._folder / _NAME} belongs to another user (uid {owner}): use a folder of your own",
                request=request,
            )


class _SocketPath:
    """A path of a socket in a folder, short enough for the address of a socket.

    Attributes
    ----------
    text : valid until it is closed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._descriptor: int | None = None
        self.text = str(folder / name)
        if len(os.fsencode(self.text)) > _LONGEST:
            if not sys.platform.startswith("linux"):
                raise ArchiveError(
                    f"the path {self.text} is too long for a socket: choose a folder with a shorter one"
                )
            self._descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            self.text = f"/proc/self/fd/{self._descriptor}/{name}"

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
