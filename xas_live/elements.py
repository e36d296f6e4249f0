"""Detectors of several elements: their fields recognised, corrected for dead time, and summed.

A fluorescence detector has 4 to 100 elements, each with a field of its own. Live streams and data files are
read by these functions alone. The names that they know stand in `xas_live.modes`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xas_live.modes import FIELD_SUFFIX, NUMBERED_INPUTS, Array, Channel

LEAST_POINTS = 5
"""Of fewer points it is not said whether an element counts."""

FROZEN = 8
"""An element that reads the same at so many points in succession, while the others do not, has stopped."""

_COUNTS_THERE = 20.0
"""Mean of the other elements where one has stopped: with fewer counts the same number may come by chance."""

_METALS = (
    "Ti Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Rb Sr Zr Nb Mo Ru Rh Pd Ag Cd Sn Sb Te Ba La Ce Pr Nd Sm Eu Gd "
    "Tb Dy Ho Er Tm Yb Lu Hf Ta Re Os Pt Au Hg Tl Pb Bi Th"
)
"""Symbols that are no other word for a channel, as "Ir" and "In" may be."""

_CORRECTED = frozenset(("dtc", "corr", "corrected", "dtcorr"))
_RATES = {
    kind: re.compile(
        rf"(?:\w+_)?(?:{word})_?(?P<n>\d+){FIELD_SUFFIX}|\w*?(?P<m>\d+)_(?:{word}){FIELD_SUFFIX}"
    )
    for kind, word in (
        ("icr", "icr|input_?count_?rate|input_?rate"),
        ("ocr", "ocr|output_?count_?rate|output_?rate"),
    )
}


class Elements(NamedTuple):
    """The fields of a detector's elements.

    Attributes
    ----------
    fields : in the order of their numbers.
    icr, ocr : of each, the field of its input and of its output count rate; empty where they are not known.
    remarks : what was guessed, in words.
    """

    fields: tuple[str, ...]
    icr: tuple[str, ...] = ()
    ocr: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Summed(NamedTuple):
    """What became of the elements of one sweep.

    Attributes
    ----------
    values : (n,) their sum.
    said : which were summed, and how, as "2 fluor_1 + fluor_4, each times ICR/OCR".
    left_out : why others were not, by field.
    """

    values: Array
    said: str
    left_out: Mapping[str, str]


def find_elements(
    names: Iterable[str], channel: Channel, hinted: Collection[str] = (), absorber: str | None = None
) -> Elements | None:
    """Return the elements of a detector among the names of fields or columns; None where there are none.

    Parameters
    ----------
    names : of fields or columns.
    channel : that they are elements of; it knows how they are named.
    hinted : fields that the devices hint at: of several regions, theirs is taken.
    absorber : element that is measured, as "Pt": regions may be named by it, as "Pt1" to "Pt4".
    """
    names = list(names)
    groups: dict[tuple[int, str], dict[int, str]] = {}
    regions: dict[tuple[int, str], set[str]] = {}
    for name in names:
        for order, match in _matches(name, channel, absorber):
            first, last = match.span("n")
            stem = f"{match.string[:first]}#{match.string[last:]}"
            groups.setdefault((order, stem), {}).setdefault(int(match["n"]), name)
            if (region := match.groupdict().get("roi")) is not None:
                first, last = match.span("roi")
                regions.setdefault((order, re.sub(r"\d+", "#", match.string)), set()).add(region)
            break
    if not groups:
        return None

    def rank(key: tuple[int, str]) -> tuple[bool, bool, int, str]:
        found = groups[key]
        return len(found) < 2, not set(found.values()) & set(hinted), key[0], key[1]

    key = min(groups, key=rank)
    fields = tuple(groups[key][number] for number in sorted(groups[key]))
    same = regions.get((key[0], re.sub(r"\d+", "#", key[1])), set())
    remarks = []
    if len(same) > 1:
        remarks.append(f"{channel.name}: of {len(same)} regions that of {fields[0]} is taken")
    elif key[0] >= len(channel.elements) and absorber is None:
        remarks.append(f"{channel.name}: {fields[0]} and the like are taken for the absorber's fluorescence")
    return Elements(fields, remarks=tuple(remarks))


def find_rates(
    names: Iterable[str], fields: Sequence[str], channel: Channel, absorber: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields of the input and output count rates of elements, by their numbers.

    Empty where one is missing, where two have one number, where a field is not named as an element, or where
    names say that the counts are corrected.

    Parameters
    ----------
    names : of all fields or columns.
    fields : the elements.
    channel, absorber : as for `find_elements`.
    """
    words = {word for name in fields for word in _plain(name).split("_")}
    matches = [next(iter(_matches(name, channel, absorber)), None) for name in fields]
    numbers = [int(match[1]["n"]) for match in matches if match is not None]
    if not fields or len(numbers) < len(fields) or words & _CORRECTED:
        return (), ()
    found: dict[str, dict[int, str]] = {"icr": {}, "ocr": {}}
    for name in names:
        for kind, pattern in _RATES.items():
            if (match := pattern.fullmatch(_plain(name))) is not None:
                number = int(match["n"] or match["m"])
                if number in found[kind]:
                    return (), ()
                found[kind][number] = name
    if any(number not in of_kind for of_kind in found.values() for number in numbers):
        return (), ()
    icr, ocr = (tuple(of_kind[number] for number in numbers) for of_kind in found.values())
    return icr, ocr


def is_rate(name: str) -> bool:
    """Return whether a name is that of a count rate, by which dead time is corrected."""
    return any(pattern.fullmatch(_plain(name)) for pattern in _RATES.values())


def numbered_inputs(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the fields of electronics whose inputs are numbered, by channel, and that this is a guess."""
    names = list(names)
    for inputs in NUMBERED_INPUTS:
        found: dict[str, str] = {}
        for name in names:
            if (match := re.fullmatch(inputs.pattern, _plain(name))) is not None:
                number = int(match["n"])
                if 1 <= number <= len(inputs.channels):
                    found.setdefault(inputs.channels[number - 1], name)
        if found:
            order = ", ".join(name for name in inputs.channels if name in found)
            return found, (f"{order}: by the numbers of the inputs of the {inputs.name}, in the usual order",)
    return {}, ()


def summed(
    fields: Sequence[str],
    counts: Sequence[Array],
    rates: Sequence[tuple[Array, Array]] = (),
    weights: Mapping[str, float] | None = None,
) -> Summed:
    """Return the sum of the elements that count, each corrected for dead time.

    The true counts of an element are counts x ICR / OCR: its input count rate is what came in, its output
    count rate what was processed, and the dead time is the rest. This takes the ICR for the true rate, which
    holds as long as the fast channel's own dead time is small (larch.xrf.deadtime; J. Woicik, B. Ravel, D.
    Fischer and W. Newburgh, J. Synchrotron Rad. 17, 409, 2010). A point that came in and was not processed is
    NaN. An element is left out if it has no readings, reads the same at all points, or at eight or more in
    succession while the others do not; never all of them, and none in a sweep of fewer than five points.

    Parameters
    ----------
    fields : names of the elements.
    counts : (n,) of each.
    rates : (n,) input and output count rate of each; none for counts that are to stay as they are.
    weights : by field; default 1.
    """
    weights = weights or {}
    left_out = _dead(fields, counts, rates)
    total = np.zeros(len(counts[0]))
    said = []
    for k, name in enumerate(fields):
        if name in left_out:
            continue
        weight = weights.get(name, 1.0)
        total += weight * (counts[k] * _dead_time_factor(*rates[k]) if rates else counts[k])
        said.append(name if weight == 1.0 else f"{weight:g} {name}")
    return Summed(total, " + ".join(said) + (", each times ICR/OCR" if rates else ""), left_out)


def _dead_time_factor(icr: Array, ocr: Array) -> Array:
    """Return ICR / OCR, (n,); 1 where nothing came in, NaN where nothing came out of what did."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ocr > 0, icr / ocr, np.where(icr == 0, 1.0, np.nan))


def _dead(
    fields: Sequence[str], counts: Sequence[Array], rates: Sequence[tuple[Array, Array]]
) -> dict[str, str]:
    """Return why elements do not count, by field; empty where none of them does."""
    if len(fields) < 2 or len(counts[0]) < LEAST_POINTS:
        return {}
    dead = {name: why for name, column in zip(fields, counts, strict=True) if (why := _standing(column))}
    for name, (_, ocr) in zip(fields, rates, strict=False):
        if not np.any(ocr > 0):
            dead.setdefault(name, "its output count rate is 0 at all points")
    alive = {name: column for name, column in zip(fields, counts, strict=True) if name not in dead}
    if not alive:
        return {}
    total = np.sum(list(alive.values()), axis=0)
    for name, column in alive.items():
        if len(alive) > 1 and (why := _stopped(column, (total - column) / (len(alive) - 1))):
            dead[name] = why
    return dead if len(dead) < len(fields) else {}


def _standing(counts: Array) -> str:
    """Say why an element that reads the same at all points does not count; "" where it does not."""
    known = counts[np.isfinite(counts)]
    if not len(known):
        return "it has no readings"
    if known.min() < known.max():
        return ""
    return "it counts nothing" if known[0] == 0.0 else f"it reads {known[0]:g} at all points"


def _stopped(counts: Array, others: Array) -> str:
    """Say where an element stands still while the others count, on average; "" where it does not."""
    still = np.flatnonzero(counts[1:] == counts[:-1])
    if len(still) < FROZEN - 1:
        return ""
    stretch = max(np.split(still, np.flatnonzero(np.diff(still) > 1) + 1), key=len)
    first, last = int(stretch[0]), int(stretch[-1]) + 2
    there = others[first:last]
    if last - first < FROZEN or not (np.ptp(there) > 0.0 and there.mean() > _COUNTS_THERE):
        return ""
    return f"it reads {counts[first]:g} at {last - first} points in succession"


def _matches(name: str, channel: Channel, absorber: str | None) -> Iterable[tuple[int, re.Match[str]]]:
    """Give how a name speaks for an element of the channel: the order of the rule, and its match."""
    plain = _plain(name)
    if is_rate(name):
        return
    for order, pattern in enumerate(channel.elements):
        if (match := re.fullmatch(pattern, plain)) is not None:
            yield order, match
    if channel.elements:
        symbol = absorber or (title[1] if (title := re.match(r"([A-Z][a-z])_?\d+$", name)) else None)
        if symbol is not None and (absorber is not None or symbol in _METALS.split()):
            by_symbol = rf"(?:\w+_)?{symbol.lower()}_?(?:[kl][ab]?\d?_)?(?P<n>\d+){FIELD_SUFFIX}"
            if (match := re.fullmatch(by_symbol, plain)) is not None:
                yield len(channel.elements), match


def _plain(name: str) -> str:
    """Return a name in lower case, all that is no letter or digit written as "_"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
