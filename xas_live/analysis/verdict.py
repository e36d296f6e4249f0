"""The verdict on one prediction: trusted, under caution or not usable, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xas_live.flags import Flag, Severity
from xas_live.models.ensemble import Judged
from xas_live.models.outputs import interval
from xas_live.models.sections.specs import Sections
from xas_live.prediction import LOOKS, Chemistry, Degree, DomainVerdict, Verdict

OTHER_PHASE = 0.3  # share of the spectrum that looks like another phase, from which it is named
NO_METAL = 0.75  # share from which the spectrum is taken for no metal of this element

_NOT_USABLE_WITHOUT = {Flag.UNANCHORED: "no foil ties theory to this beamline"}


def chemistry_of(
    sections: Sections, judged: Judged, row: int, level: float, quantile: float
) -> Chemistry | None:
    """Return what else than bare metal a sweep shows; None for a model that does not say.

    Parameters
    ----------
    judged : of a batch, of which the sweep is this row.
    level, quantile : of the intervals, and the Gaussian quantile of that level.
    """
    section, seen = sections.chemistry, judged.chemistry
    if section is None or seen is None:
        return None
    shares = dict(zip(section.kinds, seen.shares[row].tolist(), strict=True))
    (non_metal, adsorbed), (doubt, doubt_adsorbed) = seen.mean[row].tolist(), seen.half[row].tolist()
    others = {kind: share for kind, share in shares.items() if kind != "metal"}
    return Chemistry(
        non_metal=interval(non_metal, doubt, level, quantile, non_negative=True, top=1.0),
        adsorbates=interval(adsorbed, doubt_adsorbed, level, quantile, non_negative=True, top=1.0)
        if section.adsorbates
        else None,
        shares=shares,
        looks=_looks(others) if sum(others.values()) >= OTHER_PHASE else "",
    )


def _looks(shares: Mapping[str, float]) -> str:
    """In words, the kind of phase with the largest share; kinds that are not told apart share their words."""
    by_word: dict[str, float] = {}
    for kind, share in shares.items():
        by_word[LOOKS[kind]] = by_word.get(LOOKS[kind], 0.0) + share
    return max(by_word, key=lambda word: by_word[word])


def verdict_of(
    sections: Sections,
    judged: Judged,
    row: int,
    domain: DomainVerdict,
    chemistry: Chemistry | None,
    flags: Sequence[str],
) -> tuple[Verdict, tuple[Flag, ...]]:
    """Return the verdict on a sweep, and the flags that say the same; none for a model that does not judge.

    A sweep is not usable when its interval would pass the model's limit, when most of the spectrum is no
    metal of this element, or without a foil. It is under caution when it departs from the training spectra so
    that its interval is wider, when part of it is no metal, or when a flag asks for caution.

    Parameters
    ----------
    judged : of a batch, of which the sweep is this row.
    domain, chemistry : of the sweep.
    flags : raised before.
    """
    section = sections.cost
    if section is None or judged.departed is None or judged.widening is None:
        return Verdict(), ()
    told = [Flag.parse(flag) for flag in flags]
    raised: list[Flag] = []
    stops: list[str] = [reason for flag, reason in _NOT_USABLE_WITHOUT.items() if flag in told]
    cautions: list[str] = []
    metal = 1.0 if chemistry is None else chemistry.shares["metal"]
    if chemistry is not None and chemistry.looks:
        raised.append(Flag.OTHER_PHASE)
        (stops if 1.0 - metal >= NO_METAL else cautions).append(chemistry.looks)
    half = float(judged.half[row, section.column])
    if not half <= section.limit:
        stops.append(f"{section.leading} is uncertain by {half:.1f}, more than {section.limit:g}")
    if chemistry is not None and chemistry.non_metal.lower > 0:
        raised.append(Flag.NON_METAL)
        low, high = chemistry.non_metal.lower, chemistry.non_metal.upper
        cautions.append(f"{'up' if low < 0.01 else f'{low:.0%}'} to {high:.0%} of the spectrum is no metal")
    if judged.departed[row]:
        raised.append(Flag.OUT_OF_DOMAIN)
        cautions.append(domain.reason)
    beyond = f"{section.leading}_{Flag.BEYOND_TRAINING}"
    if beyond in flags:
        stops.append(f"{section.leading} lies beyond what the model was trained on")
    asking = [flag for flag in told if flag.severity is Severity.CAUTION and flag not in _NOT_USABLE_WITHOUT]
    cautions += [flag.replace("_", " ") for flag in dict.fromkeys(asking)]
    widening = float(np.where(judged.departed[row], judged.widening[row, section.column], 1.0))
    if stops:
        return Verdict(Degree.NOT_USABLE, tuple(stops + cautions), widening), (Flag.NOT_USABLE, *raised)
    degree = Degree.CAUTION if cautions else Degree.TRUSTED
    return Verdict(degree, tuple(cautions), widening), tuple(raised)
