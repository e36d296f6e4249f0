"""Detectors that count together for a dwell time: a scaler, an electrometer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ophyd import Component, Device, Kind, Signal
from ophyd.device import create_device_from_components
from ophyd.status import Status

from xas_live.devices.pv_signals import PVSignal, PVSignalRO
from xas_live.devices.watched import fail, fail_when_lost, finish


class Counters(Device):
    """Channels that are read after a trigger, whose put completes when the counts are there.

    Made by `counters`, which adds the channels. They are named in documents by their own names, as "i0".

    Attributes
    ----------
    start : what triggers.
    dwell : time of a count (s); None where it is set elsewhere.
    """

    start = Component(PVSignal, "", kind=Kind.omitted)
    dwell: Signal | None = None

    start_value: Any = 1
    margin = 5.0
    channels: tuple[str, ...] = ()

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        for channel in self.channels:
            getattr(self, channel).name = channel

    def trigger(self) -> Status:
        """Count once; the status fails when the counts do not come, or the connection is lost."""
        takes = 0.0 if self.dwell is None else float(self.dwell.get())
        status = Status(obj=self)
        fail_when_lost(status, [self.start], f"{self.name} counts")
        limit = takes + self.margin
        late = f"{self.name} counts for {takes:g} s: {self.start.pvname} did not complete in {limit:g} s"
        timer = threading.Timer(limit, fail, (status, late))
        timer.daemon = True
        timer.start()
        status.add_callback(lambda _: timer.cancel())
        self.start.put(self.start_value, wait=False, callback=lambda **_: finish(status))
        return status


def counters(
    name: str,
    *,
    start: str,
    channels: Mapping[str, str],
    dwell: str | None = None,
    start_value: float | str = 1,
    margin: float = 5.0,
) -> Counters:
    """Return counters.

    Parameters
    ----------
    name : of the device.
    start : PV whose put begins a count, and completes when it has ended.
    channels : PV of each channel by its name in documents, as {"i0": "SIM:i0"}.
    dwell : PV of the time of a count (s).
    start_value : that is put.
    margin : s beyond the dwell time after which a count has failed.
    """
    parts: dict[str, Component] = {
        channel: Component(PVSignalRO, pv, kind=Kind.hinted, auto_monitor=False)
        for channel, pv in channels.items()
    }
    parts["start"] = Component(PVSignal, start, kind=Kind.omitted)
    if dwell is not None:
        parts["dwell"] = Component(PVSignal, dwell, kind=Kind.config, auto_monitor=True)
    kind = create_device_from_components("Counters", base_class=Counters, **parts)
    kind.channels, kind.start_value, kind.margin = tuple(channels), start_value, margin
    return kind(name=name)
