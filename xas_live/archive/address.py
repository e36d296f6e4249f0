"""Where a catalog is reached: in a folder, or at a URI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from xas_live.archive import embedded
from xas_live.archive.errors import ArchiveError
from xas_live.archive.state import ServerState
from xas_live.archive.uri import joined, parent_and_key, read_uri

RAW = "raw"
"""Key of the catalog of raw runs on the embedded server."""

DERIVED = "xas_live"
"""Key of the catalog of derived runs there, and beside a catalog called "raw" elsewhere."""

_PROBE_SECONDS = 5.0
_UNDER_A_PATH = "a catalog of a server is written http://HOST:PORT/api/v1/metadata/CATALOG"


@dataclass(frozen=True)
class Address:
    """How to reach a catalog: in a folder, through the socket of whichever server it has, or by a fixed URI.

    Attributes
    ----------
    folder : of the embedded archive, or None.
    catalog : in a folder: `RAW` or `DERIVED`.
    uri, api_key : of a catalog elsewhere, as `read_uri` gives them; unused with a folder.
    """

    folder: Path | None = None
    catalog: str = ""
    uri: str = ""
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def of_uri(cls, uri: str, api_key: str | None = None) -> Address:
        """Read a URI; its key is the argument, else `?api_key=`, else `TILED_API_KEY`.

        Raises
        ------
        ArchiveError : when it is no URI of a catalog.
        """
        bare, inline = read_uri(uri)
        return cls(uri=bare, api_key=api_key or inline or os.environ.get("TILED_API_KEY"))

    def current(self) -> tuple[str, str | None]:
        """URI and key of the catalog now; in a folder, those of the server that runs or has just died.

        Raises
        ------
        ArchiveError : when no server runs on the folder.
        """
        if self.folder is None:
            return self.uri, self.api_key
        state = ServerState.load(self.folder)
        if state is None:
            raise ArchiveError(f"no server runs on {self.folder}: use open_archive(folder)")
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

        if self.folder is not None:
            try:
                return embedded.connect(self.folder, self.catalog)
            except OSError as error:
                raise ArchiveError(f"the archive folder {self.folder} cannot be used: {error}") from error
        trouble = probe(self.uri, self.api_key)
        if trouble is not None and trouble.absent:
            return None
        if trouble is not None:
            raise ArchiveError(trouble.text)
        return from_uri(self.uri, api_key=self.api_key)

    def _not_there(self) -> str:
        text = f"there is no catalog at {self.uri}"
        above = parent_and_key(self.uri)
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


def probe(uri: str, api_key: str | None) -> Trouble | None:
    """Ask a Tiled server once, for at most some seconds, whether it serves us a catalog.

    The client's own first request would retry for a minute, and its entry page answers without a key.

    Parameters
    ----------
    uri : of a catalog, as `read_uri` gives it.
    """
    headers = {"Authorization": f"Apikey {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{uri}/", headers=headers, timeout=_PROBE_SECONDS, follow_redirects=True)
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
