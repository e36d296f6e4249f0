"""Cards of schema 1, as schema 2 states them: fcc scalars of one absorber, with every section."""

from __future__ import annotations

from typing import Any

_GIVEN = ("name", "version", "summary", "network", "training", "calibration", "accuracy", "trust")
_SHELLS = ("CN1", "CN2", "CN3", "CN4")


def upgraded(card: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a schema 2 card.

    Parameters
    ----------
    card : entries of a schema 1 card, as JSON gives them.

    Raises
    ------
    KeyError, TypeError, ValueError : when it is none, or states what schema 1 never could do.
    """
    inputs = card["input"]
    if card.get("output", "scalars") != "scalars":
        raise ValueError(f"schema 1 has numbers only, not {card['output']!r}")
    targets = [target["name"] for target in card["targets"]]
    first = targets[0]
    counts_neighbours = first == "CN1"
    sections: dict[str, Any] = {
        "theory": {"missing_from": first if counts_neighbours else None},
        "domain": {"threshold": card["domain_threshold"], "stratify_by": first},
        "oxide": {},
        "latent": {"shown_by": first},
        "phases": {"leading": first, "sample": "CN1_sample" if counts_neighbours else None},
        "preview": {},
        "edge_rise": {},
    }
    if "CN1" in targets:
        sections["size"] = {"shells": [name for name in _SHELLS if name in targets]}
    return {
        "schema_version": 2,
        **{name: card[name] for name in _GIVEN if name in card},
        "inputs": [
            {
                "absorber": absorber,
                "kind": inputs["kind"],
                "unit": "eV",
                "grid": inputs["grid"],
                "origin": inputs["origin"],
                "windows": inputs["windows"],
                "anchor": "required" if inputs["needs_anchor"] else "optional",
            }
            for absorber in card["absorbers"]
        ],
        "outputs": [
            {
                "kind": "scalars",
                "name": "structure",
                "stratify_by": first,
                "targets": card["targets"],
            }
        ],
        "sections": sections,
        **{name: card[name] for name in ("limits", "references", "licence") if name in card},
    }
