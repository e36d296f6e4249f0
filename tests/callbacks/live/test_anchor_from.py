"""xas.anchor_from: a scan of the session becomes the foil of those that follow."""

from __future__ import annotations

import numpy as np
import pytest
from bluesky import RunEngine

import xas_live
from xas_live.analysis import NoFoilError
from xas_live.callbacks.live.scans import SCANS_KEPT, LastScans
from xas_live.errors import Refusal
from xas_live.reduction import newest_anchor
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.spectrum import Provenance, Spectrum


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))


def test_a_scan_becomes_the_foil_of_those_that_follow(capsys):
    RE, beamline = RunEngine({}), SimulatedBeamline("pt_l3", seed=1)
    no_reference = xas_live.ChannelMapping(i0="i0", it="it")
    with xas_live.attach(RE, plot=False, mapping=no_reference) as xas:
        with pytest.raises(Refusal, match="none yet"):
            xas.anchor_from(-1)
        RE(simulated_scan(beamline, None, md={"sample_name": "Pt foil"}))
        foil = xas.anchor_from(-1)
        assert (foil.sample, foil.beamline, foil.model) == ("Pt foil", "simulated", "pt-l3")
        assert foil.source.startswith("scan 1 (")
        assert newest_anchor("Pt", "L3").sha256 == foil.sha256
        assert "scan 1" in capsys.readouterr().out
        RE(simulated_scan(beamline, growth(4)[3]))
        assert xas.wait(60)
        assert not xas.predictions[0].anchored
        assert xas.latest.anchor.foil.sha256 == foil.sha256
        with pytest.raises(NoFoilError, match="by the saved foil"):
            xas.anchor_from()
        assert xas.anchor_from(1).sha256 == foil.sha256
        assert xas.anchor_from(xas.predictions[0].provenance.run_uid[:8]).sha256 == foil.sha256
        with pytest.raises(Refusal, match="no scan 7 in this session: the last ones are 1, 2"):
            xas.anchor_from(7)


def test_the_average_of_a_run_is_the_foil():
    scans = LastScans()

    def sweep(k, averaged=1, run="a"):
        where = Provenance(run_uid=run, scan_id=4, scan="4", sweep=k, averaged=averaged)
        return Spectrum(energy=np.arange(3.0), mu=np.full(3, float(k)), provenance=where)

    for each in (sweep(0), sweep(1), sweep(1, 2), sweep(2), sweep(2, 3)):
        scans.add(each)
    assert scans.find(-1).provenance.averaged == 3
    assert scans.find(4) is scans.find("a")
    for k in range(SCANS_KEPT):
        scans.add(sweep(0, run=f"b{k}"))
    with pytest.raises(Refusal):
        scans.find("a")
