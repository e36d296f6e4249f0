"""However it is installed, it is whole: from the wheel, from the source archive, and run in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERIFY = """
import xas_live
print(xas_live.__file__)
from xas_live.cli import app
app(["models", "verify"])
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy: building in the checkout would leave build folders behind."""
    source = tmp_path_factory.mktemp("source") / "xas_live"
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in names:
        here, there = ROOT / name, source / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.is_symlink():
            there.symlink_to(here.readlink())
        elif here.is_file():
            there.write_bytes(here.read_bytes())
    return source


def installed(what: Path, place: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-compile", "--target", place, what, cwd=place.parent)
    return place


@pytest.fixture(scope="module")
def from_wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built, cwd=source)
    (wheel,) = built.glob("*.whl")
    return installed(wheel, built / "installed")


@pytest.fixture(scope="module")
def from_sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", built, cwd=source)
    (archive,) = built.glob("*.tar.gz")
    return installed(archive, built / "installed")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["from_wheel", "from_sdist"])
def test_it_imports_and_verifies_its_models_from_another_folder(request, tmp_path, how):
    place = request.getfixturevalue(how)
    where, *said = run(sys.executable, "-c", VERIFY, cwd=tmp_path, PYTHONPATH=str(place)).splitlines()
    assert where.startswith(str(place))
    assert "\n".join(said).count("as shipped") == 4
    if how == "from_wheel":  # the other has the same files, see below
        code = "import xas_live.callbacks.live.live_analysis as live, xas_live.session; print(live.__file__)"
        found = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(place))
        assert found.startswith(str(place))
    startup = place / "xas_live" / "profiles" / "profile_xas" / "startup"
    assert sorted(p.name for p in startup.iterdir())[0].startswith("00-")
    assert (place / "xas_live" / "training" / "recipes" / "pt-l3.toml").is_file()


@pytest.mark.slow
def test_the_wheels_own_command_runs(from_wheel, tmp_path):
    said = run(from_wheel / "bin" / "xas-live", "models", "verify", cwd=tmp_path, PYTHONPATH=str(from_wheel))
    assert said.count("as shipped") == 4


@pytest.mark.slow
def test_both_install_the_same_files_and_every_module_once(from_wheel, from_sdist):
    def files(place: Path) -> dict[str, bytes]:
        package = place / "xas_live"
        return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.*")
                if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip

    wheel = files(from_wheel)
    assert wheel == files(from_sdist)
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    modules = {
        name.removeprefix("xas_live/")
        for name in tracked
        if name.startswith(("xas_live/", "callbacks/", "profiles/"))
        and name.endswith(".py")
        and (ROOT / name).is_file()
    }
    assert {name for name in wheel if name.endswith(".py")} == modules
    assert sorted(p.name for p in from_wheel.iterdir() if p.suffix != ".dist-info") == ["bin", "xas_live"]


def test_a_checkout_runs_as_it_stands(tmp_path):
    """As an editable installation has it: the root of the repository on the path."""
    where, *said = run(sys.executable, "-c", VERIFY, cwd=tmp_path, PYTHONPATH=str(ROOT)).splitlines()
    assert Path(where) == ROOT / "xas_live" / "__init__.py"
    assert "\n".join(said).count("as shipped") == 4


def test_in_a_checkout_every_module_has_one_name():
    code = """
import importlib, importlib.util
assert importlib.util.find_spec("xas_live.xas_live") is None
for linked in ("callbacks", "profiles"):
    assert importlib.util.find_spec(f"xas_live.{linked}") is not None
    assert importlib.util.find_spec(f"xas_live.{linked}.{linked}") is None
    try:
        importlib.import_module(linked)
    except ImportError as error:
        assert f"import xas_live.{linked}, not {linked}" in str(error), error
    else:
        raise AssertionError(f"{linked} is found under two names")
print(importlib.util.find_spec("xas_live").origin)
"""
    found = run(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH="")
    assert Path(found.strip()) == ROOT / "xas_live" / "__init__.py"


def test_the_core_imports_without_bluesky_larch_tiled_and_matplotlib(tmp_path):
    forbidden = [
        "bluesky",
        "ophyd",
        "tiled",
        "databroker",
        "larch",
        "matplotlib",
        "event_model",
        "h5py",
        "scipy",
        "pandas",
        "xraydb",
    ]
    code = (
        f"import sys\nfor name in {forbidden}: sys.modules[name] = None\n"
        "import xas_live.analysis, xas_live.models, xas_live.reduction\n"
        "xas_live.models.load_model('au-l3')"
    )
    run(sys.executable, "-c", code, cwd=tmp_path)
