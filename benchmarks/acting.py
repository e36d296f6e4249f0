"""Acting on predictions, on real RunEngines: what decisions.py measures of plans and signals.

`false_stops`: does `repeat_until` stop on samples that are no metal? `held_in_band`: does `operando` keep CN1 in a band by
the temperature of a simulated reactor?
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import bluesky.plans as bp
import numpy as np
from bluesky import RunEngine

import xas_live
from xas_live.plans import repeat_until
from xas_live.simulator import SimulatedBeamline, xanes_grid
from xas_live.theory.phases import NON_METAL, phases_of

MODELS = {"pt-l3": "pt_l3", "au-l3": "au_l3", "pd-k": "pd_k"}
GENEROUS, MOST = 2.0, 4  # half width asked for in CN1, and most repeats


def result_of(RE: RunEngine, plan: Any) -> Any:
    """What a plan returns; without its lines."""
    found = []

    def keep() -> Any:
        found.append((yield from plan))

    with contextlib.redirect_stdout(io.StringIO()):
        RE(keep())
    return found[0]


def false_stops() -> dict[str, Any]:
    """Of repeats on calculated oxides, sulphides and salts, how many ended because CN1 was called known."""
    trials, stopped = 0, []
    for name, library in MODELS.items():
        RE = RunEngine({}, context_managers=[])
        with contextlib.redirect_stdout(io.StringIO()):
            xas = xas_live.attach(RE, plot=False, model=name)
        for counts in (1e5, 1e7):
            beamline = SimulatedBeamline(library, seed=3, counts=counts)
            known = beamline.library
            for phase in phases_of(known.element, known.edge):
                if phase.kind not in NON_METAL:
                    continue
                beamline.show(np.interp(beamline.axis - known.edge_energy, phase.energy, phase.mu))
                scan = scan_of(beamline)
                trials += 1
                if result_of(RE, repeat_until(scan, "CN1", GENEROUS, MOST, xas)).reached:
                    stopped.append(f"{name} {phase.name} {counts:.0e}")
        xas.close()
    return {"trials": trials, "stopped": stopped}


def scan_of(beamline: SimulatedBeamline) -> Callable[[], Any]:
    """A plan of one scan of what is in the beam."""
    known = beamline.library
    energies = xanes_grid(known.edge_energy)[::2].tolist()
    md = {"element": known.element, "edge": known.edge, "temperature": 295.0}
    return lambda: bp.list_scan([beamline.ion_chambers], beamline.energy, energies, md=md)


if __name__ == "__main__":
    print(false_stops())
