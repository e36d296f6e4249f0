"""Publishers that packages register as entry points: found by attach, told of a scan, never fatal."""

from __future__ import annotations

import sys

import pytest
from bluesky import RunEngine

import xas_live
from xas_live.simulator import SimulatedBeamline, simulated_scan

MODULE = """
from xas_live.callbacks import BasePublisher

calls = []

class Display(BasePublisher):
    def run_started(self, start):
        calls.append(("run_started", start["uid"]))

    def models_used(self, models):
        calls.append(("models_used", [model.name for model in models]))

    def predicted(self, result):
        calls.append(("predicted", result.primary.model, len(result.predictions)))

    def run_stopped(self, stop):
        calls.append(("run_stopped", stop["exit_status"]))

    def close(self):
        calls.append(("close",))

def broken():
    raise RuntimeError("no display\\nis connected")

class Half:
    def predicted(self, result):
        pass
"""

ENTRY_POINTS = """
[xas_live.publishers]
display = beamline_display:Display
broken = beamline_display:broken
half = beamline_display:Half
missing = no_such_module:Publisher
gone = beamline_display:Gone
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with publishers, as an installer leaves it; the module's list of calls."""
    (tmp_path / "beamline_display.py").write_text(MODULE)
    info = tmp_path / "beamline_display-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beamline-display\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    import beamline_display

    yield beamline_display.calls
    del sys.modules["beamline_display"]


def test_a_registered_publisher_is_told_of_a_scan_and_broken_ones_are_named(installed, capsys):
    RE, beamline = RunEngine({}), SimulatedBeamline("au_l3", seed=1)
    xas = xas_live.attach(RE, plot=False)
    *left_out, summary = capsys.readouterr().out.strip().splitlines()
    assert "predictions also go to display" in summary
    assert [line.split("'")[1] for line in left_out] == ["broken", "gone", "half", "missing"]
    reasons = dict(zip(("broken", "gone", "half", "missing"), left_out, strict=True))
    assert "RuntimeError: no display is connected" in reasons["broken"]
    assert "lacks bind, run_started, models_used, measuring" in reasons["half"]
    assert "no_such_module" in reasons["missing"]
    [uid] = RE(simulated_scan(beamline, None))
    assert xas.wait(60)
    assert xas.close()
    assert not xas.errors
    assert installed == [
        ("run_started", uid),
        ("models_used", ["au-l3"]),
        ("predicted", "au-l3", 1),
        ("run_stopped", "success"),
        ("close",),
    ]
