"""A furnace or a cryostat: a temperature that is set, and reached some time later."""

from __future__ import annotations

from typing import Any

from ophyd import Component, Kind
from ophyd.device import create_device_from_components
from ophyd.pv_positioner import PVPositionerIsClose
from ophyd.utils.errors import LimitError

from xas_live.devices.pv_signals import PVSignal, PVSignalRO
from xas_live.devices.watched import fail_when_lost


class Furnace(PVPositionerIsClose):
    """A temperature (K) that is reached when the readback is within the tolerance of the setpoint.

    Made by `furnace`. The RunEngine stops all devices when a plan ends or is paused: a furnace is then no
    longer waited for, but goes on to its setpoint.

    Attributes
    ----------
    setpoint, readback : K.
    ramp : rate of change, in the unit of its PV; None where there is none.
    """

    setpoint = Component(PVSignal, "", limits=True, auto_monitor=True)
    readback = Component(PVSignalRO, "", auto_monitor=True)
    ramp: PVSignal | None = None

    def check_value(self, pos: float) -> None:
        """Refuse what lies beyond the limits.

        Raises
        ------
        LimitError : with the limits.
        """
        low, high = self.limits
        if low < high and not low <= pos <= high:
            raise LimitError(f"{self.name}: {pos:g} K is outside of the limits, {low:g} to {high:g} K")

    def move(self, position: float, wait: bool = True, **kwargs: Any) -> Any:
        """Set a temperature (K); the status fails when the connection is lost meanwhile.

        Raises
        ------
        LimitError : beyond the limits.
        """
        status = super().move(position, wait=False, **kwargs)
        fail_when_lost(status, [self.readback], f"{self.name} goes to {position:g} K")
        if wait:
            status.wait()
        return status


def furnace(
    name: str,
    *,
    setpoint: str,
    readback: str,
    ramp: str | None = None,
    tolerance: float = 1.0,
    limits: tuple[float, float] | None = None,
    timeout: float | None = None,
    field: str = "temperature",
) -> Furnace:
    """Return a furnace.

    Parameters
    ----------
    name : of the device.
    setpoint, readback : PVs, in K.
    ramp : PV of the rate of change.
    tolerance : K within which the temperature is reached.
    limits : lowest and highest setpoint (K); default: those of the PV.
    timeout : s after which a temperature that is not reached is a failure; default: never.
    field : name of the readback in documents. "temperature" and "sample_temperature" in the baseline of a run
        are taken for the sample's.
    """
    parts = {
        "setpoint": Component(PVSignal, setpoint, limits=limits is None, auto_monitor=True),
        "readback": Component(PVSignalRO, readback, kind=Kind.hinted, auto_monitor=True),
    }
    if ramp is not None:
        parts["ramp"] = Component(PVSignal, ramp, kind=Kind.config, auto_monitor=True)
    kind = create_device_from_components("Furnace", base_class=Furnace, **parts)
    made = kind("", name=name, egu="K", limits=limits, timeout=timeout, atol=tolerance, rtol=0.0)
    made.readback.name = field
    return made
