"""The built wheel, installed elsewhere, is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_imports_and_verifies_its_models_from_another_folder(tmp_path):
    source = tmp_path / "source"
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in files:  # a clean copy: building in the checkout would leave build folders behind
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(place),
        str(wheel),
        cwd=tmp_path,
    )
    where = run(
        sys.executable, "-c",
        "import xas_live, xas_live.callbacks.live.live_analysis, xas_live.session; print(xas_live.__file__)",
        cwd=tmp_path, PYTHONPATH=str(place),
    )  # fmt: skip
    assert where.strip().startswith(str(place))
    said = run(
        sys.executable, "-c", "from xas_live.cli import app; app()", "models", "verify",
        cwd=tmp_path, PYTHONPATH=str(place),
    )  # fmt: skip
    assert said.count("as shipped") == 4
    startup = place / "xas_live" / "profiles" / "profile_xas" / "startup"
    assert sorted(p.name for p in startup.iterdir())[0].startswith("00-")
    assert (place / "xas_live" / "training" / "recipes" / "pt-l3.toml").is_file()


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
    ]
    code = (
        f"import sys\nfor name in {forbidden}: sys.modules[name] = None\n"
        "import xas_live.analysis, xas_live.models, xas_live.reduction\n"
        "xas_live.models.load_model('au-l3')"
    )
    run(sys.executable, "-c", code, cwd=tmp_path)
