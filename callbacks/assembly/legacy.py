"""Detector data announced the older way, by resource and datum documents, as stream documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

from event_model import unpack_datum_page, unpack_event_page

if TYPE_CHECKING:
    from event_model.documents import (
        DataKey,
        Datum,
        DatumPage,
        Event,
        EventDescriptor,
        EventPage,
        Resource,
        RunStart,
        StreamDatum,
        StreamResource,
    )

    Translated = tuple[str, Event | StreamResource | StreamDatum]
    """Name and document."""


class DocumentStream(Protocol):
    """What takes documents, and gives others to those who subscribe."""

    def __call__(self, name: str, doc: dict[str, object]) -> object:
        """Take a document."""

    def subscribe(self, callback: Callable[[str, dict[str, object]], None]) -> object:
        """Give documents to this callback from now on."""


def as_streams(descriptor: EventDescriptor) -> EventDescriptor:
    """Return the descriptor with fields in files marked as they are today; itself where none are older."""
    keys = descriptor["data_keys"]
    older = [
        name
        for name, key in keys.items()
        if "external" in key and not str(key["external"]).startswith("STREAM:")
    ]
    if not older:
        return descriptor
    marked: dict[str, DataKey] = {name: {**keys[name], "external": "STREAM:"} for name in older}
    return {**descriptor, "data_keys": {**keys, **marked}}


class LegacyAssets:
    """Turns a run's resource and datum documents, and the events that refer to them, into stream documents.

    Events wait for their datums, and those after them for their turn.

    Parameters
    ----------
    start : start document of the run.
    """

    def __init__(self, start: RunStart) -> None:
        # Its package takes more than a second to import, and few runs have such documents.
        from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer

        self._run = start["uid"]
        self._fields: dict[str, set[str]] = {}  # in files, by descriptor
        self._announced: set[str] = set()
        self._waiting: deque[Event] = deque()
        self._given: list[Translated] = []
        self._normalizer = cast("DocumentStream", RunNormalizer())
        self._normalizer.subscribe(self._take)
        self._normalizer("start", {**start})

    def descriptor(self, doc: EventDescriptor) -> None:
        """Take a descriptor, its fields in files marked as they came."""
        self._normalizer("descriptor", {**doc})
        self._fields[doc["uid"]] = {name for name, key in doc["data_keys"].items() if "external" in key}

    def resource(self, doc: Resource) -> None:
        """Take a resource."""
        self._normalizer("resource", {**doc})

    def datum(self, doc: Datum) -> list[Translated]:
        """Take a datum; return the documents of the events that waited for it."""
        self._normalizer("datum", {**doc})
        self._announced.add(doc["datum_id"])
        return self._translated_ready()

    def datum_page(self, doc: DatumPage) -> list[Translated]:
        """Take a page of datums as if they came one by one."""
        return [pair for datum in unpack_datum_page(doc) for pair in self.datum(datum)]

    def event(self, doc: Event) -> list[Translated]:
        """Take an event; return its documents if its datums have come and no earlier event waits."""
        self._waiting.append(doc)
        return self._translated_ready()

    def event_page(self, doc: EventPage) -> list[Translated]:
        """Take a page of events as if they came one by one."""
        return [pair for event in unpack_event_page(doc) for pair in self.event(event)]

    def finish(self) -> tuple[list[Translated], int]:
        """End the run: return the documents of the events that still wait, and how many lack a datum."""
        lacking = sum(bool(self._lacking(event)) for event in self._waiting)
        return [pair for event in self._waiting for pair in self._translated(event)], lacking

    def _translated_ready(self) -> list[Translated]:
        given: list[Translated] = []
        while self._waiting and not self._lacking(self._waiting[0]):
            given += self._translated(self._waiting.popleft())
        return given

    def _lacking(self, event: Event) -> set[str]:
        """Return the ids of datums that an event refers to and that have not come."""
        fields = self._fields.get(event["descriptor"], set()) & event["data"].keys()
        filled: Mapping[str, bool | str] = event.get("filled") or {}
        values = (event["data"][name] for name in fields if not filled.get(name))
        return {value for value in values if isinstance(value, str)} - self._announced

    def _translated(self, event: Event) -> list[Translated]:
        self._given = []
        self._normalizer("event", {**event})
        for name, doc in self._given:  # the rows belong to this event, whatever their place in the file
            if name == "stream_datum":
                datum = cast("StreamDatum", doc)
                if datum["indices"]["stop"] - datum["indices"]["start"] == 1:
                    datum["seq_nums"] = {"start": event["seq_num"], "stop": event["seq_num"] + 1}
        self._announced -= {value for value in event["data"].values() if isinstance(value, str)}
        return self._given

    def _take(self, name: str, doc: dict[str, object]) -> None:
        if name in ("event", "stream_resource", "stream_datum"):
            doc = doc | ({"run_start": self._run} if name == "stream_resource" else {})
            self._given.append((name, cast("Event | StreamResource | StreamDatum", doc)))
