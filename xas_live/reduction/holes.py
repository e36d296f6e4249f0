"""Stretches of a model's grid in which a sweep has no points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xas_live.reduction.quality import Unusable
from xas_live.spectrum import Array

STEPS = 2.5  # times the steps on either side, from which a gap is long against the scan
AROUND = 5  # steps on either side that tell what is usual there
LEAST = 3.0  # eV, from which a gap is long against the edge and the white line
SHARE_OF_K = 0.2  # 1/Å, from which it is long against the fine structure behind
K_SQUARED = 3.809982  # eV Å²: E - e0 = 3.81 k²
EDGE = 5.0  # eV about e0: without points there, the edge is not known
MOST = 0.5  # share of the grid that may be missing


class HoleError(Unusable):
    """A sweep, foil or standard that must not be used because of a hole, with the reason in words."""


def holes(energy: Array, e0: float, low: float, high: float) -> list[tuple[float, float]]:
    """Return the stretches without points, long against the steps around them and the fine structure there.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    e0 : eV.
    low, high : the range that counts (eV).

    Returns
    -------
    The energies of the points before and behind each (eV).
    """
    steps = np.diff(energy)
    middle = 0.5 * (energy[1:] + energy[:-1])
    k = np.sqrt(np.clip(middle - e0, 0.0, None) / K_SQUARED)
    long = steps > np.maximum(LEAST, 2.0 * K_SQUARED * k * SHARE_OF_K)
    long &= (energy[1:] > low) & (energy[:-1] < high)
    found = []
    for i in np.flatnonzero(long).tolist():
        before, after = steps[max(0, i - AROUND) : i], steps[i + 1 : i + 1 + AROUND]
        usual = max((float(np.median(side)) for side in (before, after) if len(side)), default=np.inf)
        if steps[i] > STEPS * usual:
            found.append((float(energy[i]), float(energy[i + 1])))
    return found


def unmeasured(energy: Array, e0: float, points: Array) -> NDArray[np.bool_] | None:
    """Return which points of a grid lie in holes; None where the sweep has none there.

    Parameters
    ----------
    energy : (n,) eV, ascending.
    e0 : eV, in the energies of the sweep.
    points : (g,) measured energies of the grid, eV.

    Raises
    ------
    HoleError : when a hole lies over the edge, or half of the grid is missing.
    """
    found = holes(energy, e0, float(points[0]), float(points[-1]))
    if not found:
        return None
    for first, last in found:
        if first < e0 + EDGE and last > e0 - EDGE:
            raise HoleError(
                f"no points between {first:.1f} and {last:.1f} eV, over the edge: measure it again"
            )
    missing = np.any([(points > first) & (points < last) for first, last in found], axis=0)
    if missing.mean() > MOST:
        raise HoleError(
            f"no points over {100 * missing.mean():.0f} % of the range needed ({words(found)}): measure again"
        )
    return missing if missing.any() else None


def refuse_holes(energy: Array, e0: float, points: Array) -> None:
    """Refuse a foil or standard with a hole in the model's grid: all predictions would rest on what fills it.

    Parameters
    ----------
    as for `unmeasured`

    Raises
    ------
    HoleError : when there is one.
    """
    if found := holes(energy, e0, float(points[0]), float(points[-1])):
        raise HoleError(f"it has no points between {words(found)}: measure it again")


def words(found: list[tuple[float, float]]) -> str:
    """Return where holes lie, as "11580.0 and 11600.0 eV"."""
    return ", ".join(f"{first:.1f} and {last:.1f} eV" for first, last in found[:3])
