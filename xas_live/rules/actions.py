"""Functions that rules call, registered by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xas_live.errors import Refusal
from xas_live.prediction import Prediction

ActionFunction = Callable[[Prediction], object]
"""Takes the prediction that the rule fired on; a text that it returns is recorded."""

_registered: dict[str, ActionFunction] = {}


def register_action(name: str) -> Callable[[ActionFunction], ActionFunction]:
    """Register a function for rules with `do = "call"`.

    It takes the prediction that the rule fired on, in a thread of its own, not in that of the plan. What it
    raises is recorded; a text that it returns is recorded, too.

    Parameters
    ----------
    name : that rules call it by; one that is registered again is replaced.

    Examples
    --------
    >>> @register_action("log book")
    ... def write(prediction):
    ...     log_book.write(f"the particles have grown: {prediction}")
    """

    def register(function: ActionFunction) -> ActionFunction:
        if not callable(function):
            raise Refusal(f"the action {name!r} is no function but {function!r}")
        _registered[name] = function
        return function

    return register


def actions(own: Mapping[str, ActionFunction] | None = None) -> dict[str, ActionFunction]:
    """Return the functions that rules may call, by name: those registered, and those given."""
    return {**_registered, **(own or {})}
