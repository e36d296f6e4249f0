"""How spectra and predictions travel between the session and the analysis process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

AT_ONCE = 64  # spectra or predictions a message: 1 ms to pack


def pieces(items: list[Any]) -> Iterator[list[Any]]:
    """The items a few at a time: a long message, packed or unpacked at once, would keep the interpreter."""
    return (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))
