"""Rules: what is done, on its own, because of predictions; and the limits within which it is done."""

from xas_live.rules.actions import ActionFunction, register_action
from xas_live.rules.actuators import Actuator, ActuatorSettings, Limits, Permit
from xas_live.rules.condition import Admits, Condition
from xas_live.rules.judge import Judge, Judgement, Step, series_of
from xas_live.rules.rule import Rule, RuleError, checked_rules, read_rules
from xas_live.rules.watch import RuleWatch

__all__ = [
    "ActionFunction",
    "Actuator",
    "ActuatorSettings",
    "Admits",
    "Condition",
    "Judge",
    "Judgement",
    "Limits",
    "Permit",
    "Rule",
    "RuleError",
    "RuleWatch",
    "Step",
    "checked_rules",
    "read_rules",
    "register_action",
    "series_of",
]
