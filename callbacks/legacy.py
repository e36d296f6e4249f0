"""Detector data announced the older way, by resource and datum documents, as stream documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer
from event_model import unpack_event_page


def as_streams(descriptor: Mapping[str, Any]) -> Mapping[str, Any]:
    """The descriptor with its fields in files marked as they are today; itself where there are none."""
    keys = descriptor["data_keys"]
    older = [
        name
        for name, key in keys.items()
        if "external" in key and not str(key["external"]).startswith("STREAM:")
    ]
    if not older:
        return descriptor
    marked = {name: {**keys[name], "external": "STREAM:"} for name in older}
    return {**descriptor, "data_keys": {**keys, **marked}}


class LegacyAssets:
    """Turns a run's resource and datum documents, and the events that refer to them, into stream documents.

    Parameters
    ----------
    start : start document of the run.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._run = start["uid"]
        self._given: list[tuple[str, dict[str, Any]]] = []
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self._take)
        self._normalizer("start", dict(start))

    def __call__(self, name: str, doc: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The events, stream_resource and stream_datum documents that a document gives.

        Raises
        ------
        RuntimeError : at the stop document, for an event whose datum never came.
        """
        if name == "event_page":
            return [pair for event in unpack_event_page(doc) for pair in self("event", event)]
        self._given = []
        self._normalizer(name, dict(doc))
        if name == "event":  # the rows belong to this event, whatever their place in the file
            for kind, given in self._given:
                if kind == "stream_datum" and given["indices"]["stop"] - given["indices"]["start"] == 1:
                    given["seq_nums"] = {"start": doc["seq_num"], "stop": doc["seq_num"] + 1}
        return self._given

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name in ("event", "stream_resource", "stream_datum"):
            if name == "stream_resource":
                doc = {**doc, "run_start": self._run}
            self._given.append((name, doc))
