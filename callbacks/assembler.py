"""SpectrumAssembler: Bluesky documents in, spectra out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xas_live.callbacks.absorber import absorber_from_energies, absorber_from_metadata
from xas_live.callbacks.channels import ChannelMapping, MappingError, energy_factor, find_mapping
from xas_live.callbacks.external import ExternalColumns
from xas_live.callbacks.sweeps import TOLERANCE_EV, SweepCutter
from xas_live.spectrum import Array, Provenance, Spectrum

logger = logging.getLogger("xas_live")

_KEPT = ("sample", "sample_name", "truth", "plan_name", "temperature", "purpose", "comment")
_TEMPERATURE = ("temperature", "temperature_k", "sample_temperature")
_COUNTED = ("i0", "it", "ir", "iff")
_WHOLE = 0.9
"""A last sweep over less than this share of the energies of those before it was cut short."""


class SpectrumAssembler:
    """Puts the points of runs together to sweeps of the energy axis.

    Call it with documents of any number of runs, interleaved or not; it returns the spectra that each
    document completes. A sweep ends where the energy turns or jumps back, or with the run. Sweeps measured
    downwards are returned ascending. Values missing or not filled are NaN.

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
        self._latest: tuple[_Run, _Stream] | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> list[Spectrum]:
        """Take one document and return the spectra that it completes, in the order measured.

        Raises
        ------
        ValueError : when the channels of an event do not have one length. Other points are not affected.
        """
        if name == "event":
            return self._rows(doc, [doc["time"]], [doc["seq_num"]], _as_page(doc))
        if name == "event_page":
            return self._rows(doc, doc["time"], doc["seq_num"], doc)
        if name == "stream_datum":
            return self._datum(doc)
        if name == "stream_resource":
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
            if name in ("primary", wanted.stream if wanted else None):
                self._explain(run)
            return
        known = run.streams.get(name)
        if known is not None and known.mapping == mapping:  # declared again: the same sweep goes on
            stream = known
            stream.factor = energy_factor(doc, mapping.energy or "")
        else:
            stream = run.streams[name] = self._stream(doc, mapping)
        self._streams[doc["uid"]] = (run, stream)
        self._announce(mapping, stream.factor)

    def _stream(self, descriptor: Mapping[str, Any], mapping: ChannelMapping | None) -> _Stream:
        return _Stream(descriptor, mapping, self.tolerance, whole=self.whole_runs)

    def _rows(
        self, doc: Mapping[str, Any], time: Sequence[float], seq_num: Sequence[int], page: Mapping[str, Any]
    ) -> list[Spectrum]:
        run, stream = self._streams.get(doc["descriptor"], (None, None))
        if run is None or stream is None:
            return []
        if stream.mapping is None:
            run.read_baseline(doc["descriptor"], page["data"])
            return []
        if stream.external is not None:
            stream.external.add(seq_num, page)
            return self._external_rows(run, stream)
        self._latest = (run, stream)
        finished = stream.cutter.append(stream.rows(page, time, seq_num))
        return [self._finished(run, stream, rows) for rows in finished]

    def _datum(self, doc: Mapping[str, Any]) -> list[Spectrum]:
        run, stream = self._streams.get(doc["descriptor"], (None, None))
        if run is None or stream is None or stream.external is None:
            return []
        resource = run.resources.get(doc["stream_resource"])
        if resource is None:
            return []
        try:
            stream.external.announce(resource, doc)
        except (KeyError, ValueError, NotImplementedError) as error:
            run.reasons.append(
                f"nothing reads {resource.get('mimetype')} of {resource['data_key']!r} ({error})"
            )
            return []
        return self._external_rows(run, stream)

    def _external_rows(self, run: _Run, stream: _Stream, *, final: bool = False) -> list[Spectrum]:
        assert stream.external is not None
        numbers, values = stream.external.take(final=final)
        if not numbers:
            return []
        self._latest = (run, stream)
        finished = stream.cutter.append(stream.external_rows(numbers, values))
        return [self._finished(run, stream, rows) for rows in finished]

    def _stop(self, doc: Mapping[str, Any]) -> list[Spectrum]:
        run = self._runs.pop(doc["run_start"], None)
        if run is None:
            return []
        spectra: list[Spectrum] = []
        for stream in run.streams.values():
            if stream.external is not None:
                spectra += self._external_rows(run, stream, final=True)
                if stream.external.trouble:
                    self._say(f"Run {run.label}, stream {stream.name!r}: {stream.external.trouble}")
            finished, last = stream.cutter.finish()
            spectra += [self._finished(run, stream, rows) for rows in finished]
            if last is not None:
                complete = stream.is_whole(last, succeeded=doc.get("exit_status", "success") == "success")
                spectra.append(self._finished(run, stream, last, complete=complete))
            self.fragments += stream.cutter.fragments
        if not run.streams:
            self._explain(run)
        self._streams = {uid: pair for uid, pair in self._streams.items() if pair[0] is not run}
        if self._latest is not None and self._latest[0] is run:
            self._latest = None
        return spectra

    def _finished(self, run: _Run, stream: _Stream, rows: Array, *, complete: bool = True) -> Spectrum:
        index, run.sweeps = run.sweeps, run.sweeps + 1
        stream.widest = max(stream.widest, float(np.ptp(rows[np.isfinite(rows[:, 0]), 0])))
        return self._spectrum(run, stream, rows, index=index, complete=complete, guess=True)

    def _spectrum(
        self, run: _Run, stream: _Stream, rows: Array, *, index: int, complete: bool, guess: bool
    ) -> Spectrum:
        mapping = stream.mapping
        assert mapping is not None
        time = float(rows[-1, -2])
        ordered = _turned_up(rows) if self.whole_runs else rows[np.argsort(rows[:, 0], kind="stable")]
        columns = {role: ordered[:, 1 + k] for k, role in enumerate(mapping.channels)}
        element = mapping.element or run.element
        edge = mapping.edge or run.edge
        spectrum = Spectrum.from_counts(
            ordered[:, 0],
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

    def _announce(self, mapping: ChannelMapping, factor: float) -> None:
        wanted = self.mapping or ChannelMapping()
        if wanted.energy and wanted.channels:
            return
        roles = ", ".join(f"{role} = {name}" for role, name in mapping.channels.items())
        unit = "keV" if factor != 1.0 else "eV"
        example = replace(mapping, mode=None, stream=None)
        self._say_once(
            f"Stream {mapping.stream!r}, {mapping.mode}: energy = {mapping.energy} ({unit}), {roles}. "
            f"Not right? Change and give mapping={example}"
        )

    def _explain(self, run: _Run) -> None:
        if run.explained:
            return
        run.explained = True
        why = run.reasons[0] if run.reasons else "it has no stream with an energy"
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
        self.sweeps = 0
        self.reasons: list[str] = []
        self.explained = False
        self.element, self.edge = absorber_from_metadata(start)
        self.temperature = _temperature_of(start)
        self.label = str(start.get("scan_id") or start["uid"][:8])

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
                value = _number(data[name][0])
                unit = str(keys.get(name, {}).get("units") or "K").lower()
                celsius = unit.removeprefix("deg").strip(" °") in ("c", "celsius")
                self.temperature = None if np.isnan(value) else value + (273.15 if celsius else 0.0)


class _Stream:
    """One stream of a run: how to read its events, and the sweep being measured."""

    def __init__(
        self, descriptor: Mapping[str, Any], mapping: ChannelMapping | None, tolerance: float, *, whole: bool
    ) -> None:
        self.name = descriptor.get("name", "primary")
        self.mapping = mapping
        self.fields = [mapping.energy or "", *mapping.channels.values()] if mapping else []
        self.factor = energy_factor(descriptor, self.fields[0]) if mapping else 1.0
        self.cutter = SweepCutter(len(self.fields) + 2, tolerance, whole=whole)
        self.widest = 0.0
        keys = descriptor["data_keys"]
        outside = [name for name in self.fields if "external" in keys.get(name, {})]
        inside = [name for name in self.fields if name not in outside]
        self.external = ExternalColumns(descriptor, outside, inside) if outside else None
        self._declared = float(descriptor.get("time", np.nan))

    def external_rows(self, numbers: Sequence[int], values: Mapping[str, Sequence[Array]]) -> Array:
        """As `rows`, of rows whose fields stand in files; their time is the descriptor's."""
        parts = []
        for k, number in enumerate(numbers):
            page = {"data": {name: [rows[k]] for name, rows in values.items()}}
            parts.append(self.rows(page, [self._declared], [number]))
        return np.concatenate(parts)

    def rows(self, page: Mapping[str, Any], time: Sequence[float], seq_num: Sequence[int]) -> Array:
        """(points, columns): energy (eV), the channels, time (s), sequence number.

        An event whose fields are arrays (a whole pass in one event) gives as many points.
        """
        data, filled = page["data"], page.get("filled") or {}
        columns = [_column(data.get(name), filled.get(name), len(time)) for name in self.fields]
        columns[0] = columns[0] * self.factor
        n = len(columns[0])
        columns += [np.asarray(time, dtype=np.float64), np.asarray(seq_num, dtype=np.float64)]
        rows = np.empty((n, len(columns)))
        for k, column in enumerate(columns):
            if len(column) not in (n, len(time)):
                name = self.fields[k]
                raise ValueError(
                    f"field {name!r} of stream {self.name!r} has {len(column)} values for {n} energies"
                )
            rows[:, k] = column if len(column) == n else np.repeat(column, n // len(time))
        return rows

    def is_whole(self, last: Array, *, succeeded: bool) -> bool:
        """Whether the last sweep went as far as those before it, or the run's only one succeeded."""
        if self.widest == 0.0:
            return succeeded
        width = float(np.ptp(last[np.isfinite(last[:, 0]), 0]))
        return width >= self.widest * (_WHOLE if succeeded else 0.98)


def _turned_up(rows: Array) -> Array:
    """The rows as measured, or backwards where most steps of the energy go down."""
    energy = rows[np.isfinite(rows[:, 0]), 0]
    return rows[::-1] if np.sign(np.diff(energy)).sum() < 0 else rows


def _as_page(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": {name: [value] for name, value in event["data"].items()},
        "filled": {name: [value] for name, value in (event.get("filled") or {}).items()},
    }


def _column(values: Sequence[Any] | None, filled: Sequence[Any] | None, events: int) -> Array:
    """Numbers of one field, (points,); NaN where there are none or they are not filled in."""
    if values is None:
        return np.full(events, np.nan)
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        column = np.array([_number(value) for value in values])
    if filled is not None and not all(filled):
        column[np.array([not is_filled for is_filled in filled])] = np.nan
    return column.reshape(-1)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _temperature_of(start: Mapping[str, Any]) -> float | None:
    """The sample's temperature (K) that a start document gives, at its top or under `sample`."""
    for place in (start, start.get("sample")):
        if isinstance(place, Mapping):
            for key, value in place.items():
                number = _number(value) if str(key).lower() in _TEMPERATURE else float("nan")
                if np.isfinite(number):
                    return number
    return None
