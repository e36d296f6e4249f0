"""Spectra of other phases and of covered surfaces."""

from __future__ import annotations

import numpy as np
import pytest

from xas_live.theory.adsorbates import Adsorbates
from xas_live.theory.phases import DOUBT, KINDS, drawn, moved, phases_of
from xas_live.theory.sites import SiteLibrary

MESH = np.arange(-12.0, 90.0, 0.5)


@pytest.mark.parametrize(("element", "edge"), [("Pt", "L3"), ("Pd", "K"), ("Au", "L3")])
def test_every_metal_has_phases_of_every_kind_that_was_calculated(element, edge):
    phases = phases_of(element, edge)
    kinds = {phase.kind for phase in phases}
    assert {"oxide", "sulphide", "salt", "alloy"} <= kinds <= set(KINDS)
    assert len({phase.name for phase in phases}) == len(phases)
    for phase in phases:
        assert np.isfinite(phase.mu).all()
        on_mesh = moved(phase, MESH, 0.0)
        assert on_mesh[MESH < -10].max() < 0.25
        assert on_mesh[MESH > 40].mean() == pytest.approx(1.0, abs=0.1)


def test_an_unknown_metal_has_none():
    assert phases_of("Xx", "K") == ()


def test_configurations_of_a_random_alloy_are_one_compound():
    named = {phase.name: phase.compound for phase in phases_of("Pt", "L3")}
    assert named["PtNi_0.1_0"] == named["PtNi_0.1_1"] == "PtNi_0.1"
    assert named["PtSn_NiAs"] == "PtSn_NiAs"


def test_a_shift_moves_and_a_broadening_smooths():
    (salt,) = (phase for phase in phases_of("Pt", "L3") if phase.name == "PtCl6")
    still = moved(salt, MESH, 0.0)
    np.testing.assert_allclose(moved(salt, MESH, 2.0)[40:], still[36:-4], atol=0.02)
    assert moved(salt, MESH, 0.0, broadening=2.0).max() < still.max()


def test_draws_keep_to_the_doubt_of_their_kind():
    phases = phases_of("Pt", "L3")
    alloy = next(i for i, phase in enumerate(phases) if phase.kind == "alloy")
    rng = np.random.default_rng(0)
    spectra = drawn(phases, np.full(50, alloy), MESH, rng)
    crossing = [float(np.interp(0.5, row[:40], MESH[:40])) for row in spectra]
    assert np.ptp(crossing) < 2.0 * DOUBT["alloy"].zero + 1.0
    assert np.ptp(crossing) > 0.5


class TestAdsorbates:
    @pytest.fixture(scope="class")
    def covered(self):
        return Adsorbates(SiteLibrary.load("pt_l3"), MESH, np.random.default_rng(0))

    def test_only_surface_sites_change(self, covered):
        assert not covered.tables[:, ~covered.surface].any()
        assert covered.tables[:, covered.surface].any(axis=2).all()

    def test_carbon_monoxide_takes_from_the_edge_and_adds_above_it(self, covered):
        of = [i for i, name in enumerate(covered.names) if name == "CO"]
        change = covered.tables[of][:, covered.surface].mean((0, 1))
        assert -0.35 < np.interp(0.0, MESH, change) < -0.08
        assert 0.08 < np.interp(6.0, MESH, change) < 0.3

    def test_draws_repeat(self, covered):
        again = Adsorbates(SiteLibrary.load("pt_l3"), MESH, np.random.default_rng(0))
        np.testing.assert_array_equal(covered.tables, again.tables)

    def test_gold_stays_bare(self):
        assert Adsorbates(SiteLibrary.load("au_l3"), MESH, np.random.default_rng(0)).names == ()
