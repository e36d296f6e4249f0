"""The rows of one sweep as a Spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from xas_live.callbacks.assembly.absorber import Absorber, absorber_from_energies
from xas_live.callbacks.assembly.channels import ChannelMapping, each_of
from xas_live.callbacks.assembly.metadata import RunMetadata
from xas_live.elements import summed
from xas_live.modes import IFF, counted_channels
from xas_live.spectrum import Array, Provenance, Spectrum


class Measured(NamedTuple):
    """What the rows of one sweep say.

    Attributes
    ----------
    energy : (n,) eV, offsets added.
    channels : (n,) of each channel, sums formed.
    said : field of each channel, or what was summed.
    left_out : why elements are not in a sum, by field.
    temperature : mean over the sweep (K); None where the rows have none.
    signals : means over the sweep, by field.
    """

    energy: Array
    channels: Mapping[str, Array]
    said: Mapping[str, str]
    left_out: Mapping[str, str]
    temperature: float | None
    signals: Mapping[str, float]


def measured_in(rows: Array, mapping: ChannelMapping, *, as_measured: bool = False) -> Measured:
    """Return what the rows of a sweep say.

    Parameters
    ----------
    rows : (points, columns) in the order measured: energy (eV), the fields of the mapping, time (s), sequence
        number.
    mapping : complete.
    as_measured : keep the points in the order measured, turned round where the scan ran downwards; else they
        are sorted by energy.
    """
    ordered = _turned_up(rows) if as_measured else _sorted(rows)
    columns = dict(zip(mapping.fields, ordered.T[1:-2], strict=True))
    channels: dict[str, Array] = {}
    said: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for channel, names in mapping.channels.items():
        rates = mapping.rates if channel == IFF.name else ()
        if isinstance(names, str) and not rates:
            channels[channel], said[channel] = columns[names], names
            continue
        names = each_of(names)
        found = summed(
            names,
            [columns[name] for name in names],
            [(columns[icr], columns[ocr]) for icr, ocr in rates],
            mapping.weights,
        )
        channels[channel], said[channel] = found.values, found.said
        left_out |= found.left_out
    offset = mapping.up_offset
    if mapping.down_offset != offset and _downwards(rows):
        offset = mapping.down_offset
    means = {
        name: _mean(columns[name]) for name in (mapping.temperature, *mapping.signals) if name is not None
    }
    temperature = means.get(mapping.temperature or "")
    signals = {name: value for name in mapping.signals if (value := means[name]) is not None}
    return Measured(ordered[:, 0] + offset, channels, said, left_out, temperature, signals)


def spectrum_of(
    measured: Measured,
    mapping: ChannelMapping,
    metadata: RunMetadata,
    provenance: Provenance,
    *,
    complete: bool,
    flags: Sequence[str] = (),
) -> Spectrum:
    """Build the spectrum of one sweep.

    Parameters
    ----------
    measured : what its rows say.
    mapping : complete.
    metadata : of the run; the mapping's element and edge, and a temperature that was measured, go before it.
    provenance : where the sweep comes from.
    complete : whether the sweep has ended as it should.
    flags : what was noteworthy when it was read.
    """
    counted = counted_channels()
    spectrum = Spectrum.from_counts(
        measured.energy,
        {channel: values for channel, values in measured.channels.items() if channel in counted},
        mode=mapping.mode,
        mu=measured.channels.get("mu"),
        reference=measured.channels.get("reference"),
        dark=mapping.dark,
        element=mapping.element or metadata.element,
        edge=mapping.edge or metadata.edge,
        complete=complete,
        temperature=metadata.temperature if measured.temperature is None else measured.temperature,
        provenance=provenance,
    )
    return replace(spectrum, flags=tuple(flags)) if flags else spectrum


def with_absorber(spectrum: Spectrum) -> Spectrum:
    """Return the spectrum with element and edge; what is unknown is guessed from the energies."""
    if spectrum.element is not None and spectrum.edge is not None:
        found, guessed = Absorber(spectrum.element, spectrum.edge), False
    else:
        guessed = spectrum.element is None and spectrum.edge is None
        found = absorber_from_energies(spectrum.energy, spectrum.mu, spectrum.element, spectrum.edge)
    read = {**spectrum.provenance.read, "absorber": found.how or f"{found.name or 'not'} stated"}
    return replace(
        spectrum,
        element=found.element,
        edge=found.edge,
        absorber_guessed=guessed,
        provenance=replace(spectrum.provenance, read=read),
    )


def _mean(values: Array) -> float | None:
    """Return the mean of the values that are numbers; None where there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _sorted(rows: Array) -> Array:
    """Return the rows by ascending energy, NaN last."""
    energy = rows[:, 0]
    return rows if np.all(energy[1:] >= energy[:-1]) else rows[np.argsort(energy, kind="stable")]


def _downwards(rows: Array) -> bool:
    """Return whether the energy falls overall, noise or not."""
    energy = rows[np.isfinite(rows[:, 0]), 0]
    when = np.arange(len(energy)) - (len(energy) - 1) / 2
    return bool(when @ energy < 0)


def _turned_up(rows: Array) -> Array:
    """Return the rows as measured, or backwards where most steps of the energy go down."""
    energy = rows[np.isfinite(rows[:, 0]), 0]
    return rows[::-1] if np.sign(np.diff(energy)).sum() < 0 else rows
