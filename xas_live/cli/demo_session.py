"""What the demo does at the beamline: devices, plans, the truth, and a table of truth against prediction.

Imported when the EPICS environment is set.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps
from epics import ca
from ophyd import EpicsSignalRO

from xas_live.callbacks.publishers import BasePublisher
from xas_live.cli.output import out, verdict, with_interval
from xas_live.devices import connect
from xas_live.plans import quick_scan, step_scan
from xas_live.simulator.settings import simulated_devices

if TYPE_CHECKING:
    from xas_live.callbacks.publishers import SweepResult
    from xas_live.prediction import Prediction
    from xas_live.spectrum import Provenance

SHELLS = ("CN1", "CN2", "CN3", "CN4")

_WIDTHS = (5, 6, 7, 19, 19, 21, 21, 22, 2)
_COLD, _FIRST, _LAST = 295.0, 400.0, 800.0  # K: of step scans; where growth begins, and ends
_QUENCH = 1000.0  # K/s
_HEATED_S, _SWEEP_S = 1.0, 1.0
_CONNECTING_S = 20.0
_METADATA = {"sample_name": "growing particle", "purpose": "demo", "beamline_id": "simulated"}

Plan = Generator[Any, Any, Any]


class DemoError(RuntimeError):
    """The simulated beamline does not answer."""


class DemoBeamline:
    """The simulated beamline, connected.

    Parameters
    ----------
    prefix : of its process variables.
    files : folder of the files of continuous scans.
    element, edge : the absorber.
    speed : s at the sample in a second.

    Raises
    ------
    DemoError : when it does not answer.
    """

    def __init__(self, prefix: str, files: Path, *, element: str, edge: str, speed: float) -> None:
        ca.replace_printf_handler()  # libca would print that the IOC has ended
        self._element, self._edge, self._speed = element, edge, speed
        self.devices = {name: each.make(name) for name, each in simulated_devices(prefix, files).items()}
        names = (*SHELLS, "n_atoms", "diameter_nm")
        truth = {name: EpicsSignalRO(f"{prefix}truth:{name}", name=name, auto_monitor=True) for name in names}
        if missing := connect(self.devices | truth, _CONNECTING_S):
            raise DemoError(missing[0])
        self.truth = TruthRecord(truth, self.devices["quick"].written)

    def heating(self, end: float, sweeps: int) -> Plan:
        """Heat the sample steadily to a temperature (K) while the energy sweeps continuously, in one run."""
        furnace, flyer = self.devices["furnace"], self.devices["quick"]
        yield from bps.mv(furnace.ramp, (end - _COLD) / (sweeps * _SWEEP_S * self._speed))
        yield from bps.abs_set(furnace, end, group="heating")
        yield from quick_scan(
            flyer,
            element=self._element,
            edge=self._edge,
            sweeps=sweeps,
            sweep_time=_SWEEP_S,
            baseline=[furnace],
            md=_METADATA,
        )
        yield from bps.wait(group="heating")

    def annealing(self, temperature: float) -> Plan:
        """Heat the sample to a temperature (K) for a while, cool it, and scan the energy step by step."""
        furnace, energy = self.devices["furnace"], self.devices["energy"]
        yield from bps.mv(furnace.ramp, _QUENCH)
        yield from bps.mv(furnace, temperature)
        yield from bps.sleep(_HEATED_S)
        yield from bps.mv(furnace, _COLD)
        yield from step_scan(
            [self.devices["detectors"]],
            energy,
            element=self._element,
            edge=self._edge,
            baseline=[furnace],
            md=_METADATA,
        )


def temperatures(scans: int) -> list[float]:
    """Return how hot the sample gets until each spectrum (K)."""
    return [_FIRST + (_LAST - _FIRST) * k / (scans - 1) for k in range(scans)]


class TruthRecord:
    """What was true of the sample at any time so far.

    Parameters
    ----------
    signals : by what they tell.
    written : number of sweeps of a continuous scan so far.
    """

    def __init__(self, signals: Mapping[str, Any], written: Any) -> None:
        self._known: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in signals}
        self._ends: dict[int, float] = {}  # of the sweeps of a continuous scan
        for name, each in signals.items():
            each.subscribe(self._taker(name))
        written.subscribe(lambda *, value, timestamp, **_: self._ends.update({int(value) - 1: timestamp}))

    def of(self, where: Provenance) -> dict[str, float]:
        """Return what was true when a sweep ended."""
        moment = self._ends.get(where.sweep, 0.0) if _continuous(where) else where.time or time.time()
        return {
            name: values[max(0, bisect_right(times, moment) - 1)]
            for name, (times, values) in self._known.items()
        }

    def _taker(self, name: str) -> Any:
        times, values = self._known[name]

        def take(*, value: float, timestamp: float, **_: Any) -> None:
            times.append(timestamp)
            values.append(value)

        return take


class DemoTable(BasePublisher):
    """Truth and prediction of every sweep, a row each, printed as they come.

    Parameters
    ----------
    truth : of the sample.
    element : of the sample.

    Attributes
    ----------
    rows : truth and prediction of each sweep.
    """

    def __init__(self, truth: TruthRecord, element: str) -> None:
        self._truth, self._element = truth, element
        self.rows: list[tuple[dict[str, float], Prediction]] = []

    def predicted(self, result: SweepResult) -> None:
        """Print a row."""
        if not self.rows:  # the session has said what it found in the first scan: now the table is left alone
            out.print(f"\n{self._element} nanoparticles that grow, truth > prediction and its interval:\n")
            out.print(_line(["scan", "K", "atoms", *SHELLS, "diameter (nm)", ""]), soft_wrap=True)
        prediction = result.primary
        truth = self._truth.of(prediction.provenance)
        self.rows.append((truth, prediction))
        out.print(_row(truth, prediction, result.spectrum.temperature), soft_wrap=True)

    def summary(self) -> str:
        """Return how many truths lie in their intervals."""
        hits, errors, total = 0, [], 0
        for truth, prediction in self.rows:
            for name in SHELLS:
                total += 1
                value = prediction.values.get(name)
                if value is not None:
                    hits += value.lower <= truth[name] <= value.upper
                    if name == "CN1":
                        errors.append(abs(value.value - truth[name]))
        mean = sum(errors) / len(errors) if errors else float("nan")
        share = hits / total if total else float("nan")
        return f"{hits} of {total} truths ({share:.0%}) lie in their intervals; mean |ΔCN1| is {mean:.2f}."


def _continuous(where: Provenance) -> bool:
    return where.metadata.get("plan_name") == "quick_scan"


def _line(cells: Sequence[str]) -> str:
    """Cells of one row, under each other from row to row; printed as it comes, also into a pipe."""
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _row(truth: Mapping[str, float], prediction: Prediction, temperature: float | None) -> str:
    where = prediction.provenance
    sweep = f".{where.sweep + 1}" if _continuous(where) else ""
    cells, colours = [f"{where.scan}{sweep}", "-" if temperature is None else f"{temperature:.0f}"], {}
    cells.append(f"{truth['n_atoms']:.0f}")
    for name in SHELLS:
        value = prediction.values.get(name)
        hit = value is not None and value.lower <= truth[name] <= value.upper
        cells.append(f"{truth[name]:.2f} > {with_interval(prediction.values.get(name)) or '-'}")
        colours[cells[-1]] = "green" if hit else "red"
    size = prediction.size.label if prediction.size else "-"
    cells += [f"{truth['diameter_nm']:.1f} > {size}", ""]
    line = _line(cells)
    for cell, colour in colours.items():
        line = line.replace(cell, f"[{colour}]{cell}[/]")
    return line + verdict(prediction)
