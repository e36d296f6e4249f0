"""What else than bare metal a spectrum shows: other phases, by kind, and adsorbates on the metal's surface.

Networks of their own, trained on particles with and without adsorbates, alone and beside calculated
oxides, sulphides, salts, complexes, hydrides and alloys, give the share of each in the spectrum. The members
are parted into folds, of site environments and of compounds: none has seen those of its fold, by which it is
calibrated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xas_live.models.networks import network
from xas_live.models.outputs.intervals import half_width
from xas_live.models.sections.specs import CHEMISTRY_NETWORK, ChemistrySection
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of

QUANTITIES = ("non_metal", "adsorbates")
TRACE = 0.005  # share from which an interval begins at least, where there is something
CALIBRATION = ("calibration_scores", "calibration_edges", "scale_floor")


class ChemistryEstimate(NamedTuple):
    """Of a batch, one row a spectrum.

    Attributes
    ----------
    shares : (batch, kinds) of the spectrum, in the order of the section's kinds; they sum to 1.
    mean, half : (batch, 2) of `QUANTITIES`, and half widths of their intervals.
    none : (batch,) largest non_metal that bare metal of this size is taken for, but for 2 % of spectra.
    """

    shares: Numbers
    mean: Numbers
    half: Numbers
    none: Numbers


def decoded(section: ChemistrySection, raw: Numbers) -> tuple[Numbers, Numbers]:
    """Shares (members, batch, kinds), and the two quantities (members, batch, 2), of raw outputs."""
    xp, kinds = library_of(raw), len(section.kinds)
    odds = raw[..., :kinds]
    top = odds.max(-1, keepdims=True) if isinstance(odds, np.ndarray) else odds.amax(-1, keepdim=True)
    share = xp.exp(odds - top)
    share = share / share.sum(-1)[..., None]
    columns = [i for i, kind in enumerate(section.kinds) if kind in section.non_metal]
    covered = 1.0 / (1.0 + xp.exp(-raw[..., kinds]))
    return share, xp.stack([share[..., columns].sum(-1), covered], -1)


def by_oxide(section: ChemistrySection, shares: Numbers) -> Numbers:
    """(batch,) whether of all that is no metal most is oxide: intervals are calibrated apart."""
    columns = [i for i, kind in enumerate(section.kinds) if kind in section.non_metal and kind != "oxide"]
    return shares[:, section.kinds.index("oxide")] >= shares[:, columns].sum(-1)


def estimate(
    section: ChemistrySection, tensors: NumbersByName, x: Numbers, size: Numbers, level: float
) -> ChemistryEstimate:
    """What the networks give for inputs.

    Parameters
    ----------
    x : (batch, g) network inputs.
    size : (batch,) predicted value of the section's `stratify_by`.
    level : nominal coverage of the intervals.

    Raises
    ------
    LevelError : when the calibration set is too small for the level.
    """
    scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
    xp = library_of(x)
    share, quantities = decoded(section, network(CHEMISTRY_NETWORK, tensors, scaled, "chemistry."))
    shares, mean = share.mean(0), quantities.mean(0)
    spread = quantities.std(0) if isinstance(quantities, np.ndarray) else quantities.std(0, correction=0)
    oxide = by_oxide(section, shares)
    halves = []
    for column, name in enumerate(QUANTITIES):
        own, doubt = mean[:, column], spread[:, column : column + 1]
        half = half_width(calibration(tensors, f"{name}_other_"), doubt, own, level)
        if name == "non_metal":
            half = xp.where(
                oxide[:, None], half_width(calibration(tensors, f"{name}_oxide_"), doubt, own, level), half
            )
        halves.append(half[:, 0])
    bins = xp.searchsorted(tensors["chemistry_none_edges"], size)
    none = tensors["chemistry_none"][bins]
    halves[0] = from_zero(mean[:, 0], halves[0], none)
    return ChemistryEstimate(shares, mean, xp.stack(halves, -1), none)


def from_zero(non_metal: Numbers, half: Numbers, none: Numbers) -> Numbers:
    """(batch,) half widths of non_metal: its interval begins at zero just where bare metal gives as much.

    Parameters
    ----------
    none : (batch,) largest value that bare metal is taken for, but for 2 % of spectra.
    """
    xp = library_of(non_metal)
    some = xp.minimum(half, xp.clip(non_metal - TRACE, 0.0, None))
    return xp.where(non_metal <= none, xp.maximum(half, non_metal), some)


def calibration(tensors: NumbersByName, prefix: str) -> NumbersByName:
    """Calibration of one quantity, under the names that intervals.py knows."""
    return {name: tensors[f"chemistry_{prefix}{name}"] for name in CALIBRATION}
