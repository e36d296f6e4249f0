"""In words, why a spectrum lies out of domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xas_live.models.sections.cost import shapes_of
from xas_live.models.sections.domain import DISTANCES
from xas_live.models.sections.specs import Distance
from xas_live.spectrum import Array

ALIKE = 0.4  # share of the difference that one shape must explain to be named
GLITCH = 0.5  # share of the difference that one point must hold


def domain_reason(
    scores: Array,
    off: Array,
    grid: Array,
    bulk: Array | None,
    names: Sequence[Distance] = DISTANCES,
    *,
    over_k: bool = False,
) -> str:
    """What is unlike the training spectra, for a user who must decide what to do.

    Parameters
    ----------
    scores : (d,) how far out the spectrum lies by each distance; 1 is the rim.
    off : (g,) the spectrum less the nearest that training knows.
    grid, bulk : (g,) eV, and the theory of the foil; None where the model has none.
    names : of the distances.
    over_k : whether the grid is in 1/Å.
    """
    farthest = names[int(np.argmax(scores))]
    if farthest == "oxide":
        return "white line and oscillations as of a share of oxide"
    if farthest == "disagreement":
        return "the members of the ensemble contradict each other"
    total = float(off @ off)
    if total == 0:
        return "unlike any particle"
    at = int(np.argmax(np.abs(off)))
    where = f"at k = {grid[at]:.1f} 1/Å" if over_k else f"{round(grid[at])} eV from the edge"
    if off[at] ** 2 > GLITCH * total:
        return f"a single point stands out, {where}"
    if bulk is None:
        return f"unlike any training spectrum, most of all {where}"
    shapes = shapes_of(grid, bulk)
    explained = {name: float(off @ shape) for name, shape in shapes.items()}
    name = max(explained, key=lambda n: abs(explained[n]))
    if explained[name] ** 2 < ALIKE * total:
        return f"unlike any particle, most of all {where}"
    if name == "white":
        return f"its white line is {'higher' if explained[name] > 0 else 'lower'} than any particle's"
    if name == "shift":
        slope = np.gradient(bulk, grid)
        moved = -explained[name] / float(np.sqrt(slope @ slope))
        return f"its edge lies {abs(moved):.1f} eV {'above' if moved > 0 else 'below'} any particle's"
    return f"its fine structure is {'stronger' if explained[name] > 0 else 'weaker'} than any particle's"
