"""A decision names the sweep that it rests on, where there is one."""

from __future__ import annotations

import math

from xas_live.prediction import Decision, DecisionOutcome, Prediction
from xas_live.spectrum import Provenance


def test_a_decision_names_the_sweep_that_it_rests_on():
    seen = Prediction("pt-l3", "0" * 64, provenance=Provenance(run_uid="raw", sweep=3))
    made = Decision.resting_on(
        seen, by="rule", action="pause", outcome=DecisionOutcome.DONE, reason="big", target="CN1", value=10.5
    )
    assert (made.run_uid, made.sweep, made.target, made.value) == ("raw", 3, "CN1", 10.5)
    assert math.isnan(made.half_width)


def test_a_decision_without_a_sweep_names_none():
    made = Decision.resting_on(None, by="adaptive", action="end", outcome=DecisionOutcome.HELD, reason="dead")
    assert (made.run_uid, made.sweep, made.target) == (None, None, "")
