"""Rules as they are written, said in words, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.code_blocks import blocks_of
from xas_live.rules import Rule, RuleError, checked_rules, read_rules

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "act-on-predictions.md"
GOOD = """
[[rule]]
name = "grown"
target = "CN1"
above = 10.0
sweeps = 3
do = "pause"

[[rule]]
name = "cool"
target = "CN1"
inside = [9.0, 9.5]
on = ["trusted", "caution"]
hysteresis = 0.2
do = "set"
actuator = "furnace"
by = -10
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "rules.toml"
        path.write_text(text)
        return path

    return write


def test_rules_are_read_and_say_what_they_do(written):
    grown, cool = read_rules(written(GOOD))
    assert grown.describe() == (
        "grown: pauses the plan at its next checkpoint when CN1 is above 10 with 95 % confidence "
        "(statistical error) in 3 sweeps running, trusted."
    )
    assert cool.describe() == (
        "cool: changes furnace by -10 when CN1 is between 9 and 9.5 with 95 % confidence (statistical error) "
        "in a sweep, trusted or caution."
    )


@pytest.mark.parametrize(
    ("good", "bad", "word"),
    [
        ("above = 10.0", "abov = 10.0", "line 5, rule.0.abov = 10.0: there is no such entry"),
        ("above = 10.0", "above = 10.0\nbelow = 11.0", "not above and below"),
        ("sweeps = 3", "sweeps = 0", "line 6, rule.0.sweeps = 0: .*greater than or equal to 1"),
        ('do = "pause"', 'do = "panic"', "line 7, rule.0.do = 'panic'"),
        ('do = "pause"', 'do = "pause"\nby = 3', 'by: only do = "set" takes it, not "pause"'),
        ('do = "pause"', 'do = "suspend"', 'do = "suspend" needs for_s'),
        ('do = "pause"', 'do = "call"', 'do = "call" needs call'),
        ("by = -10", "by = -10\nto = 3", "needs actuator, and either to or by"),
        ('name = "cool"', 'name = "grown"', "two rules are named 'grown'"),
        ('name = "cool"', "name = ", "not valid TOML: .*line 10"),
        (GOOD, "", "there is none in it"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_with_line_and_reason(written, good, bad, word):
    with pytest.raises(RuleError, match=word):
        read_rules(written(GOOD.replace(good, bad)))


def test_the_rules_of_the_guide_can_be_read(written):
    [block] = [each for each in blocks_of(GUIDE) if each.language == "toml"]
    rules = read_rules(written(block.code))
    assert [rule.do for rule in rules] == ["pause", "set", "stop"]


def test_what_is_no_rule_and_no_file_is_refused(tmp_path):
    with pytest.raises(RuleError, match="No such file"):
        read_rules(tmp_path / "none.toml")
    with pytest.raises(RuleError, match="give the path of a TOML file, or a list"):
        checked_rules([{"name": "grown"}])
    rule = Rule(name="grown", target="CN1", above=10, do="stop")
    assert checked_rules((rule,)) == [rule]
