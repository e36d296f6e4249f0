"""A client of Channel Access in a process of its own: commands and answers are JSON, a line each."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from itertools import count as counted
from typing import Any

import epics
from bluesky import RunEngine
from bluesky.plans import count
from bluesky.suspenders import SuspendFloor
from caproto import ErrorResponseReceived
from caproto.sync.client import write
from ophyd import EpicsSignalRO
from ophyd.sim import det

PREFIX = sys.argv[1]
answers, sys.stdout = sys.stdout, sys.stderr  # pyepics prints
events: dict[str, list[dict[str, Any]]] = defaultdict(list)
arrivals = counted()
pvs: dict[str, epics.PV] = {}
finished = threading.Event()
suspender: SuspendFloor | None = None


def changed(pvname: str, value: Any, char_value: str, severity: int, status: int, timestamp: float, **_: Any):
    name = pvname.removeprefix(PREFIX)
    kept = value if isinstance(value, float | int) else char_value
    event = {"value": kept, "text": char_value, "severity": severity, "status": status, "time": timestamp}
    events[name].append(event | {"arrival": next(arrivals)})


def watch(names: list[str]) -> bool:
    for name in names:
        pvs[name] = epics.PV(PREFIX + name, form="time", callback=changed, auto_monitor=True)
    deadline = time.monotonic() + 20
    while not all(events[name] for name in names) and time.monotonic() < deadline:
        time.sleep(0.02)
    return all(events[name] for name in names)


def properties(name: str) -> dict[str, Any]:
    pv = epics.PV(PREFIX + name, form="ctrl")
    pv.wait_for_connection(20)
    pv.get()
    limits = [pv.lower_disp_limit, pv.upper_disp_limit]
    found = {"units": pv.units, "precision": pv.precision, "limits": limits, "write_access": pv.write_access}
    return found | {"choices": list(pv.enum_strs or ())}


def put(name: str) -> list[str]:
    """How a put fails: of a client that heeds access rights, and of one that asks the server all the same."""
    heeded = "taken"
    try:
        epics.PV(PREFIX + name, connection_timeout=20).put(1, wait=True, timeout=5)
    except epics.ca.CASeverityException as error:
        heeded = type(error).__name__
    try:
        write(PREFIX + name, 1, notify=True, timeout=5, repeater=False)
    except ErrorResponseReceived as error:
        return [heeded, str(error)]
    return [heeded, "taken"]


def suspend(name: str, floor: float) -> bool:
    """Run a plan that waits for a PV to be above a floor."""
    global suspender
    signal = EpicsSignalRO(PREFIX + name, name="watched")
    signal.wait_for_connection(timeout=20)
    signal.get()
    RE = RunEngine({}, context_managers=[])
    suspender = SuspendFloor(signal, floor)
    RE.install_suspender(suspender)

    def run() -> None:
        RE(count([det]))
        finished.set()

    deadline = time.monotonic() + 20
    while not suspender.tripped and time.monotonic() < deadline:
        time.sleep(0.02)
    threading.Thread(target=run, daemon=True).start()
    return suspender.tripped


def answer(command: dict[str, Any]) -> Any:
    if names := command.get("watch"):
        return watch(names)
    if name := command.get("events"):
        return events[name]
    if name := command.get("properties"):
        return properties(name)
    if name := command.get("put"):
        return put(name)
    if name := command.get("suspend"):
        return suspend(name, command["floor"])
    return {"finished": finished.is_set(), "connected": all(pv.connected for pv in pvs.values())}


for line in sys.stdin:
    reply = json.dumps(answer(json.loads(line)))
    answers.write(reply + "\n")
    answers.flush()
