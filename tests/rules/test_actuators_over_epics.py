"""An actuator behind Channel Access is driven from a thread of a rule, and from a plan."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

IOC = """
from caproto.server import PVGroup, pvproperty, run

class Furnace(PVGroup):
    setpoint = pvproperty(value=500.0, name="T")

run(Furnace(prefix="RULES:").pvdb, interfaces=["127.0.0.1"])
"""

CLIENT = """
import threading

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from ophyd import EpicsSignal

from xas_live.callbacks.live import Current
from xas_live.rules import Actuator, Limits

signal = EpicsSignal("RULES:T", name="furnace", put_complete=True)
signal.wait_for_connection(timeout=20)
furnace = Actuator(signal, Limits(low=300, high=900, largest_step=20, rate=1e6, units="K"))
fresh = Current(None, 0.0, 2.0, "")
moved = []

def of_a_rule():
    furnace.move(furnace.permit(by=15, current=fresh).value)
    moved.append(signal.get(use_monitor=False))

thread = threading.Thread(target=of_a_rule)
thread.start()
thread.join(20)
assert moved == [515.0], moved
RE = RunEngine({})
RE(bps.mv(signal, furnace.permit(505, current=fresh).value))
assert signal.get(use_monitor=False) == 505.0
print("driven")
"""


def test_a_rules_thread_drives_a_signal_over_channel_access():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": port,
        "EPICS_CAS_SERVER_PORT": port,
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }
    ioc = subprocess.Popen(
        [sys.executable, "-c", IOC], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        client = subprocess.run(
            [sys.executable, "-c", CLIENT],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        ioc.terminate()
        ioc.wait(20)
    assert client.returncode == 0, client.stderr
    assert "driven" in client.stdout
