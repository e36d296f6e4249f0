"""The reacting sample: it grows by heat, goes back by cold, oxidises and is reduced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xas_live.errors import Refusal
from xas_live.simulator.reaction import GASES, Gas, Kinetics, ReactingSample
from xas_live.simulator.sample import ROOM_TEMPERATURE, Sample, mixed, thermal_sigma2

TEMPERATURES = st.floats(200.0, 1200.0)
FRACTIONS = st.floats(0.0, 1.0)
PLACES = st.floats(0.0, 3.0)
SECONDS = st.floats(0.0, 1e5)


def after(seconds: float, temperature: float, gas: str = "He", **start: float) -> ReactingSample:
    sample = ReactingSample(**start)  # type: ignore[arg-type]
    sample.advance(seconds, temperature, GASES[gas])
    return sample


@given(PLACES, FRACTIONS, TEMPERATURES, FRACTIONS, FRACTIONS, SECONDS, FRACTIONS)
def test_steps_of_any_length_come_to_the_same(
    place: float,
    oxide: float,
    temperature: float,
    hydrogen: float,
    oxygen: float,
    seconds: float,
    part: float,
) -> None:
    gas = Gas(hydrogen, oxygen)
    whole, divided = (ReactingSample(place=place, oxide=oxide) for _ in range(2))
    whole.advance(seconds, temperature, gas)
    divided.advance(part * seconds, temperature, gas)
    divided.advance((1.0 - part) * seconds, temperature, gas)
    assert divided.place == pytest.approx(whole.place, abs=1e-9)
    assert divided.oxide == pytest.approx(whole.oxide, abs=1e-9)
    assert 0.0 <= whole.place <= 3.0
    assert 0.0 <= whole.oxide <= 1.0
    whole.now(temperature).truth()  # whatever comes of it is a sample


@given(PLACES, TEMPERATURES, TEMPERATURES)
def test_it_rests_larger_the_hotter(place: float, one: float, other: float) -> None:
    cold, hot = sorted((one, other))
    rest = Kinetics().resting_place
    assert rest(cold) <= rest(hot)
    assert after(1e12, hot, place=place).place == pytest.approx(rest(hot), abs=1e-3)


def test_heat_grows_particles_and_cold_takes_them_back_slowly() -> None:
    grown = after(600.0, 800.0)
    assert grown.now().truth()["CN1"] == pytest.approx(9.63, abs=0.01)
    assert grown.now().truth()["n_atoms"] == pytest.approx(309, abs=1)
    held = after(600.0, ROOM_TEMPERATURE, place=grown.place)
    assert held.place == pytest.approx(grown.place, rel=0.01)  # at room temperature nothing happens
    assert after(600.0, 550.0, place=grown.place).place < 1.3


def test_oxygen_oxidises_and_redisperses_and_hydrogen_reduces() -> None:
    oxidised = after(300.0, 600.0, "O2", place=1.5)
    assert oxidised.oxide > 0.9
    assert oxidised.place < after(300.0, 600.0, "He", place=1.5).place
    assert after(300.0, 600.0, "He", oxide=oxidised.oxide).oxide == oxidised.oxide
    assert after(120.0, 600.0, "H2", oxide=oxidised.oxide).oxide < 0.01
    assert after(300.0, ROOM_TEMPERATURE, "O2").oxide < 0.01


def test_a_band_of_cn1_is_held_by_temperature() -> None:
    """Bang-bang control with the truth: what a plan does with predictions."""
    sample, temperature, inside = ReactingSample(), 640.0, 0
    for _ in range(200):
        sample.advance(5.0, temperature, GASES["He"])
        cn1 = sample.now().truth()["CN1"]
        temperature = 580.0 if cn1 > 8.5 else 640.0
        inside += 8.2 < cn1 < 8.8
    assert inside > 180


def test_heat_damps_and_oxide_is_a_share_of_the_atoms() -> None:
    assert thermal_sigma2(ROOM_TEMPERATURE, "Pt") == pytest.approx(0.0048, abs=0.0002)
    cold, hot = (Sample(mixed(3.0), temperature=kelvin) for kelvin in (ROOM_TEMPERATURE, 600.0))
    added = thermal_sigma2(600.0, "Pt") - thermal_sigma2(ROOM_TEMPERATURE, "Pt")
    assert hot.sigma2 - cold.sigma2 == pytest.approx(added)
    assert Sample(mixed(3.0), oxide=0.25).truth()["oxide"] == 0.25
    assert "oxide" not in cold.truth()


@pytest.mark.parametrize("wrong", [{"place": 3.1}, {"place": -0.1}, {"oxide": 1.1}])
def test_what_is_no_sample_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refusal):
        ReactingSample(**wrong)  # type: ignore[arg-type]


def test_time_that_runs_backwards_is_refused() -> None:
    with pytest.raises(Refusal, match="negative"):
        ReactingSample().advance(-1.0, 300.0, GASES["He"])
    with pytest.raises(Refusal, match="oxide"):
        Sample(mixed(0.0), oxide=2.0)
    with pytest.raises(Refusal, match="temperature"):
        Sample(mixed(0.0), temperature=0.0)
