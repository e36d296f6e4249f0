"""Which element and edge a scan is of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import xraydb

from xas_live.spectrum import Array

_ELEMENT_KEYS = ("element", "absorber", "absorbing_element", "element.symbol", "symbol")
_EDGE_KEYS = ("edge", "absorption_edge", "element.edge")
_NESTS = ("xas", "sample", "element", "xdi", "scan", "md")
_EDGES = ("K", "L1", "L2", "L3", "M1", "M2", "M3", "M4", "M5")
_ROMAN = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5"}

AFTER_EDGE_EV = 50.0
"""An edge with less of the scan behind it (eV) is not what was scanned."""
_MISCALIBRATION_EV = 12.0
_CLEARLY_NEARER_EV = 6.0


def absorber_from_metadata(start: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Return the element and edge that a start document names, as ("Pt", "L3"); None for what it does not.

    Keys may be in any case, and nested under xas, sample, element, XDI, scan or md; "Pt L3", "pt" and "LIII"
    are understood.
    """
    element = edge = None
    for value in _lookup(start, _ELEMENT_KEYS):
        for word in re.split(r"[\s,_-]+", value):
            element = element or _symbol(word)
            edge = edge or (_edge(word) if element and word.upper() != element.upper() else None)
    for value in _lookup(start, _EDGE_KEYS):
        for word in re.split(r"[\s,]+", value):
            edge = _edge(word) or edge
            element = element or (_symbol(word) if not _edge(word) else None)
    return element, edge


def absorber_from_energies(
    energy: Array, mu: Array, element: str | None = None, edge: str | None = None
) -> tuple[str | None, str | None]:
    """Guess element and edge from where the absorption rises, among the edges inside the scan.

    Parameters
    ----------
    energy, mu : (n,) energy (eV) and absorption of one sweep; NaN is left out.
    element, edge : what is known already.

    Returns
    -------
    (element, edge), or what was known already when nothing or more than one thing fits.
    """
    known = (element, edge)
    e0 = _steepest(energy, mu)
    if e0 is None:
        return known
    inside = [
        (abs(position - e0), symbol, label)
        for symbol, label, position in _edge_table()
        if np.nanmin(energy) < position < np.nanmax(energy) - AFTER_EDGE_EV
        and abs(position - e0) < _MISCALIBRATION_EV
        and element in (None, symbol)
        and edge in (None, label)
    ]
    # K and L3 are what people scan: the others count only where neither of these fits.
    usual = [candidate for candidate in inside if candidate[2] in ("K", "L3")]
    best = sorted(usual or inside)
    if not best or (len(best) > 1 and best[1][0] - best[0][0] < _CLEARLY_NEARER_EV):
        return known
    return best[0][1], best[0][2]


def edge_energy(element: str | None, edge: str | None) -> float | None:
    """Return the tabulated energy of an edge (eV); None when the absorber is not known."""
    if element is None or edge is None:
        return None
    level = xraydb.xray_edges(element).get(edge)
    return None if level is None else float(level.energy)


def _steepest(energy: Array, mu: Array) -> float | None:
    """Return the energy of the steepest rise over a few eV (eV), None where there is no way to tell."""
    good = np.isfinite(energy) & np.isfinite(mu)
    e, first = np.unique(energy[good], return_index=True)
    if len(e) < 10 or np.ptp(e) < AFTER_EDGE_EV:
        return None
    grid = np.arange(e[0], e[-1], 1.0)
    smooth = np.convolve(np.interp(grid, e, mu[good][first]), np.full(5, 0.2), mode="valid")
    rise = np.diff(smooth)
    # Between points k and k+1 of the smoothed curve lies grid[k + 2.5].
    return float(grid[int(np.argmax(rise)) + 2] + 0.5)


@lru_cache(maxsize=1)
def _edge_table() -> tuple[tuple[str, str, float], ...]:
    """Return (symbol, edge, energy in eV) of all K and L edges from Na to Am."""
    return tuple(
        (xraydb.atomic_symbol(z), label, float(level.energy))
        for z in range(11, 96)
        for label, level in xraydb.xray_edges(z).items()
        if label in ("K", "L1", "L2", "L3")
    )


def _lookup(start: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[str]:
    lowered = {str(key).lower(): value for key, value in start.items()}
    for key in keys:
        if isinstance(value := lowered.get(key), str):
            yield value
    for nest in _NESTS:
        if isinstance(value := lowered.get(nest), Mapping):
            yield from _lookup(value, keys)


@lru_cache(maxsize=256)
def _symbol(word: str) -> str | None:
    name = word.strip().lower()
    for z in range(1, 99):
        if name in (xraydb.atomic_symbol(z).lower(), xraydb.atomic_name(z).lower()):
            return str(xraydb.atomic_symbol(z))
    return None


def _edge(word: str) -> str | None:
    name = re.sub(r"[^A-Z0-9]", "", word.upper()).removesuffix("EDGE")
    name = name[:1] + _ROMAN.get(name[1:], name[1:])
    return name if name in _EDGES else None
