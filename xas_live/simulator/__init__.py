"""The simulated beamline, whose sample is a nanoparticle that is known: in this process, or as an IOC.

Importing the package alone loads neither Bluesky nor ophyd, which reads the environment of EPICS once.
"""

from typing import TYPE_CHECKING

from xas_live.lazy import lazily
from xas_live.simulator.absorption import Mismatch
from xas_live.simulator.library import LIBRARIES
from xas_live.simulator.sample import DEMO_PARTICLES, Sample, growth

if TYPE_CHECKING:
    from xas_live.simulator.devices import IonChambers, SimulatedBeamline
    from xas_live.simulator.plans import growing_particles, simulated_scan

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
]

__getattr__ = lazily(
    __name__,
    {
        "devices": ("IonChambers", "SimulatedBeamline"),
        "plans": ("growing_particles", "simulated_scan"),
    },
)
