"""Cards of schema 1, as schema 2 states them: fcc scalars of one absorber, with every section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from xas_live.models.strict import Strict

_SHELLS = ("CN1", "CN2", "CN3", "CN4")


class _Target(Strict):
    """Of a target its name; what else it must have is left to schema 2."""

    model_config = ConfigDict(extra="allow")

    name: str


class _Input(Strict):
    kind: str = "flat"
    grid: Any
    origin: Any
    windows: Any
    needs_anchor: bool = True


class _Card(Strict):
    schema_version: Literal[1]
    absorbers: Annotated[tuple[Any, ...], Field(min_length=1)]
    input: _Input
    output: Literal["scalars"] = "scalars"
    targets: Annotated[tuple[_Target, ...], Field(min_length=1)]
    domain_threshold: Annotated[float, Field(gt=0, lt=1)]


_CHANGED = frozenset(_Card.model_fields)


def upgraded(card: dict[str, Any], *, with_previews: bool = True) -> dict[str, Any]:
    """Return the entries of a schema 2 card.

    Parameters
    ----------
    card : entries of a schema 1 card, as JSON gives them.
    with_previews : whether its weights hold intervals of growing sweeps: no entry of schema 1 tells.

    Raises
    ------
    pydantic.ValidationError : naming the entry, when it is none, or states what schema 1 never could do.
    """
    old = _Card.model_validate({name: entry for name, entry in card.items() if name in _CHANGED})
    targets = [target.name for target in old.targets]
    first = targets[0]
    counts_neighbours = first == "CN1"
    sections: dict[str, Any] = {
        "theory": {"missing_from": first if counts_neighbours else None},
        "domain": {"threshold": old.domain_threshold, "stratify_by": first},
        "oxide": {},
        "latent": {"shown_by": first},
        "phases": {"leading": first, "sample": "CN1_sample" if counts_neighbours else None},
        "edge_rise": {},
    }
    if with_previews:
        sections["preview"] = {}
    if "CN1" in targets:
        sections["size"] = {"shells": [name for name in _SHELLS if name in targets]}
    kept = {name: entry for name, entry in card.items() if name not in _CHANGED}
    return {
        **kept,
        "schema_version": 2,
        "inputs": [
            {
                "absorber": absorber,
                "kind": old.input.kind,
                "grid": old.input.grid,
                "origin": old.input.origin,
                "windows": old.input.windows,
                "anchor": "required" if old.input.needs_anchor else "optional",
            }
            for absorber in old.absorbers
        ],
        "outputs": [
            {"kind": "scalars", "name": "structure", "stratify_by": first, "targets": card["targets"]}
        ],
        "sections": sections,
    }
