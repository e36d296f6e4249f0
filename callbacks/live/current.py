"""Current: the latest prediction, and whether it may still be acted on."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

from xas_live.prediction import Prediction

SWEEP_TIMES = 2.0
"""After so many sweep times without another prediction the latest is too old to be acted on."""

LEAST_LIMIT_S = 2.0


@dataclass(frozen=True, eq=False)
class Current:
    """The latest prediction of the primary model, and whether it is young enough to be acted on.

    Whatever acts on predictions, or shows how old they are, asks this. Verdict, anchor and flags stand in the
    prediction and are not judged here.

    Attributes
    ----------
    prediction : None where there is none so far.
    age : seconds since its sweep ended; NaN where there is none.
    limit : age from which on it must not be acted on (s).
    reason : why it must not be acted on, in words; "" where it may.
    """

    prediction: Prediction | None
    age: float
    limit: float
    reason: str

    @property
    def fresh(self) -> bool:
        """Whether nothing speaks against acting on it but what it says itself."""
        return not self.reason

    @classmethod
    def judged(cls, prediction: Prediction | None, age: float, limit: float, dead: str) -> Current:
        """Judge a prediction by its age; `dead` says why no other will follow it, or is ""."""
        if dead:
            reason = dead
        elif prediction is None:
            reason = "no sweep has been predicted so far"
        elif age > limit:
            reason = f"the last sweep ended {age:.0f} s ago, and the limit is {limit:.0f} s"
        else:
            reason = ""
        return cls(prediction, age, limit, reason)


class SweepTimes:
    """How long sweeps take, and how long ago the last one ended.

    A sweep's time begins with its run or with the end of the sweep before, whichever is later: pauses between
    runs do not count.
    """

    def __init__(self) -> None:
        self._began = self._ended = math.nan
        self._last: deque[float] = deque(maxlen=3)

    def began(self, when: float) -> None:
        """Take when a run began (s, of the monotonic clock)."""
        self._began = when

    def completed(self, when: float) -> None:
        """Take when a sweep ended (s, of the monotonic clock)."""
        begins = [start for start in (self._began, self._ended) if start <= when]
        if begins:
            self._last.append(when - max(begins))
        self._ended = when

    def age(self) -> float:
        """Seconds since the last sweep ended; NaN where none has."""
        return time.monotonic() - self._ended

    @property
    def limit(self) -> float:
        """Two sweep times (s), of the longest of the last three sweeps, and at least 2 s."""
        return max(LEAST_LIMIT_S, SWEEP_TIMES * max(self._last, default=0.0))
