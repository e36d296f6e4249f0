"""ophyd-async's simulated detectors, which write HDF5 by themselves, through a RunEngine to predictions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd_async.core import AsyncStatus, StaticFilenameProvider, StaticPathProvider, init_devices
from ophyd_async.sim import PatternGenerator, SimBlobDetector, SimMotor

from xas_live.analysis import AnalyzerPool
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.spectrum import Spectrum

EXPOSURE_S = 0.1


class Beam(PatternGenerator):
    """Frames as bright as the beam behind this absorption, at the energy set as x; without delay."""

    def __init__(self, energy: np.ndarray, mu: np.ndarray) -> None:
        super().__init__(sleep=lambda seconds: asyncio.sleep(0))
        self.energy, self.mu = energy, mu

    def generate_point(self, channel: int = 1, high_energy: bool = False) -> float:
        return float(0.9 * np.exp(-np.interp(self._x, self.energy, self.mu))) / EXPOSURE_S


class Energy(SimMotor):
    """An energy axis that tells the beams where it is, as ophyd-async's stage does."""

    def __init__(self, beams: list[Beam], name: str = "") -> None:
        self.beams = beams
        super().__init__(name=name, units="eV")

    def stage(self) -> AsyncStatus:
        self.user_readback.subscribe_reading(self._moved)
        return super().stage()

    def unstage(self) -> AsyncStatus:
        self.user_readback.clear_sub(self._moved)
        return super().unstage()

    def _moved(self, readings: dict[str, Any]) -> None:
        for beam in self.beams:
            beam.set_x(next(iter(readings.values()))["value"])


class Kept(BasePublisher):
    """Keeps the spectra that were analysed."""

    def __init__(self) -> None:
        self.spectra: list[Spectrum] = []

    def predicted(self, result: SweepResult) -> None:
        self.spectra.append(result.spectrum)


def sums(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["/entry/sum"], dtype=float)


def test_two_blob_detectors_give_spectrum_and_prediction(tmp_path, scan_of, au_anchor):
    foil = scan_of(None, reference=None)
    air = 0.1 * (foil.energy - foil.energy[0]) / np.ptp(foil.energy)  # the beam before the sample is not flat
    beams = {"i0": Beam(foil.energy, air), "it": Beam(foil.energy, air + foil.mu)}
    RE = RunEngine({})
    with init_devices():
        energy = Energy(list(beams.values()))
        i0, it = (
            SimBlobDetector(StaticPathProvider(StaticFilenameProvider(name), tmp_path), beam, name=name)
            for name, beam in beams.items()
        )
    kept = Kept()
    with LiveAnalysis(AnalyzerPool(anchor=au_anchor), [kept]) as live:
        RE.subscribe(live)
        sample = {"element": "Au", "edge": "L3", "sample": {"temperature": 295.0}}
        RE(bp.list_scan([i0, it], energy, list(foil.energy), md=sample))
        assert live.wait(120)
        assert live.errors == []
        [prediction] = live.predictions
    [spectrum] = kept.spectra
    np.testing.assert_array_equal(spectrum.energy, foil.energy)
    counts = {name: sums(tmp_path / f"{name}.h5") for name in beams}
    assert len(counts["it"]) == len(foil.energy)
    for name, values in counts.items():
        np.testing.assert_array_equal(spectrum.counts[name], values)
    np.testing.assert_array_equal(spectrum.mu, np.log(counts["i0"] / counts["it"]))
    assert spectrum.complete
    assert spectrum.flags == ()
    assert prediction.refused is None
    cn1 = prediction.values["CN1"]
    assert cn1.lower <= 12.0 <= cn1.upper
