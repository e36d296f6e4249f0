"""The simulated beamline: its truth is true, its spectra look like spectra, and it repeats itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from larch import Group
from larch.xafs import pre_edge
from ophyd.utils.errors import LimitError

from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.energy import xanes_grid
from xas_live.errors import Refusal
from xas_live.simulator import (
    DEMO_PARTICLES,
    Mismatch,
    Sample,
    SimulatedBeamline,
    growing_particles,
    growth,
    simulated_scan,
)
from xas_live.simulator.absorption import measured, theory
from xas_live.simulator.library import LIBRARIES, site_library
from xas_live.spectrum import Spectrum

BULK_CN = [12.0, 6.0, 24.0, 12.0]


def run(plan: Any) -> list[tuple[str, dict[str, Any]]]:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine = RunEngine({})
    engine(plan, lambda name, doc: documents.append((name, doc)))
    return documents


def spectra(documents: list[tuple[str, dict[str, Any]]]) -> list[Spectrum]:
    assembler = SpectrumAssembler()
    return [spectrum for name, doc in documents for spectrum in assembler(name, doc)]


def test_truth_of_a_cuboctahedron() -> None:
    truth = Sample({"cuboctahedron_5_2": 1.0}).truth()
    bonds = 216  # of the 55-atom cuboctahedron
    assert truth["CN1"] == pytest.approx(2 * bonds / 55)
    assert truth["n_atoms"] == 55
    assert truth["diameter_nm"] == pytest.approx(1.16, abs=0.01)


def test_growth_goes_from_13_to_309_atoms_and_never_back() -> None:
    truths = [sample.truth() for sample in growth(12)]
    assert len(truths) == 12
    assert truths[0]["particle"] == DEMO_PARTICLES[0]
    assert (truths[0]["n_atoms"], truths[-1]["n_atoms"]) == (13, 309)
    for name in ("CN1", "CN2", "CN3", "CN4", "n_atoms", "diameter_nm"):
        assert np.all(np.diff([truth[name] for truth in truths]) > 0), name
    with pytest.raises(Refusal, match="at least 2"):
        growth(1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_has_the_demo_particles_and_a_foil(library: str) -> None:
    lib = site_library(library)
    assert [lib.particle(name).n_atoms for name in DEMO_PARTICLES] == [13, 55, 147, 309]
    np.testing.assert_allclose(lib.bulk() @ lib.sites.cn, BULK_CN)


@pytest.mark.parametrize("library", LIBRARIES)
def test_absorption_goes_on_smoothly_beyond_theory(library: str) -> None:
    lib = site_library(library)
    energy = np.arange(-300.0, 800.0, 0.25)
    for sample in (None, growth(2, library)[0]):
        mu = theory(energy, lib, sample)
        assert np.all(np.isfinite(mu))
        assert 0 < mu[0] < 0.02
        assert mu[-1] == pytest.approx(theory(energy, lib)[-1], abs=0.01)
        kinks = np.abs(np.diff(mu, 2))
        inside = kinks[(energy[1:-1] > -3) & (energy[1:-1] < 89)].max()
        for joint in (lib.sites.energy[0], lib.sites.energy[-1]):
            assert kinks[np.abs(energy[1:-1] - joint) < 1].max() < inside


def test_theory_within_its_range_is_the_library() -> None:
    lib = site_library("pt_l3")
    sample = Sample({"cuboctahedron_7_3": 1.0}, surface_sigma2=0.0, surface_contraction=0.0)
    expected = lib.sites.particle_spectrum(lib.particle("cuboctahedron_7_3"))[0]
    np.testing.assert_allclose(theory(lib.sites.energy, lib, sample), expected, atol=1e-12)


def test_disorder_damps_and_contraction_stretches() -> None:
    lib = site_library("pt_l3")
    energy = np.arange(20.0, 90.0, 0.25)

    def fine(**properties: float) -> np.ndarray[Any, Any]:
        return theory(energy, lib, Sample({DEMO_PARTICLES[3]: 1.0}, **properties))  # type: ignore[arg-type]

    assert np.ptp(fine(surface_sigma2=0.05)) < np.ptp(fine(surface_sigma2=0.0))
    peak = [energy[np.argmax(fine(surface_sigma2=0.0, surface_contraction=c))] for c in (0.0, 0.15)]
    assert peak[1] > peak[0] + 2  # shorter distances move features up, as 1/R^2
    with pytest.raises(Refusal, match="can be scaled"):
        fine(surface_contraction=1.0)


@pytest.mark.parametrize(
    ("sample", "complaint"),
    [({"particles": {"cuboctahedron_3_1": 0.5}}, "sum to 1"), ({"particles": {}}, "sum to 1")],
)
def test_unusable_samples(sample: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Refusal, match=complaint):
        Sample(**sample)
    with pytest.raises(Refusal, match="no particle"):
        Sample({"sphere of doom": 1.0}).truth()
    with pytest.raises(Refusal, match="use one of"):
        SimulatedBeamline("fe_k")
    with pytest.raises(Refusal, match="set up for pt_l3"):
        SimulatedBeamline().load(growth(2, "pd_k")[0])


def test_scan_normalises_like_a_measured_one() -> None:
    (sample, foil) = spectra(run(growing_particles(SimulatedBeamline(counts=1e9), 2)))
    assert (sample.element, sample.edge, sample.mode, sample.complete) == ("Pt", "L3", "transmission", True)
    assert sample.provenance.metadata["truth"]["CN1"] == pytest.approx(5.54, abs=0.01)
    assert foil.reference is not None
    for mu in (sample.mu, sample.reference):
        group = Group(energy=sample.energy, mu=mu)
        pre_edge(group, e0=11564.0, pre1=-180, pre2=-50, norm1=150, norm2=580)
        assert group.edge_step == pytest.approx(0.95, abs=0.05)
        assert np.abs(group.flat[sample.energy < 11500]).max() < 0.03
        assert np.abs(group.flat[sample.energy > 11900] - 1).max() < 0.05


def test_the_foil_and_the_sample_share_the_mismatch() -> None:
    energy = xanes_grid(11564.0)
    plain, bent = Mismatch(0, 1, 1, 0), Mismatch(0, 1, 1, 0.1)
    sample = growth(2)[0]
    for thing in (None, sample):
        difference = measured(energy, "pt_l3", thing, bent) - measured(energy, "pt_l3", thing, plain)
        assert difference.max() == pytest.approx(0.1, rel=0.02)


def test_same_seed_same_numbers_and_another_seed_others() -> None:
    energies = xanes_grid(11564.0)[::20]

    def counts(seed: int) -> list[float]:
        plan = simulated_scan(SimulatedBeamline(seed=seed), growth(2)[0], energies=energies)
        return [doc["data"]["it"] for name, doc in run(plan) if name == "event"]

    assert counts(1) == counts(1)
    assert counts(1) != counts(2)


def test_noise_is_counting_noise_and_the_beam_decays_and_comes_back() -> None:
    beamline = SimulatedBeamline(counts=1e6, drift=0.0)
    i0 = np.array([beamline.count()[0] for _ in range(700)])
    assert np.std(np.diff(i0)) == pytest.approx(np.sqrt(2e6), rel=0.15)
    assert i0[590:599].mean() < 0.99 * i0[:9].mean()
    assert i0[605:625].mean() == pytest.approx(i0[:20].mean(), rel=0.002)


def test_drift_moves_sample_and_foil_together() -> None:
    still, drifting = (SimulatedBeamline(counts=1e12, drift=drift, sample_step=1.0) for drift in (0.0, 1.0))
    edges = []
    for beamline in (still, drifting):
        beamline.clock = 1800.0  # a quarter of the drift's period: its largest shift
        points = []
        for energy in np.arange(11555.0, 11570.0, 0.25):
            beamline.energy.set(energy).wait(1)
            i0, it, ir = beamline.count()
            points.append((np.log(i0 / it), np.log(it / ir)))
        edges.append(np.array(points))
    np.testing.assert_allclose(edges[1][:-5], edges[0][4:][: len(edges[1]) - 5], atol=0.02)


def test_energy_has_limits_and_units() -> None:
    beamline = SimulatedBeamline()
    with pytest.raises(LimitError):
        beamline.energy.set(5.0)
    assert beamline.energy.describe()["energy"]["units"] == "eV"
    assert set(beamline.ion_chambers.hints["fields"]) == {"i0", "it", "ir"}


def test_dwell_and_settle_take_time() -> None:
    beamline = SimulatedBeamline(dwell=0.02, settle=0.01)
    documents = run(simulated_scan(beamline, None, energies=np.array([11500.0, 11510.0, 11520.0])))
    times = [doc["time"] for name, doc in documents if name == "event"]
    assert len(times) == 3
    assert min(np.diff(times)) > 0.025
