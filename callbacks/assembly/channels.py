"""Which field of a stream is the energy, and which are the detectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from xas_live.callbacks.assembly.field_names import (
    Names,
)
from xas_live.callbacks.assembly.scales import kelvin_offset
from xas_live.energy import bragg_energy, ev_factor
from xas_live.errors import Refusal
from xas_live.modes import (
    all_channels,
    counted_channels,
    find_mode,
)

if TYPE_CHECKING:
    pass

_KEYWORDS = ("i0", "it", "ir", "iff", "mu", "reference")
"""Channels that `ChannelMapping` has a keyword for."""

_ONE = ("energy", "mu", "reference", "angle", "stream", "element", "edge", "temperature")
"""Arguments that are one name."""


class MappingError(Refusal):
    """A stream has no energy or no usable channels; the message says what it does have."""


@dataclass(frozen=True)
class ChannelMapping:
    """Which fields of a stream make a spectrum.

    Whatever is left out is guessed: the energy when it is None, the channels when all of them are None; of
    channels given in part, those that the mode needs.

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
    remarks : what of this was guessed, in words; filled in by `stream_fields.find_mapping`.

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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _default(of: Field[object]) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()
