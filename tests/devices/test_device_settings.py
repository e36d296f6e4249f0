"""Devices as plain data: what is taken, and what is refused in words. Needs no EPICS."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from xas_live.devices import DeviceSettings
from xas_live.simulator.settings import simulated_devices

ALL: TypeAdapter[dict[str, DeviceSettings]] = TypeAdapter(dict[str, DeviceSettings])

FILE = """
[energy]
kind = "motor"
pv = "SIM:energy"
timeout = 120

[detectors]
kind = "counters"
start = "SIM:count"
dwell = "SIM:dwell"
channels = { i0 = "SIM:i0", it = "SIM:it", ir = "SIM:ir", iff = "SIM:iff" }

[furnace]
kind = "furnace"
setpoint = "SIM:furnace:setpoint"
readback = "SIM:furnace:temperature"
ramp = "SIM:furnace:ramp"

[shutter]
kind = "shutter"
command = "SIM:shutter:command"
state = "SIM:shutter:state"

[gas]
kind = "signal"
pv = "SIM:gas"
setpoint = "SIM:gas"
string = true

[ring_current]
kind = "signal"
pv = "SIM:ring:current"

[quick]
kind = "quick_scan"
prefix = "SIM:fly:"
folder = "/data/quick"
datasets = { energy = "energy", i0 = "i0", it = "it", ir = "ir", iff = "iff", temperature = "temperature" }
"""


def test_a_file_names_the_devices_of_the_simulated_beamline() -> None:
    assert ALL.validate_python(tomllib.loads(FILE)) == simulated_devices("SIM:", Path("/data/quick"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"kind": "toaster"}, "toaster"),
        ({"kind": "motor"}, "pv"),
        ({"kind": "motor", "pv": ""}, "pv"),
        ({"kind": "motor", "pv": "a b"}, "pv"),
        ({"kind": "motor", "pv": "SIM:m", "speed": 1}, "speed"),
        ({"kind": "counters", "start": "SIM:c", "channels": {}}, "channels"),
        ({"kind": "furnace", "setpoint": "a", "readback": "b", "tolerance": 0}, "tolerance"),
        ({"kind": "quick_scan", "prefix": "f:", "folder": "here", "datasets": {"i0": "i0"}}, "absolute"),
        (
            {"kind": "quick_scan", "prefix": "f:", "folder": "/x", "datasets": {"a": "a"}, "pvs": {"x": "y"}},
            "x unknown",
        ),
    ],
)
def test_what_is_no_device_is_refused_by_name(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ALL.validate_python({"thing": given})
