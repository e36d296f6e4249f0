"""Rule: a condition, and what is done when it is met. Rules are written in TOML or in Python."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from xas_live.errors import Refusal
from xas_live.models.strict import Strict
from xas_live.rules.condition import Condition, Positive
from xas_live.toml_places import place_in

Action = Literal["pause", "stop", "suspend", "set", "call"]

_ENTRIES = {"suspend": ("for_s",), "set": ("actuator", "to", "by"), "call": ("call",)}
"""Entries that belong to one action alone."""


class Rule(Condition):
    """A condition, and what is done when it is met. The entries of the condition stand in `Condition`.

    Attributes
    ----------
    name : that decisions are recorded under.
    do : "pause", the plan at its next checkpoint; "stop", the plan as `RE.stop()` does; "suspend", the plan
        for a time; "set", an actuator; "call", a registered function.
    for_s : of "suspend": seconds after which the plan goes on, at the latest.
    actuator : of "set": its name.
    to, by : of "set": where it is set to, or by how much it is changed, in its unit.
    call : of "call": name of the function.
    dry_run : record what would be done, and do nothing.
    time_limit : of "call": seconds after which a function that has not returned is reported as failed.
    """

    name: Annotated[str, Field(min_length=1)]
    do: Action
    for_s: Positive | None = None
    actuator: str | None = None
    to: FiniteFloat | None = None
    by: FiniteFloat | None = None
    call: str | None = None
    dry_run: bool = False
    time_limit: Positive = 60.0

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        for action, entries in _ENTRIES.items():
            given = [entry for entry in entries if getattr(self, entry) is not None]
            if given and self.do != action:
                raise ValueError(f'{" and ".join(given)}: only do = "{action}" takes it, not "{self.do}"')
        if self.do == "suspend" and self.for_s is None:
            raise ValueError(
                'do = "suspend" needs for_s, the seconds after which the plan goes on: while it is suspended '
                "no sweep comes that could end it"
            )
        if self.do == "set" and (self.actuator is None or (self.to is None) == (self.by is None)):
            raise ValueError('do = "set" needs actuator, and either to or by')
        if self.do == "call" and self.call is None:
            raise ValueError('do = "call" needs call, the name of a registered function')
        return self

    @property
    def action(self) -> str:
        """What is done, in words, as "set furnace to 553"."""
        if self.do == "suspend":
            return f"suspend for {self.for_s:g} s"
        if self.do == "set":
            return (
                f"set {self.actuator} to {self.to:g}"
                if self.by is None
                else (f"change {self.actuator} by {self.by:+g}")
            )
        return f"call {self.call}" if self.do == "call" else self.do

    def describe(self) -> str:
        """Return in one sentence what the rule does."""
        what = {
            "pause": "pauses the plan at its next checkpoint",
            "stop": "stops the plan",
            "suspend": f"suspends the plan for {self.for_s or 0:g} s",
            "set": self.action.replace("set", "sets", 1).replace("change", "changes", 1),
            "call": f"calls {self.call}",
        }[self.do]
        dry = " (dry run: only says so)" if self.dry_run else ""
        return f"{self.name}: {what}{dry} when {self.describe_condition()}."

    def describe_condition(self) -> str:
        """Return the condition in words."""
        return super().describe()


class _Rules(Strict):
    rule: tuple[Rule, ...] = ()


class RuleError(Refusal):
    """Rules that cannot be used, with the line and the reason."""


def read_rules(path: str | Path) -> list[Rule]:
    """Read rules from a TOML file, each a table `[[rule]]`.

    Raises
    ------
    RuleError : naming the line and the entry that is wrong.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
        rules = _Rules.model_validate(tomllib.loads(text)).rule
    except OSError as error:
        raise RuleError(f"rules {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RuleError(f"rules {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        lines = [f"  {place_in(text, e['loc'])}{_reason(e['msg'])}" for e in error.errors()]
        raise RuleError(f"rules {path}:\n" + "\n".join(lines)) from error
    if not rules:
        raise RuleError(f"rules {path}: there is none in it; each is a table [[rule]]")
    return checked_rules(rules)


def checked_rules(rules: object) -> list[Rule]:
    """Return rules as a list.

    Raises
    ------
    RuleError : for what is no rule, and two rules of one name.
    """
    if not isinstance(rules, list | tuple) or not all(isinstance(rule, Rule) for rule in rules):
        raise RuleError(f"rules={rules!r}: give the path of a TOML file, or a list of xas_live.rules.Rule")
    twice = [name for name, count in Counter(rule.name for rule in rules).items() if count > 1]
    if twice:
        raise RuleError(
            f"two rules are named {twice[0]!r}: decisions are recorded by name, give each its own"
        )
    return list(rules)


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").replace(
        "Extra inputs are not permitted", "there is no such entry"
    )
