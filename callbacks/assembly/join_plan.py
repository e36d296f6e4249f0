"""Which streams of a run make spectra together that none of them makes alone, and by which clocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError, each_of
from xas_live.callbacks.assembly.stream_fields import PartialFields, lacking, wanted_mode
from xas_live.modes import FOIL_CHANNELS, all_channels


@dataclass(frozen=True)
class JoinPlan:
    """Which stream of a run gives what.

    Attributes
    ----------
    mapping : all fields; its stream is the leading one.
    lead : the stream whose points make the spectrum, at their own times.
    energy : the stream of the energy.
    fields : streams by field, of all fields beside the energy.
    clocks : by stream, the field that is its clock, or None for the times of its events.
    """

    mapping: ChannelMapping
    lead: str
    energy: str
    fields: Mapping[str, str]
    clocks: Mapping[str, str | None]


def plan_join(parts: Iterable[PartialFields], wanted: ChannelMapping | None = None) -> JoinPlan:
    """Decide how streams make spectra together that none of them makes alone.

    Channels are taken from one stream where it has all that the mode needs (and ir or reference from others),
    so that the least is interpolated; the best named energy is taken. The stream with the signal leads.

    Parameters
    ----------
    parts : what each stream has.
    wanted : what the user has fixed.

    Raises
    ------
    MappingError : they have no energy, or no usable channels, or one of them tells no times.
    """
    wanted = wanted or ChannelMapping()
    parts = sorted(parts, key=lambda part: part.stream)
    energy = _best_energy(parts)
    channels = _choose_channels(parts, wanted)
    found = {name: part.channels[name] for name, part in channels.items()}
    mode = wanted_mode(wanted, channels)
    if missing := [name for name in (*mode.missing(channels), *wanted.channels) if name not in channels]:
        why = lacking(wanted, found) if mode.missing(channels) else f"there is no {' and no '.join(missing)}"
        raise MappingError(
            f"energy is {energy.energy!r} of stream {energy.stream!r}, but {why}. "
            f"The streams are {_names(parts)}"
        )
    lead = channels[mode.signal].stream
    used = {part.stream: part for part in (energy, *channels.values())}
    if len(used) < 2:
        raise MappingError(f"one stream alone is not joined: {_names(parts)}")
    clocks = _choose_clocks(used, wanted)
    ordered = {channel.name: found[channel.name] for channel in all_channels() if channel.name in found}
    signal = channels[mode.signal].beside
    with_fields = replace(
        wanted,
        energy=energy.energy,
        mode=mode.name,
        stream=lead,
        time={name: clock for name, clock in clocks.items() if clock} or None,
        icr=signal.icr,
        ocr=signal.ocr,
        remarks=tuple(dict.fromkeys(remark for part in used.values() for remark in part.beside.remarks)),
    ).with_channels(ordered)
    mapping = _with_signals(with_fields, used.values())
    streams = {name: channels[channel].stream for channel, of in ordered.items() for name in each_of(of)}
    rates = dict.fromkeys([*signal.icr, *signal.ocr], lead)
    beside = {name: part.stream for part in used.values() for name in _signals(part)}
    return JoinPlan(mapping, lead, energy.stream, {**beside, **rates, **streams}, clocks)


def _signals(part: PartialFields) -> list[str]:
    """Return the temperature and the signals that a stream has."""
    temperature = part.beside.temperature
    return [*([temperature] if temperature else []), *part.beside.signals]


def _with_signals(mapping: ChannelMapping, used: Iterable[PartialFields]) -> ChannelMapping:
    """Return the mapping with the temperature and the signals that one of the streams has."""
    there = {name for part in used for name in _signals(part)}
    temperature = mapping.temperature if mapping.temperature in there else None
    return replace(
        mapping,
        temperature=temperature,
        temperature_unit=mapping.temperature_unit if temperature else None,
        signals=[name for name in mapping.signals if name in there],
    )


def _best_energy(parts: list[PartialFields]) -> PartialFields:
    """Return the stream with the field that is best named as the energy."""
    energies = [part for part in parts if part.energy is not None]
    if not energies:
        raise MappingError(f"no energy in the streams {_names(parts)}")
    return max(energies, key=lambda part: part.energy_score)


def _choose_channels(parts: list[PartialFields], wanted: ChannelMapping) -> dict[str, PartialFields]:
    """Return the stream of each channel: one for all that the mode needs, where one has it."""

    def incomplete(channels: Collection[str]) -> bool:
        return bool(wanted_mode(wanted, channels).missing(channels))

    chosen: dict[str, PartialFields] = {}
    for part in sorted(parts, key=lambda part: incomplete(part.channels)):
        complete = not wanted.channels and not incomplete(chosen)
        for name in part.channels:
            if not complete or name in FOIL_CHANNELS:
                chosen.setdefault(name, part)
    return chosen


def _choose_clocks(used: Mapping[str, PartialFields], wanted: ChannelMapping) -> dict[str, str | None]:
    """Return the field that is each stream's clock; None for the times of its events.

    A clock of a device and the times of events seldom have one zero: one kind for all, where that can be.
    """
    all_have = all(part.clock for part in used.values())
    clocks = {
        name: part.clock if all_have or wanted.time or not part.dated else None for name, part in used.items()
    }
    if dateless := [name for name, clock in clocks.items() if clock is None and not used[name].dated]:
        raise MappingError(
            f"stream {dateless[0]!r} does not tell the time of its points: name the field that does, "
            f"mapping=ChannelMapping(time={{{dateless[0]!r}: '...'}})"
        )
    return clocks


def _names(parts: Iterable[PartialFields]) -> str:
    fields = (f"{part.stream!r} ({', '.join(part.keys)})" for part in parts)
    return ", ".join(fields)
