"""A sample that reacts: its particles grow and shrink, oxidise and are reduced, by temperature and gas.

The kinetics are a toy. Rates follow Arrhenius; sizes and oxide relax exponentially, so that a step of any
length is exact. Real catalysts do not take back their growth when they are cooled; this one does, so that its
size can be held by temperature, as a control loop needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.constants import gas_constant

from xas_live.errors import Refusal
from xas_live.simulator.sample import DEMO_PARTICLES, ROOM_TEMPERATURE, Sample, mixed

_LAST = len(DEMO_PARTICLES) - 1.0


@dataclass(frozen=True)
class Gas:
    """Fractions of the gases that react; the rest is helium."""

    hydrogen: float = 0.0
    oxygen: float = 0.0


GASES: Mapping[str, Gas] = {"He": Gas(), "H2": Gas(hydrogen=1.0), "O2": Gas(oxygen=1.0)}


@dataclass(frozen=True)
class Arrhenius:
    """A rate constant.

    Attributes
    ----------
    at_600 : 1/s, at 600 K.
    energy : of activation, J/mol.
    """

    at_600: float
    energy: float

    def at(self, temperature: float) -> float:
        """Return the rate constant (1/s) at a temperature (K)."""
        return self.at_600 * math.exp(self.energy / gas_constant * (1.0 / 600.0 - 1.0 / temperature))


@dataclass(frozen=True)
class Kinetics:
    """Rates of the reaction.

    Attributes
    ----------
    sintering : at which the size relaxes toward that of the temperature, upwards and downwards.
    redispersion : at which it goes to the smallest in pure oxygen, against sintering.
    oxidation : of the metal in pure oxygen.
    reduction : of the oxide in pure hydrogen.
    smallest_up_to, largest_from : K between which the size of the temperature goes linearly from the first to
        the last of DEMO_PARTICLES.
    """

    sintering: Arrhenius = Arrhenius(1.0 / 20.0, 40_000.0)
    redispersion: Arrhenius = Arrhenius(1.0 / 300.0, 20_000.0)
    oxidation: Arrhenius = Arrhenius(1.0 / 60.0, 50_000.0)
    reduction: Arrhenius = Arrhenius(1.0 / 15.0, 20_000.0)
    smallest_up_to: float = 400.0
    largest_from: float = 800.0

    def resting_place(self, temperature: float) -> float:
        """Return the place among DEMO_PARTICLES at which the size rests, at a temperature (K)."""
        share = (temperature - self.smallest_up_to) / (self.largest_from - self.smallest_up_to)
        return _LAST * min(max(share, 0.0), 1.0)


class ReactingSample:
    """Particles of one metal that react while time passes.

    Parameters
    ----------
    library : metal and edge, as "pt_l3".
    place : of the size among DEMO_PARTICLES, from 0, the smallest, to 3, the largest.
    oxide : fraction of the atoms that are oxide.
    kinetics : the rates.

    Attributes
    ----------
    place, oxide : as they are now.

    Raises
    ------
    Refusal : for a place or an oxide out of range.
    """

    def __init__(
        self,
        library: str = "pt_l3",
        *,
        place: float = 0.0,
        oxide: float = 0.0,
        kinetics: Kinetics | None = None,
    ) -> None:
        if not (0 <= place <= _LAST and 0 <= oxide <= 1):
            raise Refusal(f"a place is from 0 to {_LAST:g} and an oxide from 0 to 1: not {place}, {oxide}")
        self.library, self.place, self.oxide = library, place, oxide
        self._kinetics = kinetics or Kinetics()

    def advance(self, seconds: float, temperature: float, gas: Gas) -> None:
        """Let time pass at one temperature (K) in one gas.

        Raises
        ------
        Refusal : for a negative time or a temperature that is not positive.
        """
        if not (seconds >= 0 and temperature > 0):
            raise Refusal(f"time passes by {seconds} s at {temperature} K: neither may be negative")
        rates = self._kinetics
        sintering = rates.sintering.at(temperature)
        redispersion = gas.oxygen * rates.redispersion.at(temperature)
        rest = rates.resting_place(temperature) * (sintering / (sintering + redispersion))
        self.place = _relaxed(self.place, rest, seconds * (sintering + redispersion))
        oxidation = gas.oxygen * rates.oxidation.at(temperature)
        reduction = gas.hydrogen * rates.reduction.at(temperature)
        if oxidation + reduction > 0:
            rest = oxidation / (oxidation + reduction)
            self.oxide = _relaxed(self.oxide, rest, seconds * (oxidation + reduction))

    def now(self, temperature: float = ROOM_TEMPERATURE) -> Sample:
        """Return the sample as it is, at a temperature (K)."""
        return Sample(mixed(self.place), self.library, oxide=self.oxide, temperature=temperature)


def _relaxed(value: float, rest: float, times: float) -> float:
    """Return a value after so many time constants on its way to where it rests."""
    there = rest + (value - rest) * math.exp(-times)
    return min(max(there, min(value, rest)), max(value, rest))  # rounding takes it no further
