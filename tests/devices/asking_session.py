"""A session whose IOC is ended while it is asked for a value."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from xas_live.devices import connect
from xas_live.simulator.settings import simulated_devices

ioc = int(sys.argv[1])
detectors = simulated_devices("SIM:", Path(sys.argv[2]))["detectors"].make("detectors")
assert connect({"detectors": detectors}, 30.0) == []
os.kill(ioc, signal.SIGSTOP)
threading.Timer(0.5, os.kill, (ioc, signal.SIGKILL)).start()
try:
    said = f"read {detectors.i0.get(timeout=20)}"
except Exception as error:  # noqa: BLE001
    said = f"{type(error).__name__}: {error}"
print(json.dumps({"said": said}))
