"""Whether a condition is met, by which error, and when a sweep may not be acted on."""

from __future__ import annotations

import math
import re
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.rules.scripted import said
from xas_live.prediction import Degree, DomainVerdict
from xas_live.rules import Condition, Judge, Step
from xas_live.spectrum import Provenance

Z90 = NormalDist().inv_cdf(0.95)


def steps(condition, predictions, stale=""):
    judge = Judge(condition)
    return [judge.judge(prediction, stale).step for prediction in predictions]


@given(
    cn1=st.floats(5, 12), half=st.floats(0.01, 2), above=st.floats(5, 12), confidence=st.floats(0.51, 0.999)
)
def test_above_is_met_where_the_probability_of_it_reaches_the_confidence(cn1, half, above, confidence):
    value = said(cn1, statistical=half).values["CN1"]
    met = Condition(target="CN1", above=above, confidence=confidence).evidence(value).met
    sure = NormalDist(cn1, half / Z90).cdf(above)
    if abs(1 - sure - confidence) > 1e-9:
        assert met == (1 - sure >= confidence)


def test_the_statistical_error_counts_unless_the_total_is_asked_for():
    value = said(10.5, statistical=0.2, model=0.9).values["CN1"]
    assert Condition(target="CN1", above=10).evidence(value).met
    assert not Condition(target="CN1", above=10, error="total").evidence(value).met


def test_so_many_sweeps_running_are_needed_and_a_sweep_that_fails_begins_anew():
    condition = Condition(target="CN1", above=10, sweeps=3)
    values = [11, 11, 9, 11, 11, 11, 11]
    found = steps(condition, [said(cn1, sweep=k) for k, cn1 in enumerate(values)])
    assert found == [*[Step.NOTHING] * 5, Step.FIRES, Step.NOTHING]


def test_a_sweep_that_is_judged_again_counts_once():
    condition = Condition(target="CN1", above=10, sweeps=2)
    assert Step.FIRES not in steps(condition, [said(11, sweep=0)] * 3)
    assert steps(condition, [said(11, sweep=0), said(11, sweep=1), said(11, sweep=1)])[1] is Step.FIRES
    assert steps(condition, [said(11, sweep=0), said(11, sweep=1, refused="dark")])[1] is Step.NOTHING


def test_samples_are_counted_apart():
    def of(sample, sweep):
        where = Provenance(run_uid="run", sweep=sweep, metadata={"sample_name": sample})
        return said(11, provenance=where)

    condition = Condition(target="CN1", above=10, sweeps=2)
    assert steps(condition, [of("a", 0), of("b", 1), of("a", 2)]) == [Step.NOTHING, Step.NOTHING, Step.FIRES]


def test_it_counts_anew_only_after_the_target_has_left_by_the_hysteresis():
    condition = Condition(target="CN1", above=10, hysteresis=0.5)
    values = [11, 11, 9.8, 11, 9.4, 11]
    found = steps(condition, [said(cn1, sweep=k) for k, cn1 in enumerate(values)])
    assert found == [Step.FIRES, Step.NOTHING, Step.NOTHING, Step.NOTHING, Step.LEFT, Step.FIRES]


def test_it_counts_anew_only_after_the_hold_off():
    condition = Condition(target="CN1", above=10, hold_off=1000)
    assert steps(condition, [said(11, sweep=0), said(9, sweep=1), said(11, sweep=2)]).count(Step.FIRES) == 1


@pytest.mark.parametrize(
    ("looks", "word", "told"),
    [
        ({"degree": Degree.CAUTION}, "verdict is caution", {"on": ["trusted", "caution"]}),
        ({"degree": Degree.NOT_USABLE}, "verdict is not usable", {"on": ["not usable"]}),
        ({"degree": None}, "verdict is not judged", {"on": ["not judged"]}),
        ({"partial": True}, "not whole", {"also": ["partial"]}),
        ({"flags": ("unanchored",)}, "no foil", {"also": ["unanchored"]}),
        ({"flags": ("CN1_beyond_training",)}, "beyond the model's training", None),
    ],
)
def test_what_may_not_be_acted_on_is_held_with_the_reason_once_unless_told(looks, word, told):
    judge = Judge(Condition(target="CN1", above=10))
    found = [judge.judge(said(11, sweep=k, **looks)) for k in range(3)]
    assert [judged.step for judged in found] == [Step.HELD, Step.NOTHING, Step.NOTHING]
    assert word in found[0].words
    assert judge.judge(said(11, sweep=4)).step is Step.FIRES
    if told is not None:
        assert steps(Condition(target="CN1", above=10, **told), [said(11, **looks)]) == [Step.FIRES]


def test_a_stale_sweep_is_held_and_a_refused_one_says_nothing():
    condition = Condition(target="CN1", above=10)
    assert steps(condition, [said(11)], stale="the last sweep ended 9 s ago") == [Step.HELD]
    assert steps(condition, [said(11, refused="no edge")]) == [Step.NOTHING]
    assert steps(condition, [said(9, degree=Degree.NOT_USABLE)]) == [Step.NOTHING]


def test_a_change_is_known_better_than_the_value():
    condition = Condition(target="CN1", above=0.5, change_from="first", error="total")
    looks = {"change_scales": {"CN1": 0.1}}
    domains = [DomainVerdict(True, latent=(0.1 * k, 0.0)) for k in range(2)]
    first, later = (said(9 + k, sweep=k, domain=domains[k], **looks) for k in range(2))
    assert steps(condition, [first, later]) == [Step.NOTHING, Step.FIRES]
    without = [said(9 + k, sweep=k, domain=domains[k]) for k in range(2)]
    assert steps(condition, without) == [Step.NOTHING, Step.NOTHING]


@pytest.mark.parametrize(
    ("asks", "word"),
    [
        (
            {"half_width": 0.3, "error": "total"},
            r"model's part of the error of CN1 is 0.8, .*half width of 0.3",
        ),
        ({"inside": (8.8, 9.2), "error": "total"}, "to be between 8.8 and 9.2 with 95 % cannot be reached"),
    ],
)
def test_less_than_the_models_part_is_refused_in_words_once(asks, word):
    judge = Judge(Condition(target="CN1", **asks))
    found = [judge.judge(said(9, sweep=k)) for k in range(2)]
    assert [judged.step for judged in found] == [Step.REFUSED, Step.NOTHING]
    assert re.search(word, found[0].words)


def test_a_half_width_is_met_once_it_is_known_so_well():
    condition = Condition(target="CN1", half_width=0.1, of="average")
    assert steps(condition, [said(9, statistical=0.2), said(9, statistical=0.09, sweep=1)])[1] is Step.FIRES


def test_a_target_that_is_not_there_and_a_noise_that_is_not_known_are_told_once():
    judge = Judge(Condition(target="CN9", above=1))
    assert "gives no 'CN9': choose from CN1" in judge.judge(said(9)).words
    assert judge.judge(said(9, sweep=1)).step is Step.NOTHING
    unknown = said(11, statistical=math.nan)
    assert 'error = "total"' in Judge(Condition(target="CN1", above=10)).judge(unknown).words
    assert steps(Condition(target="CN1", above=10, error="total"), [said(13, statistical=math.nan)])[0] is (
        Step.FIRES
    )


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({}, "give one of above, below, inside, half_width, not none"),
        ({"above": 1, "below": 2}, "not above and below"),
        ({"inside": (2, 1)}, "lower end to its upper"),
        ({"above": 1, "confidence": 0.4}, "greater than 0.5"),
        ({"above": math.nan}, "finite"),
        ({"above": 1, "sweeps": 0}, "greater than or equal to 1"),
        ({"above": 1, "on": []}, "at least 1"),
        ({"above": 1, "on": ["sure"]}, "'trusted', 'caution'"),
        ({"abov": 1}, "Extra inputs"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(entries, word):
    with pytest.raises(ValidationError, match=word):
        Condition(target="CN1", **entries)
