"""What must hold between the entries of a recipe, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from xas_live.models.card import RESERVED
from xas_live.training.recipe import (
    Domain,
    LabelledStructures,
    Nuisances,
    RadialStructures,
    Recipe,
    ScalarsRequest,
    WrongEntry,
    points_of,
)

Where = tuple[str | int, ...]

_OF_SITES = (
    "contraction", "lattice", "disorder", "disorder_spread", "thermal", "adsorbed",
    "adsorbed_atoms", "surface_shift", "mismatch_per_u", "edge_mismatch_per_u",
)  # fmt: skip
_OF_A_FOIL = ("edge_response", "edge_end", "damping", "resolution")
_OF_CHI = ("gain", "noise")


def check_recipe(recipe: Recipe) -> None:
    """Refuse names, references and entries that do not go together.

    Raises
    ------
    WrongEntry : the first that is found.
    """
    _check_inputs(recipe)
    _check_names(recipe)
    _check_references(recipe)
    _check_ignored(recipe)


def _check_inputs(recipe: Recipe) -> None:
    """Each absorber once, all with equally many points: they share the network's first layer."""
    absorbers: list[tuple[str | None, str | None]] = []
    points: list[int] = []
    for i, each in enumerate(recipe.inputs):
        if each.element is not None and (each.element, each.edge) in absorbers:
            raise WrongEntry(("inputs", i, "element"), f"{each.element} {each.edge} is an input already")
        absorbers.append((each.element, each.edge))
        points.append(points_of(each.grid))
        if points[i] != points[0]:
            there = (
                f"it has {points[i]} points, that of the first input {points[0]}: they must be equally many"
            )
            raise WrongEntry(("inputs", i, "grid"), there)


def _check_names(recipe: Recipe) -> None:
    outputs: list[str] = []
    prefixes: list[str] = []
    for i, output in enumerate(recipe.outputs):
        if output.name in outputs:
            raise WrongEntry(("outputs", i, "name"), "an output is named once")
        if output.prefix in prefixes:
            there = f"outputs must have different prefixes, not {output.prefix!r} twice"
            raise WrongEntry(("outputs", i, "prefix"), there)
        outputs.append(output.name)
        prefixes.append(output.prefix)
    known: list[str] = []
    for where, name in _columns(recipe):
        if name in known:
            raise WrongEntry(where, "a target is named once")
        if name in RESERVED:
            raise WrongEntry(where, "the name has another meaning in tables and archives")
        known.append(name)


def _columns(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """Names of targets, classes and curves, which are columns of the same tables."""
    for i, output in enumerate(recipe.outputs):
        if isinstance(output, ScalarsRequest):
            for j, target in enumerate(output.targets):
                yield ("outputs", i, "targets", j, "name"), target.name
        else:
            yield ("outputs", i, "name"), output.name


def _check_references(recipe: Recipe) -> None:
    targets = [target.name for target in recipe.targets]
    asked: list[tuple[Where, str | None]] = []
    for i, output in enumerate(recipe.outputs):
        if isinstance(output, ScalarsRequest):
            asked.append((("outputs", i, "stratify_by"), output.stratify_by))
    if recipe.domain is not None:
        asked.append((("domain", "stratify_by"), recipe.domain.stratify_by))
    for place, name in asked:
        if name is not None and name not in targets:
            raise WrongEntry(place, f"no such target: there are {', '.join(targets) or 'none'}")


def _check_ignored(recipe: Recipe) -> None:
    """Refuse what would do nothing: its writer takes it to do something."""
    ignored: dict[str, str] = {}
    of_domain: dict[str, str] = {}
    if isinstance(recipe.structures, RadialStructures):
        ignored = dict.fromkeys(_OF_SITES, "displaced bulk")
    if isinstance(recipe.structures, LabelledStructures):
        ignored = dict.fromkeys((*_OF_SITES, *_OF_A_FOIL), "labelled spectra")
        of_domain = {"oxides": "labelled spectra, whose metal is not known"}
        if all(each.kind == "chi" for each in recipe.inputs):
            ignored |= dict.fromkeys(Nuisances.model_fields.keys() - set(_OF_CHI) - ignored.keys(), "chi(k)")
    _refuse_given(recipe.nuisances, ("nuisances",), ignored)
    if recipe.domain is not None:
        _refuse_given(recipe.domain, ("domain",), ignored | of_domain)


def _refuse_given(part: Nuisances | Domain, where: Where, ignored: dict[str, str]) -> None:
    fields = type(part).model_fields
    for name in fields:
        if name in ignored and getattr(part, name) != fields[name].default:
            raise WrongEntry((*where, name), f"it does nothing to {ignored[name]}: leave it out")
