"""Packages name what others may use, and load what is asked for."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import xas_live
from xas_live.lazy import lazily

ROOT = Path(xas_live.__file__).parent


def modules():
    """Path and name of every module, those below linked folders too."""
    for folder in (ROOT, ROOT / "callbacks", ROOT / "profiles"):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if all(part.isidentifier() for part in parts):  # startup files of the profile are no modules
                yield path, ".".join(("xas_live", *parts)).removesuffix(".__init__")


PACKAGES = sorted({name for path, name in modules() if path.name == "__init__.py"})


def package_of(module):
    """The package that a module stands in; a package stands in itself."""
    return module if module in PACKAGES else module.rpartition(".")[0]


def private(name):
    return name.startswith("_") and not name.startswith("__")


def test_packages_are_found():
    assert {"xas_live", "xas_live.models.outputs", "xas_live.callbacks.live"} <= set(PACKAGES)


def test_no_module_imports_a_private_name_of_another_package():
    wrong = []
    for path, name in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("xas_live"):
                continue
            if package_of(node.module) == package_of(name):
                continue
            taken = [*node.module.split("."), *(alias.name for alias in node.names)]
            if any(map(private, taken)):
                wrong.append(f"{name}, line {node.lineno}: {ast.unparse(node)}")
    assert not wrong


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_in_all_exists(name):
    package = importlib.import_module(name)
    for each in getattr(package, "__all__", ()):
        assert getattr(package, each) is not None, each


@pytest.mark.parametrize("name", ["xas_live", "xas_live.callbacks", "xas_live.callbacks.publishers"])
def test_a_name_that_a_lazy_package_lacks_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = importlib.import_module(name).nothing


def test_a_module_that_cannot_be_imported_is_no_missing_name():
    find = lazily("xas_live", {"no_such_module": ("Thing",)})
    with pytest.raises(ModuleNotFoundError):
        find("Thing")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import xas_live", {"numpy", "torch", "bluesky"}),
        (
            "import xas_live.callbacks; xas_live.callbacks.BasePublisher",
            {"matplotlib", "pandas", "event_model", "torch"},
        ),
        ("from xas_live.callbacks import Publisher, SweepResult", {"matplotlib", "pandas", "event_model"}),
        ("import xas_live.sources.replay", {"matplotlib"}),
        (
            "from xas_live.callbacks.live import LiveAnalysis, SweepPipeline",
            {"matplotlib", "pandas", "xarray", "bluesky_tiled_plugins"},
        ),
    ],
)
def test_what_is_asked_for_is_loaded_alone(code, heavy):
    ask = f"import sys\n{code}\nprint(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
