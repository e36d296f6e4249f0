"""The energy axis: its names and units, what makes eV of them, and the energies of a scan."""

from __future__ import annotations

import numpy as np

from xas_live.errors import Refusal
from xas_live.modes import Array

HC = 12398.419843320026
"""Planck's constant times the speed of light (eV Å)."""

K2_PER_EV = 0.2624682917
"""k² per energy above the edge (1/(Å² eV)), of scans and the simulator; models have their own, see
`reduction.constants`."""

SETPOINT_WORDS = frozenset(
    ("setpoint", "sp", "target", "requested", "request", "nominal", "demand", "demanded", "desired",
     "command", "commanded", "set", "preset", "drive")
)  # fmt: skip
"""Words of a name that say that the energy was asked for, not read."""

READBACK_WORDS = frozenset({"readback", "rbv", "achieved", "actual", "measured", "observed", "read"})
"""Words of a name that say that the energy was read."""

OTHER_ENERGY_WORDS = frozenset(
    ("ring", "gap", "undulator", "id", "machine", "roi", "mca", "analyzer", "e0", "edge")
)
"""Words of a name that say that an energy is not the beam's."""

ANGLE_WORDS = frozenset({"angle", "theta", "bragg"})
"""Words of a name that say that it is the angle of a monochromator, where no energy is named."""

NO_ENERGY = frozenset(
    ("k", "r", "q", "chi", "chi_k", "chik", "mag", "chir_mag", "time", "times", "date", "pixel", "pixels",
     "channel", "index", "point", "points", "step", "row", "frame", "wavelength", "temperature", "potential",
     "voltage", "frequency", "position")
)  # fmt: skip
"""Names of columns that are known to be no energy and no absorption."""

_NAMES = ("energy", "e", "ev", "kev", "hv", "h_nu", "photon_energy", "mono_energy", "en")
_UNITS = {
    "ev": 1.0,
    "electronvolt": 1.0,
    "electronvolts": 1.0,
    "electron_volt": 1.0,
    "electron_volts": 1.0,
    "kev": 1000.0,
    "kiloelectronvolt": 1000.0,
    "kiloelectronvolts": 1000.0,
}
_ANGLES = {
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "°": 1.0,
    "mdeg": 1e-3,
    "rad": np.degrees(1.0),
    "radian": np.degrees(1.0),
    "radians": np.degrees(1.0),
    "mrad": np.degrees(1e-3),
}


def energy_rank(name: str) -> tuple[bool, bool, int] | None:
    """Return how well a name speaks for being the energy, the best first in order; None where it does not.

    Parameters
    ----------
    name : lower case, words parted by "_".
    """
    words = set(name.split("_"))
    first, _, rest = name.partition("_")
    read_or_set = first == "energy" and set(rest.split("_")) <= SETPOINT_WORDS | READBACK_WORDS | {"mono"}
    if not (name in _NAMES or name.endswith("energy") or read_or_set) or words & OTHER_ENERGY_WORDS:
        return None
    exact = _NAMES.index(name) if name in _NAMES else len(_NAMES)
    return bool(words & SETPOINT_WORDS), not words & READBACK_WORDS, exact


def angle_rank(name: str) -> tuple[bool, bool] | None:
    """Return as `energy_rank` does how well a name speaks for being the angle of a monochromator."""
    words = set(name.split("_"))
    if not words & ANGLE_WORDS:
        return None
    return bool(words & SETPOINT_WORDS), not words & READBACK_WORDS


def ev_factor(unit: str) -> float | None:
    """Return what turns a unit of energy into eV; None where it is none. Case and blanks do not matter."""
    return _UNITS.get(unit.strip().lower().replace(" ", "_"))


def degrees_factor(unit: str) -> float | None:
    """Return what turns a unit of angles into degrees; None where it is none."""
    return _ANGLES.get(unit.strip().lower())


def bragg_energy(angle: Array, d_spacing: float, offset: float = 0.0) -> Array:
    """Return the energies (n,) in eV that a monochromator passes; NaN for angles beyond 0 to 90 degrees.

    Parameters
    ----------
    angle : (n,) degrees.
    d_spacing : of its crystal (Å).
    offset : added to the angles (degrees).

    Raises
    ------
    Refusal : when the d-spacing is no positive number of Å.
    """
    if not 0.1 < d_spacing < 100.0:
        raise Refusal(f"d_spacing={d_spacing!r}: give the crystal's, in Å, as 3.13553 for Si(111)")
    theta = np.asarray(angle, dtype=np.float64) + offset
    theta = np.where((theta > 0.0) & (theta < 90.0), theta, np.nan)
    return HC / (2.0 * d_spacing * np.sin(np.radians(theta)))


def xanes_grid(edge_energy: float, end: float = 600.0) -> Array:
    """Return the energies (n,) in eV of a scan: coarse before the edge, 0.5 eV on it, then 0.05/Å in k.

    Parameters
    ----------
    edge_energy : eV.
    end : last energy above the edge (eV).
    """
    before = [np.arange(-200.0, -30.0, 5.0), np.arange(-30.0, -10.0, 1.0)]
    edge = [np.arange(-10.0, 30.0, 0.5), np.arange(30.0, 90.0, 1.0)]
    k = np.arange(np.sqrt(K2_PER_EV * 90.0), np.sqrt(K2_PER_EV * end), 0.05)
    return edge_energy + np.concatenate([*before, *edge, k**2 / K2_PER_EV])
