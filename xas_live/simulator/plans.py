"""Plans for the simulated beamline: an XANES scan like any other, of a sample that is known."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import bluesky.plans as bp

from xas_live.energy import xanes_grid
from xas_live.simulator.devices import SimulatedBeamline
from xas_live.simulator.sample import Sample, growth
from xas_live.spectrum import Array

Plan = Generator[Any, Any, Any]


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
    energies : (n,) eV; default: `energy.xanes_grid`.
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
