"""Is a spectrum a foil? What the models themselves would read as a particle anchors nothing.

A particle taken for a foil makes every sample look like bulk, trusted and in domain. Theory alone tells small
particles only, by their weak fine structure: what it gets wrong for bulk metal is as large as what larger
particles lack. Another foil tells larger ones: the scan's own reference channel, or one that was saved
before at the same beamline (docs/explanations/foils.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from xas_live.analysis.analyzer import Analyzer
from xas_live.analysis.config import MAX_SHIFT, Alignment, AnalysisConfig
from xas_live.models.bundle import Bundle
from xas_live.prediction import Value
from xas_live.reduction.anchor import WEAKEST_FOIL, AnchorError, FoilAnchor
from xas_live.spectrum import Spectrum

TOLERANCE = 0.5  # of CN1: foils of one metal differ by so much from beamline to beamline
_ORIGIN = np.zeros(1)  # eV on the model's grid


class NoFoilError(AnchorError):
    """A spectrum that can be fitted as a foil, but looks like a particle's."""


def foil_anchor(
    foil: Spectrum, bundle: Bundle, known: Iterable[FoilAnchor] = (), *, vouch: bool = False
) -> FoilAnchor:
    """Fit a foil, unless it looks like a particle.

    Parameters
    ----------
    foil : a spectrum of the bulk metal.
    bundle : the model that it shall anchor.
    known : foils of the absorber that are trusted: the first of them is asked.
    vouch : fit it all the same, and note that the user vouches for it.

    Raises
    ------
    NoFoilError : when it looks like a particle, with the reasons.
    AnchorError : when it cannot be fitted.
    """
    fitted = FoilAnchor.fit(foil, bundle)
    reasons = list(_doubts(foil, fitted, bundle, known))
    if reasons and not vouch:
        raise NoFoilError(
            f"it looks like a particle, not like bulk metal: {'; '.join(reasons)}. With such a foil every "
            "sample reads too large. Measure the bulk metal; if you know that this is it, vouch for it "
            "(--vouch, vouch=True)"
        )
    return replace(fitted, vouched=bool(reasons))


def _doubts(foil: Spectrum, fitted: FoilAnchor, bundle: Bundle, known: Iterable[FoilAnchor]) -> Iterator[str]:
    """Why it may be no bulk metal, each reason in words."""
    if fitted.is_weak:
        yield (
            f"its fine structure has {fitted.strength:.0%} of the strength that theory gives bulk metal, "
            f"foils have {WEAKEST_FOIL:.0%} or more"
        )
    if foil.reference is not None and (found := _read_by("reference", "auto", foil, bundle)):
        yield f"by its own reference channel {found}"
    trusted = (each for each in known if not (each.vouched or each.is_weak or each.sha256 == fitted.sha256))
    other = next(trusted, None)
    if other is None:
        return
    # By where both fits lie on theory: the steepest points of foil and particle may be different ones.
    shift = fitted.energies(_ORIGIN)[0] - other.energies(_ORIGIN)[0]
    if abs(shift) <= MAX_SHIFT and (found := _read_by(other, float(shift), foil, bundle)):
        where = f" ({other.source})" if other.source else ""
        yield f"by the saved foil {other.sha256[:12]}{where} {found}"


def _read_by(
    by: FoilAnchor | Literal["reference"], align: Alignment | float, foil: Spectrum, bundle: Bundle
) -> str:
    """What the model reads with another foil, where that is less than bulk; else ""."""
    section = bundle.card.sections.theory
    if section is None or section.missing_from is None:
        return ""
    (prediction,) = Analyzer(bundle, by, AnalysisConfig(align=align), "cpu").analyze([foil])
    value: Value | None = prediction.values.get(section.missing_from)
    if value is None or prediction.anchor is None or value.upper >= section.full - TOLERANCE:
        return ""
    return f"{section.missing_from} is {value}, of bulk {section.full:g}"
