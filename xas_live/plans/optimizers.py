"""Optimizers of bluesky-adaptive, or of the same protocol, choose the settings of an adaptive plan."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Protocol, runtime_checkable

from xas_live.errors import Refusal
from xas_live.plans.adaptive import End
from xas_live.plans.repeats import mean_of
from xas_live.plans.usable import usable_values
from xas_live.prediction import Prediction

Settings = Mapping[str, Any]

_ID = "_id"  # by which an optimizer knows its suggestion again
_PATIENCE_S = 1.0  # an optimizer that computes in a thread of its own may have nothing to suggest yet
_POLL_S = 0.02


@runtime_checkable
class Optimizer(Protocol):
    """What is needed of `bluesky_adaptive.protocols.Optimizer`."""

    def suggest(self, num_points: int | None = None) -> Sequence[Settings]:
        """Return settings to measure next."""

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take what was measured."""


@runtime_checkable
class SupportsStoppingCriteria(Protocol):
    """An optimizer that tells when it has found what it was looking for."""

    def should_stop(self) -> tuple[bool, str | None]:
        """Return whether to end, and why."""


class OptimizerRecommender:
    """Lets an optimizer choose the settings of an `adaptive` plan.

    The optimizer is told the mean of each target over the sweeps at its suggestion, with the `_id` of that;
    one that gives no `_id` is told the settings again. Where no sweep may be used it is told nothing, and
    `adaptive` repeats the scan. It is used by one thread at a time: that of `adaptive`, or whoever asks for
    `next`.

    Parameters
    ----------
    optimizer : has `suggest` and `ingest`, and may have `should_stop`, as those of bluesky-adaptive.
    targets : numbers that the model gives, as "CN1": the names of the optimizer's objectives.
    with_errors : each target is told as (mean, standard error), as Ax takes it, in place of the mean. The
        error is the statistical one, NaN where it is not known.

    Raises
    ------
    Refusal : at once for what is no optimizer, and without targets. When it is asked, for a target that the
        model does not give.

    Examples
    --------
    >>> recommender = OptimizerRecommender(optimizer, "CN1")
    >>> RE(adaptive(scan_at, recommender.next, recommender, xas, max_scans=30))
    """

    def __init__(self, optimizer: Optimizer, *targets: str, with_errors: bool = False) -> None:
        if not isinstance(optimizer, Optimizer):
            raise Refusal(f"{optimizer!r} is no optimizer: it needs the methods suggest and ingest")
        if not targets:
            raise Refusal("name what the optimizer is told, as CN1: the names of its objectives")
        self._optimizer = optimizer
        self._targets = targets
        self._with_errors = with_errors
        self._next: Settings | None = None
        self._lock = threading.Lock()

    @property
    def next(self) -> Settings:
        """The settings to measure next; waits until the optimizer has suggested some.

        Raises
        ------
        Refusal : when it suggests none.
        """
        with self._lock:
            if self._next is None:
                self._next = self._suggestion()
            if self._next is None:
                raise Refusal(_NOTHING.reason)
            return self._next

    def __call__(self, settings: Settings, predictions: Sequence[Prediction]) -> Settings | End:
        """Tell the optimizer what was predicted at these settings; return its next ones, or why it ends."""
        told = {target: self._outcome(predictions, target) for target in self._targets}
        known_by = {_ID: settings[_ID]} if _ID in settings else settings
        with self._lock:
            self._optimizer.ingest([{**known_by, **told}])
            self._next = None
            if isinstance(self._optimizer, SupportsStoppingCriteria):
                stops, reason = self._optimizer.should_stop()
                if stops:
                    return End(": ".join(filter(None, ("the optimizer has ended it", reason))))
            self._next = self._suggestion()
            return self._next or _NOTHING

    def _outcome(self, predictions: Sequence[Prediction], target: str) -> float | tuple[float, float]:
        values = usable_values(predictions, target)
        mean, half_width = mean_of(values)
        if not self._with_errors:
            return mean
        return mean, half_width / NormalDist().inv_cdf(0.5 + values[0].level / 2.0)

    def _suggestion(self) -> Settings | None:
        deadline = time.monotonic() + _PATIENCE_S
        while not (suggestions := self._optimizer.suggest(1)):
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_S)
        return suggestions[0]


_NOTHING = End("the optimizer suggests nothing more")
