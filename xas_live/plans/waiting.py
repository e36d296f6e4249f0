"""Plan stubs that wait for a prediction."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps

if TYPE_CHECKING:
    from xas_live.signals import PredictionSignals

_POLL_S = 0.05


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
