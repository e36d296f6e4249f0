"""The fields of a stream that make spectra: those that a mapping names, and guesses for the rest."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from xas_live.callbacks.assembly.absorber import absorber_from_metadata
from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError, each_of
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
from xas_live.callbacks.assembly.scales import temperature_scale
from xas_live.elements import find_rates, is_rate
from xas_live.modes import IFF, DetectorMode, find_mode, intended_mode, modes_by_preference

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, RunStart


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
    absorber = wanted.element or absorber_from_metadata(start)[0]
    if missing := wanted_mode(wanted, given).missing(given):
        guessed = guess_channels(per_point, hinted, taken=energy, mode=wanted.mode, absorber=absorber)
        rest = {name: of for name, of in guessed.channels.items() if not given or name in missing}
        guess = Guess({**given, **rest}, guessed.remarks)
    mode = wanted_mode(wanted, guess.channels)
    if mode.missing(guess.channels):
        raise MappingError(
            f"energy is {energy!r}, but {lacking(wanted, guess.channels)}. "
            f"Stream {stream!r} has {_listed(keys)}"
        )
    found = replace(wanted, energy=energy, stream=stream, mode=mode.name).with_channels(guess.channels)
    return _with_rest(found, wanted, per_point, guess.remarks, absorber)


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
    absorber = wanted.element or absorber_from_metadata(start)[0]
    if wanted.channels:
        guess = Guess(_given_fields(wanted, rest)[0])
    else:
        sizes = {1, *(points_of(readable[name]) for name in (energy, clock) if name is not None)}
        of_sizes = _of_sizes(rest, sizes)
        guess = guess_channels(of_sizes, hinted, taken=energy or "", mode=wanted.mode, absorber=absorber)
    channels = guess.channels
    if energy is None and not channels:
        return None
    beside = _with_rest(wanted.with_channels(channels), wanted, rest, guess.remarks, absorber)
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
    found: ChannelMapping,
    wanted: ChannelMapping,
    keys: Mapping[str, DataKey],
    remarks: Sequence[str],
    absorber: str | None,
) -> ChannelMapping:
    """Return the mapping with count rates, temperature and signals, as far as the stream has them.

    Raises
    ------
    MappingError : the count rates given are not in the stream, or not as many as the fields of iff.
    """
    remarks = list(remarks)
    icr, ocr = _rates(found, wanted, keys, absorber)
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
    found: ChannelMapping, wanted: ChannelMapping, keys: Mapping[str, DataKey], absorber: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields of the count rates of iff, as given or by their numbers, if there are any."""
    fields_of = each_of(cast("Names", found.iff or ()))
    if not wanted.dead_time or not fields_of:
        return (), ()
    if not wanted.icr:
        return find_rates(keys, fields_of, IFF, absorber)
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


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """Sort fluor_2 before fluor_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
