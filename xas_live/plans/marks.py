"""Plan stubs that tell the analysis of what a plan does."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps

from xas_live.callbacks.assembly import SWEEP_DONE

if TYPE_CHECKING:
    from event_model.documents import DataKey


class _Mark:
    """What `sweep_done` reads: the number 1. It moves nothing and waits for nothing."""

    name = SWEEP_DONE
    parent = None

    def read(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"value": 1, "timestamp": time.time()}}

    def describe(self) -> dict[str, DataKey]:
        return {self.name: {"source": "xas_live.plans", "dtype": "integer", "shape": []}}

    def read_configuration(self) -> dict[str, dict[str, Any]]:
        return {}

    def describe_configuration(self) -> dict[str, DataKey]:
        return {}


_MARK = _Mark()


def sweep_done() -> Generator[Any, Any, None]:
    """Say that the sweep being measured has ended, so that it is judged at once.

    For a plan that measures several sweeps in one run. Put it behind the last point of each, within the run
    and outside of `create` and `save`. It emits one event in the stream "xas_live_sweep_done", which is
    stored with the run; replay reads it too. Without it a sweep ends where the energy turns, which the first
    points of the next sweep show, or where the plan or the sweep before tells its end.

    Examples
    --------
    >>> for _ in range(8):
    ...     for energy in energies:
    ...         yield from bps.mv(mono, energy)
    ...         yield from bps.trigger_and_read([mono, i0, it])
    ...     yield from sweep_done()
    """
    yield from bps.create(name=SWEEP_DONE)
    yield from bps.read(_MARK)
    yield from bps.save()
