"""Plans of simulated scans: a whole sweep an event, or a point an event."""

from __future__ import annotations

from typing import Any

import numpy as np
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from ophyd.sim import SynAxis, SynSignal
from sweeps import LIBRARY, sweeps

from xas_live.simulator.library import site_library
from xas_live.spectrum import Array

SWEEPS, DWELL, STEPS = 400, 0.02, 150


class Row(SynSignal):
    """A detector that gives a whole sweep an event."""

    def describe(self) -> dict[str, Any]:
        """Its data key: as many numbers as a sweep has points."""
        shape = list(np.shape(self.get()))
        return {self.name: {"source": "SIM", "dtype": "array", "shape": shape, "dtype_numpy": "<f8"}}


def rows_scan(mu: Array, energy: Array) -> Any:
    """A plan of one event a sweep, 20 ms apart."""
    turn = iter(range(10**9))
    energies = Row(name="energy", func=lambda: energy)
    absorbed = Row(name="mu", func=lambda: mu[next(turn) % len(mu)])
    library = site_library(LIBRARY)

    @bpp.stage_decorator([])
    @bpp.run_decorator(md={"element": library.element, "edge": library.edge, "sample_temperature": 295.0})
    def plan() -> Any:
        for _ in range(SWEEPS):
            yield from bps.sleep(DWELL)
            yield from bps.trigger_and_read([energies, absorbed])

    return plan()


def point_scan(dwell: float, steps: int) -> Any:
    """A step scan of an edge with counts of two chambers."""
    energy, mu = sweeps(1, steps)
    motor = SynAxis(name="energy")
    i0 = SynSignal(name="i0", func=lambda: 1e6, kind="hinted")
    it = SynSignal(
        name="it", func=lambda: 1e6 * np.exp(-np.interp(motor.readback.get(), energy, mu[0])), kind="hinted"
    )
    library = site_library(LIBRARY)

    @bpp.run_decorator(md={"element": library.element, "edge": library.edge, "sample_temperature": 295.0,
                           "motors": ["energy"], "hints": {"dimensions": [(["energy"], "primary")]}})  # fmt: skip
    def plan() -> Any:
        for value in energy:
            yield from bps.mv(motor, float(value))
            if dwell:
                yield from bps.sleep(dwell)
            yield from bps.trigger_and_read([motor, i0, it])

    return plan()
