"""The quantities that training can give a model, with their units."""

from __future__ import annotations

from collections.abc import Sequence

from xas_live.models.outputs.specs import ScalarsSpec, Target
from xas_live.training.recipe import Recipe, ScalarsRequest, TargetSpec, WrongEntry

SHELLS = ("first", "second", "third", "fourth")
NON_NEGATIVE = {"MSD", "radial_variance", "CN1", "CN2", "CN3", "CN4"}

PARTICLE_TARGETS = {
    f"CN{i + 1}": ("", f"average coordination number of the {shell} fcc shell")
    for i, shell in enumerate(SHELLS)
} | {"R1": ("Å", "nearest-neighbour distance, relative to the foil's")}
"""Of mixtures of sites: unit and description, in the order in which they are simulated."""

RADIAL_TARGETS = {
    "MSD": ("Å²", "mean-squared radial displacement from the bulk's distances"),
    "radial_variance": ("Å²", "variance of the radial displacements about their own mean"),
}
"""Of displaced bulk. Neither is the sigma2 of EXAFS, which is of one path's length."""


def scalars_of(recipe: Recipe, known: dict[str, tuple[str, str]]) -> ScalarsRequest:
    """Return the only output of a recipe whose structures give numbers.

    Raises
    ------
    WrongEntry : for classes and curves, which these structures do not give.
    """
    [first, *more] = recipe.outputs
    for i, other in enumerate((first, *more)):
        if i or not isinstance(other, ScalarsRequest):
            there = f"these structures give one output of kind 'scalars', of {', '.join(known)}"
            raise WrongEntry(("outputs", i, "kind"), there)
    assert isinstance(first, ScalarsRequest)
    return first


def columns(asked: Sequence[TargetSpec], known: dict[str, tuple[str, str]]) -> list[int]:
    """Places of the asked targets among the known ones.

    Raises
    ------
    WrongEntry : for a name that is not known, or has another unit.
    """
    names = list(known)
    for i, target in enumerate(asked):
        if target.name not in known:
            raise WrongEntry(
                ("outputs", 0, "targets", i, "name"), f"no such target here; there are {', '.join(names)}"
            )
        unit = known[target.name][0]
        if target.unit != unit:
            raise WrongEntry(("outputs", 0, "targets", i, "unit"), f"the unit of {target.name} is {unit!r}")
    return [names.index(target.name) for target in asked]


def described(
    request: ScalarsRequest, known: dict[str, tuple[str, str]], ranges: dict[str, tuple[float, float]]
) -> ScalarsSpec:
    """Return the output for the card, with the ranges of its training labels."""
    targets = tuple(
        Target(
            name=target.name,
            unit=target.unit,
            minimum=float(f"{ranges[target.name][0]:.4g}"),
            maximum=float(f"{ranges[target.name][1]:.4g}"),
            non_negative=target.name in NON_NEGATIVE,
            description=known[target.name][1],
        )
        for target in request.targets
    )
    return ScalarsSpec(
        name=request.name, prefix=request.prefix, stratify_by=request.stratify_by, targets=targets
    )
