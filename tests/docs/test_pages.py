"""Pages that are written by a command say what that command writes now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from xas_live.cli.flags import flags_page
from xas_live.prediction import KINDS, LOOKS, Degree

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("pages", ROOT / "benchmarks" / "pages.py")
assert _SPEC is not None
assert _SPEC.loader is not None
pages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pages)


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_of_figures_says_what_its_benchmark_recorded(name):
    page = (ROOT / "docs" / "explanations" / f"{name}.md").read_text(encoding="utf-8")
    assert page == pages.PAGES[name](pages.recorded(name)), f"run: python benchmarks/pages.py {name}"


def test_the_page_of_flags_says_what_the_enumeration_says():
    page = (ROOT / "docs" / "reference" / "flags.md").read_text(encoding="utf-8")
    assert page == flags_page(), "run: xas-live flags document > docs/reference/flags.md"


def test_the_page_of_the_verdict_names_every_degree_and_look():
    page = (ROOT / "docs" / "explanations" / "verdict.md").read_text(encoding="utf-8")
    assert not [degree for degree in Degree if f"| `{degree}` |" not in page]
    assert not [looks for looks in LOOKS.values() if f"| {looks} |" not in page]
    assert not [kind for kind in KINDS if kind not in page]


def test_the_readme_gives_the_figure_that_was_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    claims = {each["id"]: each["value"] for each in pages.recorded("measured")["claims"]}
    assert f"CN1 differs from EXAFS by {claims['au_colloids_mae']:.2f} on average" in text
