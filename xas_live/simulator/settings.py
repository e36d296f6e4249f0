"""The devices of the simulated beamline, as the settings that name its process variables."""

from __future__ import annotations

from pathlib import Path

from xas_live.devices.settings import (
    CountersSettings,
    DeviceSettings,
    FurnaceSettings,
    MotorSettings,
    QuickScanSettings,
    ShutterSettings,
    SignalSettings,
)

CHANNELS = ("i0", "it", "ir", "iff")


def simulated_devices(prefix: str, folder: Path) -> dict[str, DeviceSettings]:
    """Return the settings of all devices by name.

    Parameters
    ----------
    prefix : of the process variables, as "SIM:".
    folder : where the IOC writes files of continuous scans.
    """
    return {
        "energy": MotorSettings(kind="motor", pv=f"{prefix}energy", timeout=120.0),
        "detectors": CountersSettings(
            kind="counters",
            start=f"{prefix}count",
            dwell=f"{prefix}dwell",
            channels={name: f"{prefix}{name}" for name in CHANNELS},
        ),
        "furnace": FurnaceSettings(
            kind="furnace",
            setpoint=f"{prefix}furnace:setpoint",
            readback=f"{prefix}furnace:temperature",
            ramp=f"{prefix}furnace:ramp",
        ),
        "shutter": ShutterSettings(
            kind="shutter", command=f"{prefix}shutter:command", state=f"{prefix}shutter:state"
        ),
        "gas": SignalSettings(kind="signal", pv=f"{prefix}gas", setpoint=f"{prefix}gas", string=True),
        "ring_current": SignalSettings(kind="signal", pv=f"{prefix}ring:current"),
        "quick": QuickScanSettings(
            kind="quick_scan",
            prefix=f"{prefix}fly:",
            folder=folder,
            datasets={name: name for name in ("energy", *CHANNELS, "temperature")},
        ),
    }
