"""What a catalog has of a run."""

from __future__ import annotations

from typing import Any, Literal

from tiled.client.container import Container

from xas_live.archive.names import NameRefused, checked_uid

Presence = Literal["absent", "partial", "complete"]
_RUN = "BlueskyRun"


def presence(catalog: Any, uid: str) -> tuple[Presence, dict[str, int]]:
    """Whether a catalog has a run, and the number of events by stream that its stop document tells.

    Raises
    ------
    NameRefused : when the uid cannot be one, or the catalog has something else under it.
    """
    try:
        run = Container.__getitem__(catalog, checked_uid(uid))
    except KeyError:
        return "absent", {}
    if _RUN not in {spec.name for spec in run.specs} or (run.metadata.get("start") or {}).get("uid") != uid:
        raise NameRefused(f"the catalog has something under {uid!r} that is not this run")
    stop = run.metadata.get("stop")
    return ("complete", dict(stop.get("num_events") or {})) if stop else ("partial", {})


def began(catalog: Any, uid: str) -> float | None:
    """When a run in a catalog began, by its start document."""
    return Container.__getitem__(catalog, checked_uid(uid)).metadata["start"].get("time")


def numbers(catalog: Any, uid: str) -> list[int]:
    """The numbers of all events of a run that a catalog has in tables, sorted."""
    run = Container.__getitem__(catalog, checked_uid(uid))
    found: list[int] = []
    for stream in run:
        parts = Container.__getitem__(run, stream).base
        # Of a table with very many columns, the first part has the numbers.
        for part in ("internal", "internal_0"):
            if part in parts:
                found += [int(number) for number in parts[part].read(["seq_num"])["seq_num"]]
    return sorted(found)


def remove(catalog: Any, uid: str) -> None:
    """Remove a run and what Tiled stored of it; files of detectors stay."""
    catalog.delete_contents(checked_uid(uid), recursive=True, external_only=False)
