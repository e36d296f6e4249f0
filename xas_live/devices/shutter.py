"""A shutter that is set to "open" or "closed"."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ophyd import Component, Device, Kind
from ophyd.device import create_device_from_components
from ophyd.status import SubscriptionStatus

from xas_live.devices.pv_signals import PVSignal, PVSignalRO
from xas_live.devices.watched import fail_when_lost
from xas_live.errors import Refusal


class Shutter(Device):
    """A photon shutter, for `bps.mv(shutter, "open")`. Made by `shutter`.

    Attributes
    ----------
    command : what it shall be.
    state : what it is.
    """

    command = Component(PVSignal, "", kind=Kind.omitted)
    state = Component(PVSignalRO, "", string=True, kind=Kind.hinted)

    words: Mapping[str, str] = MappingProxyType({"open": "open", "closed": "closed"})
    timeout = 10.0

    def set(self, value: str) -> SubscriptionStatus:
        """Open or close it; done when the state says so.

        Raises
        ------
        Refusal : for another word.
        """
        if value not in self.words:
            raise Refusal(f"{self.name}: {value!r} is no state of a shutter: use {' or '.join(self.words)}")
        goal = self.words[value]

        def there(*, value: Any, **_: Any) -> bool:
            return str(value) == goal

        status = SubscriptionStatus(self.state, there, timeout=self.timeout)
        fail_when_lost(status, [self.state], f"{self.name} is set to {value}")
        self.command.put(goal, wait=False)
        return status


def shutter(
    name: str, *, command: str, state: str, open: str = "open", closed: str = "closed", timeout: float = 10.0
) -> Shutter:
    """Return a shutter.

    Parameters
    ----------
    name : of the device, and of its state in documents.
    command, state : PVs that take and tell the words below, as enums or strings.
    open, closed : words of the PVs.
    timeout : s that a motion may take.
    """
    kind = create_device_from_components(
        "Shutter",
        base_class=Shutter,
        command=Component(PVSignal, command, string=True, kind=Kind.omitted),
        state=Component(PVSignalRO, state, string=True, kind=Kind.hinted, auto_monitor=True),
    )
    kind.words, kind.timeout = {"open": open, "closed": closed}, timeout
    made = kind("", name=name)
    made.state.name = name
    return made
