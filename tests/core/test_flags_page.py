"""Every flag has its line in docs/flags.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GIVEN = re.compile(
    r'flags(?:\.append\(|\s*\+=\s*\[|\s*=\s*\[)\s*f?"([a-z0-9_]+)"|return \["([a-z_]+)"\]|, \["([a-z_]+)"\]'
)


def test_every_flag_is_explained():
    page = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    flags = set()
    for folder in ("xas_live", "callbacks"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in GIVEN.finditer(path.read_text(encoding="utf-8")):
                flags |= {flag for flag in found.groups() if flag}
    assert {
        "out_of_domain",
        "noisy",
        "glitch",
        "unanchored",
        "fractions_degenerate",
        "bad_reference",
    } <= flags
    assert not [flag for flag in flags if f"`{flag}`" not in page]
