"""anchor_scan measures a foil and makes it the anchor; a particle is refused."""

from __future__ import annotations

import pytest
from bluesky import RunEngine

import xas_live
from xas_live.analysis import NoFoilError
from xas_live.energy import xanes_grid
from xas_live.errors import Refusal
from xas_live.plans import anchor_scan
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

ENERGIES = xanes_grid(11919.0)


@pytest.fixture
def RE():
    return RunEngine({})


@pytest.fixture
def xas(RE, tmp_path, monkeypatch):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    with xas_live.attach(RE, plot=False) as analysis:
        yield analysis


@pytest.fixture
def scan_of():
    beamline = SimulatedBeamline("au_l3", counts=1e8, drift=0.0, seed=2)
    return lambda sample: lambda: simulated_scan(beamline, sample, energies=ENERGIES)


def test_a_foil_becomes_the_anchor(RE, xas, scan_of):
    found = []

    def plan():
        found.append((yield from anchor_scan(scan_of(None), xas)))

    RE(plan())
    assert found[0].element == "Au"
    assert abs(found[0].shift) < 10


def test_a_particle_is_refused_and_the_run_has_ended_well(RE, xas, scan_of):
    stops = []
    RE.subscribe(lambda name, doc: stops.append(doc["exit_status"]), "stop")
    with pytest.raises(NoFoilError):
        RE(anchor_scan(scan_of(growth(4, "au_l3")[0]), xas))
    assert (RE.state, stops) == ("idle", ["success"])


def test_a_dead_analysis_is_told(RE, xas, scan_of):
    xas.close()
    with pytest.raises(Refusal, match="the foil cannot be fitted: the analysis was closed"):
        RE(anchor_scan(scan_of(None), xas))
