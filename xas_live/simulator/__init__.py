"""The simulated beamline: ophyd devices whose sample is a nanoparticle that is known."""

from xas_live.simulator.absorption import Mismatch
from xas_live.simulator.devices import IonChambers, SimulatedBeamline
from xas_live.simulator.library import LIBRARIES
from xas_live.simulator.plans import growing_particles, simulated_scan, xanes_grid
from xas_live.simulator.sample import DEMO_PARTICLES, Sample, growth

__all__ = [
    "DEMO_PARTICLES",
    "LIBRARIES",
    "IonChambers",
    "Mismatch",
    "Sample",
    "SimulatedBeamline",
    "growing_particles",
    "growth",
    "simulated_scan",
    "xanes_grid",
]
