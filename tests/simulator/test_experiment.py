"""The simulated experiment without EPICS: its counts, its clock, and its faults one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xas_live.simulator.absorption import theory
from xas_live.simulator.experiment import FULL_CURRENT, Experiment
from xas_live.simulator.library import LIBRARIES, site_library
from xas_live.simulator.sample import Sample, mixed

EDGE = 11564.0
AXIS = np.linspace(EDGE - 100, EDGE + 500, 400)


def bright(**rest: Any) -> Experiment:
    return Experiment(flux=1e13, **rest)


def mu(experiment: Experiment, energy: np.ndarray[Any, Any] = AXIS, **how: Any) -> np.ndarray[Any, Any]:
    counts = experiment.count(energy, 1.0, **how)
    return np.log(counts["i0"] / counts["it"])


def test_same_seed_same_counts_and_another_seed_others() -> None:
    one, same, other = (Experiment(seed=seed).count(AXIS, 0.01) for seed in (1, 1, 2))
    for name in ("i0", "it", "ir", "iff"):
        np.testing.assert_array_equal(one[name], same[name])
        assert np.any(one[name] != other[name])


def test_noise_is_that_of_counts() -> None:
    i0 = Experiment().count(np.full(2000, EDGE), 0.001)["i0"]
    assert np.std(i0) == pytest.approx(np.sqrt(i0.mean()), rel=0.1)


def test_fluorescence_and_transmission_show_the_same_edge() -> None:
    counts = bright().count(AXIS, 1.0)
    fluorescence = counts["iff"] / counts["i0"]
    transmission = np.log(counts["i0"] / counts["it"])
    assert np.corrcoef(fluorescence, transmission)[0, 1] > 0.999


def test_furnace_ramps_and_the_sample_reacts_by_the_clock() -> None:
    experiment = Experiment()
    experiment.furnace.setpoint, experiment.furnace.ramp = 800.0, 5.0
    experiment.advance(50.0)
    assert experiment.furnace.temperature == pytest.approx(545.0)
    small = experiment.now.truth()["CN1"]
    experiment.advance(600.0)
    assert experiment.furnace.temperature == 800.0
    assert experiment.now.truth()["CN1"] > small + 1
    assert experiment.clock == 650.0
    experiment.renew()
    assert experiment.now.truth()["n_atoms"] == 13


def test_the_ring_decays_and_is_topped_up_and_a_shutter_closes() -> None:
    experiment = Experiment()
    full = experiment.current
    experiment.advance(590.0)
    assert experiment.current < full == FULL_CURRENT
    experiment.advance(20.0)
    assert experiment.current == pytest.approx(FULL_CURRENT, rel=1e-3)
    experiment.shutter_open = False
    dark = experiment.count(AXIS, 0.01)
    assert max(dark["i0"]) < 20
    experiment.shutter_open, experiment.faults.beam_dumped = True, True
    assert experiment.current == 0.0
    assert max(experiment.count(AXIS, 0.01)["i0"]) < 20


def test_drift_and_backlash_shift_the_true_energy() -> None:
    still, drifted, back = bright(), bright(), bright()
    drifted.faults.drift = 7200.0
    drifted.advance(1.0)
    assert drifted.shift == pytest.approx(2.0)
    back.faults.backlash = 2.0
    moved = mu(still, AXIS + 2.0)
    np.testing.assert_allclose(mu(drifted), moved, atol=1e-3)
    np.testing.assert_allclose(mu(back, downwards=True), moved, atol=1e-3)
    np.testing.assert_allclose(mu(back), mu(still), atol=1e-3)


def test_glitches_spoil_single_points_and_dead_time_loses_counts() -> None:
    experiment, clean = bright(), mu(bright())
    experiment.faults.glitches = 0.05
    spoilt = mu(experiment) - clean > 0.3
    assert 5 < np.count_nonzero(spoilt) < 50
    slow = Experiment()
    free = slow.count(AXIS, 1.0)["iff"]
    slow.faults.dead_time = 1e-7
    lost = slow.count(AXIS, 1.0)["iff"]
    np.testing.assert_allclose(lost, free / (1.0 + 1e-7 * free), rtol=0.01)


def test_a_foil_in_place_of_the_sample() -> None:
    experiment = bright()
    experiment.foil_in = True
    counts = experiment.count(AXIS, 1.0)
    np.testing.assert_allclose(
        np.log(counts["i0"] / counts["it"]), np.log(counts["it"] / counts["ir"]), atol=1e-3
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_oxide_mixes_into_the_spectrum_and_goes_on_beyond_theory(library: str) -> None:
    lib, energy = site_library(library), np.arange(-300.0, 800.0, 0.5)
    metal, half, oxide = (theory(energy, lib, Sample(mixed(2.0), library, oxide=w)) for w in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, 0.5 * (metal + oxide), atol=1e-12)
    assert np.all(np.isfinite(oxide))
    assert oxide[-1] == pytest.approx(metal[-1], abs=0.02)
    assert np.abs(np.diff(oxide))[energy[1:] > 80].max() < 0.02
