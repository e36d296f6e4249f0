"""Every flag has its line in docs/flags.md, is raised somewhere, and is written in one place only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xas_live.flags import Flag, Severity

ROOT = Path(__file__).resolve().parents[2]
LITERAL = re.compile(
    r'flags(?:\.append\(|\s*\+=\s*\[|\s*=\s*\[)\s*f?"([a-z0-9_]+)"|return \["([a-z_]+)"\]|, \["([a-z_]+)"\]'
)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    paths = [path for folder in ("xas_live", "callbacks") for path in (ROOT / folder).rglob("*.py")]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_every_flag_is_explained():
    [page] = (ROOT / "docs").rglob("flags.md")
    rows = page.read_text(encoding="utf-8").splitlines()
    assert {
        "out_of_domain",
        "noisy",
        "glitch",
        "unanchored",
        "fractions_degenerate",
        "bad_reference",
    } <= set(Flag)
    assert not [flag for flag in Flag if not any(re.match(rf"\| `(\w+_)?{flag}`", row) for row in rows)]
    assert not [flag.name for flag in Flag if not (flag.meaning and flag.remedy)]


def test_every_flag_is_raised_and_by_its_member(sources):
    raised = "\n".join(text for name, text in sources.items() if not name.endswith("xas_live/flags.py"))
    assert not [flag for flag in Flag if f"Flag.{flag.name}" not in raised]
    for name, text in sources.items():
        literal = {word for found in LITERAL.finditer(text) for word in found.groups() if word}
        assert not literal, f"{name} raises {literal} by its text"


def test_a_flag_is_its_name_and_is_found_by_it():
    assert Flag.GLITCH == "glitch"
    assert f"{Flag.GLITCH}" == "glitch"
    assert Flag.BEYOND_TRAINING.of("CN1") == "CN1_beyond_training"
    assert Flag.parse("CN1_beyond_training") is Flag.BEYOND_TRAINING
    assert [Flag.parse(str(flag)) for flag in Flag] == list(Flag)
    assert Flag.parse("not_usable").severity is Severity.STOP
    assert {Flag.OUT_OF_DOMAIN.severity, Flag.NON_METAL.severity, Flag.OTHER_PHASE.severity} == {
        Severity.CAUTION
    }
    assert Flag.ALIGNED_BY_E0.severity is Severity.REMARK
    with pytest.raises(ValueError, match="no_such_flag"):
        Flag.parse("no_such_flag")
