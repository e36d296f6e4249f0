"""From coordination numbers to the size of the particle."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xas_live.models.sections.specs import SizeSection
from xas_live.prediction import Size, Value, nanometres
from xas_live.spectrum import Array

BULK = (12.0, 6.0, 24.0, 12.0)
"""Coordination numbers of an fcc metal's first shells."""


def sphere_diameter(cn1: float, r1: float) -> float:
    """Diameter (nm) of a spherical particle with first-shell coordination number `cn1`.

    Solves CN1 = 12 [1 - (3/4) (r/R) + (1/16) (r/R)^3] for the radius R, with r the nearest-neighbour distance
    (Calvin et al., J. Appl. Phys. 94, 778, 2003). Infinite at 12 and above.

    Parameters
    ----------
    cn1 : average number of nearest neighbours.
    r1 : nearest-neighbour distance, Å.
    """
    if cn1 >= BULK[0]:
        return float("inf")
    # u^3 - 12 u + 16 (1 - CN1/12) = 0 with u = r/R, 0 to 2: of its three real roots the middle one.
    angle = math.acos(max(-1.0, cn1 / BULK[0] - 1.0))
    ratio = min(4.0 * math.cos(angle / 3.0 - 2.0 * math.pi / 3.0), 2.0)
    return 2.0 * r1 / ratio / 10.0


def fcc_diameter(n_atoms: Array, r1: float) -> Array:
    """Diameter (nm) of a sphere of `n_atoms` atoms of an fcc metal with nearest neighbours at r1 (Å)."""
    volume = n_atoms * (np.sqrt(2.0) * r1) ** 3 / 4.0
    return np.asarray(np.cbrt(6.0 * volume / np.pi) / 10.0)


def bulk_numbers(section: SizeSection) -> dict[str, float]:
    """What the coordination numbers of the section's shells are in the bulk, by target."""
    return dict(zip(section.shells, BULK, strict=False))


class ParticleSize:
    """Diameter from predicted coordination numbers, with the interval that theirs allows.

    Every particle of the model's library is weighted by how well its coordination numbers agree with the
    predicted ones, within their standard deviations; the diameter is the weighted median, its interval the
    weighted quantiles of the predictions' own level, widened where need be to what the spherical formula
    gives for the first shell's interval. Where that interval reaches as high as the library's largest
    particles, larger sizes are no longer told apart: the label says only what the diameter is above, as
    "> 1.5 nm", or "bulk-like".

    Parameters
    ----------
    section : which targets are coordination numbers.
    table, atoms : (particles, shells) coordination numbers of the library's particles, and their atoms.
    r1 : nearest-neighbour distance of the bulk, Å.
    """

    def __init__(self, section: SizeSection, table: Array, atoms: Array, r1: float) -> None:
        self._shells, self._r1 = section.shells, r1
        diameter = fcc_diameter(atoms, r1)
        order = np.argsort(diameter)
        self._columns, self._diameter = np.ascontiguousarray(table[order].T), diameter[order]
        self._largest = float(table[:, 0].max())

    def __call__(self, values: Mapping[str, Value]) -> Size | None:
        """Of predicted values; None without the first shell's."""
        if self._shells[0] not in values:
            return None
        first = values[self._shells[0]]
        low_bound = sphere_diameter(first.lower, self._r1)
        if first.value >= self._largest:
            if first.lower >= self._largest - 0.5:
                return Size(None, None, None, "bulk-like")
            low_bound = round(low_bound, 2)
            return Size(None, low_bound, None, f"bulk-like, over {nanometres(low_bound)} nm")

        misfit, shells = np.zeros(len(self._diameter)), 0
        for column, name in enumerate(self._shells):
            if name in values:
                off = (self._columns[column] - values[name].value) / max(values[name].std, 0.05)
                misfit += off * off
                shells += 1
        misfit /= shells
        share = np.cumsum(np.exp(-0.5 * (misfit - misfit.min())))
        tail = 0.5 * (1.0 - first.level)
        quantiles = np.interp((tail, 0.5, 1.0 - tail), share / share[-1], self._diameter)
        low, median, high = quantiles.tolist()
        median, low = round(median, 2), round(min(low, low_bound), 2)  # labels are made of what is stored
        if first.upper >= self._largest:
            return Size(median, low, None, f"> {nanometres(low)} nm")
        high = max(high, sphere_diameter(first.upper, self._r1))
        return Size(median, low, round(high, 2), f"{nanometres(median)} nm")
