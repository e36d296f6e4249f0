"""What turns the fields of a stream into eV, kelvin and seconds, by their units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xas_live.callbacks.assembly.field_names import unit_of
from xas_live.energy import bragg_energy, degrees_factor, ev_factor
from xas_live.modes import Array

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor

    from xas_live.callbacks.assembly.channels import ChannelMapping

Conversion = Callable[[Array], Array]
"""Turns a field's values, (n,), into another unit."""

_KELVIN = {"": 0.0, "k": 0.0, "kelvin": 0.0, "kelvins": 0.0, "c": 273.15, "celsius": 273.15}


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
    """Return what turns the energy field of a stream into eV, by the mapping and else by its unit."""
    field_name = mapping.energy or mapping.angle or ""
    unit = unit_of(descriptor["data_keys"][field_name])
    if mapping.angle is None:
        factor = ev_factor(mapping.energy_unit or unit) or 1.0
        return EnergyScale("eV" if factor == 1.0 else "keV", factor)
    if mapping.counts_per_degree is not None:
        name, factor = "encoder counts", 1.0 / mapping.counts_per_degree
    else:
        name, factor = unit or "deg", degrees_factor(unit) or 1.0
    words = f"{name}, d-spacing {mapping.d_spacing:g} Å"
    return EnergyScale(words, factor, mapping.d_spacing, mapping.offset)


def kelvin_offset(unit: str) -> float | None:
    """Return what is added to a temperature in this unit to have kelvin; None for a unit that is none.

    Kelvin and degrees Celsius are understood, as "K", "degC", "°C", "Celsius"; "" is kelvin.
    """
    plain = unit.strip().lower().removeprefix("degrees").removeprefix("degree").removeprefix("deg")
    return _KELVIN.get(plain.strip(" °_."))


def temperature_scale(key: DataKey, unit: str | None = None) -> Conversion | None:
    """Return what turns a temperature field into kelvin; None where its unit is no temperature's.

    Parameters
    ----------
    key : data key of the field.
    unit : takes the place of the field's own.
    """
    offset = kelvin_offset(unit_of(key) if unit is None else unit)
    return None if offset is None else lambda values: values + offset
