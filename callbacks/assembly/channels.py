"""Which field of a stream is the energy, and which are the detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from xas_live.callbacks.assembly.external import is_stream_of_numbers
from xas_live.callbacks.assembly.field_names import (
    best_energy,
    energy_scores,
    guess_channels,
    guess_clock,
    hinted_fields,
    points_of,
    scanned_fields,
    unit_of,
)
from xas_live.energy import bragg_energy, degrees_factor, ev_factor
from xas_live.errors import Refusal
from xas_live.modes import Array, DetectorMode, all_channels, counted_channels, find_mode, intended_mode

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, RunStart

_KEYWORDS = ("i0", "it", "ir", "iff", "mu", "reference")
"""Channels that `ChannelMapping` has a keyword for."""


Conversion = Callable[[Array], Array]
"""Turns a field's values, (n,), into another unit."""


class MappingError(Refusal):
    """A stream has no energy or no usable channels; the message says what it does have."""


@dataclass(frozen=True)
class ChannelMapping:
    """Which fields of a stream make a spectrum.

    Whatever is left out is guessed: the energy when it is None, the channels when all of them are None.

    Attributes
    ----------
    energy : field of the energy readback. In eV, or in keV where its descriptor says so.
    angle : in place of the energy, field of the monochromator's Bragg angle: in degrees, or in the unit that
        its descriptor says (rad, mrad, mdeg).
    d_spacing : of the crystal (Å), for the angle: 3.13553 for Si(111).
    offset : added to the angle (degrees).
    counts_per_degree : of an encoder that reads the angle in counts; default: it reads degrees.
    i0, it, ir, iff : fields of the counts before the sample, behind it, behind the reference foil, and of
        fluorescence.
    mu, reference : fields of ready-made absorption of the sample and of the reference foil.
    mode : name of a detector mode; default: "mu" where a ready mu is given, else transmission where `it` is
        there, else the next by preference, see `xas_live.modes`.
    dark : offsets to subtract, by channel: {"i0": 12.0, "it": 8.0}.
    up_offset, down_offset : added to the energies (eV) of sweeps measured upwards and downwards; default 0.
        Backlash shifts the two against each other: where the readback lags by 0.3 eV either way, 0.3 and
        -0.3 bring them together.
    time : where energy and detectors stand in several streams and are joined by time: the field that is a
        stream's clock, one name or names by stream: {"encoder": "enc_time", "adc": "adc_time"}. Default: a
        field that is named as one, else the times of the events. All clocks must have one zero.
    stream : name of the stream; default: every stream that has an energy and detectors, "baseline" excepted.
    element, edge : the absorber, as "Pt" and "L3"; default: from the start document, else from the energies.
    others : fields of the channels of further detector modes, by channel: {"iey": "drain_current"}.

    Raises
    ------
    Refusal : for a mode or channel that does not exist, a dark offset of something that is not counted, an
        offset that is no number, an angle without a d-spacing, or beside another energy.

    Examples
    --------
    >>> ChannelMapping(energy="mono_energy", i0="quadem1_current1", it="quadem1_current2")
    """

    energy: str | None = None
    i0: str | None = None
    it: str | None = None
    ir: str | None = None
    iff: str | None = None
    mu: str | None = None
    reference: str | None = None
    mode: str | None = None
    dark: Mapping[str, float] = field(default_factory=dict)
    up_offset: float = 0.0
    down_offset: float = 0.0
    time: str | Mapping[str, str] | None = None
    stream: str | None = None
    element: str | None = None
    edge: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    angle: str | None = None
    d_spacing: float | None = None
    offset: float = 0.0
    counts_per_degree: float | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            find_mode(self.mode)
        counted = counted_channels()
        if wrong := sorted(set(self.dark) - set(counted)):
            known = f"{', '.join(counted[:-1])} and {counted[-1]}"
            raise Refusal(f"dark offsets are for {known}, not for {', '.join(wrong)}")
        further = {channel.name for channel in all_channels()} - set(_KEYWORDS)
        if wrong := sorted(set(self.others) - further):
            known = ", ".join(sorted(further)) or "none registered"
            raise Refusal(f"others are fields of further channels ({known}), not of {', '.join(wrong)}")
        for name, unit in (("up_offset", "eV"), ("down_offset", "eV"), ("offset", "degrees")):
            if not math.isfinite(getattr(self, name)):
                raise Refusal(f"{name}={getattr(self, name)!r}: give a number of {unit}")
        self._check_angle()

    def _check_angle(self) -> None:
        """Refuse an angle that gives no energy."""
        if self.angle is None:
            if self.d_spacing is not None or self.counts_per_degree is not None:
                raise Refusal("d_spacing and counts_per_degree are for an angle: name its field, angle='...'")
            return
        if self.energy not in (None, self.angle):
            raise Refusal(f"energy={self.energy!r} and angle={self.angle!r}: give one of them")
        if self.d_spacing is None:
            raise Refusal(f"angle={self.angle!r} needs the crystal: add d_spacing=3.13553 (Å) for Si(111)")
        bragg_energy(np.array([10.0]), self.d_spacing)
        if self.counts_per_degree == 0.0 or not math.isfinite(self.counts_per_degree or 1.0):
            raise Refusal(f"counts_per_degree={self.counts_per_degree!r}: give a number other than 0")

    @property
    def channels(self) -> dict[str, str]:
        """Fields by channel, of the channels that are set."""
        named = {name: value for name in _KEYWORDS if (value := getattr(self, name)) is not None}
        return {**named, **self.others}

    def with_channels(self, channels: Mapping[str, str]) -> ChannelMapping:
        """Return this mapping with further channels set.

        Parameters
        ----------
        channels : fields by channel, whether the channel has a keyword or not.
        """
        named = {name: channels.get(name, getattr(self, name)) for name in _KEYWORDS}
        others = {name: value for name, value in channels.items() if name not in _KEYWORDS}
        return replace(self, **named, others={**self.others, **others})

    def __str__(self) -> str:
        """Return the call that makes this mapping, with what is set only."""
        parts = (f"{f.name}={value!r}" for f in fields(self) if (value := getattr(self, f.name)))
        return f"ChannelMapping({', '.join(parts)})"


def find_mapping(
    descriptor: EventDescriptor, start: RunStart, wanted: ChannelMapping | None = None
) -> ChannelMapping:
    """Return the complete mapping for one stream: what is wanted, and guesses for the rest.

    Guesses use the run's hinted dimensions, the hints of the devices, units, and names usual at beamlines; a
    readback is preferred to its setpoint.

    Parameters
    ----------
    descriptor, start : Bluesky documents.
    wanted : what the user has fixed.

    Raises
    ------
    MappingError : no energy, no usable channels, or a wanted field is not in the stream.
    """
    wanted = wanted or ChannelMapping()
    stream = descriptor.get("name", "primary")
    keys = descriptor["data_keys"]
    readable = _readable(keys)
    given = {"energy": wanted.energy, "angle": wanted.angle, **wanted.channels}
    if absent := [f"{channel}={name!r}" for channel, name in given.items() if name and name not in readable]:
        raise MappingError(f"stream {stream!r} has no field for {', '.join(absent)}. It has {_listed(keys)}")
    hinted = hinted_fields(descriptor)
    energy = (
        wanted.energy
        or wanted.angle
        or best_energy(energy_scores(readable, hinted, scanned_fields(start, stream)))
    )
    if energy is None:
        raise MappingError(f"no energy among the fields of stream {stream!r}: {_listed(keys)}")
    per_point = _of_sizes(readable, {1, points_of(keys[energy])})
    channels = wanted.channels or guess_channels(per_point, hinted, taken=energy)
    mode = wanted_mode(wanted, channels)
    if missing := mode.missing(channels):
        raise MappingError(
            f"energy is {energy!r}, but nothing found for {' and '.join(missing)} among the fields of "
            f"stream {stream!r}: {_listed(keys)}"
        )
    return replace(wanted, energy=energy, stream=stream, mode=mode.name).with_channels(channels)


def wanted_mode(wanted: ChannelMapping, channels: Collection[str]) -> DetectorMode:
    """Return the mode that is wanted, else the one that the channels speak for."""
    return find_mode(wanted.mode) if wanted.mode is not None else intended_mode(channels)


@dataclass(frozen=True)
class PartialFields:
    """What one stream could give to a spectrum that it cannot make alone.

    Attributes
    ----------
    stream : its name.
    keys : data keys of the fields below.
    energy, clock : fields, or None.
    energy_score : how well the field speaks for being the energy.
    channels : fields by channel.
    """

    stream: str
    keys: Mapping[str, DataKey]
    energy: str | None
    energy_score: int
    channels: Mapping[str, str]
    clock: str | None

    @property
    def dated(self) -> bool:
        """Whether its events tell the time of every point."""
        used = [name for name in (self.energy, *self.channels.values()) if name is not None]
        return all("external" not in self.keys[name] and points_of(self.keys[name]) == 1 for name in used)


def partial_fields(
    descriptor: EventDescriptor, start: RunStart, wanted: ChannelMapping | None = None
) -> PartialFields | None:
    """Return energy, channels and clock of a stream; None where it has neither energy nor channels.

    Parameters
    ----------
    as for `find_mapping`
    """
    wanted = wanted or ChannelMapping()
    stream = descriptor.get("name", "primary")
    readable = _readable(descriptor["data_keys"])
    hinted = hinted_fields(descriptor)
    scores = energy_scores(readable, hinted, scanned_fields(start, stream))
    energy = _given_or(wanted.energy or wanted.angle, best_energy(scores), readable)
    named = wanted.time.get(stream) if isinstance(wanted.time, Mapping) else wanted.time
    clock = _given_or(named, guess_clock(readable), readable)
    rest = {name: key for name, key in readable.items() if name not in (energy, clock)}
    if wanted.channels:
        channels = {channel: name for channel, name in wanted.channels.items() if name in rest}
    else:
        sizes = {1, *(points_of(readable[name]) for name in (energy, clock) if name is not None)}
        channels = guess_channels(_of_sizes(rest, sizes), hinted, taken=energy or "")
    if energy is None and not channels:
        return None
    used = {name for name in (energy, clock, *channels.values()) if name is not None}
    return PartialFields(
        stream=stream,
        keys={name: readable[name] for name in sorted(used)},
        energy=energy,
        energy_score=scores.get(energy or "", 0),
        channels=channels,
        clock=clock,
    )


def time_scale(key: DataKey) -> Conversion:
    """Return what turns a clock field into seconds, by its unit; as it is where it has none."""
    factor = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}.get(unit_of(key), 1.0)
    return lambda times: times * factor


@dataclass(frozen=True)
class EnergyScale:
    """Turns the energy field of a stream, or the angle in its place, into eV.

    Attributes
    ----------
    unit : of the field, in words: "eV", "keV", "deg, d-spacing 3.13553 Å".
    factor : to eV, or to degrees.
    d_spacing : of the crystal (Å), of an angle; None for an energy.
    offset : added to the angle (degrees).
    """

    unit: str = "eV"
    factor: float = 1.0
    d_spacing: float | None = None
    offset: float = 0.0

    def __call__(self, values: Array) -> Array:
        """Return eV of the values, (n,)."""
        if self.d_spacing is None:
            return values * self.factor
        return bragg_energy(values * self.factor, self.d_spacing, self.offset)


def energy_scale(descriptor: EventDescriptor, mapping: ChannelMapping) -> EnergyScale:
    """Return what turns the energy field of a stream into eV, by its unit and the mapping."""
    field_name = mapping.energy or mapping.angle or ""
    unit = unit_of(descriptor["data_keys"][field_name])
    if mapping.angle is None:
        factor = ev_factor(unit) or 1.0
        return EnergyScale("eV" if factor == 1.0 else "keV", factor)
    if mapping.counts_per_degree is not None:
        name, factor = "encoder counts", 1.0 / mapping.counts_per_degree
    else:
        name, factor = unit or "deg", degrees_factor(unit) or 1.0
    words = f"{name}, d-spacing {mapping.d_spacing:g} Å"
    return EnergyScale(words, factor, mapping.d_spacing, mapping.offset)


def _readable(keys: Mapping[str, DataKey]) -> dict[str, DataKey]:
    """Return the fields whose values come with events, or as numbers in files."""
    return {name: key for name, key in keys.items() if "external" not in key or is_stream_of_numbers(key)}


def _of_sizes(keys: Mapping[str, DataKey], sizes: Collection[int]) -> dict[str, DataKey]:
    """Return the fields that may be channels: those in files only with one of these numbers of values a row.

    What stands in a file is images or spectra of a detector more often than a channel of the scan.
    """
    return {name: key for name, key in keys.items() if "external" not in key or points_of(key) in sizes}


def _given_or(given: str | None, guessed: str | None, keys: Mapping[str, DataKey]) -> str | None:
    """Return the field given if the stream has it; the guessed one where none is given."""
    if given:
        return given if given in keys else None
    return guessed


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return (", ".join(shown[:20]) or "no fields") + more
