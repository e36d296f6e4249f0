"""The other commands, and the program as users start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from xas_live.host import port_is_free
from xas_live.models.registry import available_models

Run = Callable[..., Result]
PROGRAM = Path(sys.executable).with_name("xas-live")


def test_help_is_quick() -> None:
    began = time.monotonic()
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert time.monotonic() - began < 5
    for command in ("demo", "beamline", "replay", "anchor", "train", "models", "profile"):
        assert command in done.stdout


def test_help_of_replay_shows_examples_and_exit_codes(run: Run) -> None:
    text = run("replay", "--help").output
    assert "--align -0.5" in text
    assert "1  not everything could be stored" in text


def test_models_list_show_verify(run: Run, pt: Path) -> None:
    listed = json.loads(run("models", "list", "--json").output)
    assert [row["name"] for row in listed] == available_models()
    shown = json.loads(run("models", "show", pt, "--json").output)
    assert shown["name"] == "pt-l3"
    assert "CN1" in run("models", "show", pt).output
    verified = run("models", "verify", "--json")
    assert verified.exit_code == 0
    assert all(row["ok"] for row in json.loads(verified.output))
    assert run("models", "list").exit_code == run("models", "verify").exit_code == 0
    assert run("models", "show", "nothing").exit_code == 2
    assert run("models", "verify", "nothing").exit_code == 2


def test_an_anchor_is_kept_and_found_again(
    run: Run, pt: Path, foil_file: Path, mu_file: Path, home: Path, tmp_path: Path
) -> None:
    assert run("anchor", foil_file, "--model", pt, "--no-save").exit_code == 0
    assert not list(home.glob("anchors/*"))
    result = run("anchor", foil_file, "--model", pt)
    assert result.exit_code == 0, result.output
    assert "stretch" in result.output
    (saved,) = home.glob("anchors/*")
    out = tmp_path / "out.json"
    for chosen in ((), ("--anchor", "auto"), ("--anchor", saved)):
        result = run("replay", mu_file, "--model", pt, *chosen, "--json", out)
        assert json.loads(out.read_text())[0]["anchored"] is True
        assert f"Anchored by {foil_file}" in result.output
    for chosen in (("--anchor", "reference"), ("--anchor", "none")):
        result = run("replay", mu_file, "--model", pt, *chosen, "--json", out)
        assert json.loads(out.read_text())[0]["anchored"] is False
        assert "Not anchored" in result.output


def test_what_is_no_foil_is_refused(run: Run, pt: Path, tmp_path: Path) -> None:
    (tmp_path / "line.dat").write_text("\n".join(f"{11400 + i} {0.001 * i}" for i in range(700)))
    result = run("anchor", tmp_path / "line.dat", "--model", pt)
    assert result.exit_code == 2
    assert "foil" in result.output


def test_train_says_what_is_wrong_with_a_recipe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = 1")
    assert run("train", tmp_path / "bad.toml").exit_code == 2
    assert run("train", tmp_path / "missing.toml").exit_code == 2


def test_profile_install_does_not_overwrite_what_was_edited(run: Run, tmp_path: Path) -> None:
    arguments = ("profile", "install", "--ipython-dir", tmp_path, "--name", "beamline")
    assert run(*arguments).exit_code == 0
    devices = tmp_path / "profile_beamline" / "beamline.toml"
    original = devices.read_text()
    devices.write_text("# mine")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "--force" in result.output
    assert devices.read_text() == "# mine"
    assert run(*arguments, "--force").exit_code == 0
    assert devices.read_text() == original
    assert run("profile", "install", "--ipython-dir", tmp_path, "--name", "../evil").exit_code == 2


def test_demo_without_a_model_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    assert run("demo", "--output", tmp_path / "demo", "--model", "bad").exit_code == 2
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_demo_end_to_end(tmp_path: Path, pt: Path) -> None:
    command = [PROGRAM, "demo", "--scans", "3", "--output", tmp_path, "--model", pt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 12 truths" in done.stdout
    assert "read back, CN1 =" in done.stdout
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    assert _port_of_beamline_is_free(tmp_path)


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_and_the_beamline(tmp_path: Path, pt: Path) -> None:
    command = [PROGRAM, "demo", "--scans", "40", "--output", tmp_path, "--model", pt]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "atoms" in line:  # the table has begun, so a plan runs
                break
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert _port_of_beamline_is_free(tmp_path)


def _port_of_beamline_is_free(folder: Path) -> bool:
    """Whether the simulated beamline of a demo has ended, by what it said when it began."""
    log = (folder / "beamline.log").read_text()
    return port_is_free(int(log.split("EPICS_CA_SERVER_PORT=")[1].split()[0]))
