"""How plans wait for the analysis, and for anything that takes its time, without holding up the RunEngine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg

from xas_live.prediction import Prediction

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis
    from xas_live.signals import PredictionSignals

Plan = Generator[Any, Any, Any]
T = TypeVar("T")

_POLL_S = 0.05


def analysed(analysis: LiveAnalysis, timeout: float) -> Generator[Any, Any, str]:
    """Wait until all that was measured is analysed. A pause meanwhile repeats nothing that was measured.

    Returns
    -------
    "", or why it is not: it took longer than `timeout` (s), or the analysis is dead.
    """
    yield from bps.checkpoint()
    deadline, reached = time.monotonic() + timeout, analysis.reached()
    while not reached.is_set():
        if not analysis.status().running:
            return analysis.current().reason
        if time.monotonic() > deadline:
            return f"no prediction came within {timeout:g} s"
        yield from bps.sleep(_POLL_S)
    return ""


def begun(function: Callable[[], T]) -> Future[T]:
    """Call a function in a daemon thread; return its future."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 whoever waits for it gets it
            future.set_exception(error)

    threading.Thread(target=call, name="xas_live plan", daemon=True).start()
    return future


def ended(future: Future[Any], timeout: float) -> Generator[Any, Any, bool]:
    """Wait for a future for at most `timeout` seconds; return whether it is done."""
    deadline = time.monotonic() + timeout
    while not future.done() and time.monotonic() < deadline:
        yield from bps.sleep(_POLL_S)
    return future.done()


def noting_runs(plan: Plan, uids: set[str]) -> Plan:
    """Run a plan, and add the uid of each run to a set as it is opened."""

    def note(message: Msg) -> tuple[Plan | None, None]:
        return (opened(message) if message.command == "open_run" else None), None

    def opened(message: Msg) -> Plan:
        uid = yield message
        uids.add(uid)
        return uid

    return (yield from bpp.plan_mutator(plan, note))


def wait_for_prediction(
    signals: PredictionSignals, run_uid: str, timeout: float = 60.0
) -> Generator[Any, Any, bool]:
    """Wait, without holding up the RunEngine, until the signals show a sweep of a run.

    Of a run with several sweeps the first will do. A refused sweep is shown too: look at the verdict.

    Parameters
    ----------
    signals : of the session.
    run_uid : of the run, as the plan of a scan returns it.
    timeout : seconds.

    Returns
    -------
    False if none came in time.

    Examples
    --------
    >>> uid = yield from bp.list_scan([i0, it, ir], energy, energies, md=md)
    >>> if (yield from wait_for_prediction(xas.signals, uid)) and xas.signals.actionable.get():
    ...     yield from bps.mv(furnace, 550 if xas.signals.cn1.get() < 8 else 500)
    """
    deadline = time.monotonic() + timeout
    while signals.raw_uid.get() != run_uid:
        if time.monotonic() > deadline:
            return False
        yield from bps.sleep(_POLL_S)
    return True


class NewPredictions:
    """The predictions of an analysis that were not looked at before, beginning now.

    Parameters
    ----------
    analysis : attached to the RunEngine.
    """

    def __init__(self, analysis: LiveAnalysis) -> None:
        self._analysis = analysis
        self._last = _last(analysis.predictions)

    def take(self) -> list[Prediction]:
        """Return what the primary model says of each sweep since the last call, in order."""
        new: list[Prediction] = []
        for prediction in reversed(self._analysis.predictions):
            if prediction is self._last:
                break
            new.append(prediction)
        self._last = new[0] if new else self._last
        of_sweep: dict[object, Prediction] = {}
        for prediction in reversed(new):  # of a sweep the primary model's comes first
            where = prediction.provenance
            of_sweep.setdefault((where.run_uid, where.stream, where.sweep), prediction)
        return list(of_sweep.values())


def _last(predictions: list[Prediction]) -> Prediction | None:
    return predictions[-1] if predictions else None
