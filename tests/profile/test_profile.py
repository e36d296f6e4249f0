"""The profile in a real IPython: every layer loads, and a scan is predicted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xas_live import profiles

PROFILE = Path(profiles.__file__).parent / "profile_xas"

SESSION = """
import time
assert xas_profile_ready
(uid,) = RE(simulated_scan(beamline, growth(4)[1]))
assert xas.wait(60)
print('CN1', xas.latest.values['CN1'].value)
deadline = time.monotonic() + 60
while uid not in catalog and time.monotonic() < deadline:
    time.sleep(0.2)
print('LAST', catalog[-1].start['uid'] == uid)
print('SCAN', catalog[-1].start['scan_id'])
xas.close()
archive.close()
"""


@pytest.mark.slow
def test_profile_in_ipython(tmp_path: Path) -> None:
    profile = tmp_path / "profile_xas"
    shutil.copytree(PROFILE, profile)
    devices = profile / "startup" / "20-devices.py"
    devices.write_text(devices.read_text().replace("dwell=0.01", "dwell=0.0"))
    home = {"IPYTHONDIR": str(tmp_path), "XAS_LIVE_HOME": str(tmp_path / "home"), "MPLBACKEND": "Agg"}
    kept = tmp_path / "home" / "metadata" / "RE.md.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"scan_id": 41}')  # of a session before
    command = [sys.executable, "-m", "IPython", f"--profile-dir={profile}", "--simple-prompt", "--no-banner"]
    done = subprocess.run(
        [*command, "--HistoryManager.enabled=False", "-c", SESSION],
        env={**os.environ, **home},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "xas_live is watching RE" in done.stdout
    assert "CN1 " in done.stdout
    assert "LAST True" in done.stdout
    assert "SCAN 42" in done.stdout
    assert json.loads(kept.read_text())["scan_id"] == 42
