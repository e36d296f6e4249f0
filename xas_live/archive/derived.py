"""The catalog of derived runs: beside the catalog of raw runs, never in it, or where the user wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from xas_live.archive.address import DERIVED, RAW, Address
from xas_live.archive.errors import ArchiveError
from xas_live.archive.uri import joined, parent_and_key

RUNS = "CatalogOfBlueskyRuns"
"""Spec of a catalog of Bluesky runs."""

_RUN = "BlueskyRun"
_ASK = "say where they go, with open_archive(URI, derived=FOLDER) or derived=URI of another catalog"


def beside(raw: Address) -> Address | None:
    """Return where the derived runs of a catalog of raw runs are: `xas_live` beside `raw`.

    Beside a catalog of another name, as `smi`, it is `smi_xas_live`: others may lie there too. None for the
    root of a server, which nothing lies beside.
    """
    if raw.folder is not None:
        return replace(raw, catalog=DERIVED)
    place = parent_and_key(raw.uri)
    if place is None:
        return None
    above, key = place
    return replace(raw, uri=joined(above, DERIVED if key == RAW else f"{key}_{DERIVED}"))


def chosen(uri: str, raw: Address) -> Address:
    """Return the address of a catalog that the user names; on the server of the raw runs it has their key.

    Raises
    ------
    ArchiveError : when it is no URI of a catalog, or that of the raw runs.
    """
    address = Address.of_uri(uri)
    if address.uri == raw.uri:
        raise ArchiveError(f"derived={address.uri} is the catalog of the raw runs: give another one")
    same_server = _server(address.uri) == _server(raw.uri)
    return replace(address, api_key=raw.api_key) if same_server and "api_key=" not in uri else address


def find_or_make(address: Address, raw: Any, tags: Sequence[str] | None) -> Any:
    """Return a Tiled client of the catalog at an address, made if missing.

    Parameters
    ----------
    raw : Tiled client of the catalog of raw runs, whose access tags a new catalog gets.
    tags : access tags that it gets instead.

    Raises
    ------
    ArchiveError : when it can be neither found nor made, or takes no runs.
    """
    found = address.find()
    if found is None:
        found = _make(address, list(tags if tags is not None else access_tags(raw)))
    if found.structure_family != "container" or _RUN in specs(found):
        raise ArchiveError(f"{address.current()[0]} is no catalog that takes derived runs: {_ASK}")
    return found


def no_place(raw: Address) -> ArchiveError:
    """Return why derived runs have no place beside a catalog that is the root of its server."""
    uri, inside = raw.uri, replace(raw, uri=joined(raw.uri, DERIVED))
    text = f"{uri} is the root of its server, so that no catalog lies beside it for derived runs: {_ASK}"
    if inside.find() is not None:
        text += (
            f". An earlier version of xas_live put them among the raw runs: derived={inside.uri!r} goes on "
            "with that"
        )
    return ArchiveError(text)


def access_tags(client: Any) -> list[str]:
    """Return the access tags of a node in Tiled; none where the server has no access policy."""
    return list(client.item["attributes"].get("access_tags") or [])


def specs(client: Any) -> set[str]:
    """Return the names of the specs of a node in Tiled."""
    return {spec.name for spec in client.specs}


def _make(address: Address, tags: list[str]) -> Any:
    uri, _ = address.current()
    place = parent_and_key(uri)
    assert place is not None  # the root of a server is always found
    above, key = place
    parent = replace(address, uri=above).find()
    if parent is None or RUNS in specs(parent):
        why = "there is no container" if parent is None else "that is a catalog of runs itself"
        raise ArchiveError(f"no catalog {key!r} for derived runs can be made in {above}: {why}; {_ASK}")
    node = {"id": key, "structure_family": "container", "specs": [{"name": RUNS, "version": "3.0"}]}
    # Not parent.create_container: a server that cannot do it answers 500, and the client tries for a minute.
    answer = parent.context.http_client.post(
        parent.item["links"]["self"],
        json={**node, "metadata": {}, "data_sources": [], **({"access_tags": tags} if tags else {})},
    )
    made = address.find()  # where another session was faster, too
    if made is None:
        others = [name for name in parent.keys()[:6] if name != key]
        there = f" (it holds {', '.join(others)})" if others else ""
        raise ArchiveError(
            f"there is no catalog {uri} for derived runs, and the server does not let it be made: {above} "
            f"answers {answer.status_code} {answer.reason_phrase}{there}; {_ASK}"
        )
    return made


def _server(uri: str) -> str:
    return uri.partition("/api/v1/")[0]
