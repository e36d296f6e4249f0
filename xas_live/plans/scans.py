"""Plans that scan the energy of an edge: point by point, or continuously."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp

from xas_live.callbacks.assembly import edge_energy
from xas_live.energy import xanes_grid
from xas_live.errors import Refusal

if TYPE_CHECKING:
    from xas_live.devices.quick_scan import QuickScan

Plan = Generator[Any, Any, Any]

_BEFORE, _PAST = 200.0, 600.0  # eV from the edge
_FLUSH_S = 0.2  # between two looks at what a file holds


def step_scan(
    detectors: Sequence[Any],
    energy: Any,
    *,
    element: str,
    edge: str,
    energies: Sequence[float] | None = None,
    baseline: Sequence[Any] = (),
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Scan the energy point by point, in one run.

    Parameters
    ----------
    detectors : read at every point.
    energy : the monochromator, in eV.
    element, edge : the absorber, as "Pt" and "L3".
    energies : (n,) eV; default: about 350 from 200 eV before the edge to 600 eV past it.
    baseline : read before and after the scan, as the furnace, whose temperature is the sample's.
    md : more metadata for the run.

    Returns
    -------
    The uid of the run.

    Raises
    ------
    Refusal : for an edge that is not in the table.
    """
    points = xanes_grid(_edge(element, edge)).tolist() if energies is None else [float(e) for e in energies]
    metadata = {"element": element, "edge": edge, "plan_name": "step_scan", **(md or {})}
    plan = bp.list_scan(list(detectors), energy, points, md=metadata)
    return (yield from bpp.baseline_wrapper(plan, list(baseline)))


def quick_scan(
    flyer: QuickScan,
    *,
    element: str,
    edge: str,
    start: float | None = None,
    end: float | None = None,
    sweep_time: float = 1.0,
    sweeps: int = 10,
    points: int | None = None,
    baseline: Sequence[Any] = (),
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Sweep the energy continuously, up and down in turn, in one run; every sweep is a spectrum.

    Parameters
    ----------
    flyer : a QuickScan device.
    element, edge : the absorber, as "Pt" and "L3".
    start, end : eV; default: from 200 eV before the edge to 600 eV past it.
    sweep_time : s of one sweep.
    sweeps : their number.
    points : of a sweep; default: as the device is set.
    baseline : read before and after the sweeps, as the furnace.
    md : more metadata for the run.

    Returns
    -------
    The uid of the run.

    Raises
    ------
    Refusal : for an edge that is not in the table.
    """
    at = _edge(element, edge)
    ends = (at - _BEFORE if start is None else start, at + _PAST if end is None else end)
    shape = (*ends, sweep_time, sweeps)
    metadata = {
        "element": element,
        "edge": edge,
        "plan_name": "quick_scan",
        "plan_args": dict(zip(("start", "end", "sweep_time", "sweeps"), shape, strict=True)),
        "detectors": [flyer.name],
        **(md or {}),
    }

    @bpp.baseline_decorator(list(baseline))
    @bpp.stage_decorator([flyer])
    @bpp.finalize_decorator(lambda: bps.stop(flyer))
    @bpp.run_decorator(md=metadata)
    def fly() -> Plan:
        yield from bps.declare_stream(flyer, name="primary", collect=True)
        yield from bps.clear_checkpoint()  # sweeps that were paused cannot be resumed
        yield from bps.kickoff(flyer, wait=True)
        yield from bps.collect_while_completing(
            [flyer], [flyer], flush_period=_FLUSH_S, stream_name="primary"
        )

    signals = (flyer.start, flyer.end, flyer.sweep_time, flyer.sweeps)
    settings = [each for pair in zip(signals, shape, strict=True) for each in pair]
    yield from bps.mv(*settings, *(() if points is None else (flyer.points, points)))
    return (yield from fly())


def _edge(element: str, edge: str) -> float:
    """Return the energy of an edge (eV), or refuse."""
    try:
        energy = edge_energy(element, edge)
    except ValueError:
        energy = None
    if energy is None:
        raise Refusal(
            f"no edge {edge!r} of {element!r} is known: give a symbol and an edge, as 'Pt' and 'L3'"
        )
    return energy
