"""Energy and detectors in several streams of one run, each with a clock of its own, joined by time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError
from xas_live.callbacks.assembly.join_plan import JoinPlan, plan_join
from xas_live.callbacks.assembly.rows import StreamRows
from xas_live.callbacks.assembly.scales import (
    Conversion,
    EnergyScale,
    energy_scale,
    temperature_scale,
    time_scale,
)
from xas_live.callbacks.assembly.stream_fields import PartialFields, partial_fields
from xas_live.spectrum import Array

if TYPE_CHECKING:
    from event_model.documents import EventDescriptor, EventPage, RunStart, StreamDatum, StreamResource

_UNIX_S = 1e9
"""A clock that shows less (s) does not tell the date."""


class StreamJoin:
    """The streams of one run that could make spectra together, and the points that wait for each other.

    The points are those of the leading stream; the energy, and channels that come from further streams, are
    interpolated linearly at their times. A point is given once the other streams have gone past its time, so
    that nothing depends on how the documents are interleaved; nothing is extrapolated. Times must not run
    back. Points of other streams that no later one can need are dropped.

    Parameters
    ----------
    start : start document of the run.
    wanted : what the user has fixed.

    Attributes
    ----------
    plan : which stream gives what; None while the streams declared so far do not suffice. It may change with
        further streams, until the first points have been given.
    trouble : why there is no plan.
    """

    def __init__(self, start: RunStart, wanted: ChannelMapping | None) -> None:
        self.plan: JoinPlan | None = None
        self.trouble = ""
        self._start = start
        self._wanted = wanted
        self._parts: dict[str, _JoinedStream] = {}
        self._readers: dict[str, tuple[_JoinedStream, StreamRows]] = {}
        self._given = 0
        self._outside = 0

    def __contains__(self, descriptor: str) -> bool:
        return descriptor in self._readers

    def fields_read(self, descriptor: str) -> frozenset[str]:
        """Return the fields of one of its streams, by the uid of the descriptor."""
        return frozenset(self._readers[descriptor][1].fields)

    @property
    def several(self) -> bool:
        """Whether more than one stream has an energy or channels."""
        return len(self._parts) > 1

    def declare(self, descriptor: EventDescriptor) -> bool:
        """Take a descriptor; True where it has an energy or channels, so that its documents are wanted."""
        name = descriptor.get("name", "primary")
        part = self._parts.get(name)
        if part is None:
            if self._given:
                return False
            found = partial_fields(descriptor, self._start, self._wanted)
            if found is None:
                return False
            part = self._parts[name] = _JoinedStream(found)
        self._readers[descriptor["uid"]] = (part, part.read_by(descriptor, self._wanted or ChannelMapping()))
        if not self._given:
            self._make_plan()
        return True

    def take(self, page: EventPage) -> Array:
        """Take events; return the points that are complete now.

        Returns
        -------
        (points, columns): energy (eV), the fields of the mapping, time (s), sequence number.
        """
        part, reader = self._readers[page["descriptor"]]
        times = (page.get("timestamps") or {}).get(part.fields[0])
        part.add(reader.take(page, times))
        return self._ready()

    def announce(self, resource: StreamResource, datum: StreamDatum) -> Array:
        """Take a stream_datum; return as `take` does, raise as `ExternalColumns.announce` does."""
        part, reader = self._readers[datum["descriptor"]]
        if reader.external is not None:
            reader.external.announce(resource, datum)
            if self.plan is not None:  # no file is read for a run that may have no energy
                part.add(reader.ready())
        return self._ready()

    def finish(self) -> Array:
        """End the run: return the points that are complete with what there is."""
        if self.plan is None:
            return np.empty((0, 0))
        for part, reader in self._distinct:
            part.add(reader.ready(final=True))
        rows = self._ready(final=True)
        self._outside += len(self._lead.points.rows)
        return rows

    @property
    def lost(self) -> int:
        """Number of points left out so far because their time is none, or runs back."""
        return 0 if self.plan is None else sum(part.lost for part in self._used)

    @property
    def energy_unit(self) -> str:
        """The unit in which the energy is recorded."""
        return "eV" if self.plan is None else self._parts[self.plan.energy].energy_scale.unit

    def remarks(self) -> list[str]:
        """Return what the user should know once the run is over: files not read, points left out."""
        if self.plan is None:
            return []
        lines = [
            f"stream {reader.name!r}: {reader.external.trouble}"
            for _, reader in self._distinct
            if reader.external is not None and reader.external.trouble
        ]
        others = " and ".join(repr(part.name) for part in self._others)
        if self._outside:
            lines.append(
                f"{self._outside} of {self._given + self._outside} points of stream {self._lead.name!r} lie "
                f"outside the times of {others} and are left out"
            )
            if not self._given:
                spans = "; ".join(part.span(self.plan.clocks[part.name]) for part in self._used)
                lines.append(f"none could be joined. Is it one clock? {spans}")
        lines += [
            f"{part.lost} points of stream {part.name!r} are left out: their time is none, or runs back"
            for part in self._used
            if part.lost
        ]
        return lines

    @property
    def _distinct(self) -> list[tuple[_JoinedStream, StreamRows]]:
        return list({part.name: (part, reader) for part, reader in self._readers.values()}.values())

    @property
    def _lead(self) -> _JoinedStream:
        assert self.plan is not None
        return self._parts[self.plan.lead]

    @property
    def _used(self) -> list[_JoinedStream]:
        assert self.plan is not None
        return [self._parts[name] for name in self.plan.clocks]

    @property
    def _others(self) -> list[_JoinedStream]:
        return [part for part in self._used if part is not self._lead]

    def _fix_plan(self) -> None:
        """Keep to the plan from now on, for points have been given: further streams are not read."""
        self._parts = {part.name: part for part in self._used}
        self._readers = {uid: pair for uid, pair in self._readers.items() if pair[0].name in self._parts}
        for part in self._parts.values():
            part.fix_clock()

    def _make_plan(self) -> None:
        try:
            self.plan = plan_join((part.found for part in self._parts.values()), self._wanted)
        except MappingError as error:
            self.plan, self.trouble = None, str(error)
            return
        for part in self._parts.values():
            part.date(self.plan.clocks.get(part.name), leads=part is self._lead)

    def _ready(self, *, final: bool = False) -> Array:
        """Interpolate what can be now, and drop the points that are not needed any more."""
        if self.plan is None:
            return np.empty((0, 0))
        lead, others, mapping = self._lead, self._others, self.plan.mapping
        columns = 3 + len(mapping.fields)
        waiting = lead.points.rows
        limit = min(part.newest for part in others)
        if not len(waiting) or waiting[0, 0] > limit or (not final and waiting[0, 0] == limit):
            return np.empty((0, columns))
        # At the newest time itself a point that follows could still count.
        n = int(np.searchsorted(waiting[:, 0], limit, side="right" if final else "left"))
        ready = waiting[:n].copy()
        lead.points.drop(n)
        at = ready[:, 0]
        inside = at >= max(part.oldest for part in others)
        self._outside += int(n - inside.sum())
        ready, at = ready[inside], at[inside]
        rows = np.empty((len(ready), columns))
        rows[:, 0] = self._parts[self.plan.energy].at(mapping.energy or "", at, ready)
        for k, name in enumerate(mapping.fields):
            rows[:, 1 + k] = self._parts[self.plan.fields[name]].at(name, at, ready)
        rows[:, -2:] = ready[:, -2:]
        if self.plan.clocks[lead.name]:
            dated = at >= _UNIX_S
            rows[dated, -2] = at[dated]
        if len(ready):
            for part in others:
                part.drop_before(float(at[-1]))
            if not self._given:
                self._fix_plan()
            self._given += len(rows)
        return rows


class _JoinedStream:
    """One stream: its fields, and its points that are still needed.

    Columns of the points: the time that joins (s), the fields, the event's time (s), the sequence number.
    """

    def __init__(self, found: PartialFields) -> None:
        self.name = found.stream
        self.found = found
        names = [found.energy, *found.beside.fields, found.clock]
        self.fields = list(dict.fromkeys(name for name in names if name is not None))
        self.energy_scale = EnergyScale()
        self._reader: StreamRows | None = None
        self._raw: list[Array] | None = []  # all points, while it may still change who leads
        self.date(None, leads=False)

    def read_by(self, descriptor: EventDescriptor, wanted: ChannelMapping) -> StreamRows:
        """Return what reads its documents: one reader, also where the stream is declared again."""
        keys = descriptor["data_keys"]
        conversions: dict[str, Conversion] = {}
        clock, energy = self.found.clock, self.found.energy
        if clock is not None and clock in keys:
            conversions[clock] = time_scale(keys[clock])
        if energy is not None and energy in keys:
            self.energy_scale = energy_scale(descriptor, replace(wanted, energy=energy))
            conversions[energy] = self.energy_scale
        temperature = self.found.beside.temperature
        if temperature is not None and temperature in keys:
            in_kelvin = temperature_scale(keys[temperature], wanted.temperature_unit)
            conversions |= {temperature: in_kelvin} if in_kelvin is not None else {}
        if self._reader is None:
            self._reader = StreamRows(descriptor, self.fields)
        self._reader.conversions = conversions
        return self._reader

    def date(self, clock: str | None, *, leads: bool) -> None:
        """Start over with this field as the clock (None: the events' times)."""
        self._clock = self.fields.index(clock) if clock is not None else -2
        self._leads = leads
        self.points = _Points(len(self.fields) + 3)
        self.lost = 0
        self.oldest, self.newest = np.inf, -np.inf
        for rows in self._raw or ():
            self._admit(rows)

    def fix_clock(self) -> None:
        """Keep clock and leading stream from now on."""
        self._raw = None

    def add(self, rows: Array) -> None:
        """Take rows as read."""
        if self._raw is not None and len(rows):
            self._raw.append(rows)
        self._admit(rows)

    def at(self, field: str, times: Array, own: Array) -> Array:
        """Return a field at these times: of `own` rows where the stream leads, else interpolated."""
        column = 1 + self.fields.index(field)
        if self._leads:
            return own[:, column]
        known = self.points.rows
        return np.interp(times, known[:, 0], known[:, column]) if len(times) else np.empty(0)

    def drop_before(self, time: float) -> None:
        """Drop the points that no later time is interpolated from."""
        self.points.drop(int(np.searchsorted(self.points.rows[:, 0], time, side="right")) - 1)

    def span(self, clock: str | None) -> str:
        """Say which times it covers."""
        by = f"field {clock!r}" if clock else "its events"
        ends = f"{self.oldest:.6g} to {self.newest:.6g} s" if self.newest >= self.oldest else "no times"
        return f"{self.name!r}: {ends} by {by}"

    def _admit(self, rows: Array) -> None:
        times = rows[:, self._clock]
        known = np.where(np.isfinite(times), times, -np.inf)
        before = np.maximum.accumulate(np.r_[self.newest, known])[:-1]
        back = ~(times >= before) | ~np.isfinite(times)
        self.lost += int(back.sum())
        kept = ~back & ((times > before) | self._leads)  # the same reading twice is no news
        if kept.any():
            self.points.append(np.column_stack([times[kept], rows[kept]]))
            self.oldest, self.newest = min(self.oldest, float(times[kept][0])), float(times[kept][-1])


class _Points:
    """Rows in the order they came, added at the end and dropped at the beginning."""

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((256, columns))
        self._first = self._end = 0

    @property
    def rows(self) -> Array:
        return self._rows[self._first : self._end]

    def append(self, rows: Array) -> None:
        kept = self._end - self._first
        if self._end + len(rows) > len(self._rows):
            # Move to the front; grow only where that leaves less than half free.
            size = max(256, 2 * (kept + len(rows)))
            fresh = np.empty((size, self._rows.shape[1]))
            fresh[:kept] = self.rows
            self._rows, self._first, self._end = fresh, 0, kept
        self._rows[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def drop(self, count: int) -> None:
        self._first += max(0, count)
