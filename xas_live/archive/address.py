"""Where an archive is reached, and the file by which sessions find the server of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from xas_live.archive.errors import ArchiveError

_STATE_FILE = "server.json"
_PROBE_SECONDS = 5.0


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
        return probe(self.uri, self.api_key, local=True) is None


@dataclass(frozen=True)
class Address:
    """How to reach an archive: a folder, whose server may come back on another port, or a fixed URI.

    Attributes
    ----------
    folder : of the embedded archive, or None.
    uri, api_key : of a server elsewhere; unused with a folder.
    """

    folder: Path | None = None
    uri: str = ""
    api_key: str | None = None

    @classmethod
    def of_uri(cls, uri: str, api_key: str | None = None) -> Address:
        """Split an http(s) URI from its key: the argument, else `?api_key=`, else `TILED_API_KEY`."""
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query))
        inline = query.pop("api_key", None)
        bare = urlunsplit(parts._replace(query=urlencode(query)))
        return cls(uri=bare, api_key=api_key or inline or os.environ.get("TILED_API_KEY"))

    @property
    def local(self) -> bool:
        """Whether it is the embedded server, on the loopback: proxies do not apply."""
        return self.folder is not None

    def current(self) -> tuple[str, str | None]:
        """URI and key of the server now.

        Raises
        ------
        ArchiveError : when no server has ever run on the folder.
        """
        if self.folder is None:
            return self.uri, self.api_key
        state = ServerState.load(self.folder)
        if state is None:
            raise ArchiveError(f"no server runs on {self.folder}; start one with open_archive(folder)")
        return state.uri, state.api_key

    def connect(self) -> Any:
        """A Tiled client of the root catalog.

        Raises
        ------
        ArchiveError : when no server answers, or it does not accept the key.
        """
        from tiled.client import from_uri

        uri, api_key = self.current()
        trouble = probe(uri, api_key, local=self.local)
        if trouble is not None:
            raise ArchiveError(trouble)
        return from_uri(uri, api_key=api_key, trust_env=not self.local)

    def to_json(self) -> dict[str, str | None]:
        """For another process; holds the key."""
        return {"folder": str(self.folder) if self.folder else None, "uri": self.uri, "api_key": self.api_key}

    @classmethod
    def from_json(cls, record: Mapping[str, str | None]) -> Address:
        """The inverse of `to_json`."""
        folder = record["folder"]
        return cls(Path(folder) if folder else None, record["uri"] or "", record["api_key"])


def sub_catalog(root: Any, key: str) -> Any:
    """The catalog of runs under `key` of a catalog, made if missing, with the access tags of that catalog."""
    from tiled.client.container import Container
    from tiled.client.utils import ClientError
    from tiled.structures.core import Spec

    # Not root[key]: a catalog of runs takes a string for the beginning of a uid.
    try:
        return Container.__getitem__(root, key)
    except KeyError:
        pass
    try:
        return root.create_container(key, specs=[Spec("CatalogOfBlueskyRuns", "3.0")], **_access_of(root))
    except ClientError:
        # Another session was faster.
        return Container.__getitem__(root, key)


def _access_of(catalog: Any) -> dict[str, list[str]]:
    """The access tags of a catalog, as `create_container` takes them; nothing where it has none."""
    tags = (catalog.item["attributes"].get("access_blob") or {}).get("tags")
    return {"access_tags": list(tags)} if tags else {}


def probe(uri: str, api_key: str | None, *, local: bool) -> str | None:
    """Ask a Tiled server once, for at most some seconds, whether it serves us: None, or what is wrong.

    The client's own first request would retry for a minute, and its entry page answers without a key.
    """
    headers = {"Authorization": f"Apikey {api_key}"} if api_key else {}
    try:
        answer = httpx.get(
            _metadata_url(uri),
            headers=headers,
            timeout=_PROBE_SECONDS,
            trust_env=not local,
            follow_redirects=True,
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return f"{uri!r} is not the URI of a Tiled server: {error}"
    except httpx.HTTPError as error:
        return f"no Tiled server answers at {uri} ({error})"
    if answer.status_code in (401, 403):
        return f"the server at {uri} does not accept the API key: give api_key=, ?api_key= or TILED_API_KEY"
    if answer.is_error:
        return f"the server at {uri} answers {answer.status_code} {answer.reason_phrase}"
    return None


def _metadata_url(uri: str) -> str:
    parts = urlsplit(uri)
    path = parts.path.rstrip("/")
    if "/api/v1" not in path:
        path += "/api/v1"
    if path.endswith("/api/v1"):
        path += "/metadata"
    return urlunsplit(parts._replace(path=f"{path}/"))
