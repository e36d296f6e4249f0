"""Actuators never go beyond their limits, by more than a step, or faster than their rate."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd import Component, Device, PVPositioner, Signal, SoftPositioner
from pydantic import ValidationError

from xas_live.callbacks.live import Current
from xas_live.errors import Refusal
from xas_live.rules import Actuator, ActuatorSettings, Limits, actuators

FRESH = Current(None, 0.0, 2.0, "")
LIMITS = Limits(low=300, high=900, largest_step=20, rate=60, units="K")


@pytest.fixture
def furnace():
    return Actuator(SoftPositioner(name="furnace", init_pos=500.0), LIMITS)


def test_within_its_limits_it_is_moved(furnace):
    permit = furnace.permit(510, current=FRESH)
    assert (permit.value, permit.outcome, permit.action) == (510, "done", "set furnace to 510 K")
    furnace.move(permit.value)
    assert furnace.setpoint == 510


def test_a_long_step_is_cut_and_says_so(furnace):
    permit = furnace.permit(by=-100, current=FRESH)
    assert permit.value == 480
    assert permit.action == "set furnace to 480 K (asked for 400 K; its largest step is 20 K)"


def test_what_is_outside_or_stands_outside_is_refused(furnace):
    permit = furnace.permit(1000, current=FRESH)
    assert (permit.value, permit.outcome) == (None, "refused")
    assert permit.reason == "1000 K is outside of 300 to 900 K"
    furnace.device.set(950).wait(1)
    assert "bring it back by hand" in furnace.permit(900, current=FRESH).reason


def test_the_next_step_waits_until_the_rate_allows_it(furnace, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(actuators.time, "monotonic", lambda: clock[0])
    assert furnace.permit(by=20, current=FRESH).value == 520
    clock[0] = 19.9
    held = furnace.permit(by=20, current=FRESH)
    assert (held.value, held.outcome, held.reason) == (
        None,
        "held",
        "its last step is not over, at 60 K a minute",
    )
    clock[0] = 20.1
    assert furnace.permit(by=20, current=FRESH).value is not None


def test_without_a_fresh_prediction_it_is_held(furnace):
    permit = furnace.permit(510, current=Current(None, 9.0, 2.0, "the analysis was closed"))
    assert (permit.value, permit.outcome, permit.reason) == (None, "held", "the analysis was closed")


def test_a_dry_run_takes_nothing_and_a_move_to_where_it_is_is_none(furnace):
    assert furnace.permit(510, current=FRESH, dry_run=True).value == 510
    assert furnace.permit(500, current=FRESH).reason == "it is set to that already"
    assert furnace.permit(520, current=FRESH).value == 520


def test_a_device_that_cannot_be_read_is_told(furnace, monkeypatch):
    broken = Actuator(Signal(name="gas", value=1.0), Limits(low=0, high=5, largest_step=1, rate=10))
    monkeypatch.setattr(broken.device, "get", lambda: 1 / 0)
    permit = Actuator(broken.device, broken.limits).permit(2, current=FRESH)
    assert (permit.outcome, permit.value) == ("failed", None)
    assert "gas cannot be read (ZeroDivisionError" in permit.reason


def test_signals_and_positioners_are_driven_by_their_setpoint():
    class Heater(PVPositioner):
        setpoint = Component(Signal, value=400.0)
        readback = Component(Signal, value=390.0)
        done = Component(Signal, value=1)

    class Chamber(Device):
        heater = Component(Heater, "")

    heater = Actuator(Chamber("", name="chamber").heater, LIMITS)
    assert heater.name == "chamber_heater"
    assert heater.permit(by=10, current=FRESH).value == 410
    gas = Actuator(Signal(name="gas", value=1.0), Limits(low=0, high=5, largest_step=1, rate=10))
    gas.move(gas.permit(by=0.5, current=FRESH).value)
    assert gas.setpoint == 1.5


@given(st.lists(st.tuples(st.floats(-2000, 2000), st.floats(0, 100), st.booleans()), max_size=30))
def test_whatever_is_asked_for_it_stays_within_limits_step_and_rate(asked):
    positioner = SoftPositioner(name="furnace", init_pos=600.0)
    actuator = Actuator(positioner, LIMITS)
    now, path = 0.0, [(0.0, 600.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actuators.time, "monotonic", lambda: now)
        for wanted, wait, relative in asked:
            now += wait
            permit = actuator.permit(**{"by" if relative else "to": wanted}, current=FRESH)
            if permit.value is not None:
                path.append((now, permit.value))
                positioner._position = permit.value
    for (_, before), (_, after) in itertools.pairwise(path):
        assert 300 <= after <= 900
        assert abs(after - before) <= 20 + 1e-9
    for first in range(1, len(path)):
        for last in range(first + 1, len(path)):
            gone = abs(path[last][1] - path[first][1])
            assert gone <= 20 + (path[last][0] - path[first][0]) * 60 / 60 + 1e-6


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="low = 9 is not below high = 1"):
        Limits(low=9, high=1, largest_step=1, rate=1)
    with pytest.raises(ValidationError, match="greater than 0"):
        Limits(low=0, high=1, largest_step=1, rate=0)
    assert ActuatorSettings(device="furnace", **LIMITS.model_dump()).units == "K"
    with pytest.raises(Refusal, match="is no actuator"):
        Actuator(object(), LIMITS)
