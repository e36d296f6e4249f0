"""Which field of a stream is the energy, and which are the detectors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from xas_live.callbacks.assembly.external import is_stream_of_numbers
from xas_live.spectrum import Mode

CHANNELS = ("i0", "it", "ir", "iff", "mu", "reference")
"""The roles a field can have besides the energy, as `ChannelMapping` names them."""

NEEDED: Mapping[Mode, tuple[str, ...]] = {
    "mu": ("mu",),
    "transmission": ("i0", "it"),
    "fluorescence": ("i0", "iff"),
}
"""The roles that each mode cannot do without."""


class MappingError(ValueError):
    """A stream has no energy or no usable pair of channels; the message says what it does have."""


@dataclass(frozen=True)
class ChannelMapping:
    """Which fields of a stream make a spectrum.

    Whatever is left out is guessed: the energy when it is None, the channels when all of them are None.

    Attributes
    ----------
    energy : field of the energy readback. In eV, or in keV where its descriptor says so.
    i0, it, ir, iff : fields of the counts before the sample, behind it, behind the reference foil, and of
        fluorescence.
    mu, reference : fields of ready-made absorption of the sample and of the reference foil.
    mode : default: "mu" where a ready mu is given, else transmission where `it` is there, else fluorescence.
    dark : offsets to subtract, by role: {"i0": 12.0, "it": 8.0}.
    up_offset, down_offset : added to the energies (eV) of sweeps measured upwards and downwards; default 0.
        Backlash shifts the two against each other: where the readback lags by 0.3 eV either way, 0.3 and
        -0.3 bring them together.
    time : where energy and detectors stand in several streams and are joined by time: the field that is a
        stream's clock, one name or names by stream: {"encoder": "enc_time", "adc": "adc_time"}. Default: a
        field that is named as one, else the times of the events. All clocks must have one zero.
    stream : name of the stream; default: every stream that has an energy and detectors, "baseline" excepted.
    element, edge : the absorber, as "Pt" and "L3"; default: from the start document, else from the energies.

    Raises
    ------
    ValueError : for a mode that does not exist, a dark offset of something that is not counted, or an offset
        of the energies that is no number.

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
    mode: Mode | None = None
    dark: Mapping[str, float] = field(default_factory=dict)
    up_offset: float = 0.0
    down_offset: float = 0.0
    time: str | Mapping[str, str] | None = None
    stream: str | None = None
    element: str | None = None
    edge: str | None = None

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in get_args(Mode):
            raise ValueError(f"mode {self.mode!r} does not exist: use one of {', '.join(get_args(Mode))}")
        if wrong := sorted(set(self.dark) - {"i0", "it", "ir", "iff"}):
            raise ValueError(f"dark offsets are for i0, it, ir and iff, not for {', '.join(wrong)}")
        for name in ("up_offset", "down_offset"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a number of eV")

    @property
    def channels(self) -> dict[str, str]:
        """Fields by role, of the channels that are set."""
        return {role: name for role in CHANNELS if (name := getattr(self, role)) is not None}

    def __str__(self) -> str:
        """The call that makes this mapping, with what is set only."""
        parts = (f"{f.name}={value!r}" for f in fields(self) if (value := getattr(self, f.name)))
        return f"ChannelMapping({', '.join(parts)})"


def find_mapping(
    descriptor: Mapping[str, Any], start: Mapping[str, Any], wanted: ChannelMapping | None = None
) -> ChannelMapping:
    """The complete mapping for one stream: what is wanted, and guesses for the rest.

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
    readable = {k: key for k, key in keys.items() if "external" not in key or is_stream_of_numbers(key)}
    given = {"energy": wanted.energy, **wanted.channels}
    if missing := [f"{role}={name!r}" for role, name in given.items() if name and name not in readable]:
        raise MappingError(f"stream {stream!r} has no field for {', '.join(missing)}. It has {_listed(keys)}")
    hinted = _hinted(descriptor)
    energy = wanted.energy or _best(_energy_scores(readable, hinted, _dimensions(start, stream)))
    if energy is None:
        raise MappingError(f"no energy among the fields of stream {stream!r}: {_listed(keys)}")
    # What stands in a file is images or spectra of a detector more often than a channel of the scan.
    alike = {
        name: key
        for name, key in readable.items()
        if "external" not in key or _points(key) in (1, _points(keys[energy]))
    }
    channels: dict[str, Any] = wanted.channels or _guess_channels(alike, hinted, taken=energy)
    mode, lacking = mode_of(wanted, channels)
    if lacking:
        raise MappingError(
            f"energy is {energy!r}, but nothing found for {' and '.join(lacking)} among the fields of "
            f"stream {stream!r}: {_listed(keys)}"
        )
    return replace(wanted, energy=energy, stream=stream, mode=mode, **channels)


def mode_of(wanted: ChannelMapping, channels: Iterable[str]) -> tuple[Mode, list[str]]:
    """The mode that is wanted or that these roles allow, and which roles it lacks."""
    mode: Mode = wanted.mode or (
        "mu" if "mu" in channels else "transmission" if "it" in channels else "fluorescence"
    )
    return mode, [role for role in NEEDED[mode] if role not in channels]


@dataclass(frozen=True)
class PartialFields:
    """What one stream could give to a spectrum that it cannot make alone.

    Attributes
    ----------
    stream : its name.
    keys : data keys of the fields below.
    energy, clock : fields, or None.
    energy_score : how well the field speaks for being the energy.
    channels : fields by role.
    """

    stream: str
    keys: Mapping[str, Any]
    energy: str | None
    energy_score: int
    channels: Mapping[str, str]
    clock: str | None

    @property
    def dated(self) -> bool:
        """Whether its events tell the time of every point."""
        used = [name for name in (self.energy, *self.channels.values()) if name is not None]
        return all("external" not in self.keys[name] and _points(self.keys[name]) == 1 for name in used)


def partial_fields(
    descriptor: Mapping[str, Any], start: Mapping[str, Any], wanted: ChannelMapping | None = None
) -> PartialFields | None:
    """Energy, channels and clock of a stream that has some of them; None where it has no energy or channel.

    Parameters
    ----------
    as for `find_mapping`
    """
    wanted = wanted or ChannelMapping()
    stream = descriptor.get("name", "primary")
    keys = descriptor["data_keys"]
    readable = {k: key for k, key in keys.items() if "external" not in key or is_stream_of_numbers(key)}
    hinted = _hinted(descriptor)
    scores = _energy_scores(readable, hinted, _dimensions(start, stream))
    energy = wanted.energy if wanted.energy in readable else None if wanted.energy else _best(scores)
    named = wanted.time.get(stream) if isinstance(wanted.time, Mapping) else wanted.time
    clock = named if named in readable else None if named else _guess_clock(readable)
    rests = {name: key for name, key in readable.items() if name not in (energy, clock)}
    sizes = {1, *(_points(readable[name]) for name in (energy, clock) if name is not None)}
    alike = {name: key for name, key in rests.items() if "external" not in key or _points(key) in sizes}
    channels = {role: name for role, name in wanted.channels.items() if name in rests}
    if not wanted.channels:
        channels = _guess_channels(alike, hinted, taken=energy or "")
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


def time_factor(key: Mapping[str, Any]) -> float:
    """What turns a clock field into seconds, by its unit; 1 where it has none."""
    return {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}.get(_unit(key), 1.0)


def energy_factor(descriptor: Mapping[str, Any], energy: str) -> float:
    """What turns the energy field into eV: 1000 where its unit is recorded as keV, else 1."""
    return 1000.0 if _unit(descriptor["data_keys"][energy]) == "kev" else 1.0


_ALIASES: dict[str, tuple[str, ...]] = {
    "i0": ("i0", "io", "izero", "monitor"),
    "it": ("it", "i1", "itrans", "itr", "trans", "transmission", "transmitted"),
    "ir": ("ir", "i2", "iref", "irefer", "ref", "refer", "reference"),
    "iff": ("iff", "if", "ifl", "ifluor", "fluor", "fluo", "fluorescence", "pips", "lytle"),
    "mu": ("mu", "xmu", "mutrans", "mut", "muf", "absorption"),
    "reference": ("muref", "mur", "refmu", "xmuref"),
}
_NO_READING = {"setpoint", "sp", "target", "gain", "dark", "offset", "rate", "exposure", "dwell"}
_OTHER_ENERGY = {"ring", "gap", "undulator", "id", "machine", "roi", "mca", "analyzer", "e0", "edge"}


_CLOCKS = {"time", "timestamp", "timestamps", "ts", "epoch"}
_NO_CLOCK = {"live", "real", "dead", "count", "counting", "exposure", "acquire", "acquisition", "dwell",
             "integration", "preset", "period", "shutter", "constant"}  # fmt: skip


def _guess_clock(keys: Mapping[str, Any]) -> str | None:
    """The field whose name says that it is the time of each point."""
    found = []
    for name in _numeric(keys):
        words = _words(name)
        if _CLOCKS & set(words) and not (_NO_CLOCK | _NO_READING) & set(words):
            found.append((words[-1] not in _CLOCKS, len(name), name))
    return min(found)[2] if found else None


def _energy_scores(keys: Mapping[str, Any], hinted: set[str], dimensions: set[str]) -> dict[str, int]:
    scores: dict[str, int] = {}
    for name in _numeric(keys):
        words = _words(name)
        unit = _unit(keys[name])
        named = "energy" in words
        in_ev = unit in ("ev", "kev")
        if not (named or in_ev or (name in dimensions and words[-1] in ("en", "mono"))):
            continue
        if unit and not in_ev:
            continue
        scores[name] = (
            8 * (name in dimensions)
            + 4 * in_ev
            + 4 * named
            + 2 * (name in hinted)
            + ("readback" in words or "rbv" in words)
            + bool({"mono", "dcm", "hhm", "monochromator"} & set(words))
            - 20 * bool(_NO_READING & set(words))
            - 8 * bool(_OTHER_ENERGY & set(words))
        )
    return scores


def _best(scores: Mapping[str, int]) -> str | None:
    best = max(scores, key=lambda name: (scores[name], -len(name)), default=None)
    return best if best is not None and scores[best] > 0 else None


def _guess_channels(keys: Mapping[str, Any], hinted: set[str], taken: str) -> dict[str, str]:
    ranked: dict[str, list[tuple[tuple[int, int, int, int], str]]] = {role: [] for role in CHANNELS}
    for name in _numeric(keys):
        if name != taken:
            for role, rank in _roles(name):
                ranked[role].append(((*rank, name not in hinted, len(name)), name))
    return {role: min(candidates)[1] for role, candidates in ranked.items() if candidates}


def _roles(name: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Roles that a field's name speaks for, each with how well: (how much of the name, which alias)."""
    words = _words(name)
    if _NO_READING & set(words):
        return
    joined = "".join(words)
    about_mu = any(word in _ALIASES["mu"] for word in words)
    if about_mu and any(word in _ALIASES["ir"] for word in words):
        yield "reference", (0, 0)
        return
    for role, aliases in _ALIASES.items():
        for index, alias in enumerate(aliases):
            if joined == alias:
                yield role, (0, index)
            elif words[-1] == alias:
                yield role, (1, index)
            elif alias in words:
                yield role, (2, index)


def _words(name: str) -> list[str]:
    """Lower-case words of a field name: 'monoEnergy_readback' is mono, energy, readback."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word] or [name]


def _numeric(keys: Mapping[str, Any]) -> list[str]:
    return [name for name, key in keys.items() if key.get("dtype") in ("number", "integer", "array")]


def _points(key: Mapping[str, Any]) -> int:
    """Values that one row of a field holds."""
    return math.prod(key.get("shape") or ())


def _unit(key: Mapping[str, Any]) -> str:
    return str(key.get("units") or "").strip().lower()


def _hinted(descriptor: Mapping[str, Any]) -> set[str]:
    hints = descriptor.get("hints") or {}
    return {name for device in hints.values() for name in device.get("fields", ())}


def _dimensions(start: Mapping[str, Any], stream: str) -> set[str]:
    dimensions = (start.get("hints") or {}).get("dimensions", ())
    return {name for names, of_stream in dimensions if of_stream == stream for name in names}


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return (", ".join(shown[:20]) or "no fields") + more
