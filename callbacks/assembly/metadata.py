"""What a run's documents tell of the sample, besides the sweeps: absorber, temperature, label."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from xas_live.callbacks.assembly.absorber import absorber_from_metadata
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.field_names import unit_of
from xas_live.callbacks.assembly.rows import number
from xas_live.callbacks.assembly.scales import kelvin_offset, temperature_scale
from xas_live.spectrum import BEAMLINE, Provenance

if TYPE_CHECKING:
    from event_model.documents import EventDescriptor, EventPage, RunStart

_KEPT = ("sample", "sample_name", "truth", "plan_name", "temperature", "purpose", "comment", *BEAMLINE)
_OF_THE_PLAN = ("scan_id", "time", "num_points", "num_intervals", "num_steps")
MOST_NUMBERS = 1000
"""Numbers of a start document that go with every sweep, to be seen against: the first ones."""
_TEMPERATURE = ("temperature", "temperature_k", "sample_temperature")


class RunMetadata:
    """What is known of a run and its sample.

    Parameters
    ----------
    start : start document of the run.
    wanted : names a temperature and signals, perhaps, that may stand in the baseline.

    Attributes
    ----------
    label : its scan id, else the first characters of its uid.
    element, edge : the absorber that the start document names, as "Pt" and "L3"; None where it does not.
    temperature : of the sample (K), from the baseline's field that is wanted, else from the start document,
        else from the baseline; None where unknown.
    signals : those wanted that the baseline has, by name.
    found : fields that were wanted and have been read in the baseline.
    """

    def __init__(self, start: RunStart, wanted: ChannelMapping | None = None) -> None:
        self._start = start
        kept = {key: value for key, value in start.items() if key in _KEPT}
        numbers = ((key, value) for key, value in start.items() if _about_sample(key, value))
        self._kept = kept | dict(islice(numbers, MOST_NUMBERS))
        self._wanted = wanted or ChannelMapping()
        self.signals: dict[str, float] = {}
        self.found: set[str] = set()
        self.label = str(start.get("scan_id") or start["uid"][:8])
        self.element, self.edge = absorber_from_metadata(start)
        self.temperature = _temperature(start)

    def read_baseline(self, descriptor: EventDescriptor, page: EventPage) -> None:
        """Take the sample's temperature and the signals wanted from the first reading of the baseline."""
        for name, values in sorted(page["data"].items()):
            key = descriptor["data_keys"].get(name)
            if key is None or not len(values) or name in self.found:
                continue
            value = number(values[0])
            if name in self._wanted.signals and np.isfinite(value):
                self.signals[name] = value
                self.found.add(name)
            if name == self._wanted.temperature:
                in_kelvin = temperature_scale(key, self._wanted.temperature_unit)
                if in_kelvin is not None and np.isfinite(value):
                    self.temperature = float(in_kelvin(np.array(value)))
                    self.found.add(name)
            elif self.temperature is None and self._wanted.temperature is None and _is_of_sample(name):
                offset = kelvin_offset(unit_of(key))
                self.temperature = None if np.isnan(value) or offset is None else value + offset

    @property
    def read(self) -> Mapping[str, object]:
        """What was understood of the file of the run, as `Provenance.read`; empty for other runs."""
        read = self._start.get("read")
        return read if isinstance(read, Mapping) else {}

    def provenance(
        self,
        source: str,
        stream: str,
        sweep: int,
        time: float,
        read: Mapping[str, object],
        signals: Mapping[str, float],
    ) -> Provenance:
        """Return where a sweep comes from.

        Parameters
        ----------
        source : file path, catalog address, or "live".
        stream, sweep : name of its stream, and its index in the run.
        time : of its last point (Unix, s).
        read : what was understood of the stream.
        signals : means over the sweep, by name.
        """
        start: Mapping[str, object] = self._start
        scan_id = start.get("scan_id")
        return Provenance(
            source=source,
            scan=self.label,
            run_uid=self._start["uid"],
            scan_id=scan_id if isinstance(scan_id, int) else None,
            stream=stream,
            sweep=sweep,
            time=time,
            metadata={
                **self._kept,
                **self.signals,
                **signals,
            },
            read=read,
        )


def _is_of_sample(name: str) -> bool:
    return name.lower() in _TEMPERATURE or name.lower().endswith("sample_temperature")


def _about_sample(key: str, value: object) -> bool:
    """Whether an entry of a start document is a number that a user may want to see sweeps against."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and key not in _OF_THE_PLAN


def _temperature(start: Mapping[str, object]) -> float | None:
    """Return the sample's temperature (K) that a start document gives, at its top or under `sample`."""
    for place in (start, start.get("sample")):
        if isinstance(place, Mapping):
            for key, value in place.items():
                kelvin = number(value) if str(key).lower() in _TEMPERATURE else float("nan")
                if np.isfinite(kelvin):
                    return kelvin
    return None
