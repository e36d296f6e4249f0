"""What names, units and hints of a stream's fields say: energy, detector channel, clock, or none of these."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from xas_live.elements import find_elements, numbered_inputs
from xas_live.energy import OTHER_ENERGY_WORDS, READBACK_WORDS, SETPOINT_WORDS, ev_factor
from xas_live.modes import IR, MU, REFERENCE, all_channels, modes_by_preference, suffices

if TYPE_CHECKING:
    from event_model.documents import DataKey, EventDescriptor, RunStart
    from event_model.documents.event_descriptor import PerObjectHint

PUBLISHED = "xas_live:"
"""What the source of a field of `PredictionSignals` begins with."""

_NO_READING = SETPOINT_WORDS | {"gain", "dark", "offset", "rate", "exposure", "dwell"}
_CLOCKS = {"time", "timestamp", "timestamps", "ts", "epoch"}
_NO_CLOCK = {"live", "real", "dead", "count", "counting", "exposure", "acquire", "acquisition", "dwell",
             "integration", "preset", "period", "shutter", "constant"}  # fmt: skip


Names = str | tuple[str, ...]
"""One field, or several that are summed."""


class Guess(NamedTuple):
    """Detector channels that were recognised.

    Attributes
    ----------
    channels : field, or fields that are summed, by channel.
    remarks : what was taken without being named, in words.
    """

    channels: dict[str, Names]
    remarks: tuple[str, ...] = ()


def energy_scores(
    keys: Mapping[str, DataKey], hinted: Collection[str], dimensions: Collection[str]
) -> dict[str, int]:
    """Return a score of each field that may be the energy; setpoints and other energies score below 0.

    Parameters
    ----------
    keys : data keys of the fields.
    hinted : fields that the devices hint at.
    dimensions : fields that the run is scanned along.
    """
    scores: dict[str, int] = {}
    for name in _numeric(keys):
        words = _words(name)
        unit = unit_of(keys[name])
        named = "energy" in words
        in_ev = ev_factor(unit) is not None
        if not (named or in_ev or (name in dimensions and words[-1] in ("en", "mono"))):
            continue
        if unit and not in_ev:
            continue
        scores[name] = (
            8 * (name in dimensions)
            + 4 * in_ev
            + 4 * named
            + 2 * (name in hinted)
            + bool(READBACK_WORDS & set(words))
            + bool({"mono", "dcm", "hhm", "monochromator"} & set(words))
            - 20 * bool(_NO_READING & set(words))
            - 8 * bool(OTHER_ENERGY_WORDS & set(words))
        )
    return scores


def best_energy(scores: Mapping[str, int]) -> str | None:
    """Return the field with the best score, of several the shortest; None where no score is over 0."""
    best = max(scores, key=lambda name: (scores[name], -len(name)), default=None)
    return best if best is not None and scores[best] > 0 else None


def guess_channels(
    keys: Mapping[str, DataKey],
    hinted: Collection[str],
    taken: str,
    mode: str | None = None,
    absorber: str | None = None,
) -> Guess:
    """Return the field that each detector channel is recognised in, or the fields of its elements.

    Elements are taken where the spectrum cannot be made without them, or the mode asks for them, and where no
    field is named as their sum.

    Parameters
    ----------
    keys : data keys of the fields.
    hinted : fields that the devices hint at: of two that are named as well, the hinted one is taken.
    taken : the field of the energy.
    mode : that is wanted; default: the preferred one that is possible.
    absorber : element that is measured, where it is known.
    """
    ranked: dict[str, list[tuple[tuple[int, int, int, int], str]]] = {}
    names = [name for name in _numeric(keys) if name != taken]
    for name in names:
        for recognised, rank in _channels_named(name):
            ranked.setdefault(recognised, []).append(((*rank, name not in hinted, len(name)), name))
    best = {recognised: min(candidates) for recognised, candidates in ranked.items()}
    found: dict[str, Names] = {recognised: name for recognised, (_, name) in best.items()}
    remarks: list[str] = []
    if not {channel.name for channel in all_channels() if channel.counted} & found.keys():
        numbered, of_numbers = numbered_inputs(name for name in names if is_reading(name, keys[name]))
        found, remarks = {**numbered, **found}, [*of_numbers]
    for channel in all_channels():
        if channel.name in best and best[channel.name][0][0] < 2:
            continue  # it is named as the whole detector
        elements = find_elements((n for n in names if is_reading(n, keys[n])), channel, hinted, absorber)
        if elements is None:
            continue
        if len(elements.fields) == 1:
            found.setdefault(channel.name, elements.fields[0])
            continue
        others = {name: of for name, of in found.items() if name != channel.name}
        if suffices(others, mode):
            found = others
            first, last = elements.fields[0], elements.fields[-1]
            by = next(known.name for known in modes_by_preference() if known.signal == channel.name)
            remarks.append(f"{first} to {last} are there too: mode={by!r} sums them")
        else:
            found[channel.name] = elements.fields
            remarks += elements.remarks
    ordered = {channel.name: found[channel.name] for channel in all_channels() if channel.name in found}
    return Guess(ordered, tuple(remarks))


def guess_clock(keys: Mapping[str, DataKey]) -> str | None:
    """Return the field whose name says that it is the time of each point; None where there is none."""
    found = []
    for name in _numeric(keys):
        words = _words(name)
        if _CLOCKS & set(words) and not (_NO_CLOCK | _NO_READING) & set(words):
            found.append((words[-1] not in _CLOCKS, len(name), name))
    return min(found)[2] if found else None


def points_of(key: DataKey) -> int:
    """Return the number of values that one row of a field holds; 0 where that varies."""
    return math.prod(size or 0 for size in key.get("shape") or ())


def unit_of(key: DataKey) -> str:
    """Return the unit of a field, lower case; "" where it has none."""
    return str(key.get("units") or "").strip().lower()


def hinted_fields(descriptor: EventDescriptor) -> set[str]:
    """Return the fields that the devices of a stream hint at."""
    # By device: event_model declares the hints of one only.
    hints = cast("Mapping[str, PerObjectHint]", descriptor.get("hints") or {})
    return {name for device in hints.values() for name in device.get("fields", ())}


def scanned_fields(start: RunStart, stream: str) -> set[str]:
    """Return the fields that the run is scanned along, of this stream."""
    dimensions = (start.get("hints") or {}).get("dimensions", ())
    return {name for names, of_stream in dimensions if of_stream == stream for name in names}


def _channels_named(name: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Give the channels that a field's name speaks for, and how well: (how much of the name, which alias)."""
    words = _words(name)
    if _NO_READING & set(words):
        return
    together = "".join(words)
    if set(MU.aliases) & set(words) and set(IR.aliases) & set(words):
        yield REFERENCE.name, (0, 0)
        return
    for channel in all_channels():
        for index, alias in enumerate(channel.aliases):
            if together == alias:
                yield channel.name, (0, index)
            elif words[-1] == alias:
                yield channel.name, (1, index)
            elif alias in words:
                yield channel.name, (2, index)


def _words(name: str) -> list[str]:
    """Return the lower-case words of a field name: 'monoEnergy_readback' is mono, energy, readback."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word] or [name]


def is_reading(name: str, key: DataKey) -> bool:
    """Return whether a field is a number that was read, and no setting."""
    return key.get("dtype") in ("number", "integer", "array") and not _NO_READING & set(_words(name))


def _is_published(key: DataKey) -> bool:
    return str(key.get("source", "")).startswith(PUBLISHED)


def _numeric(keys: Mapping[str, DataKey]) -> list[str]:
    """Return the fields that hold numbers and may have been measured: predictions were not."""
    return [
        name
        for name, key in keys.items()
        if key.get("dtype") in ("number", "integer", "array") and not _is_published(key)
    ]
