"""Detector modes: which channels give mu, by which formula, how they are recognised and checked.

Everything that depends on how an absorption is measured reads this table: building spectra from counts, the
quality checks, the mapping of fields in live streams, the columns of files, the options of the command line.
`register_mode` adds a mode to it in this process. A package adds one in every process, the command line and
the analysis process included, by an entry point of the group "xas_live.detector_modes" that names its
DetectorMode.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from importlib.metadata import entry_points

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal

logger = logging.getLogger("xas_live")

ENTRY_POINTS = "xas_live.detector_modes"
"""Group of the entry points by which installed packages add modes."""

Array = NDArray[np.float64]
Formula = Callable[[Mapping[str, Array]], Array]


class CountCheck(Enum):
    """What is checked in the counts of a channel, beside that they vary and do not saturate."""

    BEAM = "beam"
    """A beam that never vanishes: few points are zero, and not some of them negative."""
    YIELD = "yield"
    """Secondary particles, which may be none before the edge: not every point is negative."""


@dataclass(frozen=True)
class Channel:
    """One column of detector readings.

    Attributes
    ----------
    name : as in `ChannelMapping`, in `Spectrum.counts` and in --columns: "i0".
    aliases : lower-case words by which a field of a live stream is recognised, the best first.
    headers : names of its column in files, lower case, with "_" for all that is no letter or digit, the best
        first. Default: the aliases.
    elements : regular expressions of the names of its elements, where a detector has several: names as in the
        headers, `n` the number of the element, `roi` that of the region in its spectrum; the best first.
    counted : raw counts, from which a dark offset may be subtracted. False for ready-made absorption.
    check : what is checked in the counts.

    Raises
    ------
    Refusal : when the name is no Python identifier, or "energy".
    """

    name: str
    aliases: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    counted: bool = True
    check: CountCheck = CountCheck.YIELD

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name == "energy":
            raise Refusal(f"channel {self.name!r}: give a name of letters and digits, other than energy")
        object.__setattr__(self, "aliases", self.aliases or (self.name.lower(),))
        object.__setattr__(self, "headers", self.headers or self.aliases)


@dataclass(frozen=True)
class DetectorMode:
    """One way to measure mu.

    Attributes
    ----------
    name : as in `ChannelMapping(mode=...)` and --mode.
    channels : the channels that it cannot do without, the one with the signal last.
    formula : gives mu, (n,), of the channels by name, each (n,), dark offsets subtracted. Points without an
        answer are NaN: see `ratio` and `log_ratio`.
    preference : of several modes that the channels allow, the one with the smallest number is taken.
    self_absorbed : a thick sample flattens the spectrum, which is not corrected: predictions are flagged.

    Examples
    --------
    >>> drain = Channel("iey", aliases=("iey", "tey", "drain"))
    >>> tey = DetectorMode("tey", (I0, drain), lambda counts: ratio(counts["iey"], counts["i0"]))
    """

    name: str
    channels: tuple[Channel, ...]
    formula: Formula
    preference: int = 100
    self_absorbed: bool = False

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Names of its channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def signal(self) -> str:
        """The channel that carries the signal."""
        return self.needed[-1]

    @cached_property
    def checked(self) -> tuple[Channel, ...]:
        """The channels whose counts are checked."""
        return tuple(channel for channel in self.channels if channel.counted)

    def missing(self, given: Collection[str]) -> list[str]:
        """Return the names of the channels that it needs beyond those given."""
        return [name for name in self.needed if name not in given]


def ratio(top: Array, bottom: Array) -> Array:
    """Return top / bottom, each (n,); NaN where bottom is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom != 0, top / bottom, np.nan)


def log_ratio(top: Array, bottom: Array) -> Array:
    """Return ln(top / bottom), each (n,); NaN where the ratio is not positive."""
    quotient = ratio(top, bottom)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(quotient > 0, np.log(quotient), np.nan)


FIELD_SUFFIX = r"(?:_(?:value|val|sum|mean|total|rbv|readback|counts?|cts|net|area|intensity))*"
"""What may stand behind the name of a channel: what was read of it."""

_ELEMENT = r"(?:_?(?:ch|chan|channel|det|el|element))"

I0 = Channel(
    "i0",
    ("i0", "io", "izero", "monitor", "ic0"),
    ("i0", "io", "izero", "monitor", "ic0"),
    check=CountCheck.BEAM,
)
IT = Channel(
    "it",
    ("it", "i1", "itrans", "itr", "trans", "transmission", "transmitted", "ic1"),
    ("it", "itrans", "i1", "itr", "itransmission", "transmission", "ic1"),
    check=CountCheck.BEAM,
)
IR = Channel(
    "ir",
    ("ir", "i2", "iref", "irefer", "ref", "refer", "reference", "ic2"),
    ("ir", "irefer", "iref"),
    check=CountCheck.BEAM,
)
IFF = Channel(
    "iff",
    ("iff", "if", "ifl", "ifluor", "fluor", "fluo", "fluorescence", "pips", "lytle"),
    ("iff", "ifluor", "if", "ifl", "fluorescence"),
    elements=(
        rf"(?:\w+_)?(?:iff?|ifl|ifluor|fluor?|fluorescence|sdd|lytle){_ELEMENT}?_?(?P<n>\d+){FIELD_SUFFIX}",
        rf"(?:\w+_)?(?:vor|vortex|ketek){_ELEMENT}?_?(?P<n>\d+){FIELD_SUFFIX}",
        rf"(?:\w+_)?(?:iff?|ch|chan|channel|mca|det|dxp)_?(?P<n>\d+)_(?:(?:rois?|mca)_?)?roi_?(?P<roi>\d+){FIELD_SUFFIX}",
        rf"(?:\w+_)?(?:xmap|dxp|xsp?\d?|xspress3|me4|me7|ge){_ELEMENT}_?(?P<n>\d+){FIELD_SUFFIX}",
        r"sca_?(?P<roi>\d+)_(?P<n>\d+)",
    ),
)
MU = Channel(
    "mu",
    ("mu", "xmu", "mutrans", "mut", "muf", "absorption"),
    ("mu", "xmu", "mu_e", "xmu_e", "mutrans", "mufluor"),
    counted=False,
)
REFERENCE = Channel(
    "reference",
    ("muref", "mur", "refmu", "xmuref"),
    ("reference", "murefer", "mu_ref", "muref", "mu_reference"),
    counted=False,
)


@dataclass(frozen=True)
class NumberedInputs:
    """Electronics whose fields are named by the numbers of their inputs.

    Attributes
    ----------
    name : of the electronics.
    pattern : regular expression of a field's name, in lower case with "_" for all that is no letter or digit;
        `n` is the number of the input.
    channels : usual at the inputs from 1 on. How they are wired is not known: it is said to be a guess.
    """

    name: str
    pattern: str
    channels: tuple[str, ...]


NUMBERED_INPUTS = (
    NumberedInputs(
        "analog pizza box", rf"(?:\w+_)?apb(?:_ave)?_ch(?P<n>\d){FIELD_SUFFIX}", ("i0", "it", "ir", "iff")
    ),
    NumberedInputs(
        "quad electrometer",
        rf"(?:\w+_)?(?:quad_?em|qem|nsls_?em|tetramm|ah\d+\w?)\d*_current_?(?P<n>\d){FIELD_SUFFIX}",
        ("i0", "it", "ir", "iff"),
    ),
)
"""Asked where no field is named as a counted channel."""

FOIL_CHANNELS = (IR.name, REFERENCE.name)
"""Channels of the reference foil: no mode needs them, every mode may have them."""

TRANSMISSION = DetectorMode(
    "transmission", (I0, IT), lambda counts: log_ratio(counts["i0"], counts["it"]), preference=1
)
FLUORESCENCE = DetectorMode(
    "fluorescence",
    (I0, IFF),
    lambda counts: ratio(counts["iff"], counts["i0"]),
    preference=2,
    self_absorbed=True,
)
READY_MADE = DetectorMode("mu", (MU,), lambda counts: counts["mu"], preference=0)

_modes: dict[str, DetectorMode] = {mode.name: mode for mode in (TRANSMISSION, FLUORESCENCE, READY_MADE)}
_in_every_process = set(_modes)  # those that ship, and those of installed packages
_channels: dict[str, Channel] = {channel.name: channel for channel in (I0, IT, IR, IFF, MU, REFERENCE)}


def register_mode(mode: DetectorMode) -> None:
    """Add a detector mode, and its channels that are new, to what this process knows.

    Files, live streams, the quality checks and the command line know it from then on. A mapping names the
    fields of new channels with `ChannelMapping(others={...})`.

    Raises
    ------
    Refusal : when the name is taken by another mode or the name of a channel by another channel, when it
        has no channels, or when a new channel is not counted.
    """
    if _modes.get(mode.name, mode) != mode:
        raise Refusal(f"mode {mode.name!r} exists: choose another name, or unregister_mode it first")
    if not mode.channels:
        raise Refusal(f"mode {mode.name!r} needs at least one channel")
    for channel in mode.channels:
        if _channels.get(channel.name, channel) != channel:
            raise Refusal(f"channel {channel.name!r} exists with other properties: choose another name")
        if channel.name not in _channels and not channel.counted:
            raise Refusal(f"channel {channel.name!r}: ready-made absorption comes in 'mu' only")
    _modes[mode.name] = mode
    _channels.update({channel.name: channel for channel in mode.channels})


def unregister_mode(name: str) -> None:
    """Take a mode out again, with the channels that only it needs.

    Raises
    ------
    Refusal : when there is no such mode, or it is one of this package's own.
    """
    mode = find_mode(name)
    if mode in (TRANSMISSION, FLUORESCENCE, READY_MADE):
        raise Refusal(f"mode {name!r} cannot be taken out")
    del _modes[name]
    _in_every_process.discard(name)
    kept = {channel for other in _modes.values() for channel in other.channels} | {IR, REFERENCE}
    for channel in set(mode.channels) - kept:
        del _channels[channel.name]


def find_mode(name: str) -> DetectorMode:
    """Return the mode of this name.

    Raises
    ------
    Refusal : when there is none; the message lists those there are.
    """
    known = _known_modes()
    if name not in known:
        raise Refusal(f"mode {name!r} does not exist: use one of {', '.join(known)}")
    return known[name]


def mode_names() -> tuple[str, ...]:
    """Return the names of all modes."""
    return tuple(_known_modes())


def modes_by_preference() -> list[DetectorMode]:
    """Return all modes, the preferred first."""
    return sorted(_known_modes().values(), key=lambda mode: mode.preference)


def possible_mode(given: Collection[str]) -> DetectorMode | None:
    """Return the preferred mode for which all channels are given; None where there is none."""
    return next((mode for mode in modes_by_preference() if not mode.missing(given)), None)


def suffices(given: Collection[str], mode: str | None = None) -> bool:
    """Return whether these channels are all that a mode needs, or of no mode in particular any of them."""
    return possible_mode(given) is not None if mode is None else not find_mode(mode).missing(given)


def intended_mode(given: Collection[str]) -> DetectorMode:
    """Return the mode that channels speak for, though some that it needs may be missing.

    It is the preferred one that is possible, else the preferred one whose signal is there, else fluorescence.
    """
    by_signal = (mode for mode in modes_by_preference() if mode.signal in given)
    return possible_mode(given) or next(by_signal, FLUORESCENCE)


def all_channels() -> tuple[Channel, ...]:
    """Return all channels: i0, it, ir, iff, mu, reference, and those registered further."""
    _known_modes()
    return tuple(_channels.values())


def counted_channels() -> tuple[str, ...]:
    """Return the names of the channels that hold raw counts."""
    return tuple(channel.name for channel in all_channels() if channel.counted)


def checked_channels(mode: str, given: Iterable[str]) -> tuple[Channel, ...]:
    """Return the channels of a sweep whose counts are checked, among those given.

    Of a mode that was registered in another process only, all counts are checked, the reference foil's
    excepted.

    Parameters
    ----------
    mode : name.
    given : channels whose counts the sweep has.
    """
    present = set(given)
    if (known := _known_modes().get(mode)) is not None:
        return tuple(channel for channel in known.checked if channel.name in present)
    return tuple(_channels.get(name, Channel(name)) for name in sorted(present - set(FOIL_CHANNELS)))


def is_in_every_process(mode: str) -> bool:
    """Return whether other processes know a mode too; not where `register_mode` added it in this one only."""
    _known_modes()
    return mode in _in_every_process


def is_self_absorbed(mode: str) -> bool:
    """Return whether a thick sample flattens spectra of this mode; False for a mode not known here."""
    known = _known_modes().get(mode)
    return known is not None and known.self_absorbed


def _known_modes() -> dict[str, DetectorMode]:
    """Return all modes by name, those of installed packages included."""
    global _installed_are_known
    if not _installed_are_known:
        _installed_are_known = True  # before loading: a package may ask for modes while it is imported
        for entry in entry_points(group=ENTRY_POINTS):
            try:
                mode = entry.load()
                register_mode(mode)
                _in_every_process.add(mode.name)
            except (ImportError, AttributeError, TypeError, ValueError) as error:
                logger.warning(
                    "The detector mode %s of %s is not available: %s", entry.name, entry.value, error
                )
    return _modes


_installed_are_known = False
