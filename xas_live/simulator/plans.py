"""Plans for the simulated beamline: an XANES scan like any other, of a sample that is known."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import bluesky.plans as bp
import numpy as np

from xas_live.simulator.absorption import K2_PER_EV
from xas_live.simulator.devices import SimulatedBeamline
from xas_live.simulator.sample import Sample, growth
from xas_live.spectrum import Array

Plan = Generator[Any, Any, Any]


def xanes_grid(edge_energy: float, end: float = 600.0) -> Array:
    """Energies (eV) of a scan: coarse before the edge, 0.5 eV on it, then even steps of 0.05/Å in k.

    Parameters
    ----------
    edge_energy : eV.
    end : last energy above the edge (eV).
    """
    before = [np.arange(-200.0, -30.0, 5.0), np.arange(-30.0, -10.0, 1.0)]
    edge = [np.arange(-10.0, 30.0, 0.5), np.arange(30.0, 90.0, 1.0)]
    k = np.arange(np.sqrt(K2_PER_EV * 90.0), np.sqrt(K2_PER_EV * end), 0.05)
    return edge_energy + np.concatenate([*before, *edge, k**2 / K2_PER_EV])


def simulated_scan(
    beamline: SimulatedBeamline,
    sample: Sample | None,
    *,
    energies: Array | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Load a sample and scan it; element, edge and the truth go into the start document.

    Parameters
    ----------
    sample : None is a second foil.
    energies : (n,) eV; default: `xanes_grid`.
    md : more metadata for the run.
    """
    beamline.load(sample)
    points = xanes_grid(beamline.library.edge_energy) if energies is None else energies
    told = {"purpose": "simulation", "beamline_id": "simulated"}
    metadata = {**beamline.metadata(), **told, **(md or {})}
    return (yield from bp.list_scan([beamline.ion_chambers], beamline.energy, points.tolist(), md=metadata))


def growing_particles(
    beamline: SimulatedBeamline,
    n_scans: int = 12,
    *,
    md: Mapping[str, Any] | None = None,
    **properties: float,
) -> Plan:
    """Scan a sample that grows from 13 to 309 atoms, one run a size; see `growth` for the properties."""
    uids = []
    for sample in growth(n_scans, beamline.library.name, **properties):
        metadata = {"sample_name": "growing particle", **(md or {})}
        uids.append((yield from simulated_scan(beamline, sample, md=metadata)))
    return uids
