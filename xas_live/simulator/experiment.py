"""The simulated experiment behind the IOC: a beam, a furnace and a reacting sample, without EPICS.

All that goes on by itself follows one clock, which may run faster than the wall's. What the experiment shows
of itself is read at any time; counting takes no time here, since whoever counts waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xas_live.errors import Refusal
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.simulator.chambers import stored_beam, transmitted, with_blank
from xas_live.simulator.library import site_library
from xas_live.simulator.reaction import GASES, ReactingSample
from xas_live.simulator.sample import ROOM_TEMPERATURE, Sample
from xas_live.spectrum import Array

FULL_CURRENT = 400.0  # mA
_DARK = 100.0  # counts a second without beam
_FLUORESCENCE = 0.02  # photons detected for each that an edge step absorbs
_SCATTER = 0.1  # of other photons, in edge steps
_GLITCH = 0.7  # what is left of it at a glitch
_STEP = 1.0  # s of the clock at most between two temperatures of the furnace


@dataclass
class Faults:
    """What disturbs the experiment on demand.

    Attributes
    ----------
    drift : of the energy (eV an hour).
    backlash : of the energy (eV): true energies lie higher by this while the monochromator goes down.
    glitches : probability that a point has one.
    dead_time : of the fluorescence detector (s a photon).
    beam_dumped : whether the ring is empty.
    """

    drift: float = 0.0
    backlash: float = 0.0
    glitches: float = 0.0
    dead_time: float = 0.0
    beam_dumped: bool = False


class Furnace:
    """A furnace that goes to its setpoint at a steady rate.

    Attributes
    ----------
    temperature, setpoint : K.
    ramp : K/s.
    """

    def __init__(self, temperature: float = ROOM_TEMPERATURE, ramp: float = 1.0) -> None:
        self.temperature = self.setpoint = temperature
        self.ramp = ramp

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        missing = self.setpoint - self.temperature
        self.temperature += math.copysign(min(abs(missing), self.ramp * seconds), missing)


class Experiment:
    """Beam, monochromator's true energy, sample, foil, furnace and detectors.

    Parameters
    ----------
    library : metal and edge, as "pt_l3"; of the sample and of the foil in the reference channel.
    flux : photons a second in i0 at full current.
    seed : of the noise and the glitches. The same calls in the same order give the same counts.
    mismatch : how theory and this beamline disagree.

    Attributes
    ----------
    clock : s since the beginning.
    sample : the reacting particles.
    foil_in : whether a second foil stands in place of the sample.
    furnace : around the sample.
    gas : name in GASES.
    shutter_open : whether the beam reaches the detectors.
    faults : see there; change what you want.
    shift : by how much true energies have drifted (eV).

    Raises
    ------
    Refusal : when there is no such library.
    """

    def __init__(
        self,
        library: str = "pt_l3",
        *,
        flux: float = 1e9,
        seed: int = 0,
        mismatch: Mismatch | None = None,
    ) -> None:
        self.library = site_library(library)
        self.flux = flux
        self.mismatch = mismatch or Mismatch()
        self.sample = ReactingSample(library)
        self.furnace = Furnace()
        self.faults = Faults()
        self.gas = "He"
        self.shutter_open, self.foil_in = True, False
        self.clock = self.shift = 0.0
        self._random = np.random.default_rng(seed)

    @property
    def current(self) -> float:
        """In the ring (mA)."""
        return 0.0 if self.faults.beam_dumped else FULL_CURRENT * stored_beam(self.clock)

    @property
    def now(self) -> Sample:
        """The sample as it is now, at the furnace's temperature."""
        return self.sample.now(self.furnace.temperature)

    def advance(self, seconds: float) -> None:
        """Let time pass: the furnace ramps, the sample reacts, the energy drifts.

        Raises
        ------
        Refusal : for a negative time.
        """
        if seconds < 0:
            raise Refusal(f"time passes by {seconds} s: it cannot be negative")
        self.clock += seconds
        self.shift += self.faults.drift * seconds / 3600.0
        steps = max(1, math.ceil(seconds / _STEP))
        for _ in range(steps):
            self.furnace.advance(seconds / steps)
            self.sample.advance(seconds / steps, self.furnace.temperature, GASES[self.gas])

    def renew(self) -> None:
        """Put new particles in, the smallest."""
        self.sample = ReactingSample(self.library.name)

    def count(self, energy: Array, dwell: float, *, downwards: bool = False) -> dict[str, Array]:
        """Count at some energies; the clock stands still meanwhile.

        Parameters
        ----------
        energy : (n,) eV, as the monochromator reads.
        dwell : s at each.
        downwards : whether the monochromator came from above.

        Returns
        -------
        i0, it, ir and iff, (n,) counts each.
        """
        true = energy + self.shift + (self.faults.backlash if downwards else 0.0)
        name, edge = self.library.name, self.library.edge_energy
        foil = measured(true, name, None, self.mismatch)
        own = foil if self.foil_in else measured(true, name, self.now, self.mismatch)
        share = self.current / FULL_CURRENT if self.shutter_open else 0.0
        beam = np.full(len(true), share * self.flux * dwell)
        sample, foil = (with_blank(true, edge, each) for each in (own, foil))
        i0, it, ir = transmitted(beam, sample, foil)
        it = it * np.where(self._random.random(len(true)) < self.faults.glitches, _GLITCH, 1.0)
        photons = _FLUORESCENCE * beam * (own + _SCATTER)
        iff = photons / (1.0 + self.faults.dead_time * photons / dwell)
        dark = _DARK * dwell
        means = {"i0": i0, "it": it, "ir": ir, "iff": iff}
        return {name: self._random.poisson(mean + dark).astype(np.float64) for name, mean in means.items()}
