"""Links, paths and commands that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "xas_live" / "theory").rglob("*.md")]
TEMPLATES = [*(ROOT / "benchmarks" / "templates").glob("*.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:xas_live|callbacks|profiles|benchmarks|tests|docs)/[\w./-]*)`")
LINKED = (("xas_live", "callbacks"), ("xas_live", "profiles"))
NAMED_DOC = re.compile(r"\bdocs/[\w./-]+\.(?:md|png)\b")


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATES], ids=_name)
def test_every_file_that_a_page_names_exists(page):
    if page.name == "CHANGELOG.md":
        return  # it names files as they were
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))
    assert not sorted(path for path in named if not (ROOT / path).exists())


def test_every_module_has_its_line_in_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = page[page.index("## Modules") :]
    folders = (ROOT / "callbacks", ROOT / "xas_live")  # a glob does not follow the links in xas_live
    paths = [path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.py")]
    names = sorted(str(path) for path in paths if path.name != "__init__.py" and path.parts[:2] not in LINKED)
    assert not [name for name in names if f"`{name}`" not in modules]


def test_every_page_of_docs_that_the_code_names_exists():
    missing = []
    for folder in ("xas_live", "callbacks", "profiles", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in NAMED_DOC.findall(path.read_text(encoding="utf-8")):
                if "NAME" not in name and not (ROOT / name).exists():
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def test_the_index_lists_every_page():
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    listed = index + (docs / "decisions" / "README.md").read_text(encoding="utf-8")
    pages = [page for page in docs.rglob("*.md") if page != docs / "README.md"]
    assert not [_name(page) for page in pages if page.name not in listed]
