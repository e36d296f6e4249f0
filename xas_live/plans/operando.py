"""operando: scans follow a reaction, and drive it by what is predicted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps
from bluesky.utils import RunEngineControlException, short_uid

from xas_live.errors import Refusal
from xas_live.plans.drives import Drive, Wish
from xas_live.plans.waiting import NewPredictions, Plan, analysed
from xas_live.prediction import Decision, DecisionOutcome, Prediction
from xas_live.rules import Actuator, Condition, Judge, Judgement, Step

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis

_BY = "operando"


@dataclass(frozen=True)
class Move:
    """A move of an actuator: when (s since the epoch), and to where."""

    time: float
    value: float


@dataclass(frozen=True)
class Followed:
    """What an operando plan did.

    Attributes
    ----------
    scans : number of scans.
    uids : of the runs that the scans returned, in order.
    moves : of the actuator, in order.
    reached : whether the condition that was to end it was met.
    reason : why it ended, in words.
    """

    scans: int
    uids: tuple[str, ...]
    moves: tuple[Move, ...]
    reached: bool
    reason: str


def operando(
    scan: Callable[[], Plan],
    analysis: LiveAnalysis,
    *,
    until: Condition | None = None,
    drive: Drive | None = None,
    max_scans: int | None = None,
    duration: float | None = None,
    give_up_after: float | None = None,
    timeout: float = 10.0,
) -> Generator[Any, Any, Followed]:
    """Repeat a scan while a reaction goes on, and drive it by what is predicted.

    After each scan its predictions are waited for, for a while. Then the actuator is moved, within its
    limits, as the drive wishes; the next scan begins when it is there. Where there is no fresh prediction, or
    one that may not be acted on, the actuator stays, the reason is shown once, and the scans go on. What was
    done and why is recorded as decisions by "operando". When the plan is aborted, the RunEngine stops the
    actuator.

    Parameters
    ----------
    scan : makes the plan of one scan, as `lambda: bp.list_scan(...)`.
    analysis : attached to the RunEngine that runs this plan.
    until : what ends it: a condition or a rule, of which only the condition counts.
    drive : what moves the actuator, as `hold_in_band(...)`; default: nothing is moved.
    max_scans : number of scans that end it.
    duration : seconds that end it, after the scan that is being measured.
    give_up_after : seconds without a prediction that may be acted on that end it; default: it goes on.
    timeout : seconds that predictions are waited for after a scan.

    Returns
    -------
    What was done, as the plan's return value: `result = yield from operando(...)`.

    Raises
    ------
    Refusal : at once, for settings that make no sense, and where nothing would ever end it.

    Examples
    --------
    >>> hot = Actuator(furnace, Limits(low=300, high=900, largest_step=20, rate=60, units="K"))
    >>> RE(operando(scan, xas, drive=hold_in_band("CN1", 8.5, 9.5, hot, step=10), duration=3600))
    """
    for name, value in (("max_scans", max_scans), ("duration", duration), ("give_up_after", give_up_after)):
        if value is not None and not value > 0:
            raise Refusal(f"{name}={value!r}: give a positive number, or None")
    if until is None and max_scans is None and duration is None:
        raise Refusal("nothing would end this plan: give until, max_scans or duration")
    if until is not None and until.of != "sweep":
        raise Refusal(f'until is judged by single sweeps, not of = "{until.of}"')
    following = _Following(analysis, until, drive)
    while True:
        following.scanned((yield from scan()))
        late = yield from analysed(analysis, timeout)
        seen = following.look(late)
        if seen:
            return following.result(seen, reached=True)
        yield from following.move()
        if give_up_after is not None and following.idle > give_up_after:
            return following.result(f"for {following.idle:.0f} s nothing could be acted on: {following.held}")
        if max_scans is not None and following.scans >= max_scans:
            return following.result(f"{max_scans} scans are done")
        if duration is not None and following.seconds >= duration:
            return following.result(f"{duration:g} s are over")


class _Following:
    """How an operando plan stands.

    Attributes
    ----------
    scans : done so far.
    held : why the last sweep may not be acted on; "" where it may.
    """

    def __init__(self, analysis: LiveAnalysis, until: Condition | None, drive: Drive | None) -> None:
        self._analysis = analysis
        self._until = until
        self._judge = None if until is None else Judge(until)
        self._drive = drive
        self._new = NewPredictions(analysis)
        self._uids: list[str] = []
        self._moves: list[Move] = []
        self._began = self._acted = time.monotonic()
        self._latest: Prediction | None = None
        self._wish: Wish | None = None
        self._told = self._not_moved = ""
        self.scans = 0
        self.held = ""

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def idle(self) -> float:
        """Seconds since the last sweep that could be acted on."""
        return time.monotonic() - self._acted

    def scanned(self, uids: object) -> None:
        """Count a scan, whose plan returned these uids."""
        self.scans += 1
        if isinstance(uids, str):
            self._uids.append(uids)
        elif isinstance(uids, Sequence):
            self._uids += map(str, uids)

    def look(self, late: str) -> str:
        """Take the new predictions; return what was seen, where it ends the plan, else "".

        Parameters
        ----------
        late : why not all is analysed, or "".
        """
        self._wish = None
        new = self._new.take()
        stale = late or self._analysis.current(self._max_age).reason
        for prediction in new:
            self._latest = prediction
            if self._drive is not None:
                self._wish = self._drive.wish(prediction, stale)
            judged = _NOTHING if self._judge is None else self._judge.judge(prediction, stale)
            outcome = _OUTCOMES.get(judged.step)
            if outcome is not None:
                self._record("end", outcome, judged.words, judged.value, judged.half_width)
            if judged.step is Step.FIRES:
                return judged.words
        kind, self.held = self._why_not(new, stale)
        if not kind:
            self._acted = time.monotonic()
        elif kind != self._told:
            self._record("hold", DecisionOutcome.HELD, self.held)
        self._told = kind
        return ""

    def move(self) -> Plan:
        """Move the actuator as the last sweep wishes, unless it may not be acted on."""
        wish = self._wish
        if self.held or self._drive is None or wish is None or not wish.moves:
            return
        actuator = self._drive.actuator
        # Asked for now: while the plan was paused the sweep has grown old.
        permit = actuator.permit(wish.to, by=wish.by, current=self._analysis.current(self._max_age))
        outcome, reason = permit.outcome, permit.reason
        if outcome is DecisionOutcome.HELD:
            self._drive.again()
        if permit.value is not None:
            try:
                yield from _set(actuator, permit.value)
                self._moves.append(Move(time.time(), permit.value))
            except RunEngineControlException:  # abort and stop go their way
                raise
            except Exception as error:  # noqa: BLE001 whatever the device raises, the scans go on
                outcome, reason = DecisionOutcome.FAILED, f"{type(error).__name__}: {error}"
        told, self._not_moved = self._not_moved, reason
        if reason and reason == told:  # said already
            return
        words = "; ".join(filter(None, (wish.reason, reason)))
        self._record(permit.action, outcome, words, wish.value, wish.half_width)

    def result(self, reason: str, *, reached: bool = False) -> Followed:
        """Return what was done."""
        return Followed(self.scans, tuple(self._uids), tuple(self._moves), reached, reason)

    @property
    def _max_age(self) -> float | None:
        by = self._drive or self._until
        return None if by is None else by.max_age

    def _why_not(self, new: Sequence[Prediction], stale: str) -> tuple[str, str]:
        """Return why the last sweep may not be acted on, in short and in words."""
        if stale:
            return "stale", stale
        if not new:
            return "none", "the last scan gave no sweep that could be predicted"
        if self._wish is not None:
            return self._wish.held, self._wish.reason if self._wish.held else ""
        if new[-1].refused is not None:
            return "refused", f"the sweep was refused: {new[-1].refused}"
        unfit = None if self._until is None else self._until.unfit(new[-1])
        return ("", "") if unfit is None else (unfit.kind, unfit.words)

    def _record(
        self,
        action: str,
        outcome: DecisionOutcome,
        reason: str,
        value: float = math.nan,
        half_width: float = math.nan,
    ) -> None:
        target = next((by.target for by in (self._drive, self._until) if by is not None), "")
        if action == "end" and self._until is not None:
            target = self._until.target
        self._analysis.decided(
            Decision.resting_on(
                self._latest,
                by=_BY,
                action=action,
                outcome=outcome,
                reason=reason,
                target=target,
                value=value,
                half_width=half_width,
            )
        )


_NOTHING = Judgement(Step.NOTHING)
_OUTCOMES = {
    Step.FIRES: DecisionOutcome.DONE,
    Step.HELD: DecisionOutcome.HELD,
    Step.REFUSED: DecisionOutcome.REFUSED,
}


def _set(actuator: Actuator, value: float) -> Plan:
    """Set an actuator and wait for it; a pause repeats this, and not the scan before."""
    group = short_uid("xas_live actuator")
    yield from bps.checkpoint()
    yield from bps.abs_set(actuator.device, value, group=group)
    yield from bps.wait(group=group, timeout=actuator.limits.timeout)
    yield from bps.checkpoint()
