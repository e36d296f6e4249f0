"""Which element and edge a scan is of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xraydb

from xas_live.spectrum import Array

_ELEMENT_KEYS = ("element", "absorber", "absorbing_element", "element.symbol", "element_symbol", "symbol")
_EDGE_KEYS = ("edge", "absorption_edge", "element.edge", "element_edge")
_E0_KEYS = ("e0", "e_0", "edge_energy", "edge_e0")
_NESTS = ("xas", "sample", "element", "xdi", "xdi.element", "scan", "md", "metadata", "plan_args", "kwargs")
_EDGES = ("K", "L1", "L2", "L3", "M1", "M2", "M3", "M4", "M5")
_ROMAN = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5"}
_LONGEST_REPR = 10_000  # characters of a dictionary written as a string

AFTER_EDGE_EV = 50.0
"""An edge with less of the scan behind it (eV) is not what was scanned."""

_LEAST_EV = 200.0  # below it there is no X-ray absorption scan
_MOST_EV = 150_000.0  # nor above it: the K edge of Am, the last that is known, lies at 125 keV
_BELOW_EV, _ABOVE_EV = 12.0, 25.0
"""How far below and above the table mu may rise (eV): miscalibration, and the chemical shift of oxides."""
_CLEARLY_NEARER_EV = 6.0
_STATED_E0_EV = 3.0  # between an e0 that is stated and the table


class Absorber(NamedTuple):
    """Element and edge, as ("Pt", "L3"), each None where unknown, and how they are known, in words."""

    element: str | None
    edge: str | None
    how: str = ""

    @property
    def name(self) -> str:
        """As "Pt L3"."""
        return " ".join(filter(None, (self.element, self.edge)))


def absorber_from_metadata(start: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Return the element and edge that a start document names, as ("Pt", "L3"); None for what it does not.

    Keys may be in any case, and nested under xas, sample, element, XDI, scan, md and the plan's arguments,
    whose values may be written as Python does. "Pt L3", "Pt_L3", "pt", "LIII" and "L3-edge" are understood.
    Where no edge is named, the edge energy tells it (`e0`, eV).
    """
    element = edge = None
    for value in _lookup(start, _ELEMENT_KEYS):
        for word in _words(value):
            element = element or _symbol(word)
            edge = edge or (_edge(word) if element and word.upper() != element.upper() else None)
    for value in _lookup(start, _EDGE_KEYS):
        for word in [value] if _edge(value) else _words(value):
            edge = _edge(word) or edge
            element = element or (_symbol(word) if not _edge(word) else None)
    if edge is None and (e0 := next(_numbers(start, _E0_KEYS), None)) is not None:
        near = [
            (symbol, label)
            for symbol, label, position in _edge_table()
            if abs(position - e0) <= (_ABOVE_EV if element else _STATED_E0_EV) and element in (None, symbol)
        ]
        near = [found for found in near if found[1] in ("K", "L3")] or near
        if len(near) == 1:
            return near[0]
    return element, edge


def absorber_from_energies(
    energy: Array, mu: Array, element: str | None = None, edge: str | None = None
) -> Absorber:
    """Guess element and edge from where the absorption rises, among the edges inside the scan.

    K and L3 count before L1 and L2: an oxide's edge lies up to 25 eV above the table.

    Parameters
    ----------
    energy, mu : (n,) energy (eV) and absorption of one sweep; NaN is left out, and energies beyond all edges
        or not above zero, which are misread.
    element, edge : what is known already.

    Returns
    -------
    What was known already when nothing or more than one thing fits; the words say so.
    """
    good = np.isfinite(energy) & np.isfinite(mu) & (energy > 0.0) & (energy <= _MOST_EV)
    energy, mu = energy[good], mu[good]
    rise = _steepest(energy, mu)
    if rise is None:
        return Absorber(element, edge)
    inside = [
        (abs(rise - position), symbol, label, position)
        for symbol, label, position in _edge_table()
        if energy.min() < position < energy.max() - AFTER_EDGE_EV
        and -_BELOW_EV < rise - position < (_ABOVE_EV if label in ("K", "L3") else _BELOW_EV)
        and element in (None, symbol)
        and edge in (None, label)
    ]
    best = sorted([candidate for candidate in inside if candidate[2] in ("K", "L3")] or inside)
    if not best:
        return Absorber(element, edge, f"not told by where mu rises, at {rise:.0f} eV")
    if len(best) > 1 and (best[1][0] - best[0][0] < _CLEARLY_NEARER_EV or best[1][3] < best[0][3]):
        either = " or ".join(f"{symbol} {label} ({at:.0f} eV)" for _, symbol, label, at in best[:3])
        return Absorber(element, edge, f"{either}: not told by where mu rises, at {rise:.0f} eV")
    _, symbol, label, at = best[0]
    words = f"looks like {symbol} {label} ({at:.0f} eV) by where mu rises, at {rise:.0f} eV"
    return Absorber(symbol, label, words)


def edge_energy(element: str | None, edge: str | None) -> float | None:
    """Return the tabulated energy of an edge (eV); None when the absorber is not known."""
    if element is None or edge is None:
        return None
    level = xraydb.xray_edges(element).get(edge)
    return None if level is None else float(level.energy)


def _steepest(energy: Array, mu: Array) -> float | None:
    """Return the energy of the steepest rise over a few eV (eV), None where there is no way to tell."""
    e, first = np.unique(energy, return_index=True)
    if len(e) < 10 or np.ptp(e) < AFTER_EDGE_EV or e[0] < _LEAST_EV:
        return None
    grid = np.arange(e[0], e[-1], 1.0)
    smooth = np.convolve(np.interp(grid, e, mu[first]), np.full(5, 0.2), mode="valid")
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


def _lookup(start: Mapping[str, object], keys: Sequence[str]) -> Iterator[str]:
    """Give the strings under these keys, at the top and in nests, without Python's quotes."""
    for value in _values(start, keys):
        if isinstance(value, str):
            yield value.strip().strip("'\"")


def _numbers(start: Mapping[str, object], keys: Sequence[str]) -> Iterator[float]:
    """Give the numbers under these keys that may be eV, also where they are strings."""
    for value in _values(start, keys):
        if isinstance(value, str):
            match = re.match(r"\s*'?(\d+(?:\.\d*)?)", value)
            value = float(match[1]) if match else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > _LEAST_EV:
            yield float(value)


def _values(start: Mapping[str, object], keys: Sequence[str]) -> Iterator[object]:
    lowered = {str(key).lower(): value for key, value in start.items()}
    for key in keys:
        if key in lowered:
            yield lowered[key]
    for nest in _NESTS:
        value = lowered.get(nest)
        if isinstance(value, str) and value.lstrip().startswith("{") and len(value) <= _LONGEST_REPR:
            value = _from_repr(value)
        if isinstance(value, Mapping):
            yield from _values(value, keys)


def _from_repr(text: str) -> object:
    """Return the dictionary that a string writes as Python does; None where it does not."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,_/-]+", text) if word]


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
