"""Devices and plans at the simulated beamline: real processes, real Channel Access, on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.devices.beamline_process import ROOT, session_at, simulated_beamline
from xas_live.host import port_is_free


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session found that did all there is to do."""
    folder = tmp_path_factory.mktemp("beamline")
    with simulated_beamline(folder, "--speed", "20") as (port, _):
        return session_at(port, "scanning_session.py", folder) | {"folder": folder}


@pytest.mark.slow
def test_a_step_scan_over_channel_access_is_predicted(scanned: dict[str, Any]) -> None:
    assert scanned["missing"] == []
    assert scanned["points"] == 348
    assert scanned["off"] < 1e-6
    assert {"energy", "i0", "it", "ir", "iff"} <= set(scanned["fields"])
    (step,) = [p for p in scanned["predictions"] if p["run"] == "step"]
    assert step["temperature"] == pytest.approx(295.0)
    assert step["lower"] < 5.54 < step["upper"]


@pytest.mark.slow
def test_a_continuous_scan_is_announced_as_it_is_written_and_predicted(scanned: dict[str, Any]) -> None:
    assert len(set(scanned["announced"])) > 1
    assert max(scanned["announced"]) == 4
    quick = [p for p in scanned["predictions"] if p["run"] == "quick"]
    assert [p["sweep"] for p in quick] == [0, 1, 2, 3]
    assert all(p["temperature"] == pytest.approx(600.0, abs=1.0) for p in quick)
    assert all(p["lower"] < scanned["truth"] + 1 and p["upper"] > 5 for p in quick)
    assert scanned["refused"] == []
    assert scanned["errors"] == []
    path = min(scanned["folder"].glob("quick_*.h5"), key=lambda path: path.stat().st_mtime)
    with h5py.File(path) as file:
        energy = file["energy"][:]
        assert energy.shape == (4, 1500)
        np.testing.assert_allclose(energy[1], energy[0][::-1])


@pytest.mark.slow
def test_a_continuous_scan_that_is_paused_ends_with_its_sweep(scanned: dict[str, Any]) -> None:
    assert scanned["paused"].startswith("RunEngineInterrupted")
    assert "quick sweeps still" in scanned["too early"]
    assert scanned["later"] == "nothing"


@pytest.mark.slow
def test_what_lies_beyond_limits_is_refused_by_name(scanned: dict[str, Any]) -> None:
    motor, furnace = scanned["beyond"]
    assert motor.startswith("LimitError: energy")
    assert furnace.startswith("LimitError: furnace: 5000 K")
    for said in scanned["fly beyond"]:
        assert "quick failed: sweeps from 5 to 12164 eV" in said
    assert "L9" in scanned["no edge"]
    assert "ajar" in scanned["no shutter"]
    assert scanned["moved"] == 0
    assert scanned["limits"] == [10564.0, 12000.0]
    assert scanned["dial limit"] == 12000.0
    assert scanned["state"] == "idle"


@pytest.mark.slow
def test_shutter_gas_furnace_and_stop(scanned: dict[str, Any]) -> None:
    assert scanned["dark"] < 20
    assert scanned["gas"] == "O2"
    assert scanned["unit"] == "K"
    assert scanned["furnace"] == pytest.approx(600.0, abs=1.0)
    assert scanned["went on to"] == pytest.approx(650.0)
    position, moving = scanned["stopped"]
    assert not moving
    assert position > 11310


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["steps", "flying"])
def test_an_ioc_that_is_gone_fails_the_plan_by_name_and_wrong_names_are_told(
    scan: str, tmp_path: Path
) -> None:
    with simulated_beamline(tmp_path) as (port, process):
        found = session_at(port, "failing_session.py", process.pid, scan, tmp_path)
    assert found["missing"] == []
    mono, oven = found["wrong"]
    assert mono.startswith("mono: no answer from SIM:nothing.")
    assert "SIM:furnace:stepoint" in oven
    assert "SIM:gas" not in oven
    assert found["took"] < 10
    named = ("quick",) if scan == "flying" else ("energy", "detectors", "i0", "it", "ir", "iff")
    assert any(f"{name}" in found["failed"] for name in named), found["failed"]
    assert found["after"] < 30
    assert found["state"] == "idle"
    assert found["errors"] == []


def test_an_ioc_that_is_gone_while_it_is_asked_is_told_by_name(tmp_path: Path) -> None:
    with simulated_beamline(tmp_path) as (port, process):
        said = session_at(port, "asking_session.py", process.pid, tmp_path)["said"]
    assert said.startswith("DeviceError: i0: SIM:i0 was not read"), said


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with simulated_beamline(tmp_path) as (port, _):
        assert not port_is_free(port)
        done = subprocess.run(
            [sys.executable, "-m", "xas_live.cli", "beamline", "--port", str(port)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert f"--port {port}" in done.stderr
