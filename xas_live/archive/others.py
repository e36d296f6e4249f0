"""Who writes the runs of a RunEngine already."""

from __future__ import annotations

_MODULES = (
    "bluesky.callbacks.buffer",
    "bluesky.callbacks.tiled_writer",
    "bluesky.callbacks.zmq",
    "bluesky_kafka",
    "bluesky_tiled_plugins",
    "databroker",
    "nslsii",
    "suitcase",
    "tiled",
    "xas_live.archive.writer",
)
"""Where callbacks come from that bring runs to a catalog, or to a bus that leads to one."""


def writers_of(RE: object) -> list[str]:
    """Return the names of the callbacks of a RunEngine that store its runs, as "TiledWriter".

    A facility's writer must not be doubled, and a session without one would keep nothing.
    """
    registry = getattr(getattr(RE, "dispatcher", RE), "cb_registry", None)
    by_document = getattr(registry, "callbacks", None)
    found: dict[str, None] = {}
    for callbacks in dict(by_document or {}).values():
        for callback in list(callbacks.values()):
            inst = getattr(callback, "inst", None)  # bluesky holds methods by their objects, weakly
            owner = inst() if inst is not None else getattr(callback, "func", callback)
            who = owner if hasattr(owner, "__qualname__") else type(owner)
            module = f"{getattr(who, '__module__', '')}."
            if module.startswith(tuple(f"{name}." for name in _MODULES)):
                found[str(getattr(who, "__name__", who))] = None
    return list(found)
