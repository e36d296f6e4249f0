"""The file by which the users of a folder find its server."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_STATE_FILE = "server.json"


@dataclass(frozen=True)
class ServerState:
    """What the server of a folder writes down for those who look for it.

    Attributes
    ----------
    uri : of its API, without the key.
    api_key : the secret that opens it; every server has one of its own.
    pid : process id.
    readable : folders of detector files that it may read.
    host : name of the computer that it runs on.
    """

    uri: str
    api_key: str = field(repr=False)
    pid: int
    readable: tuple[str, ...] = ()
    host: str = field(default_factory=socket.gethostname)

    @property
    def port(self) -> int:
        """The TCP port in the URI; 0 when there is none."""
        return urlsplit(self.uri).port or 0

    def save(self, folder: Path) -> None:
        """Write it to the folder, readable by this user alone."""
        draft = folder / f"{_STATE_FILE}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(asdict(self), stream)
        draft.replace(folder / _STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> ServerState | None:
        """The state of the server that runs on the folder, or that crashed there; None when there is none."""
        try:
            record = json.loads((folder / _STATE_FILE).read_text())
            return cls(
                uri=str(record["uri"]),
                api_key=str(record["api_key"]),
                pid=int(record["pid"]),
                readable=tuple(record["readable"]),
                host=str(record["host"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @staticmethod
    def remove(folder: Path) -> None:
        """Take it out of the folder: the server ends as it should."""
        (folder / _STATE_FILE).unlink(missing_ok=True)
