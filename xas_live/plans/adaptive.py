"""adaptive: what is predicted chooses the next settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xas_live.errors import Refusal
from xas_live.plans.usable import usable
from xas_live.plans.waiting import NewPredictions, Plan, analysed, begun, ended, noting_runs
from xas_live.prediction import Decision, DecisionOutcome, Prediction

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis

S = TypeVar("S")

_BY = "adaptive"


@dataclass(frozen=True)
class End:
    """A recommender's answer that ends the plan: why, in words."""

    reason: str = "the recommender has ended it"


@dataclass(frozen=True)
class Adapted(Generic[S]):
    """What an adaptive plan did.

    Attributes
    ----------
    settings : of the scans, in order.
    uids : of their runs, as the scans returned them.
    reason : why it ended, in words.
    """

    settings: tuple[S, ...]
    uids: tuple[str, ...]
    reason: str


def adaptive(
    scan_at: Callable[[S], Plan],
    first: S,
    recommend: Callable[[S, Sequence[Prediction]], S | End | None],
    analysis: LiveAnalysis,
    *,
    max_scans: int,
    timeout: float = 30.0,
) -> Generator[Any, Any, Adapted[S]]:
    """Scan at settings that a recommender chooses by what is predicted.

    After each scan the recommender is asked in a thread of its own, one question at a time. What has not come
    within the timeout, prediction or answer, ends nothing: the scan is repeated at the same settings, and the
    answer is used as soon as it is there. What was predicted at other settings is not told with it.

    Parameters
    ----------
    scan_at : makes the plan of one scan at some settings, as `lambda temperature: ...`.
    first : settings of the first scan.
    recommend : takes the settings of the last scan and the predictions of scans at them, oldest first, at
        least one: of whole sweeps, not refused, and not under the verdict "not usable". Returns the next
        settings, or to end None, or an `End` with its reason.
    analysis : attached to the RunEngine that runs this plan.
    max_scans : that are measured at most.
    timeout : seconds that predictions and answer are waited for after a scan.

    Returns
    -------
    What was done, as the plan's return value: `result = yield from adaptive(...)`.

    Raises
    ------
    Refusal : at once for settings that make no sense.

    Examples
    --------
    >>> def hotter(temperature, predictions):
    ...     return None if predictions[-1].values["CN1"].value > 10 else temperature + 10
    >>> RE(adaptive(scan_at, 300, hotter, xas, max_scans=30))
    """
    if max_scans < 1:
        raise Refusal(f"max_scans={max_scans!r}: at least one scan is measured")
    if not timeout > 0:
        raise Refusal(f"timeout={timeout!r}: give a positive number of seconds")
    new = NewPredictions(analysis)
    settings, done, uids = first, [], []
    told: list[Prediction] = []
    runs: set[str] = set()
    asked: Future[S | End | None] | None = None
    answered = False
    for _ in range(max_scans):
        if answered:
            told, runs = [], set()
            _say(analysis, DecisionOutcome.DONE, f"scan at {_in_words(settings)}", "the recommender's answer")
        answered = False
        uids.append(str((yield from noting_runs(scan_at(settings), runs))))
        done.append(settings)
        deadline = time.monotonic() + timeout
        why = yield from analysed(analysis, timeout)
        told += (p for p in new.take() if usable(p) and p.provenance.run_uid in runs)
        if asked is None and told:
            asked, told = begun(partial(recommend, settings, tuple(told))), []
        if asked is None:
            _say(analysis, DecisionOutcome.HELD, "scan again", why or "no sweep of the last scan is usable")
        elif not (yield from ended(asked, max(0.0, deadline - time.monotonic()))):
            late = f"the recommender has not answered within {timeout:g} s"
            _say(analysis, DecisionOutcome.HELD, "scan again", late)
        else:
            try:
                answer = asked.result()
            except Exception as error:  # noqa: BLE001 it is the user's own; what was measured stands
                failed = f"the recommender failed, {type(error).__name__}: {error}"
                _say(analysis, DecisionOutcome.FAILED, "end", failed)
                return Adapted(tuple(done), tuple(uids), failed)
            if answer is None or isinstance(answer, End):
                return Adapted(tuple(done), tuple(uids), (answer or End()).reason)
            asked, settings, answered = None, answer, True
    return Adapted(tuple(done), tuple(uids), f"{max_scans} scans are done")


def _in_words(settings: object) -> str:
    """Return settings as decisions name them, as "furnace = 553, _id = 3" where they are a mapping."""
    if not isinstance(settings, Mapping):
        return str(settings)
    return ", ".join(f"{k} = {f'{v:.6g}' if isinstance(v, float) else v}" for k, v in settings.items())


def _say(analysis: LiveAnalysis, outcome: DecisionOutcome, action: str, reason: str) -> None:
    analysis.decided(
        Decision.resting_on(analysis.latest, by=_BY, action=action, outcome=outcome, reason=reason)
    )
