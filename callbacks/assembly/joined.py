"""Energy and detectors in several streams of one run, each with a clock of its own, joined by time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xas_live.callbacks.assembly.channels import (
    CHANNELS,
    NEEDED,
    ChannelMapping,
    MappingError,
    PartialFields,
    energy_factor,
    mode_of,
    partial_fields,
    time_factor,
)
from xas_live.callbacks.assembly.rows import StreamRows
from xas_live.spectrum import Array

_OPTIONAL = {"ir", "reference"}
"""Roles worth taking from a further stream, though the spectrum could do without."""

_UNIX_S = 1e9
"""A clock that shows less (s) does not tell the date."""


@dataclass(frozen=True)
class Joint:
    """Which stream of a run gives what.

    Attributes
    ----------
    mapping : all fields; its stream is the leading one.
    lead : the stream whose points make the spectrum, at their own times.
    energy : the stream of the energy.
    channels : streams by role.
    clocks : by stream, the field that is its clock, or None for the times of its events.
    """

    mapping: ChannelMapping
    lead: str
    energy: str
    channels: Mapping[str, str]
    clocks: Mapping[str, str | None]


def find_joint(parts: Iterable[PartialFields], wanted: ChannelMapping | None = None) -> Joint:
    """How streams make spectra together that none of them makes alone.

    Channels are taken from one stream where it has all that the mode needs (and ir or reference from others),
    so that the least is interpolated; the best named energy is taken.

    Raises
    ------
    MappingError : they have no energy, or no usable channels, or one of them tells no times.
    """
    wanted = wanted or ChannelMapping()
    parts = sorted(parts, key=lambda part: part.stream)
    energies = [part for part in parts if part.energy is not None]
    if not energies:
        raise MappingError(f"no energy in the streams {_names(parts)}")
    energy = max(energies, key=lambda part: part.energy_score)
    roles: dict[str, PartialFields] = {}
    for part in sorted(parts, key=lambda part: bool(mode_of(wanted, part.channels)[1])):
        alone = not wanted.channels and not mode_of(wanted, roles)[1]
        for role in part.channels:
            if not alone or role in _OPTIONAL:
                roles.setdefault(role, part)
    mode, lacking = mode_of(wanted, roles)
    if lacking := [role for role in (*lacking, *wanted.channels) if role not in roles]:
        raise MappingError(
            f"energy is {energy.energy!r} of stream {energy.stream!r}, but nothing found for "
            f"{' and '.join(dict.fromkeys(lacking))} in the streams {_names(parts)}"
        )
    lead = roles[NEEDED[mode][-1]]
    used = {part.stream: part for part in (energy, *roles.values())}
    if len(used) < 2:
        raise MappingError(f"one stream alone is not joined: {_names(parts)}")
    all_have = all(part.clock for part in used.values())
    # A clock of a device and the times of events seldom have one zero: one kind for all, where that can be.
    clocks = {
        name: part.clock if all_have or wanted.time or not part.dated else None for name, part in used.items()
    }
    if dateless := [name for name, clock in clocks.items() if clock is None and not used[name].dated]:
        raise MappingError(
            f"stream {dateless[0]!r} does not tell the time of its points: name the field that does, "
            f"mapping=ChannelMapping(time={{{dateless[0]!r}: '...'}})"
        )
    fields: dict[str, Any] = {role: roles[role].channels[role] for role in CHANNELS if role in roles}
    mapping = replace(
        wanted,
        energy=energy.energy,
        mode=mode,
        stream=lead.stream,
        time={name: clock for name, clock in clocks.items() if clock} or None,
        **fields,
    )
    streams = {role: roles[role].stream for role in mapping.channels}
    return Joint(mapping, lead.stream, energy.stream, streams, clocks)


class JoinedStreams:
    """The streams of one run that could make spectra together, and the points that wait for each other.

    The points are those of the leading stream; the energy, and channels that come from further streams, are
    interpolated linearly at their times. A point is given once the other streams have gone past its time, so
    that nothing depends on how the documents are interleaved; nothing is extrapolated. Times must not run
    back. Points of other streams that no later one can need are let go.

    Parameters
    ----------
    start : start document of the run.
    wanted : what the user has fixed.

    Attributes
    ----------
    joint : which stream gives what; None while the streams declared so far do not suffice. It may change with
        further streams, until the first points have been given.
    trouble : why there is none.
    """

    def __init__(self, start: Mapping[str, Any], wanted: ChannelMapping | None) -> None:
        self.joint: Joint | None = None
        self.trouble = ""
        self._start = start
        self._wanted = wanted
        self._parts: dict[str, _Part] = {}
        self._readers: dict[str, tuple[_Part, StreamRows]] = {}
        self._given = 0
        self._outside = 0

    def __contains__(self, descriptor: str) -> bool:
        return descriptor in self._readers

    @property
    def several(self) -> bool:
        """Whether more than one stream has an energy or channels."""
        return len(self._parts) > 1

    def declare(self, descriptor: Mapping[str, Any]) -> bool:
        """Take a descriptor; True where it has an energy or channels, so that its documents are wanted."""
        name = descriptor.get("name", "primary")
        part = self._parts.get(name)
        if part is None:
            if self._given:
                return False
            found = partial_fields(descriptor, self._start, self._wanted)
            if found is None:
                return False
            part = self._parts[name] = _Part(found)
        self._readers[descriptor["uid"]] = (part, part.read_by(descriptor))
        if not self._given:
            self._form()
        return True

    def take(self, descriptor: str, page: Mapping[str, Any], time: Any, seq_num: Sequence[int]) -> Array:
        """(points, columns): energy (eV), the channels, time (s), sequence number of points now whole."""
        part, reader = self._readers[descriptor]
        times = (page.get("timestamps") or {}).get(part.fields[0])
        part.add(reader.take(page, time if times is None else times, seq_num))
        return self._ready()

    def announce(self, descriptor: str, resource: Mapping[str, Any], datum: Mapping[str, Any]) -> Array:
        """As `take`, of a stream_datum; raises as `ExternalColumns.announce`."""
        part, reader = self._readers[descriptor]
        if reader.external is not None:
            reader.external.announce(resource, datum)
            if self.joint is not None:  # no file is read for a run that may have no energy
                part.add(reader.ready())
        return self._ready()

    def finish(self) -> Array:
        """As `take`, when nothing follows."""
        if self.joint is None:
            return np.empty((0, 0))
        for part, reader in self._distinct:
            part.add(reader.ready(final=True))
        rows = self._ready(final=True)
        self._outside += len(self._lead.points.rows)
        return rows

    def remarks(self) -> list[str]:
        """What the user should know once the run is over: files not read, points left out."""
        if self.joint is None:
            return []
        said = [
            f"stream {reader.name!r}: {reader.external.trouble}"
            for _, reader in self._distinct
            if reader.external is not None and reader.external.trouble
        ]
        others = " and ".join(repr(part.name) for part in self._others)
        if self._outside:
            said.append(
                f"{self._outside} of {self._given + self._outside} points of stream {self._lead.name!r} lie "
                f"outside the times of {others} and are left out"
            )
            if not self._given:
                spans = "; ".join(part.span(self.joint.clocks[part.name]) for part in self._used)
                said.append(f"none could be joined. Is it one clock? {spans}")
        said += [
            f"{part.lost} points of stream {part.name!r} are left out: their time is none, or runs back"
            for part in self._used
            if part.lost
        ]
        return said

    @property
    def _distinct(self) -> list[tuple[_Part, StreamRows]]:
        return list({part.name: (part, reader) for part, reader in self._readers.values()}.values())

    @property
    def _lead(self) -> _Part:
        assert self.joint is not None
        return self._parts[self.joint.lead]

    @property
    def _used(self) -> list[_Part]:
        assert self.joint is not None
        return [self._parts[name] for name in self.joint.clocks]

    @property
    def _others(self) -> list[_Part]:
        return [part for part in self._used if part is not self._lead]

    def _settle(self) -> None:
        """Points have been given: no other stream can come in."""
        self._parts = {part.name: part for part in self._used}
        self._readers = {uid: pair for uid, pair in self._readers.items() if pair[0].name in self._parts}
        for part in self._parts.values():
            part.settle()

    def _form(self) -> None:
        try:
            self.joint = find_joint((part.found for part in self._parts.values()), self._wanted)
        except MappingError as error:
            self.joint, self.trouble = None, str(error)
            return
        for part in self._parts.values():
            part.date(self.joint.clocks.get(part.name), leads=part is self._lead)

    def _ready(self, *, final: bool = False) -> Array:
        """Join what can be joined now, and let go of what is not needed any more."""
        if self.joint is None:
            return np.empty((0, 0))
        lead, others, mapping = self._lead, self._others, self.joint.mapping
        columns = 3 + len(mapping.channels)
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
        rows[:, 0] = self._parts[self.joint.energy].at(mapping.energy or "", at, ready)
        for k, (role, name) in enumerate(mapping.channels.items()):
            rows[:, 1 + k] = self._parts[self.joint.channels[role]].at(name, at, ready)
        rows[:, -2:] = ready[:, -2:]
        if self.joint.clocks[lead.name]:
            dated = at >= _UNIX_S
            rows[dated, -2] = at[dated]
        if len(ready):
            for part in others:
                part.forget_before(float(at[-1]))
            if not self._given:
                self._settle()
            self._given += len(rows)
        return rows


class _Part:
    """One stream: its fields, and its points that are still needed.

    Columns of the points: the time that joins (s), the fields, the event's time (s), the sequence number.
    """

    def __init__(self, found: PartialFields) -> None:
        self.name = found.stream
        self.found = found
        names = [found.energy, *found.channels.values(), found.clock]
        self.fields = list(dict.fromkeys(name for name in names if name is not None))
        self._reader: StreamRows | None = None
        self._raw: list[Array] | None = []  # all points, while it may still change who leads
        self.date(None, leads=False)

    def read_by(self, descriptor: Mapping[str, Any]) -> StreamRows:
        """What reads its documents: one reader, also where the stream is declared again."""
        keys = descriptor["data_keys"]
        factors: dict[str, float] = {}
        clock, energy = self.found.clock, self.found.energy
        if clock is not None and clock in keys:
            factors[clock] = time_factor(keys[clock])
        if energy is not None and energy in keys:
            factors[energy] = energy_factor(descriptor, energy)
        if self._reader is None:
            self._reader = StreamRows(descriptor, self.fields)
        self._reader.factors = factors
        return self._reader

    def date(self, clock: str | None, *, leads: bool) -> None:
        """Begin anew with this field as the clock (None: the events' times)."""
        self._clock = self.fields.index(clock) if clock is not None else -2
        self._leads = leads
        self.points = _Points(len(self.fields) + 3)
        self.lost = 0
        self.oldest, self.newest = np.inf, -np.inf
        for rows in self._raw or ():
            self._admit(rows)

    def settle(self) -> None:
        """Who leads, and the clock, stay as they are."""
        self._raw = None

    def add(self, rows: Array) -> None:
        """Take rows as read."""
        if self._raw is not None and len(rows):
            self._raw.append(rows)
        self._admit(rows)

    def at(self, field: str, times: Array, own: Array) -> Array:
        """A field at these times: of `own` rows where the stream leads, else interpolated."""
        column = 1 + self.fields.index(field)
        if self._leads:
            return own[:, column]
        known = self.points.rows
        return np.interp(times, known[:, 0], known[:, column]) if len(times) else np.empty(0)

    def forget_before(self, time: float) -> None:
        """Let go of points that no later time is interpolated from."""
        self.points.drop(int(np.searchsorted(self.points.rows[:, 0], time, side="right")) - 1)

    def span(self, clock: str | None) -> str:
        """Which times it covers, in words."""
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


def _names(parts: Iterable[PartialFields]) -> str:
    fields = (f"{part.stream!r} ({', '.join(part.keys)})" for part in parts)
    return ", ".join(fields)
