"""Which devices answer, and which process variables do not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

_POLL_S = 0.05
_MOST_NAMED = 4


def connect(devices: Mapping[str, Any], timeout: float = 5.0) -> list[str]:
    """Wait until devices are connected, or the time is over.

    Parameters
    ----------
    devices : of ophyd, by name.
    timeout : s, for all together.

    Returns
    -------
    A line for each device that is not connected, with the process variables that do not answer. Nothing is
    raised.
    """
    missing = {name: _signals(device) for name, device in devices.items()}
    deadline = time.monotonic() + timeout
    while True:
        missing = {name: silent for name, pvs in missing.items() if (silent := _silent(pvs))}
        if not missing or time.monotonic() >= deadline:
            return [_line(name, list(silent), timeout) for name, silent in missing.items()]
        time.sleep(_POLL_S)


def _signals(device: Any) -> dict[str, Any]:
    """Return the signals of a device by the names of their process variables."""
    walk = getattr(device, "walk_signals", None)
    signals = [device] if walk is None else [each.item for each in walk(include_lazy=True)]
    pvs: dict[str, Any] = {}
    for each in signals:
        for attribute in ("pvname", "setpoint_pvname"):
            if name := getattr(each, attribute, None):
                pvs[name] = each
    return pvs


def _silent(pvs: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in pvs.items() if not each.connected}


def _line(device: str, silent: list[str], timeout: float) -> str:
    more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
    return (
        f"{device}: no answer from {', '.join(silent[:_MOST_NAMED])}{more} within {timeout:g} s; is the name "
        "right, and its IOC reached?"
    )
