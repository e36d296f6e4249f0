"""RunAssembler: the documents of one run in, its spectra out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError
from xas_live.callbacks.assembly.expected import Expectation, Planned, plan_of
from xas_live.callbacks.assembly.external import NoReaderError
from xas_live.callbacks.assembly.legacy import LegacyAssets, as_streams
from xas_live.callbacks.assembly.messages import Messages, mapping_chosen, no_spectra
from xas_live.callbacks.assembly.metadata import RunMetadata
from xas_live.callbacks.assembly.order import EventOrder
from xas_live.callbacks.assembly.rows import StreamRows, as_page
from xas_live.callbacks.assembly.scales import Conversion, energy_scale, temperature_scale
from xas_live.callbacks.assembly.spectra import Measured, measured_in, spectrum_of, with_absorber
from xas_live.callbacks.assembly.stream import SweepStream
from xas_live.callbacks.assembly.stream_fields import find_mapping
from xas_live.callbacks.assembly.sweeps import Sweep, SweepCutter, ends_of
from xas_live.callbacks.assembly.time_join import StreamJoin
from xas_live.flags import Flag
from xas_live.spectrum import Array, Spectrum

if TYPE_CHECKING:
    from event_model.documents import (
        Datum,
        DatumPage,
        Event,
        EventDescriptor,
        EventPage,
        Resource,
        RunStart,
        RunStop,
        StreamDatum,
        StreamResource,
    )

    from xas_live.callbacks.assembly.legacy import Translated

_EXPLAIN_AFTER = 50
"""Events that no spectrum can be made of, after which the user is told why."""


_NOT_COUNTING = "seq_num is the same at every event: they are taken in the order they came"


_AGAIN = "the end of the sweep, before some of its points came: this takes the place of what was given then"


SWEEP_DONE = "xas_live_sweep_done"
"""The stream whose events say that a sweep has ended: see `xas_live.plans.sweep_done`."""


_BESIDE = 5
"""Points at a turn that the sweep before or behind may have: a gap so near to a sweep may be its own."""


class _Lost(NamedTuple):
    """Events missing in a sweep, in words, and whether some lie before its beginning or behind its end."""

    notes: Sequence[str]
    at_an_end: bool


@dataclass(frozen=True)
class AssemblySettings:
    """How the runs of one assembler are read: see `SpectrumAssembler`."""

    mapping: ChannelMapping | None
    source: str
    tolerance: float
    whole_runs: bool


class RunAssembler:
    """Puts the points of one run together to sweeps of the energy axis.

    It has a method for each kind of document, as event_model's DocumentRouter does; each returns the spectra
    that the document completes. Pages stay pages. Documents of streams without energy or detectors are passed
    over.

    Parameters
    ----------
    start : start document of the run.
    settings : how to read it.
    messages : take lines for the user.
    started : False where the start document has not come: its sweeps are incomplete.

    Attributes
    ----------
    uid : of the run.
    points : number of points taken so far, of all streams.
    """

    def __init__(
        self, start: RunStart, settings: AssemblySettings, messages: Messages, *, started: bool = True
    ) -> None:
        self.uid = str(start["uid"])
        self.points = 0
        self._started = started
        self._start = start
        self._settings = settings
        self._messages = messages
        self._metadata = RunMetadata(start, settings.mapping)
        self._baseline: dict[str, EventDescriptor] = {}  # by uid
        self._streams: dict[str, SweepStream] = {}  # those that make spectra alone, by name
        self._by_descriptor: dict[str, SweepStream] = {}
        self._orders: dict[str, EventOrder] = {}  # by name of the stream
        self._order_of: dict[str, EventOrder] = {}  # by descriptor
        self._joined_lost = 0  # events of joined streams that were told to be lost
        self._early: dict[str, list[StreamDatum]] = {}  # by the stream resource that has not come
        self._latest: SweepStream | None = None  # the one that got the last point
        self._join: StreamJoin | None = None  # of streams none of which makes spectra alone
        self._joined: SweepStream | None = None
        self._events_joined = 0
        self._resources: dict[str, StreamResource] = {}
        self._legacy: LegacyAssets | None = None
        self._legacy_descriptors: dict[str, EventDescriptor] = {}  # as they came
        self._marks: list[float] = []  # times at which the plan has said that a sweep has ended (Unix, s)
        self._marking: set[str] = set()  # descriptors of the events that say so
        self._sweeps = 0
        self._reasons: list[str] = []  # why streams give no spectra
        self._explained = False

    def __call__(self, name: str, doc: Mapping[str, object]) -> list[Spectrum]:
        """Take one document by its name; documents of other names are passed over."""
        match name:
            case "event":
                return self.event(cast("Event", doc))
            case "event_page":
                return self.event_page(cast("EventPage", doc))
            case "stream_datum":
                return self.stream_datum(cast("StreamDatum", doc))
            case "datum":
                return self.datum(cast("Datum", doc))
            case "datum_page":
                return self.datum_page(cast("DatumPage", doc))
            case "stream_resource":
                return self.stream_resource(cast("StreamResource", doc))
            case "resource":
                return self.resource(cast("Resource", doc))
            case "descriptor":
                return self.descriptor(cast("EventDescriptor", doc))
            case "stop":
                return self.stop(cast("RunStop", doc))
        return []

    @property
    def growing(self) -> Spectrum | None:
        """The sweep that got the last point, as far as it is measured; None between sweeps."""
        stream = self._latest
        if stream is None or len(stream.cutter.open) < 2:
            return None
        return self._spectrum(stream, stream.cutter.open, self._sweeps, complete=False)

    @property
    def fragments(self) -> int:
        """Number of pieces too short to be a sweep that were kept out."""
        return sum(stream.cutter.fragments for stream in self._sweep_streams)

    @property
    def label(self) -> str:
        """Its scan id, else the first characters of its uid."""
        return self._metadata.label

    def fields_read(self, descriptor: str) -> frozenset[str] | None:
        """Return the fields of a stream that are read, by its descriptor; None where all may be."""
        if descriptor in self._baseline or descriptor in self._marking:
            return None
        stream = self._by_descriptor.get(descriptor)
        if stream is not None and stream.reader is not None:
            return frozenset(stream.reader.fields)
        if self._join is not None and descriptor in self._join:
            return self._join.fields_read(descriptor)
        return frozenset()

    def start_late(self, start: RunStart) -> None:
        """Take the start document after others: what it tells holds from now on."""
        self._start, self._metadata = start, RunMetadata(start, self._settings.mapping)
        self._started = True

    def descriptor(self, doc: EventDescriptor) -> list[Spectrum]:
        """Take the declaration of a stream: decide which of its fields make spectra."""
        original, doc = doc, as_streams(doc)
        if doc is not original:
            self._legacy_descriptors[doc["uid"]] = original
            if self._legacy is not None:
                self._legacy.descriptor(original)
        name = doc.get("name", "primary")
        wanted = self._settings.mapping
        if name == "baseline":
            self._baseline[doc["uid"]] = doc
        elif name == SWEEP_DONE:
            self._marking.add(doc["uid"])
        elif wanted is None or wanted.stream in (None, name):
            self._order_of[doc["uid"]] = self._orders.setdefault(name, EventOrder())
            self._declare(name, doc, wanted)
        return []

    def event(self, doc: Event) -> list[Spectrum]:
        """Take one event.

        Raises
        ------
        FieldError : when its fields do not have one length. Other points are not affected.
        """
        if self._legacy is not None and self._refers_to_datums(doc["descriptor"]):
            return self._take_translated(self._legacy.event(doc))
        return self._take_page(as_page(doc))

    def event_page(self, doc: EventPage) -> list[Spectrum]:
        """Take a page of events; raise as `event` does."""
        if self._legacy is not None and self._refers_to_datums(doc["descriptor"]):
            return self._take_translated(self._legacy.event_page(doc))
        return self._take_page(doc)

    def stream_resource(self, doc: StreamResource) -> list[Spectrum]:
        """Take the announcement of a file, and of rows in it that came before."""
        self._resources[doc["uid"]] = doc
        return [
            spectrum for datum in self._early.pop(doc["uid"], []) for spectrum in self.stream_datum(datum)
        ]

    def stream_datum(self, doc: StreamDatum) -> list[Spectrum]:
        """Take the announcement of rows in a file; read those that all fields have by now."""
        resource = self._resources.get(doc["stream_resource"])
        if resource is None:
            self._early.setdefault(doc["stream_resource"], []).append(doc)
            return []
        stream = self._by_descriptor.get(doc["descriptor"])
        try:
            if stream is None:
                if self._join is None or doc["descriptor"] not in self._join:
                    return []
                if (order := self._order_of.get(doc["descriptor"])) is not None:
                    order.numbers.add(doc["seq_nums"]["start"], doc["seq_nums"]["stop"] - 1)
                return self._cut_joined(self._join, self._join.announce(resource, doc))
            if stream.reader is None or stream.reader.external is None:
                return []
            stream.reader.external.announce(resource, doc)
        except NoReaderError as error:
            why = f"nothing reads {resource.get('mimetype')} of {resource['data_key']!r} ({error})"
            if why not in self._reasons:
                self._reasons.append(why)
            self._messages.tell_once(f"Run {self._metadata.label}: {why}.", subject=why)
            return []
        return self._cut(stream, stream.reader.ready())

    def resource(self, doc: Resource) -> list[Spectrum]:
        """Take the announcement of a file in the older way."""
        if self._legacy is None:
            self._legacy = LegacyAssets(self._start)
            for descriptor in self._legacy_descriptors.values():
                self._legacy.descriptor(descriptor)
        self._legacy.resource(doc)
        return []

    def datum(self, doc: Datum) -> list[Spectrum]:
        """Take the announcement of rows in a file in the older way."""
        return self._take_translated(self._legacy.datum(doc)) if self._legacy is not None else []

    def datum_page(self, doc: DatumPage) -> list[Spectrum]:
        """Take a page of such announcements."""
        return self._take_translated(self._legacy.datum_page(doc)) if self._legacy is not None else []

    def stop(self, doc: RunStop) -> list[Spectrum]:
        """End the run: give what is left, and tell the user what was left out."""
        succeeded = doc.get("exit_status", "success") == "success"
        return self._end(doc.get("num_events") or {}, succeeded=succeeded)

    def end_without_stop(self) -> list[Spectrum]:
        """End the run as `stop` does where no stop document has come: how far it went is not known."""
        spectra = self._end({}, succeeded=None)
        if spectra:
            self._messages.tell(f"Run {self.label}: no stop document has come, its last sweep is incomplete.")
        return spectra

    def _end(self, totals: Mapping[str, int], *, succeeded: bool | None) -> list[Spectrum]:
        """Give what is left; `totals` are the stop's counts, `succeeded` is None without a stop."""
        spectra: list[Spectrum] = []
        if self._legacy is not None:
            translated, lacking = self._legacy.finish()
            if lacking:
                what = f"{lacking} events refer to data in files that no datum announced"
                self._messages.tell(f"Run {self._metadata.label}: {what}")
            spectra += self._take_translated(translated)
        for uid in list(self._order_of):
            for page in self._order_of[uid].finish():
                spectra += self._take_in_order(page)
        if self._join is not None:
            spectra += self._cut_joined(self._join, self._join.finish())
            for remark in self._join.remarks():
                self._messages.tell(f"Run {self._metadata.label}, {remark}.")
        for stream in self._sweep_streams:
            spectra += self._finish(stream, totals, succeeded=succeeded)
        for name, order in self._orders_used.items():
            self._tell_order(name, order, totals.get(name, 0))
        if not self._streams and (self._join is None or self._join.plan is None):
            self._explain()
        return spectra

    @property
    def _sweep_streams(self) -> list[SweepStream]:
        return [*self._streams.values(), *([self._joined] if self._joined is not None else [])]

    @property
    def _orders_used(self) -> dict[str, EventOrder]:
        """The orders of the streams that sweeps are made of, by name."""
        joined = () if self._join is None or self._join.plan is None else self._join.plan.clocks
        return {
            name: order for name, order in self._orders.items() if name in self._streams or name in joined
        }

    # --- descriptors -------------------------------------------------------------------------------------

    def _declare(self, name: str, doc: EventDescriptor, wanted: ChannelMapping | None) -> None:
        """Read a stream alone if it has all that a spectrum needs, else keep it to be joined with others."""
        try:
            mapping = find_mapping(doc, self._start, wanted)
        except MappingError as error:
            self._reasons.append(str(error))
            may_be_joined = not self._streams and (wanted is None or wanted.stream is None)
            if may_be_joined and self._join_with_others(doc):
                return
            if name in ("primary", wanted.stream if wanted is not None else None):
                self._explain()
            return
        self._join = self._joined = None
        scale = energy_scale(doc, mapping)
        conversions: dict[str, Conversion] = {mapping.energy or "": scale}
        if mapping.temperature is not None:
            in_kelvin = temperature_scale(doc["data_keys"][mapping.temperature], mapping.temperature_unit)
            conversions |= {mapping.temperature: in_kelvin} if in_kelvin is not None else {}
        stream = self._streams.get(name)
        if stream is not None and stream.mapping == mapping and stream.reader is not None:
            stream.reader.conversions = conversions  # declared again: the same sweep goes on
        else:
            reader = StreamRows(doc, [mapping.energy or "", *mapping.fields], conversions)
            expected = self._expectation(name, scale)
            stream = self._streams[name] = self._sweep_stream(name, mapping, reader, scale.unit, expected)
            stream.order = self._orders[name]
        self._by_descriptor[doc["uid"]] = stream
        self._tell_mapping(mapping, scale.unit, [name])

    def _expectation(self, name: str, in_ev: Conversion) -> Expectation:
        """Return where the sweeps of a stream are expected to end; the plan tells of its own stream only."""
        plan = plan_of(self._start)
        if name != plan.stream:
            return Expectation()
        planned = [Planned(energy, ends_of(energy)) for energy in map(in_ev, plan.axes)]
        return Expectation(plan.points, planned)

    def _join_with_others(self, doc: EventDescriptor) -> bool:
        """Keep a stream to be joined with others; return False where it has no part of a spectrum."""
        if self._join is None:
            self._join = StreamJoin(self._start, self._settings.mapping)
        return self._join.declare(doc)

    def _sweep_stream(
        self,
        name: str,
        mapping: ChannelMapping,
        reader: StreamRows | None,
        energy_unit: str,
        expected: Expectation | None = None,
    ) -> SweepStream:
        cutter = SweepCutter(
            3 + len(mapping.fields),
            self._settings.tolerance,
            whole=self._settings.whole_runs,
            expected=expected,
        )
        return SweepStream(name, mapping, reader, cutter, energy_unit, marks=list(self._marks))

    # --- points ------------------------------------------------------------------------------------------

    def _take_page(self, page: EventPage) -> list[Spectrum]:
        """Return the spectra that events of any stream complete, once they are in order."""
        order = self._order_of.get(page["descriptor"])
        if order is None:
            return self._take_in_order(page)
        return [spectrum for due in order.take(page) for spectrum in self._take_in_order(due)]

    def _take_in_order(self, page: EventPage) -> list[Spectrum]:
        """Return the spectra that events of any stream complete."""
        descriptor = page["descriptor"]
        stream = self._by_descriptor.get(descriptor)
        if stream is not None and stream.reader is not None:
            return self._cut(stream, stream.reader.take(page))
        if descriptor in self._marking:
            return self._take_marks(page["time"])
        if descriptor in self._baseline:
            self._metadata.read_baseline(self._baseline[descriptor], page)
        elif self._join is not None and descriptor in self._join:
            self._events_joined += len(page["seq_num"])
            if self._join.plan is None and self._events_joined > _EXPLAIN_AFTER:
                self._explain()
            return self._cut_joined(self._join, self._join.take(page))
        return []

    def _refers_to_datums(self, descriptor: str) -> bool:
        """Return whether events of this descriptor hold references to datums in fields that are read."""
        if descriptor not in self._legacy_descriptors:
            return False
        if self._join is not None and descriptor in self._join:
            return True
        stream = self._by_descriptor.get(descriptor)
        return stream is not None and stream.reader is not None and stream.reader.external is not None

    def _take_translated(self, documents: Sequence[Translated]) -> list[Spectrum]:
        """Return the spectra that stream documents complete which were translated from older ones."""
        spectra: list[Spectrum] = []
        for name, doc in documents:
            match name:
                case "event":
                    spectra += self._take_page(as_page(cast("Event", doc)))
                case "stream_resource":
                    spectra += self.stream_resource(cast("StreamResource", doc))
                case "stream_datum":
                    spectra += self.stream_datum(cast("StreamDatum", doc))
        return spectra

    def _cut(self, stream: SweepStream, rows: Array) -> list[Spectrum]:
        """Return the spectra that these rows complete."""
        if not len(rows):
            return []
        self.points += len(rows)
        self._latest = stream
        rows = self._without_zeros(stream, rows)
        if stream.order is not None and stream.reader is not None and stream.reader.external is not None:
            stream.order.add_rows(rows[:, -1])
        spectra = [self._finished(stream, sweep) for sweep in stream.append(rows)]
        if stream.cutter.goes_on:
            self._tell_again(stream)
        return spectra

    def _take_marks(self, times: Sequence[float]) -> list[Spectrum]:
        """Return the spectra of the sweeps that a plan has said to have ended by these times (Unix, s)."""
        self._marks += times
        return [
            self._finished(stream, sweep)
            for time in times
            for stream in self._sweep_streams
            for sweep in stream.mark(time)
        ]

    def _without_zeros(self, stream: SweepStream, rows: Array) -> Array:
        """Return the rows without those that are zero throughout, which fill up arrays."""
        zero = rows[:, 0] == 0.0
        if not zero.any():
            return rows
        rows = rows.copy()
        rows[zero, 0] = np.nan
        padding = zero & (rows[:, 1 : 1 + len(stream.mapping.counters)] == 0.0).all(axis=1)
        stream.zeros += int(padding.sum())
        return rows[~padding]

    def _cut_joined(self, join: StreamJoin, rows: Array) -> list[Spectrum]:
        """Return the spectra that points of several streams complete."""
        if not len(rows) or join.plan is None:
            return []
        if self._joined is None:
            mapping = join.plan.mapping
            self._joined = self._sweep_stream(join.plan.lead, mapping, None, join.energy_unit)
            self._tell_mapping(mapping, join.energy_unit, list(join.plan.clocks))
        return self._cut(self._joined, rows)

    def _finish(
        self, stream: SweepStream, totals: Mapping[str, int], *, succeeded: bool | None
    ) -> list[Spectrum]:
        """Return the spectra that the end of the run completes in one stream, the last as far as it went."""
        spectra: list[Spectrum] = []
        if stream.reader is not None:
            spectra += self._cut(stream, stream.reader.ready(final=True))
            if stream.reader.external is not None and (trouble := stream.reader.external.trouble):
                self._messages.tell(f"Run {self._metadata.label}, stream {stream.name!r}: {trouble}")
        finished, last = stream.cutter.finish()
        spectra += [self._finished(stream, sweep) for sweep in finished]
        if last is not None:
            complete = succeeded is not None and stream.is_whole(last.rows, succeeded=succeeded)
            spectra.append(self._finished(stream, last, totals, complete=complete))
        return spectra

    def _finished(
        self,
        stream: SweepStream,
        sweep: Sweep,
        totals: Mapping[str, int] | None = None,
        *,
        complete: bool = True,
    ) -> Spectrum:
        """Return the spectrum of a sweep that has ended; of the last one, `totals` are the stop's counts."""
        rows = sweep.rows
        if not sweep.again:
            stream.index = self._sweeps
            self._sweeps += 1
        lost = self._lost(stream, rows, totals)
        notes = (
            [*lost.notes]
            if self._started
            else ["the start document of the run, which has not come", *lost.notes]
        )
        if stream.zeros:
            notes.append(f"{stream.zeros} points of the run so far, which are zero throughout")
        if lost.notes:
            subject = f"lost in {self.uid}"
            self._messages.tell_once(f"Run {self._metadata.label}: {', '.join(lost.notes)}.", subject=subject)
        complete = complete and self._started and not lost.at_an_end
        flags = [Flag.DOCUMENTS_LOST] if lost.notes else []
        guessed = [_AGAIN] if sweep.again else []
        spectrum = self._spectrum(
            stream, rows, stream.index, complete=complete, guessed=guessed, left_out=notes, flags=flags
        )
        if sweep.again:
            self._tell_again(stream)
        if not lost.at_an_end:
            stream.count(rows)
        return with_absorber(spectrum)

    def _spectrum(
        self,
        stream: SweepStream,
        rows: Array,
        index: int,
        *,
        complete: bool,
        guessed: Sequence[str] = (),
        left_out: Sequence[str] = (),
        flags: Sequence[str] = (),
    ) -> Spectrum:
        measured = measured_in(rows, stream.mapping, as_measured=self._settings.whole_runs)
        if complete:
            self._tell_measured(stream, measured)
        provenance = self._metadata.provenance(
            self._settings.source,
            stream.name,
            index,
            float(rows[-1, -2]),
            self._read(stream, measured, guessed, left_out),
            measured.signals,
        )
        return spectrum_of(
            measured, stream.mapping, self._metadata, provenance, complete=complete, flags=flags
        )

    def _lost(self, stream: SweepStream, rows: Array, totals: Mapping[str, int] | None) -> _Lost:
        """Return which events are missing in a sweep, or beside it."""
        if stream.order is None:
            return self._lost_of_joined(totals or {})
        numbers, first, last = stream.order.numbers, int(rows[:, -1].min()), int(rows[:, -1].max())
        total = (totals or {}).get(stream.name, 0)
        gaps = numbers.missing(min(1, first), max(numbers.last, total))
        gaps = [gap for gap in gaps if gap[0] <= last + _BESIDE and gap[1] >= first - _BESIDE]
        return _Lost(_gaps_in_words(gaps), any(gap[0] < first or gap[1] > last for gap in gaps))

    def _lost_of_joined(self, totals: Mapping[str, int]) -> _Lost:
        """Return how many events of joined streams are missing that were not told before."""
        count = 0
        for name, order in self._orders_used.items():
            gaps = order.numbers.missing(1, max(order.numbers.last, totals.get(name, 0)))
            count += sum(last - first + 1 for first, last in gaps)
        if self._join is not None:
            count += self._join.lost
        new, self._joined_lost = count - self._joined_lost, max(count, self._joined_lost)
        return _Lost([f"{new} events of the streams joined, which are lost"] if new > 0 else [], False)

    def _read(
        self, stream: SweepStream, measured: Measured, guessed: Sequence[str], left_out: Sequence[str]
    ) -> Mapping[str, object]:
        """Return what was understood of a stream, or of its file: see `Provenance.read`."""
        if self._metadata.read:
            return self._metadata.read
        return {
            "channels": {"energy": stream.mapping.energy, **measured.said},
            "named_by": "the mapping"
            if self._is_given(stream.mapping)
            else "names, units and hints of the fields",
            "energy_unit": stream.energy_unit,
            "guessed": [
                *stream.mapping.remarks,
                *([] if stream.order is None or stream.order.counting else [_NOT_COUNTING]),
                *guessed,
            ],
            "left_out": [*(f"{name}: {why}" for name, why in measured.left_out.items()), *left_out],
        }

    def _is_given(self, mapping: ChannelMapping) -> bool:
        """Return whether the user has named the energy and all channels of a mapping."""
        wanted = self._settings.mapping
        return (
            wanted is not None and bool(wanted.energy) and wanted.channels.keys() == mapping.channels.keys()
        )

    def _tell_order(self, name: str, order: EventOrder, total: int) -> None:
        """Tell the user which events of a stream are lost, and whether some came again."""
        where = f"Run {self._metadata.label}, stream {name!r}"
        gaps = order.numbers.missing(1, max(order.numbers.last, total))
        for words in _gaps_in_words(gaps):
            self._messages.tell(f"{where}: {words}.")
        if order.repeated:
            self._messages.tell(f"{where}: {order.repeated} events came again, and change nothing.")
        if order.late:
            self._messages.tell(f"{where}: {order.late} of them came too late, and are left out.")
        if not order.counting:
            self._messages.tell(f"{where}: {_NOT_COUNTING}.")

    # --- messages ----------------------------------------------------------------------------------------

    def _tell_mapping(self, mapping: ChannelMapping, energy_unit: str, streams: Sequence[str]) -> None:
        """Tell the user which fields were chosen, unless all were given, each by its name."""
        plain = all(isinstance(names, str) for names in mapping.channels.values())
        if not (plain and self._is_given(mapping)):
            self._messages.tell_once(mapping_chosen(mapping, streams, energy_unit))

    def _tell_again(self, stream: SweepStream) -> None:
        """Tell the user that what was said of the last sweep of a stream does not hold."""
        text = (
            f"Run {self.label}: more points of sweep {stream.index} have come after its expected end, or "
            "some were measured again. What was said of it does not hold; it is judged again when it ends."
        )
        self._messages.tell_once(text, subject=f"again {self.uid} {stream.index}")

    def _tell_measured(self, stream: SweepStream, measured: Measured) -> None:
        """Tell the user which elements do not count, and what is in no stream; each once a run."""
        for name, why in measured.left_out.items():
            text = f"Run {self.label}: {name} is left out of its sum, for {why}."
            self._messages.tell_once(text, subject=f"{self.uid} {name}")
        wanted = self._settings.mapping or ChannelMapping()
        beside = [*([wanted.temperature] if wanted.temperature else []), *wanted.signals]
        there = {*stream.mapping.fields, *self._metadata.found}
        if absent := [name for name in beside if name not in there]:
            names = ", ".join(map(repr, absent))
            self._messages.tell_once(
                f"Run {self.label}: {names} not found beside the energy or in the baseline, or not in a unit "
                "that is understood (temperature_unit='K' or 'degC' says it).",
                subject=f"{self.uid} {names}",
            )

    def _explain(self) -> None:
        """Tell the user why the run gives no spectra; each reason once, for many runs scan motors only."""
        if self._explained:
            return
        self._explained = True
        why = self._reasons[0] if self._reasons else "it has no stream with an energy"
        if self._join is not None and self._join.several:
            why = self._join.trouble
        self._messages.tell_once(no_spectra(self._metadata.label, why), subject=why)


def _gaps_in_words(gaps: Sequence[tuple[int, int]]) -> list[str]:
    """Say how many events are lost, and which; nothing where there are none."""
    if not gaps:
        return []
    count = sum(last - first + 1 for first, last in gaps)
    shown = ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in gaps[:5])
    more = f" and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
    return [f"{count} events are lost (seq_num {shown}{more})"]
