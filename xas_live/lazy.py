"""Packages whose names load their modules when they are asked for (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, names: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that gives names of its modules, and loads these only then.

    Parameters
    ----------
    package : its `__name__`.
    names : by the module, in the package, that defines them, as {"base": ("Publisher",)}.
    """
    home = {name: f"{package}.{module}" for module, those in names.items() for name in those}

    def find(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(home[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
