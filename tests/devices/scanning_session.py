"""A session at the simulated beamline: step scan and continuous scan, limits, and the other devices."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky import RunEngine
from epics import caget, caput

import xas_live
from xas_live import ChannelMapping
from xas_live.devices import connect
from xas_live.energy import xanes_grid
from xas_live.plans import quick_scan, step_scan
from xas_live.simulator.settings import simulated_devices

devices = {name: each.make(name) for name, each in simulated_devices("SIM:", Path(sys.argv[1])).items()}
found: dict[str, Any] = {"missing": connect(devices, 30.0)}
energy, detectors, furnace = devices["energy"], devices["detectors"], devices["furnace"]
of_pt = {"element": "Pt", "edge": "L3"}
RE = RunEngine({})


def attempt(plan: Any) -> str:
    """What a plan that must fail says."""
    try:
        RE(plan)
    except Exception as error:  # noqa: BLE001
        cause = f"{error.__cause__}" if error.__cause__ else f"{error}"
        return f"{type(error).__name__}: {cause}"
    return "nothing"


with xas_live.attach(RE, plot=False, mapping=ChannelMapping(temperature="temperature")) as xas:
    events: list[Any] = []
    token = RE.subscribe(lambda _, doc: events.append(doc), "event")
    (step,) = RE(step_scan([detectors], energy, baseline=[furnace], **of_pt))
    RE.unsubscribe(token)
    points = [doc["data"] for doc in events if "i0" in doc["data"]]
    grid = xanes_grid(11564.0)
    found["points"] = len(points)
    found["off"] = float(np.abs(np.array([point["energy"] for point in points]) - grid).max())
    found["fields"] = sorted(points[0])

    documents: list[Any] = []
    token = RE.subscribe(lambda name, doc: documents.append((name, doc)))
    RE(bps.mv(furnace.ramp, 1000.0))
    RE(bps.mv(furnace, 600.0))
    (quick,) = RE(
        quick_scan(devices["quick"], sweeps=4, sweep_time=0.4, points=1500, baseline=[furnace], **of_pt)
    )
    RE.unsubscribe(token)
    found["announced"] = [doc["indices"]["stop"] for name, doc in documents if name == "stream_datum"]
    found["furnace"] = furnace.position
    assert xas.wait(120)
    found["predictions"] = [
        {
            "run": "step" if p.provenance.run_uid == step else "quick",
            "sweep": p.provenance.sweep,
            "refused": p.refused,
            "temperature": p.temperature,
            "lower": p.values["CN1"].lower,
            "upper": p.values["CN1"].upper,
        }
        for p in xas.predictions
        if p.refused is None
    ]
    found["refused"] = [p.refused for p in xas.predictions if p.refused is not None]
    found["errors"] = [str(error) for error in xas.errors]
found["truth"] = caget("SIM:truth:CN1")

found["beyond"] = [attempt(bps.mv(energy, 1.0)), attempt(bps.mv(furnace, 5000.0))]
found["fly beyond"] = [attempt(quick_scan(devices["quick"], start=5.0, **of_pt)) for _ in range(2)]
threading.Timer(0.8, RE.request_pause).start()
found["paused"] = attempt(quick_scan(devices["quick"], sweeps=50, sweep_time=4.0, **of_pt))
found["too early"] = attempt(quick_scan(devices["quick"], sweeps=1, sweep_time=0.4, **of_pt))
deadline = time.monotonic() + 30
while devices["quick"].state.get() == "running" and time.monotonic() < deadline:
    time.sleep(0.1)
found["later"] = attempt(quick_scan(devices["quick"], sweeps=1, sweep_time=0.4, **of_pt))
found["no edge"] = attempt(step_scan([detectors], energy, element="Pt", edge="L9"))
found["no shutter"] = attempt(bps.mv(devices["shutter"], "ajar"))

before = energy.position
caput("SIM:energy", 99999.0, wait=True, timeout=2)
found["moved"] = energy.position - before
caput("SIM:energy.HLM", 12000.0, wait=True)
RE(bps.sleep(0.3))
found["limits"] = list(energy.limits)
found["dial limit"] = caget("SIM:energy.DHLM")

RE(bps.mv(devices["shutter"], "closed"))
RE(bps.trigger(detectors, wait=True))
found["dark"] = detectors.i0.get()
RE(bps.mv(devices["shutter"], "open", devices["gas"], "O2"))
found["gas"] = devices["gas"].get()
RE(bps.abs_set(furnace, 650.0))  # a plan that ends leaves the furnace its setpoint
RE(bps.sleep(0.5))
found["went on to"] = furnace.position
found["unit"] = furnace.describe()["temperature"]["units"]

RE(bps.mv(energy.velocity, 100.0))
RE(bps.abs_set(energy, 11300.0))
RE(bps.sleep(0.2))
energy.stop()
RE(bps.sleep(0.3))
found["stopped"] = [energy.position, energy.moving]
found["state"] = str(RE.state)
print(json.dumps(found))
