"""The models at hand: those that ship with xas_live, by name, and bundles in folders of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from xas_live.models.bundle import Bundle, ModelError, bundle_sha256, read_card

SHIPPED_FOLDER = Path(__file__).resolve().parent.parent / "pretrained"
# Over card and weights, as `xas-live train` prints it: a bundle that was altered after shipping is refused.
SHIPPED_HASHES: dict[str, str] = {
    "au-l3": "6ad9d2cb7482a2e67ed2f2bbb0d990898692f9feb66e32e64b3ca50edf6962f8",
    "au-l3-msd": "3c321fba4d926521d4579c959d319af77680b018e294b33411c40426ac1969bc",
    "pd-k": "514644d83a6b40bcab6129d4a49b5dfbeb636b00b240e8e9df5305f09dc76d6b",
    "pt-l3": "f774649fb2c8036d050a8d96c6e81b8ba07efa0af99c039e10fde2cb217e8db7",
}


def available_models() -> list[str]:
    """Names of the shipped models."""
    return sorted(SHIPPED_HASHES)


def load_model(name: str | Path) -> Bundle:
    """A shipped model by name, or a bundle by its folder.

    A shipped model is checked against its recorded hash, and kept in memory once loaded.

    Raises
    ------
    ModelError : when there is no such model, or a shipped one was altered.
    """
    if str(name) in SHIPPED_HASHES:
        return _shipped(str(name))
    folder = Path(name).expanduser()
    if str(name) and folder.is_dir():
        return Bundle.load(folder)
    raise ModelError(
        f"no model {str(name)!r}: shipped are {', '.join(available_models())}; or give a bundle's folder"
    )


def load_models(names: Iterable[str | Path]) -> list[Bundle]:
    """Several models, as `load_model` gives each.

    Raises
    ------
    ModelError : when one cannot be had, or two bear one name.
    """
    bundles = [load_model(name) for name in names]
    known = [bundle.name for bundle in bundles]
    for name in known:
        if known.count(name) > 1:
            raise ModelError(
                f"model {name} is given {known.count(name)} times: give each model once; where two bear one "
                "name, change it in the card of one"
            )
    return bundles


@cache
def _shipped(name: str) -> Bundle:
    problem = verify_model(name)
    if problem is not None:
        raise ModelError(f"model {name}: {problem}")
    return Bundle.load(SHIPPED_FOLDER / name)


def verify_model(name: str) -> str | None:
    """Why a shipped model is not what was shipped, or None when it is."""
    folder = SHIPPED_FOLDER / name
    try:
        found = bundle_sha256(folder)
    except OSError as error:
        return f"cannot be read ({error}): install xas_live again"
    if found != SHIPPED_HASHES[name]:
        return f"card or weights were altered (hash {found[:12]}, shipped {SHIPPED_HASHES[name][:12]})"
    return None


@cache
def _by_absorber() -> dict[tuple[str, str], str]:
    # Backwards, so that the first by name is taken: "au-l3" before "au-l3-msd", which is asked for by name.
    return {
        (absorber.element, absorber.edge): name
        for name in reversed(available_models())
        for absorber in read_card(SHIPPED_FOLDER / name).absorbers
    }


def models_by_absorber() -> list[str]:
    """Names of the models that `find_model` gives; others must be asked for by name."""
    return sorted(set(_by_absorber().values()))


def find_model(element: str | None, edge: str | None) -> str | None:
    """Name of the shipped model for an absorber and edge, or None.

    Raises
    ------
    ModelError : when a shipped card cannot be read.
    """
    return _by_absorber().get((element or "", edge or ""))
