"""Acting on predictions, with real RunEngines, an IOC and processes that are killed: what decisions.py measures of plans.

`false_stops`: does `repeat_until` stop on samples that are no metal? `held_in_band`: does `operando` hold CN1 in a band by
the temperature of a simulated reactor? `invalid_after`: after how many sweep times are PVs INVALID when the analysis is
killed?
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import matplotlib.pyplot as plt
from bluesky import RunEngine
from ophyd import SoftPositioner

import xas_live
from xas_live.energy import xanes_grid
from xas_live.host import free_port, loopback_variables
from xas_live.plans import hold_in_band, operando, repeat_until
from xas_live.rules import Actuator, Limits
from xas_live.simulator import SimulatedBeamline
from xas_live.simulator.reaction import GASES, ReactingSample
from xas_live.theory.phases import NON_METAL, phases_of

MODELS = {"pt-l3": "pt_l3", "au-l3": "au_l3", "pd-k": "pd_k"}
GENEROUS, MOST = 2.0, 4  # half width asked for in CN1, and most repeats
BAND, SCANS, SWEEP_S = (8.0, 9.5), 40, 30.0  # of CN1; scans of a metal; s at the sample a scan
PICTURE = Path(__file__).parents[1] / "docs" / "how-to" / "held-in-band.png"

# A session that scans for ever; each sweep takes some seconds.
SESSION = """
import sys
from bluesky import RunEngine
import xas_live
from xas_live.energy import xanes_grid
from xas_live.signals import IocLink
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

RE = RunEngine({}, context_managers=[])
xas = xas_live.attach(RE, plot=False, publishers=[IocLink(sys.argv[1])])
beamline = SimulatedBeamline("au_l3", counts=1e7, dwell=0.01, seed=1)
while True:
    RE(simulated_scan(beamline, growth(4, "au_l3")[1], energies=xanes_grid(11919.0)[::2]))
    xas.wait(30)
    print("scanned", flush=True)
    if sys.argv[2] == "close" and len(xas.predictions) == 3:
        xas.close()
        print("killed", flush=True)
"""


def quietly() -> contextlib.AbstractContextManager[Any]:
    """Keep lines to the user off the table."""
    return contextlib.redirect_stdout(io.StringIO())


def result_of(RE: RunEngine, plan: Any) -> Any:
    """What a plan returns."""
    found = []

    def keep() -> Iterator[Any]:
        found.append((yield from plan))

    with quietly():
        RE(keep())
    return found[0]


def scan_of(
    beamline: SimulatedBeamline, temperature: Callable[[], float] = lambda: 295.0
) -> Callable[[], Any]:
    """A plan of one scan of what is in the beam."""
    known = beamline.library
    energies = xanes_grid(known.edge_energy)[::2].tolist()

    def scan() -> Any:
        md = {"element": known.element, "edge": known.edge, "temperature": temperature(), "sample_name": "it"}
        return bp.list_scan([beamline.ion_chambers], beamline.energy, energies, md=md)

    return scan


def false_stops() -> dict[str, Any]:
    """Of repeats on calculated oxides, sulphides and salts, how many ended because CN1 was called known."""
    trials, stopped = 0, []
    for name, library in MODELS.items():
        RE = RunEngine({}, context_managers=[])
        with quietly():
            xas = xas_live.attach(RE, plot=False, model=name)
        for counts in (1e5, 1e7):
            beamline = SimulatedBeamline(library, seed=3, counts=counts)
            known = beamline.library
            for phase in phases_of(known.element, known.edge):
                if phase.kind not in NON_METAL:
                    continue
                beamline.load_mu(phase.energy + known.edge_energy, phase.mu)
                trials += 1
                if result_of(RE, repeat_until(scan_of(beamline), "CN1", GENEROUS, MOST, xas)).reached:
                    stopped.append(f"{name} {phase.name} {counts:.0e}")
        xas.close()
    return {"trials": trials, "stopped": stopped}


@dataclass
class Held:
    """What an operando run held: of each scan CN1, true and predicted, and the temperature (K)."""

    true: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)

    def percent(self, values: list[float]) -> float:
        """Of the scans since CN1 was in the band first, how many have it there."""
        inside = [BAND[0] <= value <= BAND[1] for value in values]
        return 100.0 * statistics.mean(inside[inside.index(True) :]) if any(inside) else 0.0


def held_in_band(name: str) -> Held:
    """Hold CN1 of a reacting sample in a band by its temperature."""
    library = MODELS[name]
    RE = RunEngine({}, context_managers=[])
    with quietly():
        xas = xas_live.attach(RE, plot=False, model=name)
    beamline = SimulatedBeamline(library, seed=5, counts=1e7)
    reacting, held = ReactingSample(library, place=0.3), Held()
    furnace = SoftPositioner(name="furnace", init_pos=450.0, limits=(300.0, 900.0))
    heat = Actuator(furnace, Limits(low=300.0, high=900.0, largest_step=30.0, rate=1e6, units="K"))
    measure = scan_of(beamline, lambda: float(furnace.position))

    def scan() -> Iterator[Any]:
        reacting.advance(SWEEP_S, furnace.position, GASES["He"])
        now = reacting.now(furnace.position)
        beamline.load(now)
        held.true.append(now.truth()["CN1"])
        held.temperature.append(float(furnace.position))
        yield from bps.null()
        return (yield from measure())

    drive = hold_in_band("CN1", *BAND, heat, step=30.0, on=("trusted", "caution"))
    result_of(RE, operando(scan, xas, drive=drive, max_scans=SCANS))
    held.predicted = [p.values["CN1"].value if "CN1" in p.values else float("nan") for p in xas.predictions]
    xas.close()
    return held


def draw(runs: dict[str, Held]) -> None:
    """Draw what was held, for the page."""
    figure, axes = plt.subplots(
        2, len(runs), figsize=(11, 5), sharex=True, sharey="row", layout="constrained"
    )
    for (name, held), (above, below) in zip(runs.items(), axes.T, strict=True):
        above.axhspan(*BAND, color="tab:green", alpha=0.15, label="band")
        above.plot(held.true, "k-", label="true")
        above.plot(held.predicted, "o", ms=3, color="tab:blue", label="predicted")
        above.set_title(name)
        below.step(range(len(held.temperature)), held.temperature, "tab:red", where="post")
        below.set_xlabel("scan")
    axes[0, 0].set_ylabel("CN1")
    axes[1, 0].set_ylabel("temperature (K)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def invalid_after() -> dict[str, float]:
    """Sweep times from the end of an analysis to INVALID PVs: killed with its session, closed, and hung."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= loopback_variables(free_port())  # before caproto reads them
        environment = os.environ | {"XAS_LIVE_HOME": folder, "PYTHONUNBUFFERED": "1"}
        ioc = _process("-c", "from xas_live.cli import app; app()", "ioc", "--prefix", "B:", env=environment)
        try:
            _until(ioc, "are served")
            for how in ("kill", "close", "hang"):
                found[how] = _invalid_after(how, environment)
        finally:
            ioc.terminate()
            ioc.wait(30)
    return found


def _invalid_after(how: str, environment: dict[str, str]) -> float:
    from caproto import AlarmSeverity
    from caproto.sync.client import read

    session = _process("-c", SESSION, "B:", how, env=environment)
    try:
        times = []
        for _ in range(3):
            _until(session, "scanned")
            times.append(time.monotonic())
        sweep = times[2] - times[1]
        if how == "close":
            _until(session, "killed")
        else:
            time.sleep(0.3 * sweep)  # within a sweep
            os.kill(session.pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        ended = time.monotonic()
        while read("B:CN1", data_type="time", timeout=2, repeater=False).metadata.severity != (
            AlarmSeverity.INVALID_ALARM
        ):
            time.sleep(0.02)
        return (time.monotonic() - ended) / sweep
    finally:
        session.kill()
        session.wait(30)


def _process(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], env=env, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _until(process: subprocess.Popen[str], words: str) -> None:
    """Read a process' lines until one has these words."""
    assert process.stdout is not None
    while words not in (line := process.stdout.readline()):
        if not line:
            raise RuntimeError(f"it has ended before {words!r}")


if __name__ == "__main__":
    runs = {name: held_in_band(name) for name in MODELS}
    draw(runs)
    print({name: (run.percent(run.true), run.percent(run.predicted)) for name, run in runs.items()})
    print(invalid_after())
    print(false_stops())
