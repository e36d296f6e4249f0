"""The code blocks of a page, as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)?[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
MARK = re.compile(r"\(Not run by the tests: (?P<why>[^)]+)\)\s*$")
RUN = ("python", "sh")
OTHER = ("toml", "text", "json")  # what is no program


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    line : where its code begins.
    language : as its fence names it.
    code : without the fence, its indent taken away.
    left_out : the reason in the line above it, "(Not run by the tests: ...)"; "" where it is run.
    """

    line: int
    language: str
    code: str
    left_out: str


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] or "\n" for line in match["code"].splitlines(keepends=True))
        mark = MARK.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(line, match["language"] or "", code, mark["why"] if mark else ""))
    return found
