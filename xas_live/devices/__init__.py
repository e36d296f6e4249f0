"""Generic beamline devices on EPICS: made of process variables that plain data name.

Settings are read without EPICS; `make` and `connect` need it. Set the EPICS environment before they are
called the first time.
"""

from xas_live.devices.connect import connect
from xas_live.devices.settings import (
    CountersSettings,
    DeviceSettings,
    FurnaceSettings,
    MotorSettings,
    QuickScanSettings,
    ShutterSettings,
    SignalSettings,
)

__all__ = [
    "CountersSettings",
    "DeviceSettings",
    "FurnaceSettings",
    "MotorSettings",
    "QuickScanSettings",
    "ShutterSettings",
    "SignalSettings",
    "connect",
]
