"""The rows of one sweep as a Spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xas_live.callbacks.assembly.absorber import Absorber, absorber_from_energies
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.metadata import RunMetadata
from xas_live.modes import counted_channels
from xas_live.spectrum import Array, Provenance, Spectrum


def spectrum_of(
    rows: Array,
    mapping: ChannelMapping,
    metadata: RunMetadata,
    provenance: Provenance,
    *,
    complete: bool,
    as_measured: bool = False,
    flags: Sequence[str] = (),
) -> Spectrum:
    """Build the spectrum of one sweep.

    Parameters
    ----------
    rows : (points, columns) in the order measured: energy (eV), the channels in the order of the mapping,
        time (s), sequence number.
    mapping : complete.
    metadata : of the run; the mapping's element and edge go before those.
    provenance : where the sweep comes from.
    complete : whether the sweep has ended as it should.
    as_measured : keep the points in the order measured, turned round where the scan ran downwards; else they
        are sorted by energy.
    flags : what was noteworthy when it was read.
    """
    ordered = _turned_up(rows) if as_measured else _sorted(rows)
    columns = {channel: ordered[:, 1 + k] for k, channel in enumerate(mapping.channels)}
    counted = counted_channels()
    offset = mapping.up_offset
    if mapping.down_offset != offset and _downwards(rows):
        offset = mapping.down_offset
    spectrum = Spectrum.from_counts(
        ordered[:, 0] + offset,
        {channel: values for channel, values in columns.items() if channel in counted},
        mode=mapping.mode,
        mu=columns.get("mu"),
        reference=columns.get("reference"),
        dark=mapping.dark,
        element=mapping.element or metadata.element,
        edge=mapping.edge or metadata.edge,
        complete=complete,
        temperature=metadata.temperature,
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
