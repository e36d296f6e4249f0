"""Detector data announced the older way, by resource and datum documents, as stream documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer
from event_model import unpack_datum_page, unpack_event_page


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

    Events wait for their datums, and those after them for their turn.

    Parameters
    ----------
    start : start document of the run.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._run = start["uid"]
        self._fields: dict[str, set[str]] = {}  # in files, by descriptor
        self._announced: set[str] = set()
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._given: list[tuple[str, dict[str, Any]]] = []
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self._take)
        self._normalizer("start", dict(start))

    def __call__(self, name: str, doc: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The events, stream_resource and stream_datum documents that a document gives."""
        if name == "event_page":
            return [pair for event in unpack_event_page(doc) for pair in self("event", event)]
        if name == "datum_page":
            return [pair for datum in unpack_datum_page(doc) for pair in self("datum", datum)]
        if name == "event":
            self._waiting.append(doc)
        else:
            self._normalizer(name, dict(doc))
        if name == "datum":
            self._announced.add(doc["datum_id"])
        if name == "descriptor":
            self._fields[doc["uid"]] = {n for n, key in doc["data_keys"].items() if "external" in key}
        given: list[tuple[str, dict[str, Any]]] = []
        while self._waiting and not self._lacking(self._waiting[0]):
            given += self._translated(self._waiting.popleft())
        return given

    def finish(self) -> tuple[list[tuple[str, dict[str, Any]]], int]:
        """The run is over: what the events that still wait give, and how many lack a datum."""
        lacking = sum(bool(self._lacking(event)) for event in self._waiting)
        return [pair for event in self._waiting for pair in self._translated(event)], lacking

    def _lacking(self, event: Mapping[str, Any]) -> set[str]:
        """Datums it refers to that have not come."""
        fields = self._fields.get(event["descriptor"], set()) & event["data"].keys()
        values = (event["data"][name] for name in fields if not (event.get("filled") or {}).get(name))
        return {value for value in values if isinstance(value, str)} - self._announced

    def _translated(self, event: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        self._given = []
        self._normalizer("event", dict(event))
        for name, doc in self._given:  # the rows belong to this event, whatever their place in the file
            if name == "stream_datum" and doc["indices"]["stop"] - doc["indices"]["start"] == 1:
                doc["seq_nums"] = {"start": event["seq_num"], "stop": event["seq_num"] + 1}
        self._announced -= {value for value in event["data"].values() if isinstance(value, str)}
        return self._given

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name in ("event", "stream_resource", "stream_datum"):
            self._given.append((name, doc | ({"run_start": self._run} if name == "stream_resource" else {})))
