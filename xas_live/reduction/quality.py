"""Is a sweep fit to be analysed? If not, why; and what is noteworthy about it all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.modes import Channel, CountCheck, checked_channels
from xas_live.reduction.axis import LEAST_ENERGY, MIN_POINTS, SAME_ENERGY, Axis, AxisCache
from xas_live.reduction.rebin import EdgeGrid, Layout
from xas_live.spectrum import Array, Spectrum

GLITCH_REACH = 12  # points to either side that tell what is usual
GLITCH_STEP = 0.03  # of the edge step, by which a glitch stands out at least
USUAL, NEIGHBOURS = 10.0, 3.0  # times what the points around, and the two beside it, do
E0_RANGE = 40.0  # eV around the tabulated edge
SATURATED = 0.2  # share of points at the largest value, from which a detector is saturated
LEAST_KEV = 0.1  # below it no scan in keV begins
BEFORE_EDGE = 20.0  # eV that a sweep must start before the edge
SAME_EVERYWHERE = "mu is the same at every energy: is a detector dead?"


class Unusable(Refusal):
    """A sweep that must not be analysed, with the reason in words."""


@dataclass(frozen=True, eq=False)
class Checked:
    """A sweep as the reduction can take it.

    Attributes
    ----------
    axis : n energies (eV), strictly ascending.
    mu : (n,) finite.
    reference : (n,) or None, finite where given.
    flags : what was noteworthy.
    weights : (n,) number of measured points behind each, of a dense sweep that was rebinned; else None.
    i0 : (n,) of such a sweep that has it.
    """

    axis: Axis
    mu: Array
    reference: Array | None
    flags: tuple[str, ...]
    weights: Array | None = None
    i0: Array | None = None

    @property
    def energy(self) -> Array:
        """(n,) eV."""
        return self.axis.energy


def check_all(
    spectra: Sequence[Spectrum],
    axes: AxisCache,
    grids: Sequence[EdgeGrid] | None = None,
    *,
    counts: bool = True,
) -> list[Checked | Unusable]:
    """What `check` says of each spectrum; those that share energies and have nothing amiss cost little.

    Parameters
    ----------
    spectra, axes : what is checked, and where axes of sweeps taken as measured are kept.
    grids : standard grid of each spectrum's edge, for dense sweeps; None: all are taken as measured.
    counts : whether bad counts are a reason against a sweep.
    """
    found: list[Checked | Unusable | None] = [None] * len(spectra)
    groups: dict[tuple[bytes, tuple[Channel, ...], bool, bool, EdgeGrid | None], list[int]] = {}
    for i, spectrum in enumerate(spectra):
        channels = checked_channels(spectrum.mode, spectrum.counts) if counts else ()
        grid = None if grids is None else grids[i]
        key = (spectrum.energy.tobytes(), channels, spectrum.reference is None, "i0" in spectrum.counts, grid)
        groups.setdefault(key, []).append(i)
    for (_, channels, _, _, grid), members in groups.items():
        group = [spectra[i] for i in members]
        for i, checked in zip(members, _check_group(group, channels, axes, grid, counts), strict=True):
            found[i] = checked
    return [each for each in found if each is not None]


def _check_group(
    group: Sequence[Spectrum],
    channels: Sequence[Channel],
    axes: AxisCache,
    grid: EdgeGrid | None,
    counts: bool,
) -> Iterator[Checked | Unusable]:
    """As `check_all`, of spectra that share energies, channels and grid."""
    energy = group[0].energy
    layout = _layout(grid, energy)
    axis = axes.of(energy) if layout is None else layout.axis
    sound = _sound(group, channels) if axis.sound else np.zeros(len(group), dtype=bool)
    as_they_are = [spectrum for spectrum, good in zip(group, sound, strict=True) if good]
    checked: Iterator[Checked]
    if layout is None:
        checked = (Checked(axis, s.mu, s.reference, ()) for s in as_they_are)
    else:
        checked = iter(_rebinned(layout, _columns(as_they_are)))
    for spectrum, good in zip(group, sound, strict=True):
        if good:
            yield next(checked)
            continue
        try:
            yield check(spectrum if counts else replace(spectrum, counts={}), grid)
        except Unusable as error:
            yield error


def _sound(group: Sequence[Spectrum], channels: Sequence[Channel]) -> NDArray[np.bool_]:
    """(batch,) whether `check` would leave these spectra's values as they are, without a word."""
    columns = [[s.mu for s in group]]
    if group[0].reference is not None:
        columns.append([s.reference for s in group if s.reference is not None])
    sound = np.ones(len(group), dtype=bool)
    for column in columns:
        values = np.stack(column)
        low, high = values.min(axis=1), values.max(axis=1)
        sound &= np.isfinite(high - low) & (high > low)
    for channel in channels:
        values = np.stack([s.counts[channel.name] for s in group])
        low, high = values.min(axis=1), values.max(axis=1)
        saturated = np.count_nonzero(values == high[:, None], axis=1) > SATURATED * values.shape[1]
        sound &= (low > 0) & np.isfinite(high) & (high > low) & ~saturated
    return sound


def check(spectrum: Spectrum, grid: EdgeGrid | None = None) -> Checked:
    """Sort out what can be sorted out, refuse what cannot.

    Points that are not numbers are left out, unsorted points sorted and repeated energies averaged, each with
    a flag: `bad_points`, `unsorted`, `repeated_energies`. A bad reference channel is dropped with the flag
    `bad_reference`: it must not cost the sample.

    A dense sweep is averaged in the bins of its edge's standard grid, whatever the order of its points:
    energies that run back a little are nothing unusual in it. Single points misread, in mu or in energy, are
    left out (`bad_points`).

    Parameters
    ----------
    spectrum : as measured.
    grid : the standard grid of its edge; None: it is taken as measured, however dense.

    Raises
    ------
    Unusable : with the reason, when the sweep cannot give a spectrum.
    """
    n = len(spectrum)
    if n < MIN_POINTS:
        raise Unusable(f"only {n} points: a spectrum needs at least {MIN_POINTS}")
    flags: list[str] = []
    energy, mu = spectrum.energy, spectrum.mu
    good = np.isfinite(energy) & np.isfinite(mu)
    layout = _layout(grid, energy[good])
    if layout is None:
        _check_energy(energy)
    _check_counts(spectrum)

    if not good.all():
        bad = int((~good).sum())
        if bad > max(3, 0.05 * n):
            raise Unusable(f"{bad} of {n} points are not numbers: check the detectors and their dark offsets")
        flags.append(Flag.BAD_POINTS)
    energy, mu = energy[good], mu[good]
    reference = None if spectrum.reference is None else spectrum.reference[good]
    if layout is not None:
        if reference is not None:
            reference, mended = _mend_reference(energy, reference)
            flags += mended
        if np.ptp(mu) == 0:
            raise Unusable(SAME_EVERYWHERE)
        i0 = spectrum.counts["i0"][good] if "i0" in spectrum.counts else None
        columns = [None if c is None else c[None] for c in (mu, reference, i0)]
        return _rebinned(layout, columns, flags)[0]
    if np.any(np.diff(energy) < 0):
        order = np.argsort(energy, kind="stable")
        energy, mu = energy[order], mu[order]
        reference = None if reference is None else reference[order]
        flags.append(Flag.UNSORTED)
    if reference is not None:
        reference, mended = _mend_reference(energy, reference)
        flags += mended
    if np.any(np.diff(energy) < SAME_ENERGY):
        cell = np.concatenate([[0], np.cumsum(np.diff(energy) >= SAME_ENERGY)])
        count = np.bincount(cell)
        if len(count) < MIN_POINTS:
            raise Unusable(f"only {len(count)} different energies among {n} points")
        energy, mu = np.bincount(cell, energy) / count, np.bincount(cell, mu) / count
        reference = None if reference is None else np.bincount(cell, reference) / count
        flags.append(Flag.REPEATED_ENERGIES)
    if np.ptp(mu) == 0:
        raise Unusable(SAME_EVERYWHERE)
    return Checked(Axis(energy), mu, reference, tuple(flags))


def _layout(grid: EdgeGrid | None, energy: Array) -> Layout | None:
    return None if grid is None or not np.isfinite(energy).all() else grid.layout(energy)


def _columns(group: Sequence[Spectrum]) -> list[Array | None]:
    """mu, reference and i0 of spectra that have the same of them, each (batch, n)."""
    if not group:
        return [None, None, None]
    columns: list[Array | None] = [np.stack([s.mu for s in group]), None, None]
    if group[0].reference is not None:
        columns[1] = np.stack([s.reference for s in group if s.reference is not None])
    if "i0" in group[0].counts:
        columns[2] = np.stack([s.counts["i0"] for s in group])
    return columns


def _rebinned(layout: Layout, columns: Sequence[Array | None], flags: Sequence[str] = ()) -> list[Checked]:
    """Dense sweeps of the same energies on the standard grid.

    Parameters
    ----------
    layout : of their n energies.
    columns : mu, reference and i0, each (batch, n) or None; no mu for no sweep.
    flags : what was noteworthy so far, of all.
    """
    mu = columns[0]
    if mu is None:
        return []
    given = [column for column in columns if column is not None]
    flags = [*flags]
    if layout.apart and Flag.BAD_POINTS not in flags:
        flags.append(Flag.BAD_POINTS)
    averaged = layout.average(np.concatenate(given)).reshape(len(given), len(mu), -1)
    suspect = layout.misread(mu, averaged[0])
    found = []
    for i in range(len(mu)):
        own, weights, own_flags = averaged[:, i], layout.weights, [*flags]
        if suspect[i].any() and (misread := _misread(layout, mu[i], suspect[i])).any():
            others = layout.without(misread)
            own, weights = others.average(np.stack([c[i, ~misread] for c in given])), others.weights
            own_flags += [] if Flag.BAD_POINTS in flags else [Flag.BAD_POINTS]
        rest = iter(own[1:])
        reference, i0 = (None if column is None else next(rest) for column in columns[1:])
        found.append(Checked(layout.axis, own[0], reference, tuple(own_flags), weights, i0))
    return found


def _misread(layout: Layout, mu: Array, suspect: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) points that stand out of their bins; a misread one lets others stand out of what it spoilt."""
    clean = layout.without(suspect).average(mu[None, ~suspect])
    return np.asarray(layout.misread(mu[None], clean)[0])


def _mend_reference(energy: Array, reference: Array) -> tuple[Array | None, list[str]]:
    """The reference with a few missing points filled in, or None when it is beyond that; and the flag."""
    finite = np.isfinite(reference)
    if finite.mean() < 0.95 or np.ptp(reference[finite]) == 0:
        return None, [Flag.BAD_REFERENCE]
    if finite.all():
        return reference, []
    energies, values = energy[finite], reference[finite]
    order = np.argsort(energies, kind="stable")
    return np.interp(energy, energies[order], values[order]), [Flag.BAD_POINTS]


def _check_energy(energy: Array) -> None:
    finite = energy[np.isfinite(energy)]
    if not finite.size:
        raise Unusable("no energy is a number")
    low, high = float(finite.min()), float(finite.max())
    if high < 120 and low < LEAST_KEV:
        raise Unusable(
            f"energies from {low:.3g} to {high:.3g} are no X-ray absorption scan: is it k, or a time?"
        )
    if 0 < high < 120:
        raise Unusable(f"energies run from {low:.3f} to {high:.3f}: that looks like keV, eV are needed")
    if low < LEAST_ENERGY:
        raise Unusable(f"energies from {low:.1f} to {high:.1f} are no X-ray absorption scan in eV")


def _check_counts(spectrum: Spectrum) -> None:
    for channel in checked_channels(spectrum.mode, spectrum.counts):
        counts = spectrum.counts[channel.name]
        finite = counts[np.isfinite(counts)]
        if not finite.size:
            raise Unusable(f"{channel.name} has no numbers")
        if np.ptp(finite) == 0:
            raise Unusable(
                f"{channel.name} is {finite[0]:g} at every point: the detector is dead or saturated "
                "(if the scan counts to a preset value, give mu ready-made)"
            )
        _check_sign(channel, finite)
        top = finite.max()
        flat = float((finite == top).mean())
        if top > 0 and flat > SATURATED:
            raise Unusable(
                f"{channel.name} stays at its largest value, {top:g}, for {100 * flat:.0f} % of the points: "
                "the detector is saturated"
            )


def _check_sign(channel: Channel, counts: Array) -> None:
    """Refuse counts whose sign or zeros tell that there was no beam, or a wrong dark offset."""
    negative = float((counts < 0).mean())
    match channel.check:
        case CountCheck.YIELD:
            if negative == 1.0:
                raise Unusable(f"{channel.name} is negative at every point: check its sign and dark offset")
        case CountCheck.BEAM:
            if 0.05 < negative < 0.95:
                share = f"{100 * negative:.0f} % of the points"
                raise Unusable(f"{channel.name} is negative at {share}: check its dark offset")
            zero = float((counts == 0).mean())
            if zero > 0.05:
                raise Unusable(f"{channel.name} is zero at {100 * zero:.0f} % of the points: no beam?")


def locate_edge(axis: Axis, mu: Array, expected: float) -> float:
    """e0 by larch's rule, if it is the edge that the model is for.

    Parameters
    ----------
    axis, mu : of n points; (n,) absorption.
    expected : tabulated energy of the edge, eV.

    Raises
    ------
    Unusable : the edge lies over 40 eV from where it should, or falls.
    """
    return expected_edge(axis, mu, axis.edge_finder(axis.coarser(mu)), expected)


def expected_edge(axis: Axis, mu: Array, e0: float, expected: float) -> float:
    """The edge of a spectrum where larch's rule finds it, or near where the model expects it.

    Parameters
    ----------
    axis, mu, expected : as for `locate_edge`.
    e0 : where larch's rule finds it, eV.

    Raises
    ------
    Unusable : as `locate_edge` does.
    """
    if abs(e0 - expected) <= E0_RANGE:
        return e0
    # Noise or a glitch elsewhere may be steeper than the edge: is there one where it should be?
    energy = axis.energy
    near = np.abs(energy - expected) <= E0_RANGE
    below, above = near & (energy < expected - 15.0), near & (energy > expected + 15.0)
    if near.sum() >= MIN_POINTS and below.any() and above.any():
        rise = np.median(mu[above]) - np.median(mu[below])
        low, high = np.quantile(mu, [0.05, 0.95])
        if rise > 0.4 * (high - low):
            return locate_edge(Axis(energy[near]), mu[near], expected)
        if rise < -0.4 * (high - low):
            raise Unusable("the edge falls: are numerator and denominator of mu exchanged?")
    raise Unusable(
        f"the edge lies at {e0:.0f} eV, the model's at {expected:.0f} eV: wrong element or edge, or an "
        "energy scale far off"
    )


def check_range(energy: Array, e0: float, grid: Array) -> None:
    """Whether a sweep reaches far enough on both sides.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    e0 : eV.
    grid : (g,) energies at which the model needs the spectrum, eV.

    Raises
    ------
    Unusable : the sweep starts too late or ends too early.
    """
    first, last = min(float(grid[0]), e0 - BEFORE_EDGE), float(grid[-1])
    if energy[-1] < last:
        raise Unusable(
            f"the sweep ends at {energy[-1]:.0f} eV, the model needs it to {last:.0f} eV "
            f"({last - e0:.0f} eV past the edge)"
        )
    if energy[0] > first:
        raise Unusable(
            f"the sweep starts at {energy[0]:.0f} eV, the model needs it from {first:.0f} eV "
            f"({e0 - first:.0f} eV before the edge)"
        )


def check_step(edge_step: float, noise: float) -> list[str]:
    """Whether there is a usable edge; the flag `noisy` where noise is over 2 % of it.

    Parameters
    ----------
    edge_step : signed, in units of mu.
    noise : of a point, in units of mu.

    Raises
    ------
    Unusable : no edge, or a falling one.
    """
    if not np.isfinite(edge_step) or edge_step == 0 or abs(edge_step) < 5.0 * noise:
        raise Unusable(f"no edge: a step of {edge_step:.3g} in noise of {noise:.2g} a point")
    if edge_step < 0:
        raise Unusable(
            f"the edge falls (step {edge_step:.3g}): are numerator and denominator of mu exchanged?"
        )
    return [Flag.NOISY] if noise > 0.02 * edge_step else []


def glitches(axis: Axis, mu: Array, edge_step: Array) -> list[Array]:
    """Energies (eV) of single points that stand out of the curve through their neighbours.

    Parameters
    ----------
    axis : of n points, strictly ascending.
    mu : (batch, n).
    edge_step : (batch,) in units of mu.

    Returns
    -------
    One array a spectrum.
    """
    found = [np.empty(0)] * len(mu)
    if len(axis) < 2 * GLITCH_REACH:
        return found
    off, before, after = axis.off_cubic(mu)
    # What is usual around takes a sliding median: only where the rest of the rule holds.
    beside = NEIGHBOURS * np.maximum(before, after)
    suspects = off > np.maximum(beside, GLITCH_STEP * np.abs(edge_step)[:, None])
    for row in np.flatnonzero(suspects.any(axis=1)).tolist():
        out = standing_out(axis, mu[row], float(edge_step[row]))
        found[row] = axis.energy[out > 1.0]
    return found


def standing_out(axis: Axis, mu: Array, edge_step: float) -> Array:
    """(n,) how far each point stands out of the curve through its neighbours: over 1 it is a glitch.

    Such a point lies off the cubic through its four neighbours by over 3 % of the edge step, by over ten
    times what the points around it do, and by over three times what its neighbours do when it is taken away:
    where the scan is too coarse for the edge, they do, too.

    Parameters
    ----------
    axis : of n points, strictly ascending.
    mu : (n,) absorption.
    edge_step : in units of mu.
    """
    found = np.zeros(len(axis))
    if len(axis) < 2 * GLITCH_REACH:
        return found
    off, before, after = (part[0] for part in axis.off_cubic(mu[None]))
    padded = np.pad(off, GLITCH_REACH, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * GLITCH_REACH + 1), axis=1)
    limit = np.maximum.reduce(
        [
            np.full(len(off), GLITCH_STEP * abs(edge_step)),
            USUAL * usual,
            NEIGHBOURS * before,
            NEIGHBOURS * after,
        ]
    )
    found[3:-3] = off / np.maximum(limit, np.finfo(float).tiny)
    return found


def half_rise(energy: Array, flat: Array) -> float:
    """Energy (eV) at which a normalised edge first passes one half; NaN when it does not within the data."""
    above = np.flatnonzero(flat > 0.5)
    if not above.size or above[0] == 0:
        return float("nan")
    i = above[0]
    return float(np.interp(0.5, flat[i - 1 : i + 1], energy[i - 1 : i + 1]))


def point_noise(mu: Array) -> float:
    """Noise of a point of a spectrum (n,): see `point_noises`."""
    return float(point_noises(mu[None])[0])


def point_noises(mu: Array) -> Array:
    """(batch,) noise of a point from third differences, robust to structure and glitches (unit of mu)."""
    third = mu[:, 3:] - 3.0 * (mu[:, 2:-1] - mu[:, 1:-2]) - mu[:, :-3]
    if not third.shape[1]:
        return np.full(len(mu), np.nan)
    return np.asarray(np.median(np.abs(third), axis=1) / (0.6745 * np.sqrt(20.0)))
