"""Spectrum: one sweep of the energy axis, the value that flows through xas_live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from xas_live.errors import Refusal
from xas_live.modes import Array, counted_channels, find_mode, intended_mode, log_ratio, mode_names

__all__ = ["BEAMLINE", "Array", "Provenance", "Spectrum"]

BEAMLINE = ("beamline_id", "beamline", "beamline_name")
"""Entries of start documents that name the beamline."""


@dataclass(frozen=True)
class Provenance:
    """Where a spectrum comes from.

    Attributes
    ----------
    source : file path, catalog address, or "live".
    scan : the label people know it by: file name, Athena label, or scan id.
    run_uid, scan_id, stream : of the Bluesky run and the stream that it was assembled from.
    sweep : index of the sweep in its run, from 0.
    time : Unix time of its last point (s).
    averaged : number of sweeps that it is the average of; 1 for a sweep as measured. Of an average, sweep and
        time are those of the newest.
    metadata : other entries of the run's start document worth keeping (sample name, truth of a simulation,
        and plain numbers, as a potential).
    read : what was understood of the file or stream, ready for JSON. `channels`: the column or field that
        each channel was read from; `named_by`: what names them; `energy_unit`: of the energy there;
        `absorber`: how it is known; `guessed`: what was taken without being named; `left_out`: rows, points
        and documents that are not in the sweep, in words.
    """

    source: str = ""
    scan: str = ""
    run_uid: str | None = None
    scan_id: int | None = None
    stream: str = "primary"
    sweep: int = 0
    time: float | None = None
    averaged: int = 1
    metadata: Mapping[str, object] = field(default_factory=dict)
    read: Mapping[str, object] = field(default_factory=dict)

    @property
    def sample(self) -> str:
        """Name of the sample, as the metadata give it; "" where they do not."""
        return self._named("sample_name", "sample")

    @property
    def beamline(self) -> str:
        """Name of the beamline, as the metadata give it; "" where they do not."""
        return self._named(*BEAMLINE)

    def _named(self, *keys: str) -> str:
        """The first name that stands under one of the keys, or as `name` in a dictionary there."""
        for key in keys:
            entry = self.metadata.get(key)
            name = entry.get("name") if isinstance(entry, Mapping) else entry
            if isinstance(name, str) and name.strip():
                return name.strip()
        return ""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One sweep of the energy axis, as measured.

    Attributes
    ----------
    energy : (n,) eV. In a sound sweep ascending; bad input may be stored and is named by the quality checks.
    mu : (n,) absorption coefficient, any scale. NaN where the counts give none.
    reference : (n,) absorption of the reference foil, or None.
    counts : raw channels by name, each (n,), dark offsets subtracted: i0, it, ir, iff, and those of further
        modes, see `xas_live.modes`. Empty for ready-made mu.
    element, edge : absorber, as "Pt" and "L3"; None when unknown.
    absorber_guessed : they were told from the energies alone, and yield to what the user chooses.
    mode : how mu was measured: name of a detector mode.
    complete : False while the sweep is still running, or when it was aborted.
    temperature : of the sample (K), or None.
    mu_error : (n,) standard error of mu, of an average from the scatter between its sweeps; None if unknown.
    provenance : where it comes from.
    flags : what was noteworthy when it was read: names of `flags.Flag`.

    Raises
    ------
    Refusal : when a channel is not one column, or the lengths differ.
    """

    energy: Array
    mu: Array
    reference: Array | None = None
    counts: Mapping[str, Array] = field(default_factory=dict)
    element: str | None = None
    edge: str | None = None
    absorber_guessed: bool = False
    mode: str = "mu"
    complete: bool = True
    temperature: float | None = None
    mu_error: Array | None = None
    provenance: Provenance = field(default_factory=Provenance)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("energy", "mu", "reference", "mu_error"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _column(name, value))
        object.__setattr__(self, "counts", {k: _column(k, v) for k, v in self.counts.items()})
        lengths = {"energy": len(self.energy), "mu": len(self.mu)}
        for name, column in (("reference", self.reference), ("mu_error", self.mu_error)):
            if column is not None:
                lengths[name] = len(column)
        lengths |= {name: len(value) for name, value in self.counts.items()}
        if len(set(lengths.values())) > 1:
            raise Refusal(f"channels of one sweep must have one length, not {lengths}")

    def __len__(self) -> int:
        return len(self.energy)

    @classmethod
    def from_counts(
        cls,
        energy: ArrayLike,
        counts: Mapping[str, ArrayLike],
        *,
        mode: str | None = None,
        mu: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        dark: Mapping[str, float] | None = None,
        element: str | None = None,
        edge: str | None = None,
        complete: bool = True,
        temperature: float | None = None,
        provenance: Provenance | None = None,
    ) -> Spectrum:
        """Build a spectrum from detector counts.

        The detector mode says how mu is made: ln(i0/it) in transmission, iff/i0 in fluorescence. The
        reference is ln(it/ir). Counts that give no logarithm or quotient (zero, negative) become NaN, which
        the quality checks then name.

        Parameters
        ----------
        energy : (n,) eV.
        counts : channels by name, from i0, it, ir, iff and those of further modes, each (n,).
        mode : name of a detector mode; default: ready mu if given, else the preferred one that the channels
            allow (transmission, fluorescence, further ones).
        mu : (n,) ready-made, for mode "mu".
        reference : (n,) ready-made, used instead of it and ir.
        dark : offset of each channel, subtracted first (same unit as the channel).

        Raises
        ------
        Refusal : when the mode or a channel does not exist, channels that the mode needs are missing, a
            channel is not one column, or the lengths differ.
        """
        known = counted_channels()
        unknown = sorted(set(counts) - set(known))
        if unknown:
            raise Refusal(f"unknown channels {unknown}: use {', '.join(known)}")
        dark = dark or {}
        if strange := sorted(set(dark) - set(known)):
            raise Refusal(f"dark offsets of unknown channels {strange}: use {', '.join(known)}")
        channels = {k: _column(k, v) - float(dark.get(k, 0.0)) for k, v in counts.items()}
        given = channels if mu is None else channels | {"mu": _column("mu", mu)}
        chosen = intended_mode(given) if mode is None else find_mode(mode)
        if missing := chosen.missing(given):
            if missing == ["mu"]:
                others = " or ".join(name for name in mode_names() if name != chosen.name)
                raise Refusal(f"mode {chosen.name!r} needs a ready-made mu; for counts use {others}")
            needed = " and ".join(chosen.needed)
            raise Refusal(f"mode {chosen.name!r} needs channels {needed}; {missing} not given")
        absorption = chosen.formula(given)
        if reference is None and "it" in channels and "ir" in channels:
            reference = log_ratio(channels["it"], channels["ir"])
        return cls(
            energy=_column("energy", energy),
            mu=absorption,
            reference=None if reference is None else _column("reference", reference),
            counts=channels,
            element=element,
            edge=edge,
            mode=chosen.name,
            complete=complete,
            temperature=temperature,
            provenance=provenance or Provenance(),
        )


def _column(name: str, value: ArrayLike) -> Array:
    column = np.array(value, dtype=np.float64)  # a copy: the caller may go on filling the array
    if column.ndim != 1:
        raise Refusal(f"{name} must be one column of numbers, not of shape {column.shape}")
    return column
