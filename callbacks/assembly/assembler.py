"""SpectrumAssembler: Bluesky documents in, spectra out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xas_live.callbacks.assembly.absorber import absorber_from_energies, absorber_from_metadata
from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError, energy_factor, find_mapping
from xas_live.callbacks.assembly.joined import JoinedStreams
from xas_live.callbacks.assembly.legacy import LegacyAssets, as_streams
from xas_live.callbacks.assembly.rows import StreamRows, as_page, number
from xas_live.callbacks.assembly.sweeps import TOLERANCE_EV, SweepCutter
from xas_live.spectrum import Array, Provenance, Spectrum

logger = logging.getLogger("xas_live")

_KEPT = ("sample", "sample_name", "truth", "plan_name", "temperature", "purpose", "comment")
_TEMPERATURE = ("temperature", "temperature_k", "sample_temperature")
_COUNTED = ("i0", "it", "ir", "iff")
_PATIENCE = 50  # events without a spectrum in sight, after which the user is told why
_WHOLE = 0.9
"""A last sweep over less than this share of the energies of those before it was cut short."""


class SpectrumAssembler:
    """Puts the points of runs together to sweeps of the energy axis.

    Call it with documents of any number of runs, interleaved or not; it returns the spectra that each
    document completes. A sweep ends where the energy turns or jumps back, or with the run. Sweeps measured
    downwards are returned ascending. Values missing or not filled are NaN.

    Energy and channels are read from one stream that has both; where none has, from several, joined by time.
    Values may come with events, stand in files announced by stream_resource and stream_datum, or by the
    older resource and datum.

    Parameters
    ----------
    mapping : which fields to use; what it leaves out is guessed, see `ChannelMapping`.
    source : written to the provenance of the spectra.
    tolerance : how far the energy may run back without turning (eV).
    whole_runs : every run is one sweep, whatever its energies do, its points in the order measured (turned
        round where the scan ran downwards): the quality checks then name energies out of order.
    say : takes lines for the user, each once: the mapping guessed, and why a run gives no spectra. Default:
        the log "xas_live".

    Attributes
    ----------
    fragments : pieces too short to be a sweep (under 5 points, or no way made) that were kept out.

    Examples
    --------
    >>> assembler = SpectrumAssembler()
    >>> spectra = [s for name, doc in documents for s in assembler(name, doc)]
    """

    def __init__(
        self,
        mapping: ChannelMapping | None = None,
        *,
        source: str = "live",
        tolerance: float = TOLERANCE_EV,
        whole_runs: bool = False,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self.mapping = mapping
        self.source = source
        self.tolerance = tolerance
        self.whole_runs = whole_runs
        self.fragments = 0
        self._say = say
        self._said: set[str] = set()
        self._runs: dict[str, _Run] = {}
        self._streams: dict[str, tuple[_Run, _Stream]] = {}
        self._joining: dict[str, _Run] = {}  # by descriptors whose streams may be joined
        self._resources: dict[str, _Run] = {}  # by older resources
        self._latest: tuple[_Run, _Stream] | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> list[Spectrum]:
        """Take one document and return the spectra that it completes, in the order measured.

        Raises
        ------
        ValueError : when the channels of an event do not have one length. Other points are not affected.
        """
        if self._resources and name in ("event", "event_page", "datum", "datum_page"):
            run = self._older_run(name, doc)
            if run is not None and run.older is not None:
                return [spectrum for pair in run.older(name, doc) for spectrum in self._take(*pair)]
        return self._take(name, doc)

    def _take(self, name: str, doc: Mapping[str, Any]) -> list[Spectrum]:
        if name == "event":
            return self._rows(doc, single=True)
        if name == "event_page":
            return self._rows(doc, single=False)
        if name == "stream_datum":
            return self._datum(doc)
        if name == "resource":
            self._older_resource(doc)
        elif name == "stream_resource":
            if (run := self._runs.get(doc.get("run_start", ""))) is not None:
                run.resources[doc["uid"]] = doc
        elif name == "start":
            self._runs[doc["uid"]] = _Run(doc)
        elif name == "descriptor":
            self._descriptor(doc)
        elif name == "stop":
            return self._stop(doc)
        return []

    @property
    def growing(self) -> Spectrum | None:
        """The sweep that got the last point, as far as it is measured; None between sweeps."""
        if self._latest is None:
            return None
        run, stream = self._latest
        rows = stream.cutter.open
        if len(rows) < 2:
            return None
        return self._spectrum(run, stream, rows, index=run.sweeps, complete=False, guess=False)

    def _descriptor(self, doc: Mapping[str, Any]) -> None:
        run = self._runs.get(doc["run_start"])
        if run is None:
            return
        original, doc = doc, as_streams(doc)
        if doc is not original:
            run.older_descriptors[doc["uid"]] = original
            if run.older is not None:
                run.older("descriptor", original)
        name = doc.get("name", "primary")
        if name == "baseline":
            run.baseline[doc["uid"]] = doc
            self._streams[doc["uid"]] = (run, self._stream(doc, None))
            return
        wanted = self.mapping
        if wanted is not None and wanted.stream not in (None, name):
            return
        try:
            mapping = find_mapping(doc, run.start, wanted)
        except MappingError as error:
            run.reasons.append(str(error))
            if not run.streams and (wanted is None or wanted.stream is None) and run.join(doc, wanted):
                self._joining[doc["uid"]] = run
            elif name in ("primary", wanted.stream if wanted else None):
                self._explain(run)
            return
        self._part_streams(run)
        known = run.streams.get(name)
        if known is not None and known.mapping == mapping:  # declared again: the same sweep goes on
            stream = known
            if stream.reader is not None:
                stream.reader.factors = _reader(doc, mapping).factors
        else:
            stream = run.streams[name] = self._stream(doc, mapping)
        self._streams[doc["uid"]] = (run, stream)
        self._announce(mapping, energy_factor(doc, mapping.energy or ""), [name])

    def _stream(self, descriptor: Mapping[str, Any], mapping: ChannelMapping | None) -> _Stream:
        reader = _reader(descriptor, mapping) if mapping is not None else None
        return _Stream(descriptor.get("name", "primary"), mapping, reader, self._cutter(mapping))

    def _cutter(self, mapping: ChannelMapping | None) -> SweepCutter:
        columns = 3 + len(mapping.channels) if mapping is not None else 3
        return SweepCutter(columns, self.tolerance, whole=self.whole_runs)

    def _part_streams(self, run: _Run) -> None:
        """One stream has everything: the run's streams are not joined."""
        run.joined = run.joint = None
        self._joining = {uid: other for uid, other in self._joining.items() if other is not run}

    def _rows(self, doc: Mapping[str, Any], *, single: bool) -> list[Spectrum]:
        """Take an event (`single`) or an event page."""
        time, seq_num = ([doc["time"]], [doc["seq_num"]]) if single else (doc["time"], doc["seq_num"])
        run, stream = self._streams.get(doc["descriptor"], (None, None))
        if run is None or stream is None:
            run = self._joining.get(doc["descriptor"])
            if run is None or run.joined is None:
                return []
            page = as_page(doc, ("data", "filled", "timestamps")) if single else doc
            run.waited += len(seq_num)
            if run.joined.joint is None and run.waited > _PATIENCE:
                self._explain(run)
            return self._joined(run, run.joined.take(doc["descriptor"], page, time, seq_num))
        page = as_page(doc) if single else doc
        if stream.reader is None:
            run.read_baseline(doc["descriptor"], page["data"])
            return []
        return self._cut(run, stream, stream.reader.take(page, time, seq_num))

    def _datum(self, doc: Mapping[str, Any]) -> list[Spectrum]:
        run, stream = self._streams.get(doc["descriptor"], (None, None))
        run = run or self._joining.get(doc["descriptor"])
        resource = run.resources.get(doc["stream_resource"]) if run is not None else None
        if run is None or resource is None:
            return []
        try:
            if stream is None:
                assert run.joined is not None
                return self._joined(run, run.joined.announce(doc["descriptor"], resource, doc))
            if stream.reader is None or stream.reader.external is None:
                return []
            stream.reader.external.announce(resource, doc)
        except (KeyError, ValueError, NotImplementedError) as error:
            run.reasons.append(
                f"nothing reads {resource.get('mimetype')} of {resource['data_key']!r} ({error})"
            )
            return []
        return self._cut(run, stream, stream.reader.ready())

    def _cut(self, run: _Run, stream: _Stream, rows: Array) -> list[Spectrum]:
        """The spectra that these rows complete."""
        if not len(rows):
            return []
        self._latest = (run, stream)
        return [self._finished(run, stream, sweep) for sweep in stream.cutter.append(rows)]

    def _joined(self, run: _Run, rows: Array) -> list[Spectrum]:
        """The spectra that points of several streams complete."""
        if not len(rows):
            return []
        if run.joint is None:
            assert run.joined is not None
            assert run.joined.joint is not None
            mapping = run.joined.joint.mapping
            run.joint = _Stream(mapping.stream or "", mapping, None, self._cutter(mapping))
            self._announce(mapping, 1.0, list(run.joined.joint.clocks))
        return self._cut(run, run.joint, rows)

    def _older_resource(self, doc: Mapping[str, Any]) -> None:
        run = self._runs.get(doc.get("run_start", ""))
        if run is None:
            return
        if run.older is None:
            run.older = LegacyAssets(run.start)
            for descriptor in run.older_descriptors.values():
                run.older("descriptor", descriptor)
        run.older("resource", doc)
        self._resources[doc["uid"]] = run

    def _older_run(self, name: str, doc: Mapping[str, Any]) -> _Run | None:
        """The run that a datum, or an event with references to datums, belongs to."""
        if name in ("datum", "datum_page"):
            return self._resources.get(doc["resource"])
        run, stream = self._streams.get(doc["descriptor"], (self._joining.get(doc["descriptor"]), None))
        if run is None or doc["descriptor"] not in run.older_descriptors:
            return None
        in_files = stream is None or (stream.reader is not None and stream.reader.external is not None)
        return run if in_files else None

    def _stop(self, doc: Mapping[str, Any]) -> list[Spectrum]:
        run = self._runs.get(doc["run_start"])
        if run is None:
            return []
        spectra: list[Spectrum] = []
        if run.older is not None:
            spectra += self._older_stop(run)
        if run.joined is not None:
            spectra += self._joined(run, run.joined.finish())
            for remark in run.joined.remarks():
                self._say(f"Run {run.label}, {remark}.")
        for stream in [*run.streams.values(), *([run.joint] if run.joint is not None else [])]:
            if stream.reader is not None:
                spectra += self._cut(run, stream, stream.reader.ready(final=True))
                if stream.reader.external is not None and stream.reader.external.trouble:
                    self._say(f"Run {run.label}, stream {stream.name!r}: {stream.reader.external.trouble}")
            finished, last = stream.cutter.finish()
            spectra += [self._finished(run, stream, rows) for rows in finished]
            if last is not None:
                complete = stream.is_whole(last, succeeded=doc.get("exit_status", "success") == "success")
                spectra.append(self._finished(run, stream, last, complete=complete))
            self.fragments += stream.cutter.fragments
        if not run.streams and (run.joined is None or run.joined.joint is None):
            self._explain(run)
        del self._runs[doc["run_start"]]
        self._part_streams(run)
        self._resources = {uid: other for uid, other in self._resources.items() if other is not run}
        self._streams = {uid: pair for uid, pair in self._streams.items() if pair[0] is not run}
        if self._latest is not None and self._latest[0] is run:
            self._latest = None
        return spectra

    def _older_stop(self, run: _Run) -> list[Spectrum]:
        """What events that waited for their datums give at the end of the run."""
        assert run.older is not None
        given, lacking = run.older.finish()
        if lacking:
            self._say(f"Run {run.label}: {lacking} events refer to data in files that no datum announced")
        return [spectrum for pair in given for spectrum in self._take(*pair)]

    def _finished(self, run: _Run, stream: _Stream, rows: Array, *, complete: bool = True) -> Spectrum:
        index, run.sweeps = run.sweeps, run.sweeps + 1
        stream.widest = max(stream.widest, _width(rows))
        return self._spectrum(run, stream, rows, index=index, complete=complete, guess=True)

    def _spectrum(
        self, run: _Run, stream: _Stream, rows: Array, *, index: int, complete: bool, guess: bool
    ) -> Spectrum:
        mapping = stream.mapping
        assert mapping is not None
        time = float(rows[-1, -2])
        ordered = _turned_up(rows) if self.whole_runs else _sorted(rows)
        columns = {role: ordered[:, 1 + k] for k, role in enumerate(mapping.channels)}
        element = mapping.element or run.element
        edge = mapping.edge or run.edge
        offset = mapping.up_offset
        if mapping.down_offset != offset and _downwards(rows):
            offset = mapping.down_offset
        spectrum = Spectrum.from_counts(
            ordered[:, 0] + offset,
            {role: values for role, values in columns.items() if role in _COUNTED},
            mode=mapping.mode,
            mu=columns.get("mu"),
            reference=columns.get("reference"),
            dark=mapping.dark,
            element=element,
            edge=edge,
            complete=complete,
            temperature=run.temperature,
            provenance=run.provenance(self.source, stream.name, index, time),
        )
        if guess and (element is None or edge is None):
            unnamed = element is None and edge is None
            element, edge = absorber_from_energies(spectrum.energy, spectrum.mu, element, edge)
            spectrum = replace(spectrum, element=element, edge=edge, absorber_guessed=unnamed)
        return spectrum

    def _announce(self, mapping: ChannelMapping, factor: float, streams: Sequence[str]) -> None:
        wanted = self.mapping or ChannelMapping()
        if wanted.energy and wanted.channels:
            return
        roles = ", ".join(f"{role} = {name}" for role, name in mapping.channels.items())
        unit = "keV" if factor != 1.0 else "eV"
        where = f"Stream {streams[0]!r}"
        if len(streams) > 1:
            where = f"Streams {' and '.join(map(repr, streams))} joined by time"
        example = replace(mapping, mode=None, stream=None)
        self._say_once(
            f"{where}, {mapping.mode}: energy = {mapping.energy} ({unit}), {roles}. "
            f"Not right? Change and give mapping={example}"
        )

    def _explain(self, run: _Run) -> None:
        if run.explained:
            return
        run.explained = True
        why = run.reasons[0] if run.reasons else "it has no stream with an energy"
        if run.joined is not None and run.joined.several:
            why = run.joined.trouble
        if why in self._said:  # motor scans and counts come by the dozen
            return
        self._said.add(why)
        self._say(
            f"Run {run.label} gives no spectra: {why}. If it should, name the fields: "
            f"mapping=ChannelMapping(energy='...', i0='...', it='...')."
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class _Run:
    """What is known of one open run."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.start = start
        self.streams: dict[str, _Stream] = {}
        self.resources: dict[str, Mapping[str, Any]] = {}
        self.baseline: dict[str, Mapping[str, Any]] = {}
        self.joined: JoinedStreams | None = None
        self.joint: _Stream | None = None  # the sweeps of the joined streams
        self.waited = 0
        self.older: LegacyAssets | None = None
        self.older_descriptors: dict[str, Mapping[str, Any]] = {}
        self.sweeps = 0
        self.reasons: list[str] = []
        self.explained = False
        self.element, self.edge = absorber_from_metadata(start)
        self.temperature = _temperature_of(start)
        self.label = str(start.get("scan_id") or start["uid"][:8])

    def join(self, descriptor: Mapping[str, Any], wanted: ChannelMapping | None) -> bool:
        """Whether a stream has a part of what makes a spectrum, and is kept to be joined with others."""
        self.joined = self.joined or JoinedStreams(self.start, wanted)
        return self.joined.declare(descriptor)

    def provenance(self, source: str, stream: str, sweep: int, time: float) -> Provenance:
        scan_id = self.start.get("scan_id")
        return Provenance(
            source=source,
            scan=self.label,
            run_uid=self.start["uid"],
            scan_id=scan_id if isinstance(scan_id, int) else None,
            stream=stream,
            sweep=sweep,
            time=time,
            metadata={key: self.start[key] for key in _KEPT if key in self.start},
        )

    def read_baseline(self, descriptor: str, data: Mapping[str, Any]) -> None:
        """Take the sample's temperature from the first reading of the baseline, if nothing else gave it."""
        keys = self.baseline[descriptor]["data_keys"]
        for name in sorted(data):
            about_sample = name.lower() in _TEMPERATURE or name.lower().endswith("sample_temperature")
            if self.temperature is None and about_sample and len(data[name]):
                value = number(data[name][0])
                unit = str(keys.get(name, {}).get("units") or "K").lower()
                celsius = unit.removeprefix("deg").strip(" °") in ("c", "celsius")
                self.temperature = None if np.isnan(value) else value + (273.15 if celsius else 0.0)


def _reader(descriptor: Mapping[str, Any], mapping: ChannelMapping) -> StreamRows:
    """What reads energy (eV) and channels of one stream."""
    energy = mapping.energy or ""
    fields = [energy, *mapping.channels.values()]
    return StreamRows(descriptor, fields, {energy: energy_factor(descriptor, energy)})


class _Stream:
    """One stream of a run, or several joined: how to read it, and the sweep being measured."""

    def __init__(
        self, name: str, mapping: ChannelMapping | None, reader: StreamRows | None, cutter: SweepCutter
    ) -> None:
        self.name = name
        self.mapping = mapping
        self.reader = reader
        self.cutter = cutter
        self.widest = 0.0

    def is_whole(self, last: Array, *, succeeded: bool) -> bool:
        """Whether the last sweep went as far as those before it, or the run's only one succeeded."""
        if self.widest == 0.0:
            return succeeded
        return _width(last) >= self.widest * (_WHOLE if succeeded else 0.98)


def _width(rows: Array) -> float:
    """eV from the lowest to the highest energy."""
    return float(np.fmax.reduce(rows[:, 0]) - np.fmin.reduce(rows[:, 0]))


def _sorted(rows: Array) -> Array:
    """The rows by ascending energy, NaN last."""
    energy = rows[:, 0]
    return rows if np.all(energy[1:] >= energy[:-1]) else rows[np.argsort(energy, kind="stable")]


def _downwards(rows: Array) -> bool:
    """Whether the energy falls on the whole, noise or not."""
    energy = rows[np.isfinite(rows[:, 0]), 0]
    when = np.arange(len(energy)) - (len(energy) - 1) / 2
    return bool(when @ energy < 0)


def _turned_up(rows: Array) -> Array:
    """The rows as measured, or backwards where most steps of the energy go down."""
    energy = rows[np.isfinite(rows[:, 0]), 0]
    return rows[::-1] if np.sign(np.diff(energy)).sum() < 0 else rows


def _temperature_of(start: Mapping[str, Any]) -> float | None:
    """The sample's temperature (K) that a start document gives, at its top or under `sample`."""
    for place in (start, start.get("sample")):
        if isinstance(place, Mapping):
            for key, value in place.items():
                kelvin = number(value) if str(key).lower() in _TEMPERATURE else float("nan")
                if np.isfinite(kelvin):
                    return kelvin
    return None
