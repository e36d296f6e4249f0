"""Which field of a stream is the energy, and which are the detectors."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

import numpy as np

from xas_live.callbacks.assembly.absorber import absorber_from_metadata
from xas_live.callbacks.assembly.external import is_stream_of_numbers
from xas_live.callbacks.assembly.field_names import (
    Guess,
    Names,
    best_energy,
    energy_scores,
    guess_channels,
    guess_clock,
    hinted_fields,
    is_reading,
    points_of,
    scanned_fields,
)
from xas_live.callbacks.assembly.scales import kelvin_offset, temperature_scale
from xas_live.elements import find_rates, is_rate
from xas_live.energy import bragg_energy, ev_factor
from xas_live.errors import Refusal
from xas_live.modes import (
    DetectorMode,
    all_channels,
    counted_channels,
    find_mode,
    intended_mode,
    modes_by_preference,
)

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, RunStart

_KEYWORDS = ("i0", "it", "ir", "iff", "mu", "reference")
"""Channels that `ChannelMapping` has a keyword for."""

_ONE = ("energy", "mu", "reference", "angle", "stream", "element", "edge", "temperature")
"""Arguments that are one name."""


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
    energy_unit : "eV" or "keV", of a stream that does not say; goes before what it says.
    i0, it, ir, iff : fields of the counts before the sample, behind it, behind the reference foil, and of
        fluorescence. Several, by their names or a pattern as "fluor_*", are summed; elements that do not
        count are left out and named, see `xas_live.elements.summed`.
    mu, reference : fields of ready-made absorption of the sample and of the reference foil.
    without : names or patterns of fields that are left out of sums.
    weights : factors of fields in sums, by field; default 1.
    icr, ocr : fields of the input and output count rates of `iff`, as many, in the same order; default: those
        with the numbers of its fields. Counts times ICR/OCR are the true counts.
    dead_time : False leaves the counts as they are, where the electronics have corrected them.
    mode : name of a detector mode; default: "mu" where a ready mu is given, else transmission where `it` is
        there, else the next by preference, see `xas_live.modes`.
    dark : offsets to subtract, by channel: {"i0": 12.0, "it": 8.0}. That of a sum is subtracted once.
    up_offset, down_offset : added to the energies (eV) of sweeps measured upwards and downwards; default 0.
        Backlash shifts the two against each other: where the readback lags by 0.3 eV either way, 0.3 and
        -0.3 bring them together.
    time : where energy and detectors stand in several streams and are joined by time: the field that is a
        stream's clock, one name or names by stream: {"encoder": "enc_time", "adc": "adc_time"}. Default: a
        field that is named as one, else the times of the events. All clocks must have one zero.
    stream : name of the stream; default: every stream that has an energy and detectors, "baseline" excepted.
    element, edge : the absorber, as "Pt" and "L3"; default: from the start document, else from the energies.
    others : fields of the channels of further detector modes, by channel: {"iey": "drain_current"}.
    temperature : field of the sample's temperature, beside the energy or in the baseline: the mean over the
        sweep. Default: from the start document, else a field of the baseline that is named so.
    temperature_unit : "K" or "degC"; default: that of the field, else K.
    signals : fields whose means over the sweep are kept in the metadata of its provenance.
    remarks : what of this was guessed, in words; filled in by `find_mapping`.

    Raises
    ------
    Refusal : for a mode or channel that does not exist, a dark offset of something that is not counted, an
        offset or weight that is no number, an angle without a d-spacing, or beside another energy, a unit
        that is not understood, a field that is no name.

    Examples
    --------
    >>> ChannelMapping(energy="mono_energy", i0="quadem1_current1", it="quadem1_current2")
    >>> ChannelMapping(i0="I0", iff="fluor_*", without=["fluor_3"], temperature="linkam_temperature")
    """

    energy: str | None = None
    i0: str | Sequence[str] | None = None
    it: str | Sequence[str] | None = None
    ir: str | Sequence[str] | None = None
    iff: str | Sequence[str] | None = None
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
    others: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    angle: str | None = None
    d_spacing: float | None = None
    offset: float = 0.0
    counts_per_degree: float | None = None
    energy_unit: str | None = None
    without: str | Sequence[str] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    icr: str | Sequence[str] = ()
    ocr: str | Sequence[str] = ()
    dead_time: bool = True
    temperature: str | None = None
    temperature_unit: str | None = None
    signals: str | Sequence[str] = ()
    remarks: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_names()
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
            if not _is_number(getattr(self, name)):
                raise Refusal(f"{name}={getattr(self, name)!r}: give a number of {unit}")
        if wrong := [
            f"{name!r}: {weight!r}" for name, weight in self.weights.items() if not _is_number(weight)
        ]:
            raise Refusal(f"weights={{{', '.join(wrong)}}}: give a number for each field")
        if bool(self.icr) != bool(self.ocr):
            raise Refusal("dead time needs both rates: give icr=... and ocr=..., or dead_time=False")
        self._check_units()
        self._check_angle()

    def _check_names(self) -> None:
        """Keep several names as tuples, and refuse what is no name."""
        for name in ("i0", "it", "ir", "iff", "without", "icr", "ocr", "signals"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        object.__setattr__(self, "others", {k: _names(f"others[{k!r}]", v) for k, v in self.others.items()})
        for name in _ONE:
            value = getattr(self, name)
            if not (value is None or (isinstance(value, str) and value)):
                raise Refusal(f"{name}={value!r}: give one name")

    def _check_units(self) -> None:
        """Refuse units that are not understood, or that nothing has."""
        if self.energy_unit is not None and ev_factor(str(self.energy_unit)) is None:
            raise Refusal(f"energy_unit={self.energy_unit!r}: give 'eV' or 'keV'")
        if self.energy_unit is not None and self.angle is not None:
            raise Refusal(f"energy_unit={self.energy_unit!r} and angle={self.angle!r}: give one of them")
        if self.temperature_unit is not None and kelvin_offset(str(self.temperature_unit)) is None:
            raise Refusal(f"temperature_unit={self.temperature_unit!r}: give 'K' or 'degC'")
        if self.temperature_unit is not None and self.temperature is None:
            raise Refusal("temperature_unit is of a field: name it, temperature='...'")

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
    def channels(self) -> dict[str, Names]:
        """Field, or fields that are summed, by channel, of the channels that are set."""
        named = {name: value for name in _KEYWORDS if (value := getattr(self, name)) is not None}
        return {**named, **cast("Mapping[str, Names]", self.others)}

    @property
    def counters(self) -> tuple[str, ...]:
        """All fields of its channels, each once."""
        return tuple(dict.fromkeys(name for names in self.channels.values() for name in each_of(names)))

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that are read beside the energy: counters, count rates, temperature, signals."""
        beside = [*self.icr, *self.ocr, *([self.temperature] if self.temperature else []), *self.signals]
        return tuple(dict.fromkeys([*self.counters, *beside]))

    @property
    def rates(self) -> tuple[tuple[str, str], ...]:
        """Fields of the input and output count rate of each field of iff; empty where they are not used."""
        return tuple(zip(self.icr, self.ocr, strict=True))

    def with_channels(self, channels: Mapping[str, Names]) -> ChannelMapping:
        """Return this mapping with further channels set.

        Parameters
        ----------
        channels : field, or fields that are summed, by channel, whether the channel has a keyword or not.
        """
        named = {name: channels.get(name, getattr(self, name)) for name in _KEYWORDS}
        others = {name: value for name, value in channels.items() if name not in _KEYWORDS}
        return replace(self, **named, others={**self.others, **others})

    def __str__(self) -> str:
        """Return the call that makes this mapping, with what is set only."""
        shown = (f for f in fields(self) if f.repr and getattr(self, f.name) != _default(f))
        parts = (f"{f.name}={getattr(self, f.name)!r}" for f in shown)
        return f"ChannelMapping({', '.join(parts)})"


def checked_mapping(mapping: object) -> ChannelMapping | None:
    """Return the mapping, if it is one, or None.

    Raises
    ------
    MappingError : for anything else.
    """
    if mapping is None or isinstance(mapping, ChannelMapping):
        return mapping
    raise MappingError(f"mapping={mapping!r}: give a ChannelMapping, as ChannelMapping(energy='mono_energy')")


def find_mapping(
    descriptor: EventDescriptor, start: RunStart, wanted: ChannelMapping | None = None
) -> ChannelMapping:
    """Return the complete mapping for one stream: what is wanted, and guesses for the rest.

    Guesses use the run's hinted dimensions, the hints of the devices, units, and names usual at beamlines; a
    readback is preferred to its setpoint. Temperature and signals that the stream does not have are left out.

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
    given, absent = _given_fields(wanted, readable)
    one = {"energy": wanted.energy, "angle": wanted.angle}
    absent = [
        f"{channel}={name!r}" for channel, name in one.items() if name and name not in readable
    ] + absent
    if absent:
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
    guess = Guess(given)
    if not given:
        absorber = wanted.element or absorber_from_metadata(start)[0]
        guess = guess_channels(per_point, hinted, taken=energy, mode=wanted.mode, absorber=absorber)
    mode = wanted_mode(wanted, guess.channels)
    if mode.missing(guess.channels):
        raise MappingError(
            f"energy is {energy!r}, but {lacking(wanted, guess.channels)}. "
            f"Stream {stream!r} has {_listed(keys)}"
        )
    found = replace(wanted, energy=energy, stream=stream, mode=mode.name).with_channels(guess.channels)
    return _with_rest(found, wanted, per_point, guess.remarks)


def wanted_mode(wanted: ChannelMapping, channels: Collection[str]) -> DetectorMode:
    """Return the mode that is wanted, else the one that the channels speak for."""
    return find_mode(wanted.mode) if wanted.mode is not None else intended_mode(channels)


def lacking(wanted: ChannelMapping, channels: Mapping[str, Names]) -> str:
    """Say which channels are not found, what each mode needs, and which are found."""
    modes = [find_mode(wanted.mode)] if wanted.mode is not None else modes_by_preference()
    missing = wanted_mode(wanted, channels).missing(channels)
    needs = ", ".join(f"{mode.name} needs {' and '.join(mode.needed)}" for mode in modes)
    found = ", ".join(f"{channel} = {said_names(names)}" for channel, names in channels.items())
    return f"nothing found for {' and '.join(missing)} ({needs}; found: {found or 'none'})"


def said_names(names: Names) -> str:
    """Return a channel's field, or its fields as a sum."""
    return " + ".join(each_of(names))


@dataclass(frozen=True)
class PartialFields:
    """What one stream could give to a spectrum that it cannot make alone.

    Attributes
    ----------
    stream : its name.
    keys : data keys of the fields below.
    energy, clock : fields, or None.
    energy_score : how well the field speaks for being the energy.
    channels : field or fields by channel.
    beside : count rates, temperature and signals, in a mapping of their own.
    """

    stream: str
    keys: Mapping[str, DataKey]
    energy: str | None
    energy_score: int
    channels: Mapping[str, Names]
    clock: str | None
    beside: ChannelMapping = field(default_factory=ChannelMapping)

    @property
    def dated(self) -> bool:
        """Whether its events tell the time of every point."""
        counters = [name for names in self.channels.values() for name in each_of(names)]
        used = [name for name in (self.energy, *counters) if name is not None]
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
        guess = Guess(_given_fields(wanted, rest)[0])
    else:
        sizes = {1, *(points_of(readable[name]) for name in (energy, clock) if name is not None)}
        absorber = wanted.element or absorber_from_metadata(start)[0]
        of_sizes = _of_sizes(rest, sizes)
        guess = guess_channels(of_sizes, hinted, taken=energy or "", mode=wanted.mode, absorber=absorber)
    channels = guess.channels
    if energy is None and not channels:
        return None
    beside = _with_rest(wanted.with_channels(channels), wanted, rest, guess.remarks)
    used = {name for name in (energy, clock, *beside.fields) if name is not None and name in readable}
    return PartialFields(
        stream=stream,
        keys={name: readable[name] for name in sorted(used)},
        energy=energy,
        energy_score=scores.get(energy or "", 0),
        channels=channels,
        clock=clock,
        beside=beside,
    )


def _given_fields(wanted: ChannelMapping, keys: Mapping[str, DataKey]) -> tuple[dict[str, Names], list[str]]:
    """Return the fields of the channels given, patterns resolved, and those that the stream does not have."""
    found: dict[str, Names] = {}
    absent: list[str] = []
    for channel, names in wanted.channels.items():
        resolved = _resolved(names, keys, wanted.without)
        if resolved:
            found[channel] = resolved
        else:
            absent.append(f"{channel}={names!r}")
    return found, absent


def _resolved(names: Names, keys: Mapping[str, DataKey], without: Sequence[str] = ()) -> Names | None:
    """Return the fields that names and patterns stand for; None where one stands for none.

    Patterns take readings only, by their numbers in order; what is named is taken as it is.
    """
    fields_of: list[str] = []
    for name in each_of(names):
        if name in keys:
            fields_of.append(name)
            continue
        matching = sorted(
            (
                key
                for key in keys
                if fnmatchcase(key, name) and is_reading(key, keys[key]) and not is_rate(key)
            ),
            key=_by_number,
        )
        if not matching:
            return None
        fields_of += matching
    kept = [name for name in dict.fromkeys(fields_of) if not _is_among(name, without)]
    if len(kept) == 1 and isinstance(names, str) and names == kept[0]:
        return names
    return tuple(kept) or None


def _with_rest(
    found: ChannelMapping, wanted: ChannelMapping, keys: Mapping[str, DataKey], remarks: Sequence[str]
) -> ChannelMapping:
    """Return the mapping with count rates, temperature and signals, as far as the stream has them.

    Raises
    ------
    MappingError : the count rates given are not in the stream, or not as many as the fields of iff.
    """
    remarks = list(remarks)
    icr, ocr = _rates(found, wanted, keys)
    temperature = wanted.temperature if wanted.temperature in keys else None
    if temperature is not None and temperature_scale(keys[temperature], wanted.temperature_unit) is None:
        remarks.append(
            f"temperature: the unit of {temperature} is {keys[temperature].get('units')!r}, not read"
        )
        temperature = None
    signals = [name for name in wanted.signals if name in keys]
    return replace(
        found,
        icr=icr,
        ocr=ocr,
        temperature=temperature,
        temperature_unit=wanted.temperature_unit if temperature else None,
        signals=signals,
        remarks=tuple(remarks),
    )


def _rates(
    found: ChannelMapping, wanted: ChannelMapping, keys: Mapping[str, DataKey]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields of the count rates of iff, as given or by their numbers, if there are any."""
    fields_of = each_of(cast("Names", found.iff or ()))
    if not wanted.dead_time or not fields_of:
        return (), ()
    if not wanted.icr:
        return find_rates(keys, fields_of)
    everything = each_of(_resolved(cast("Names", wanted.iff), keys) or ()) if wanted.iff else fields_of
    pairs: list[tuple[str, ...]] = []
    for kind, names in (("icr", wanted.icr), ("ocr", wanted.ocr)):
        matching = [
            key for name in names for key in ([name] if name in keys else _matching_rates(name, keys))
        ]
        if len(matching) != len(everything):
            raise MappingError(
                f"{kind}={names!r} stands for {len(matching)} fields, and iff for {len(everything)}: dead "
                "time needs one for each, in the same order"
            )
        by_field = dict(zip(everything, matching, strict=True))
        pairs.append(tuple(by_field[name] for name in fields_of))
    return pairs[0], pairs[1]


def _matching_rates(pattern: str, keys: Iterable[str]) -> list[str]:
    return sorted((key for key in keys if fnmatchcase(key, pattern)), key=_by_number)


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


def each_of(names: Names) -> tuple[str, ...]:
    """Return one name or several as several."""
    return (names,) if isinstance(names, str) else names


def _names(argument: str, value: object) -> Names | None:
    """Return one name, or several as a tuple.

    Raises
    ------
    Refusal : for what is neither.
    """
    several = argument in ("without", "icr", "ocr", "signals")
    if value is None and not several:
        return None
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise Refusal(f"{argument}={value!r}: give the name of a field, or a list of names")
    if isinstance(value, str) and not several:
        return value
    if not names and not several:
        raise Refusal(f"{argument}={value!r}: give the name of a field, or None")
    return tuple(names)


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """Sort fluor_2 before fluor_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _default(of: Field[object]) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()
