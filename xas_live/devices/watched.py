"""What ends a motion or a count whose IOC no longer answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ophyd.status import Status
from ophyd.utils.errors import InvalidState


class DeviceError(RuntimeError):
    """A device did not do what it was told; the message names it."""


def fail_when_lost(status: Status, signals: Sequence[Any], what: str) -> None:
    """Fail a status at once when the connection to a signal is lost.

    Parameters
    ----------
    signals : of EPICS.
    what : what is going on, for the message, as "energy moves".
    """

    def changed(*, obj: Any, connected: bool = True, **_: Any) -> None:
        if not connected:
            fail(status, f"{what}, and the connection to {obj.pvname} is lost")

    tokens = [
        (signal, signal.subscribe(changed, event_type=signal.SUB_META, run=False)) for signal in signals
    ]

    def unsubscribe(_: Status) -> None:
        for signal, token in tokens:
            signal.unsubscribe(token)

    status.add_callback(unsubscribe)
    for signal in signals:  # it may have been lost before
        changed(obj=signal, connected=signal.connected)


def fail(status: Status, why: str) -> None:
    """Fail a status, unless it has ended meanwhile."""
    with suppress(InvalidState):
        if not status.done:
            status.set_exception(DeviceError(why))


def finish(status: Status) -> None:
    """Finish a status, unless it has ended meanwhile."""
    with suppress(InvalidState):
        if not status.done:
            status.set_finished()
