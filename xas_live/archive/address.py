"""Where an archive is reached, and the file by which sessions find the server of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from xas_live.archive.errors import ArchiveError
from xas_live.archive.uri import joined, parent_and_key, read_uri

RAW = "raw"
"""Key of the catalog of raw runs on the embedded server."""

DERIVED = "xas_live"
"""Key of the catalog of derived runs there, and beside a catalog called "raw" elsewhere."""

_STATE_FILE = "server.json"
_PROBE_SECONDS = 5.0
_UNDER_A_PATH = "a catalog of a server is written http://HOST:PORT/api/v1/metadata/CATALOG"


@dataclass(frozen=True)
class ServerState:
    """What the server of a folder writes down for those who look for it.

    Attributes
    ----------
    uri : of its API, without the key.
    api_key : the secret that opens it.
    pid : process id.
    readable : folders of detector files that it may read.
    """

    uri: str
    api_key: str
    pid: int
    readable: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        """The TCP port in the URI; 0 when there is none."""
        return urlsplit(self.uri).port or 0

    def save(self, folder: Path) -> None:
        """Write it to the folder, readable by this user alone."""
        draft = folder / f"{_STATE_FILE}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(asdict(self), stream)
        draft.replace(folder / _STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> ServerState | None:
        """The state last written to the folder, by a server that may have ended; None when there is none."""
        try:
            record = json.loads((folder / _STATE_FILE).read_text())
            return cls(
                uri=str(record["uri"]),
                api_key=str(record["api_key"]),
                pid=int(record["pid"]),
                readable=tuple(record["readable"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def alive(self) -> bool:
        """Whether the process exists, is ours, and answers with this key."""
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return probe(joined(self.uri, "metadata"), self.api_key, local=True) is None


@dataclass(frozen=True)
class Address:
    """How to reach a catalog: in a folder, whose server may come back on another port, or by a fixed URI.

    Attributes
    ----------
    folder : of the embedded archive, or None.
    catalog : in a folder: `RAW` or `DERIVED`.
    uri, api_key : of a catalog elsewhere, as `read_uri` gives them; unused with a folder.
    """

    folder: Path | None = None
    catalog: str = ""
    uri: str = ""
    api_key: str | None = None

    @classmethod
    def of_uri(cls, uri: str, api_key: str | None = None) -> Address:
        """Read a URI; its key is the argument, else `?api_key=`, else `TILED_API_KEY`.

        Raises
        ------
        ArchiveError : when it is no URI of a catalog.
        """
        bare, inline = read_uri(uri)
        return cls(uri=bare, api_key=api_key or inline or os.environ.get("TILED_API_KEY"))

    @property
    def local(self) -> bool:
        """Whether it is the embedded server, on the loopback: proxies do not apply."""
        return self.folder is not None

    def current(self) -> tuple[str, str | None]:
        """URI and key of the catalog now.

        Raises
        ------
        ArchiveError : when no server has ever run on the folder.
        """
        if self.folder is None:
            return self.uri, self.api_key
        state = ServerState.load(self.folder)
        if state is None:
            raise ArchiveError(f"no server runs on {self.folder}; start one with open_archive(folder)")
        return joined(state.uri, "metadata", self.catalog), state.api_key

    def connect(self) -> Any:
        """A Tiled client of the catalog.

        Raises
        ------
        ArchiveError : when no server answers, it does not accept the key, or there is no such catalog.
        """
        client = self.find()
        if client is None:
            raise ArchiveError(self._not_there())
        return client

    def find(self) -> Any | None:
        """A Tiled client of the catalog, or None when its server has no such catalog.

        Raises
        ------
        ArchiveError : when no server answers, or it does not accept the key.
        """
        from tiled.client import from_uri

        uri, api_key = self.current()
        trouble = probe(uri, api_key, local=self.local)
        if trouble is not None and trouble.absent:
            return None
        if trouble is not None:
            raise ArchiveError(trouble.text)
        return from_uri(uri, api_key=api_key, trust_env=not self.local)

    def _not_there(self) -> str:
        uri, _ = self.current()
        if self.folder is not None:
            return (
                f"the server that runs on {self.folder} is one of an earlier version of xas_live: close the "
                "session that started it"
            )
        text = f"there is no catalog at {uri}"
        above = parent_and_key(uri)
        hint = f"the catalog {above[1]!r} may have another name or lie elsewhere" if above else _UNDER_A_PATH
        return f"{text}: {hint}"

    def to_json(self) -> dict[str, str | None]:
        """For another process; holds the key."""
        return asdict(self) | {"folder": str(self.folder) if self.folder else None}

    @classmethod
    def from_json(cls, record: Mapping[str, str | None]) -> Address:
        """The inverse of `to_json`."""
        folder = record["folder"]
        where = Path(folder) if folder else None
        return cls(where, record["catalog"] or "", record["uri"] or "", record["api_key"])


@dataclass(frozen=True)
class Trouble:
    """Why a server does not serve us.

    Attributes
    ----------
    text : in words.
    absent : a Tiled server answers, and has no such catalog.
    """

    text: str
    absent: bool = False


def probe(uri: str, api_key: str | None, *, local: bool) -> Trouble | None:
    """Ask a Tiled server once, for at most some seconds, whether it serves us a catalog.

    The client's own first request would retry for a minute, and its entry page answers without a key.

    Parameters
    ----------
    uri : of a catalog, as `read_uri` gives it.
    """
    headers = {"Authorization": f"Apikey {api_key}"} if api_key else {}
    try:
        answer = httpx.get(
            f"{uri}/",
            headers=headers,
            timeout=_PROBE_SECONDS,
            trust_env=not local,
            follow_redirects=True,
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return Trouble(f"{uri!r} is not the URI of a Tiled server: {error}")
    except httpx.HTTPError as error:
        return Trouble(f"no Tiled server answers at {uri} ({error})")
    json = "json" in answer.headers.get("content-type", "")
    if answer.status_code in (401, 403):
        return Trouble(
            f"the server at {uri} does not accept the API key: give api_key=, ?api_key= or TILED_API_KEY"
        )
    if answer.is_error:
        absent = answer.status_code == httpx.codes.NOT_FOUND and json
        return Trouble(f"the server at {uri} answers {answer.status_code} {answer.reason_phrase}", absent)
    return None if json else Trouble(f"what answers at {uri} is no Tiled server")
