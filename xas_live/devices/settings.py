"""Devices as plain data: what a beamline writes into a file, checked, and made into ophyd devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from xas_live.models.strict import Strict

if TYPE_CHECKING:
    from ophyd import EpicsSignalBase

    from xas_live.devices.counters import Counters
    from xas_live.devices.furnace import Furnace
    from xas_live.devices.motor import Motor
    from xas_live.devices.quick_scan import QuickScan
    from xas_live.devices.shutter import Shutter

PV = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
Positive = Annotated[float, Field(gt=0)]
Limits = tuple[float, float]


class MotorSettings(Strict):
    """A motor record, as the energy of a monochromator.

    Attributes
    ----------
    pv : of the record, without a field.
    timeout : s after which a motion that has not ended is a failure; default: never.
    settle : s that are waited after a motion.
    """

    kind: Literal["motor"]
    pv: PV
    timeout: Positive | None = None
    settle: Annotated[float, Field(ge=0)] = 0.0

    def make(self, name: str) -> Motor:
        """Return the device of that name."""
        from xas_live.devices.motor import Motor

        return Motor(self.pv, name=name, timeout=self.timeout, settle_time=self.settle)


class CountersSettings(Strict):
    """Detectors that count together: a scaler, an electrometer. See `counters.counters`."""

    kind: Literal["counters"]
    start: PV
    channels: Annotated[dict[str, PV], Field(min_length=1)]
    dwell: PV | None = None
    start_value: int | float | str = 1
    margin: Positive = 5.0

    def make(self, name: str) -> Counters:
        """Return the device of that name."""
        from xas_live.devices.counters import counters

        return counters(name, **self.model_dump(exclude={"kind"}))


class FurnaceSettings(Strict):
    """A furnace or a cryostat. See `furnace.furnace`."""

    kind: Literal["furnace"]
    setpoint: PV
    readback: PV
    ramp: PV | None = None
    tolerance: Positive = 1.0
    limits: Limits | None = None
    timeout: Positive | None = None
    field: str = "temperature"

    def make(self, name: str) -> Furnace:
        """Return the device of that name."""
        from xas_live.devices.furnace import furnace

        return furnace(name, **self.model_dump(exclude={"kind"}))


class ShutterSettings(Strict):
    """A shutter. See `shutter.shutter`."""

    kind: Literal["shutter"]
    command: PV
    state: PV
    open: str = "open"
    closed: str = "closed"
    timeout: Positive = 10.0

    def make(self, name: str) -> Shutter:
        """Return the device of that name."""
        from xas_live.devices.shutter import shutter

        return shutter(name, **self.model_dump(exclude={"kind"}))


class SignalSettings(Strict):
    """A single process variable, as a ring current or a gas.

    Attributes
    ----------
    pv : that is read.
    setpoint : that is set; the same as `pv` where it is, none for what is only read.
    string : read and set it as words, as an enum.
    """

    kind: Literal["signal"]
    pv: PV
    setpoint: PV | None = None
    string: bool = False

    def make(self, name: str) -> EpicsSignalBase:
        """Return the device of that name."""
        from xas_live.devices.pv_signals import PVSignal, PVSignalRO

        if self.setpoint is None:
            return PVSignalRO(self.pv, name=name, string=self.string, auto_monitor=True)
        # Not by monitor: it may come after the put has completed, and a plan would read the old value.
        return PVSignal(
            self.pv,
            write_pv=self.setpoint,
            name=name,
            string=self.string,
            put_complete=True,
            limits=not self.string,
        )


class QuickScanSettings(Strict):
    """A flyer for continuous scans. See `quick_scan.quick_scan_device`."""

    kind: Literal["quick_scan"]
    prefix: PV
    folder: Path
    datasets: dict[str, str] = Field(min_length=1)
    pvs: dict[str, PV] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _checked(self) -> QuickScanSettings:
        if not self.folder.expanduser().is_absolute():
            raise ValueError(f"folder {str(self.folder)!r}: give an absolute path")
        if unknown := sorted(set(self.pvs) - set(_QUICK_SCAN)):
            raise ValueError(f"pvs: {', '.join(unknown)} unknown; a quick scan has {', '.join(_QUICK_SCAN)}")
        return self

    def make(self, name: str) -> QuickScan:
        """Return the device of that name."""
        from xas_live.devices.quick_scan import quick_scan_device

        given: dict[str, Any] = self.model_dump(exclude={"kind"})
        return quick_scan_device(name, **given | {"folder": self.folder.expanduser()})


_QUICK_SCAN = (
    "start", "end", "sweep_time", "sweeps", "points", "file", "go", "state", "written", "message",
)  # fmt: skip

DeviceSettings = Annotated[
    MotorSettings | CountersSettings | FurnaceSettings | ShutterSettings | SignalSettings | QuickScanSettings,
    Field(discriminator="kind"),
]
"""Settings of any device, told apart by `kind`: parse with `pydantic.TypeAdapter(DeviceSettings)`, or as the
values of a mapping from names of devices."""
