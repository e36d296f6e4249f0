"""What the callback tests share: a made-up edge, its documents, devices that measure it, an analyzer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import event_model
import numpy as np
from ophyd import DeviceStatus
from ophyd.sim import SynAxis, SynSignal

from xas_live.analysis.drift import Drift
from xas_live.callbacks.publishers.base import SweepResult
from xas_live.models.bundle import Bundle
from xas_live.prediction import (
    Alignment,
    Degree,
    DomainVerdict,
    Outcome,
    Prediction,
    Reduced,
    Size,
    Value,
    Verdict,
)
from xas_live.spectrum import Spectrum

E0 = 11564.0
GRID = np.arange(E0 - 150.0, E0 + 400.0, 10.0)


def mu_of(energy: Any) -> np.ndarray:
    """Absorption of a made-up Pt L3 foil."""
    e = np.asarray(energy, dtype=float)
    return 0.5 + np.arctan((e - E0 - 1) / 3) / np.pi + 0.1 * np.exp(-(((e - E0 - 4) / 5) ** 2))


def counts_of(energy: Any) -> dict[str, Any]:
    """Counts behind sample and foil, and the fluorescence, at an energy (eV)."""
    mu = mu_of(energy)
    i0 = 1e6
    return {"i0": i0 + 0 * mu, "it": i0 * np.exp(-mu), "ir": i0 * np.exp(-2 * mu), "iff": i0 * mu * 1e-3}


def documents(
    energies: Sequence[float],
    *,
    fields: dict[str, str] | None = None,
    page: Sequence[int] = (),
    units: str = "eV",
    exit_status: str = "success",
    stream: str = "primary",
    extra_keys: dict[str, Any] | None = None,
    **start: Any,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A valid run over these energies; `page` gives the sizes of event pages (else single events).

    `fields` maps energy, i0, it, ir, iff to field names.
    """
    fields = fields or {"energy": "energy", "i0": "i0", "it": "it", "ir": "ir"}
    run = event_model.compose_run(metadata=start)
    yield "start", run.start_doc
    keys = {name: {"dtype": "number", "shape": [], "source": "test"} for name in fields.values()}
    keys[fields["energy"]]["units"] = units
    keys |= extra_keys or {}
    descriptor = run.compose_descriptor(
        name=stream, data_keys=keys, object_keys={"beamline": list(keys)}, configuration={}
    )
    yield "descriptor", descriptor.descriptor_doc
    table = {"energy": np.asarray(energies, dtype=float)} | counts_of(energies)
    columns = {name: table[role].tolist() for role, name in fields.items()}
    columns |= {name: [300.0] * len(energies) for name in extra_keys or {}}
    times = [1.7e9 + k for k in range(len(energies))]
    at = 0
    for size in page:
        data = {name: values[at : at + size] for name, values in columns.items()}
        n = len(times[at : at + size])
        if n:
            yield (
                "event_page",
                descriptor.compose_event_page(
                    data=data,
                    timestamps=dict.fromkeys(data, times[at : at + n]),
                    time=times[at : at + n],
                    seq_num=list(range(at + 1, at + n + 1)),
                ),
            )
        at += size
    for k in range(at, len(energies)):
        data = {name: values[k] for name, values in columns.items()}
        yield (
            "event",
            descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, times[k]), time=times[k]),
        )
    yield "stop", run.compose_stop(exit_status=exit_status)


class Energy(SynAxis):
    """An energy axis that says its unit, and can be slow (s a move)."""

    def __init__(self, *, name: str, dwell: float = 0.0) -> None:
        self.dwell = dwell
        super().__init__(name=name, value=float(GRID[0]))

    def set(self, value: float) -> DeviceStatus:
        if self.dwell:
            time.sleep(self.dwell)
        return super().set(value)

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        for key in described.values():
            key["units"] = "eV"
        return described


class Counter(SynSignal):
    """One detector that counts what the made-up sample lets through."""

    def __init__(self, *, name: str, energy: Energy) -> None:
        super().__init__(name=name, func=lambda: float(counts_of(energy.position)[name]))


class Edges:
    """Analyzer of known behaviour: CN1 is the number of points; fails on request.

    `fail_batches` makes every call with more than one spectrum raise, `fail_on` a sweep index that raises.
    """

    def __init__(self, fail_on: int | None = None, fail_batches: bool = False, delay: float = 0.0) -> None:
        self.fail_on = fail_on
        self.fail_batches = fail_batches
        self.delay = delay
        self.calls: list[int] = []

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        self.calls.append(len(spectra))
        time.sleep(self.delay)
        if self.fail_batches and len(spectra) > 1:
            raise RuntimeError("out of memory for a batch")
        if any(s.provenance.sweep == self.fail_on for s in spectra):
            raise RuntimeError("no weights")
        return [predict(s) for s in spectra]

    def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
        return [[prediction] for prediction in self.analyze(spectra)]

    def preview(self, spectrum: Spectrum, earlier: Any = None) -> Prediction | None:
        return None

    def models_for(self, spectrum: Spectrum) -> list[Bundle]:
        return []


def predict(spectrum: Spectrum) -> Prediction:
    """A prediction with the looks of a real one."""
    n = float(len(spectrum))
    flat = np.interp(GRID, spectrum.energy, spectrum.mu) if len(spectrum) > 1 else 0 * GRID
    return Prediction(
        model="test",
        model_sha256="0" * 64,
        element=spectrum.element,
        edge=spectrum.edge,
        provenance=spectrum.provenance,
        outcome=Outcome(values={"CN1": Value(n, 0.1, n - 0.2, n + 0.2)}, size=Size(2.0, 1.8, 2.2, "2.0 nm")),
        verdict=Verdict(Degree.TRUSTED),
        domain=DomainVerdict(inside=True, p=0.5),
        alignment=Alignment(e0=E0),
        reduced=Reduced(GRID - E0, flat, flat, flat),
    )


def result_of(spectrum: Spectrum, *predictions: Prediction, said: tuple[str, ...] = ()) -> SweepResult:
    """What publishers are told of a sweep; of no model in particular what `predict` says."""
    drift = tuple(Drift(1.0, said=said) for _ in predictions or (None,))
    return SweepResult(spectrum, predictions or (predict(spectrum),), drift)
