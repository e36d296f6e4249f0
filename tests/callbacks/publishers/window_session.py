"""A session with a window: a scan, and one that Ctrl-C pauses; what was drawn meanwhile.

    python window_session.py BACKEND PICTURE

prints one line of JSON; PICTURE is what the screen shows in the middle of the first scan.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib as mpl


def session(backend: str, picture: Path) -> dict[str, Any]:
    """Return where in the scans the figure was drawn (0 to 1), in which threads, and what else came about."""
    qt = None
    if backend == "qtagg":
        from PySide6.QtWidgets import QApplication

        qt = QApplication([])  # offscreen: without it matplotlib asks for a display
    mpl.use(backend)
    from bluesky import RunEngine
    from bluesky.utils import RunEngineInterrupted

    import xas_live
    from xas_live.energy import xanes_grid
    from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

    RE = RunEngine({})
    task = RE._during_task
    beamline = SimulatedBeamline("au_l3", seed=1, dwell=0.012)
    points = len(xanes_grid(beamline.library.edge_energy))
    xas = xas_live.attach(RE)
    canvas = xas.plot.figure.canvas
    drawn: list[tuple[float, str]] = []
    began = [0.0]
    taken: list[float] = []

    def progress() -> float:
        return (beamline.clock - began[0]) / points

    def take() -> None:
        if qt is not None:
            canvas.grab().save(str(picture))
        else:
            from PIL import ImageGrab

            ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).save(picture)

    def draws(_: object) -> None:
        drawn.append((progress(), threading.current_thread().name))
        if progress() > 0.6 and not taken:  # at the next turn of the window's own loop, what it shows
            taken.append(progress())
            timer.start()

    timer = canvas.new_timer(interval=1)
    timer.single_shot = True
    timer.add_callback(take)
    canvas.mpl_connect("draw_event", draws)
    RE(simulated_scan(beamline, None))  # the first preview and the first panels
    began[0] = beamline.clock
    drawn.clear()
    taken.clear()
    RE(simulated_scan(beamline, growth(4, "au_l3")[2]))
    found: dict[str, Any] = {"drawn": list(drawn)}

    began[0] = beamline.clock
    drawn.clear()

    def ctrl_c(name: str, doc: Any) -> None:
        if name == "event" and doc["seq_num"] == points // 3:
            os.kill(os.getpid(), signal.SIGINT)

    token = RE.subscribe(ctrl_c)
    try:
        RE(simulated_scan(beamline, None))
    except RunEngineInterrupted:
        RE.unsubscribe(token)
        found["paused"] = (RE.state, progress())
        drawn.clear()
        RE.resume()
        found["drawn after it"] = list(drawn)
    xas.wait(60)
    xas.close()
    found["sweeps"] = xas.status().sweeps
    found["errors"] = [str(error) for error in xas.errors]
    found["task is back"] = RE._during_task is task
    return found


if __name__ == "__main__":
    print(json.dumps(session(sys.argv[1], Path(sys.argv[2]))))
