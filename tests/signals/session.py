"""A session in a process of its own, that scans once for each line it reads."""

from __future__ import annotations

import sys

from bluesky import RunEngine

import xas_live
from xas_live.energy import xanes_grid
from xas_live.signals import IocLink
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

link = IocLink(sys.argv[1])
RE = RunEngine({}, context_managers=[])
xas = xas_live.attach(RE, plot=False, publishers=[link])
beamline = SimulatedBeamline("au_l3", counts=1e8, drift=0.0, seed=1)
for line in sys.stdin:
    RE(simulated_scan(beamline, growth(4, "au_l3")[int(line)], energies=xanes_grid(11919.0)[::2]))
    print("scanned", xas.wait(60), flush=True)
