"""Repeats that end when they are enough: a real RunEngine, a simulated beamline whose noise is known."""

from __future__ import annotations

import math

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

import xas_live
from xas_live.energy import xanes_grid
from xas_live.errors import Refusal
from xas_live.plans import Repeated, mean_of, repeat_until
from xas_live.plans.repeats import _usable
from xas_live.prediction import Outcome, Prediction, Value
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.spectrum import Provenance

ENERGIES = xanes_grid(11919.0)[::2]


@pytest.fixture
def beamline():
    made = SimulatedBeamline("au_l3", seed=5, counts=2e5, drift=0.0)
    made.load(growth(4, "au_l3")[2])
    return made


@pytest.fixture
def RE():
    return RunEngine({}, context_managers=[])


@pytest.fixture
def xas(RE, au_anchor):
    with xas_live.attach(RE, plot=False, anchor=au_anchor, align="none") as analysis:
        yield analysis


def run(RE, plan) -> Repeated:
    found = []

    def keep():
        found.append((yield from plan))

    RE(keep())
    return found[0]


def scan_of(beamline, sample):
    return lambda: simulated_scan(beamline, sample, energies=ENERGIES)


def test_it_repeats_until_the_half_width_is_reached_and_no_longer(RE, xas, beamline):
    sample = growth(4, "au_l3")[2]
    RE(simulated_scan(beamline, sample, energies=ENERGIES))
    assert xas.wait(30)
    of_one = xas.latest.values["CN1"].statistical
    asked = of_one / 2
    result = run(RE, repeat_until(scan_of(beamline, sample), "CN1", asked, 20, xas))
    assert result.reached
    assert 2 <= result.used == len(result.uids) <= 8
    assert result.half_width <= asked
    alone = [p.values["CN1"] for p in xas.predictions[1:]]
    assert result.mean == pytest.approx(np.mean([v.value for v in alone]))
    assert all(mean_of(alone[:n])[1] > asked for n in range(1, len(alone)))


def test_of_a_sample_that_is_not_usable_all_repeats_are_measured(RE, xas, beamline):
    """Half of the light comes past the sample: the spectrum is no metal's."""
    chambers, original = beamline.ion_chambers, beamline.count

    def leaking():
        i0, _, ir = original()
        return i0, 1e7, ir

    beamline.count = leaking
    scan = lambda: bp.list_scan(  # noqa: E731
        [chambers], beamline.energy, ENERGIES.tolist(), md=beamline.metadata()
    )
    result = run(RE, repeat_until(scan, "CN1", 5.0, 3, xas))
    assert (result.reached, result.used, len(result.uids)) == (False, 0, 3)
    assert result.reason == "no repeat was usable after 3 repeats"
    assert math.isnan(result.mean)


def test_what_repeats_cannot_narrow_is_refused_in_words(RE, xas, beamline):
    plan = repeat_until(scan_of(beamline, growth(4, "au_l3")[2]), "CN1", 0.1, 20, xas, error="total")
    with pytest.raises(Refusal, match=r"model's part of the error of CN1 is \d.*Ask for the statistical one"):
        RE(plan)
    assert len(xas.predictions) == 1
    assert RE.state == "idle"


def test_of_a_sweep_that_was_judged_again_the_last_prediction_counts():
    def said(sweep, cn1):
        values = {"CN1": Value(cn1, 0.5, cn1 - 0.8, cn1 + 0.8, statistical=0.3, model=0.7)}
        return Prediction(
            "m", "sha", provenance=Provenance(run_uid="run", sweep=sweep), outcome=Outcome(values)
        )

    found = _usable([said(0, 8.0), said(1, 5.0), said(1, 9.0)], "run", "CN1")
    assert [value.value for value in found] == [8.0, 9.0]


def test_the_scatter_of_repeats_is_pooled_with_what_their_noise_tells():
    def repeats(told, *cn1):
        return [Value(each, 0.5, 7.0, 9.0, statistical=1.645 * told, model=0.7) for each in cn1]

    quiet = (8.0, 8.1, 8.2, 8.1, 8.0, 8.2)  # scatter by 0.09
    half = mean_of(repeats(0.2, *quiet))[1]
    alone = 1.645 * np.std(quiet, ddof=1) / math.sqrt(6)
    assert alone < half < 1.645 * 0.2 / math.sqrt(6)
    loud = (7.0, 9.0, 8.0, 8.8, 7.1, 8.0)  # more than the noise tells: it alone counts
    assert mean_of(repeats(0.1, *loud))[1] > 1.645 * np.std(loud, ddof=1) / math.sqrt(6)


def test_repeats_without_noise_are_averaged():
    same, other = (Value(cn1, 0.5, 7.0, 9.0, statistical=0.0, model=0.7) for cn1 in (8.0, 8.3))
    assert mean_of([same] * 3) == (8.0, 0.0)
    assert mean_of([same, same, other])[1] > 0.1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"half_width": 0.0}, "positive number"),
        ({"half_width": math.nan}, "positive number"),
        ({"max_repeats": 0}, "at least one"),
        ({"error": "model"}, "'statistical' or 'total'"),
        ({"target": "CN9"}, "gives no 'CN9': choose from CN1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(RE, xas, beamline, settings, word):
    given = {"target": "CN1", "half_width": 0.2, "max_repeats": 3, "analysis": xas} | settings
    with pytest.raises(Refusal, match=word):
        RE(repeat_until(scan_of(beamline, growth(4, "au_l3")[2]), **given))


def test_a_dead_analysis_ends_the_repeats(RE, au_anchor, beamline):
    with xas_live.attach(RE, plot=False, anchor=au_anchor, align="none") as closed:
        pass
    plan = repeat_until(scan_of(beamline, None), "CN1", 0.1, 5, closed, timeout=0.3)
    result = run(RE, plan)
    assert not result.reached
    assert len(result.uids) < 5 or "no repeat was usable" in result.reason


def test_it_can_be_paused_and_resumed(RE, xas, beamline):
    sample = growth(4, "au_l3")[2]
    calls = []

    def scan():
        calls.append(None)
        if len(calls) == 2:
            yield from bps.deferred_pause()
        return (yield from simulated_scan(beamline, sample, energies=ENERGIES))

    with pytest.raises(RunEngineInterrupted):
        RE(repeat_until(scan, "CN1", 1e-3, 3, xas))
    RE.resume()
    assert RE.state == "idle"
    assert len(calls) == 3
    assert xas.wait(30)
    assert len(xas.predictions) == 3
