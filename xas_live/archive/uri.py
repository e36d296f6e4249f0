"""URIs of catalogs as people write them, and as Tiled takes them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from xas_live.archive.errors import ArchiveError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_FILE = re.compile(r"file:/", re.IGNORECASE)
_HOST = re.compile(r"(\S+@)?(localhost(?=[:/?]|$)|(\[[0-9A-Fa-f:]+\]|[\w.-]+):\d+(?=[/?]|$))")
_PASSWORD = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*://)\S*|\S*[:/]\S*)@")
_KEY = re.compile(r"(api[_-]?key=)[^&\s'\"]*", re.IGNORECASE)
_UI = re.compile(r"(?P<prefix>.*?)/ui(/browse(?P<path>/.*)?)?/?")
_API = re.compile(r"(?P<prefix>.*?)/api(/v1(/(?P<route>[a-z_]+)(?P<path>/.*)?)?)?/?")
_OF_NODES = (None, "metadata", "search")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_METADATA = "/api/v1/metadata"


def is_uri(place: str) -> bool:
    """Whether a text means a server rather than a folder: `https://...`, `localhost:8000`.

    So does one of any other scheme but `file`, for `read_uri` to refuse.
    """
    text = place.strip()
    return not _FILE.match(text) and bool(_SCHEME.match(text) or _HOST.match(text))


def folder_of(place: str) -> Path:
    """Return the folder that a text means which is no URI of a server: a path, or `file:///PATH`.

    Raises
    ------
    ArchiveError : when it is a folder of another computer.
    """
    if _FILE.match(place.strip()):
        parts = urlsplit(place.strip())
        if parts.netloc not in ("", "localhost"):
            raise ArchiveError(f"{place!r} is a folder of the computer {parts.netloc!r}: write file:///PATH")
        place = unquote(parts.path)
    return Path(place).expanduser().resolve()


def read_uri(text: str) -> tuple[str, str | None]:
    """Return the URI of a catalog, `SCHEME://HOST/api/v1/metadata/PATH`, and the API key that stands in it.

    Addresses of a server, of its API and of its web pages are all understood. Without a scheme, or with
    `tiled://`, it is http on this machine and https elsewhere.

    Raises
    ------
    ArchiveError : when it is no address of a catalog; the message says what to write.
    """
    shown = masked(text.strip())
    try:
        parts = urlsplit(text.strip() if _SCHEME.match(text.strip()) else f"tiled://{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may hold a part of a password
        raise ArchiveError(
            f"{shown!r} is not the URI of a Tiled server: its host or port cannot be read"
        ) from None
    scheme = parts.scheme.lower()
    if scheme == "tiled":
        scheme = "http" if host in _LOOPBACK else "https"
    if scheme not in ("http", "https") or not host:
        raise ArchiveError(
            f"{shown!r} is not the URI of a Tiled server: write http://HOST:PORT/api/v1/metadata/CATALOG, or "
            "https://"
        )
    if parts.username is not None:
        raise ArchiveError(
            f"{shown!r} holds a user name: a Tiled server takes an API key instead. Leave the name out, and "
            "give api_key=, ?api_key= or the variable TILED_API_KEY"
        )
    prefix, path = _prefix_and_path(parts.path, shown)
    name = f"[{host}]" if ":" in host else host
    server = f"{scheme}://{name}:{port}" if port else f"{scheme}://{name}"
    (key,) = parse_qs(parts.query).get("api_key", [None])[-1:]
    return joined(f"{server}{prefix}{_METADATA}", *path), key


def joined(uri: str, *keys: str) -> str:
    """Return the URI of what lies under a catalog by these keys."""
    return "/".join((uri.rstrip("/"), *keys))


def parent_and_key(uri: str) -> tuple[str, str] | None:
    """Return the URI of what holds a catalog, and the catalog's key in it; None for the root of a server."""
    server, _, path = uri.partition(_METADATA)
    keys = [key for key in path.split("/") if key]
    return (joined(f"{server}{_METADATA}", *keys[:-1]), keys[-1]) if keys else None


def masked(text: str) -> str:
    """Return a text without the passwords and API keys of the URIs in it."""
    return _KEY.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))


def _prefix_and_path(path: str, shown: str) -> tuple[str, list[str]]:
    """Return what stands before the API of a server (mostly nothing), and the keys that lead to a catalog."""
    found = _UI.fullmatch(path) or _API.fullmatch(path)
    if found is None:  # a server under a path of its host
        return path.rstrip("/"), []
    groups = found.groupdict()
    if groups.get("route") not in _OF_NODES:
        raise ArchiveError(
            f"{shown!r} is not the address of a catalog: write that as http://HOST:PORT/api/v1/metadata/CATALOG"
        )
    return groups["prefix"], [key for key in (groups["path"] or "").split("/") if key]
