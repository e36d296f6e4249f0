"""What a page takes for granted at a beamline: RE, plans, and an energy and detectors of one's own.

Run before the blocks of pages that begin in a running session. The beamline is simulated, all else is real.
"""

from typing import Any

from bluesky import RunEngine
from bluesky.plans import list_scan, scan  # noqa: F401
from ophyd.sim import NullStatus

from xas_live.simulator import SimulatedBeamline, growth

RE = RunEngine({})
beamline = SimulatedBeamline("pt_l3", counts=1e8, drift=0.0, seed=1)
beamline.load(growth(4)[1])
energy = beamline.energy


class Counter:
    """An ion chamber: one number a point."""

    parent = None

    def __init__(self, name: str, place: int) -> None:
        self.name, self._place, self._count = name, place, 0.0

    def trigger(self) -> NullStatus:
        self._count = float(beamline.count()[self._place])
        return NullStatus()

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self._count, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "simulated", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


i0, it, ir = (Counter(name, place) for place, name in enumerate(("i0", "it", "ir")))
