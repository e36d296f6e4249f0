"""Text of others as a terminal may show it."""

from __future__ import annotations

import re

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # but for tabs and newlines; with marks that turn the direction of writing, and halves of surrogates


def printable(text: str) -> str:
    """Return a text with its control characters written out, as \\x1b: a terminal would obey them."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
