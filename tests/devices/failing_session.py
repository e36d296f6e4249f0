"""A session whose names are wrong, and whose IOC is ended in the middle of a scan and of a continuous one."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bluesky import RunEngine

import xas_live
from xas_live.devices import FurnaceSettings, MotorSettings, connect
from xas_live.plans import quick_scan, step_scan
from xas_live.simulator.settings import simulated_devices

ioc, flying = int(sys.argv[1]), sys.argv[2] == "flying"
devices = {name: each.make(name) for name, each in simulated_devices("SIM:", Path(sys.argv[3])).items()}
found: dict[str, Any] = {"missing": connect(devices, 30.0)}
wrong = {
    "mono": MotorSettings(kind="motor", pv="SIM:nothing").make("mono"),
    "oven": FurnaceSettings(kind="furnace", setpoint="SIM:furnace:stepoint", readback="SIM:gas").make("oven"),
}
began = time.monotonic()
found["wrong"] = connect(devices | wrong, 1.0)
found["took"] = time.monotonic() - began

RE = RunEngine({})
of_pt = {"element": "Pt", "edge": "L3"}


def end_ioc(name: str, doc: Any) -> None:
    """End the IOC a second after the run has begun."""
    if name == "start":
        threading.Timer(1.0, os.kill, (ioc, signal.SIGKILL)).start()


with xas_live.attach(RE, plot=False) as xas:
    if flying:
        plan = quick_scan(devices["quick"], sweeps=20, sweep_time=0.5, **of_pt)
    else:
        plan = step_scan([devices["detectors"]], devices["energy"], **of_pt)
    began = time.monotonic()
    try:
        RE(plan, end_ioc)
        found["failed"] = "nothing"
    except Exception as error:  # noqa: BLE001
        found["failed"] = f"{type(error).__name__}: {error} {error.__cause__}"
    found["after"] = time.monotonic() - began
    found["state"] = str(RE.state)
    assert xas.wait(60)
    found["errors"] = [str(error) for error in xas.errors]
print(json.dumps(found))
