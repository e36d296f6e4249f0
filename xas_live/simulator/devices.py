"""The simulated beamline's devices: an energy that moves, and ion chambers that count."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from ophyd import Component, Device, Kind, Signal, SoftPositioner
from ophyd.status import Status

from xas_live.errors import Refusal
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.simulator.chambers import stored_beam, transmitted, with_blank
from xas_live.simulator.library import site_library
from xas_live.simulator.sample import Sample
from xas_live.spectrum import Array

_FINE_STEP = 0.1  # eV, of the tables that absorption is looked up in


class IonChambers(Device):
    """Three ion chambers: before the sample (i0), behind it (it), behind the reference foil (ir)."""

    i0 = Component(Signal, value=0.0, kind=Kind.hinted)
    it = Component(Signal, value=0.0, kind=Kind.hinted)
    ir = Component(Signal, value=0.0, kind=Kind.hinted)

    def __init__(self, beamline: SimulatedBeamline, *, name: str = "ion_chambers") -> None:
        super().__init__(name=name)
        self._beamline = beamline
        for signal in (self.i0, self.it, self.ir):
            signal.name = signal.attr_name

    def trigger(self) -> Status:
        """Count one point; takes the beamline's dwell time."""
        status = Status(obj=self)
        dwell = self._beamline.dwell
        if dwell > 0:
            threading.Timer(dwell, self._count, (status,)).start()
        else:
            self._count(status)
        return status

    def _count(self, status: Status) -> None:
        for signal, counts in zip((self.i0, self.it, self.ir), self._beamline.count(), strict=True):
            signal.put(counts)
        status.set_finished()


class SimulatedBeamline:
    """A beamline whose sample is known: `energy` and `ion_chambers` are ophyd devices for any plan.

    What disturbs a real measurement is here: counting noise, a beam that decays and is topped up, an energy
    scale that drifts, a slope under the edge, and a spectrum that is not quite what theory says. The same
    seed and the same plan give the same numbers.

    Parameters
    ----------
    library : metal and edge, as "pt_l3", "pd_k" or "au_l3"; it is also the reference foil's.
    counts : photons counted in i0 per point.
    point_time : time that passes at the beamline per point (s), for decay and drift.
    dwell : time that a point really takes (s).
    settle : time that a move of the energy really takes (s).
    drift : amplitude of the energy's drift (eV), over about two hours.
    mismatch : how theory and this beamline disagree.
    sample_step, foil_step : edge steps in the sample and the foil (absorption lengths).
    seed : of the noise.

    Attributes
    ----------
    energy : positioner (eV), with limits from 1000 eV below the edge to 2000 eV above.
    ion_chambers : detector with i0, it and ir.
    sample : in the beam; see `load`.

    Raises
    ------
    Refusal : when there is no such library, or a number is out of range.
    """

    def __init__(
        self,
        library: str = "pt_l3",
        *,
        counts: float = 1e6,
        point_time: float = 1.0,
        dwell: float = 0.0,
        settle: float = 0.0,
        drift: float = 0.2,
        mismatch: Mismatch | None = None,
        sample_step: float = 1.0,
        foil_step: float = 1.0,
        seed: int = 0,
    ) -> None:
        if counts <= 0 or point_time < 0 or dwell < 0 or settle < 0:
            raise Refusal("counts must be positive, and point_time, dwell and settle not negative")
        self.library = site_library(library)
        self.counts, self.point_time, self.dwell, self.drift = counts, point_time, dwell, drift
        self.sample_step, self.foil_step = sample_step, foil_step
        self.mismatch = mismatch or Mismatch()
        self.clock = 0.0
        self._noise = np.random.default_rng(seed)
        edge = self.library.edge_energy
        limits = (edge - 1000.0, edge + 2000.0)
        self.energy = SoftPositioner(
            name="energy",
            egu="eV",
            limits=limits,
            init_pos=edge - 200.0,
            source="simulated",
            settle_time=settle,
        )
        self.ion_chambers = IonChambers(self)
        self._axis = np.arange(limits[0] - 10.0, limits[1] + 10.0, _FINE_STEP)
        self._foil = measured(self._axis, library, None, self.mismatch)
        self.sample: Sample | None = None
        self._sample = self._foil
        self.load(None)

    def load(self, sample: Sample | None) -> None:
        """Put a sample into the beam; None is a second foil.

        Raises
        ------
        Refusal : for a sample of another metal than the beamline is set up for.
        """
        name = self.library.name
        if sample is not None and sample.library != name:
            raise Refusal(f"the beamline is set up for {name}, and the sample is of {sample.library}")
        self.sample = sample
        self._sample = measured(self._axis, name, sample, self.mismatch)

    def load_mu(self, energy: Array, mu: Array) -> None:
        """Put anything into the beam whose absorption is known.

        Parameters
        ----------
        energy, mu : (n,) eV, ascending, and absorption in edge steps.
        """
        self.sample = None
        self._sample = np.interp(self._axis, energy, mu)

    def count(self) -> tuple[float, float, float]:
        """Counts of i0, it and ir for one point at the present energy; the clock goes on."""
        self.clock += self.point_time
        drift = self.drift * math.sin(2.0 * math.pi * self.clock / 7200.0)
        energy = np.array([self.energy.position + drift])
        sample, foil = (
            with_blank(energy, self.library.edge_energy, step * np.interp(energy, self._axis, table))
            for step, table in ((self.sample_step, self._sample), (self.foil_step, self._foil))
        )
        beam = np.array([self.counts * stored_beam(self.clock)])
        i0, it, ir = (float(self._noise.poisson(mean[0])) for mean in transmitted(beam, sample, foil))
        return i0, it, ir

    def metadata(self) -> dict[str, Any]:
        """For the start document: element, edge, and the truth about the sample."""
        known = {"element": self.library.element, "edge": self.library.edge, "temperature": 295.0}
        if self.sample is None:
            return {**known, "sample_name": f"{self.library.element} foil"}
        return {**known, "sample_name": self.sample.name, "truth": self.sample.truth()}
