"""The profile in a real IPython: at the simulated beamline over Channel Access, and where all is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.profile.processes import ipython, simulated_beamline
from xas_live import profiles
from xas_live.host import free_port

PROFILES = Path(profiles.__file__).parent

SESSION = """
import time
from xas_live.energy import xanes_grid
assert xas_profile_ready and not beamline.missing, beamline.missing
grid = xanes_grid(11564.0)[::2].tolist()
pt = {'element': 'Pt', 'edge': 'L3'}
(uid,) = RE(step_scan([detectors], energy, energies=grid, baseline=[furnace], **pt))
assert xas.wait(60)
print('CN1', xas.latest.values['CN1'].value == xas.signals.cn1.get())
RE(quick_scan(quick, sweeps=2, sweep_time=1.0, **pt))
assert xas.wait(60)
print('SWEEPS', len(xas.predictions))
before = furnace.position
RE(operando(lambda: step_scan([detectors], energy, energies=grid, **pt), xas, max_scans=2, drive=hold_in_band(
    'CN1', 11.0, 11.5, actuators['furnace'], step=30, on=('trusted', 'caution'))))
print('HEATED', furnace.position > before + 20)
for line in ('', 'last', 'table 2', 'models', 'rules', 'decisions', 'errors'):
    get_ipython().run_line_magic('xas', line)
deadline = time.monotonic() + 60
while uid not in catalog and time.monotonic() < deadline:
    time.sleep(0.2)
print('STORED', uid in catalog, 'SCAN', catalog[uid].start['scan_id'], catalog[uid].start['beamline_id'])
xas.close()
archive.close()
get_ipython().run_line_magic('xas', 'nonsense')
"""


def copied(folder: Path, **changes: str) -> Path:
    """Return a copy of the profile, with other words in beamline.toml."""
    profile = folder / "profile_xas"
    shutil.copytree(PROFILES / "profile_xas", profile)
    settings = profile / "beamline.toml"
    text = settings.read_text().replace("~/.local/share/xas_live/fly", str(folder / "fly"))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    return profile


@pytest.mark.slow
def test_a_session_at_the_simulated_beamline(tmp_path: Path) -> None:
    port = free_port()
    profile = copied(tmp_path, **{"5064": str(port)})
    kept = tmp_path / "home" / "metadata" / "RE.md.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"scan_id": 41}')  # of a session before
    with simulated_beamline(port, "--speed", "20"):
        done = ipython(profile, SESSION, IPYTHONDIR=str(tmp_path), XAS_LIVE_HOME=str(tmp_path / "home"))
    said = done.stdout
    assert "%xas nonsense: there is no such task; there are status, last" in said + done.stderr
    for words in (
        "simulated is ready",
        "CN1 True",
        "SWEEPS 3",
        "HEATED True",
        "operando: set furnace to",
        "no rules",
        "STORED True SCAN 42 simulated",
    ):
        assert words in said, said + done.stderr
    assert json.loads(kept.read_text())["scan_id"] == 45


@pytest.mark.slow
def test_a_session_in_which_everything_is_missing_starts_and_says_so_in_one_line_each(tmp_path: Path) -> None:
    """IOC, an entry, a model, the folder of archive and metadata, and a startup file that raises."""
    changes = {
        "5064": str(free_port()),
        "port =": "timeout = 0.5\nport =",
        '"SIM:ring:current"': '"SIM:ring:current"\ncolour = "red"',
        '# models = ["pt-l3"]': 'models = ["platinum"]',
    }
    profile = copied(tmp_path, **changes)
    (tmp_path / "home").write_text("a file in place of the folder")
    broken = profile / "startup" / "35-mine.py"
    broken.write_text("first = 1\nsecond = 1 / 0\n")
    code = "print('REACHED', xas_profile_ready, first, xas, archive); print('LINES', len(beamline.missing))"
    done = ipython(profile, code, IPYTHONDIR=str(tmp_path), XAS_LIVE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "REACHED True 1 None None" in said
    lines = [line for line in said.splitlines() if line.startswith("xas_live: ")]
    for words in (
        r"beamline.toml, line \d+, devices.ring_current.*colour.*",
        r"metadata begin anew, and scan_id at 1: .*home.*",
        r"no archive \(.*home/archive\), runs and predictions are not stored: .*",
        r"energy: no answer from SIM:energy",
        r"35-mine.py, line 2 \(second = 1 / 0\) failed with ZeroDivisionError: division by zero; the files",
        r"no analysis, scans are measured all the same: no model 'platinum': shipped are au-l3",
        r"simulated has started; \d+ missing: see beamline.missing",
    ):
        assert sum(bool(re.match(f"xas_live: {words}", line)) for line in lines) == 1, (words, said)


@pytest.mark.slow
def test_beside_a_facilitys_profile_nothing_is_changed(tmp_path: Path) -> None:
    startup = tmp_path / "profile_qas" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-startup.py").write_text(
        "from bluesky import RunEngine\n"
        "def configure_base(user_ns, catalog_name):  # as that of a facility\n"
        "    user_ns['RE'] = RunEngine({'beamline_id': catalog_name})\n"
        "configure_base(get_ipython().user_ns, 'qas')\n"
        "known = set(get_ipython().user_ns)\n"
    )
    for name in ("90-xas_live.py", "xas_live.toml"):
        shutil.copyfile(PROFILES / "facility" / name, startup / name)
    code = (
        "print('NEW', sorted(n for n in set(get_ipython().user_ns) - known if n[0] != '_'))\n"
        "print('KEPT', RE.md['beamline_id'], xas.status().running)\n"
        "xas.close()"
    )
    home = {"IPYTHONDIR": str(tmp_path), "XAS_LIVE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    done = ipython(startup.parent, code, **home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NEW ['Path', 'beamline', 'known', 'load_beamline', 'load_magics', 'xas']" in done.stdout
    assert "KEPT qas True" in done.stdout
