"""`replay` keeps the order, tells the publishers, and is quick."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xas_live.analysis import AnalyzerPool
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.models.registry import SHIPPED_FOLDER
from xas_live.prediction import Prediction
from xas_live.simulator import growth, xanes_grid
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.sources.replay import replay
from xas_live.sources.scan import Unreadable
from xas_live.spectrum import Spectrum


@pytest.fixture(scope="module")
def pool() -> AnalyzerPool:
    return AnalyzerPool(SHIPPED_FOLDER / "pt-l3", anchor=None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, energy = tmp_path_factory.mktemp("series"), xanes_grid(11564.0)
    paths = []
    for number, sample in enumerate(growth(8)):
        paths.append(folder / f"scan_{number}.dat")
        mu = measured(energy, "pt_l3", sample, Mismatch())
        np.savetxt(paths[-1], np.column_stack([energy, mu]), header="energy mu")
    return paths


class Recorder(BasePublisher):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def run_started(self, start: Mapping[str, Any]) -> None:
        self.told.append(f"start {start['scan']}")

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        assert spectrum.provenance is prediction.provenance
        self.told.append(f"predicted {prediction.provenance.scan}")

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        self.told.append("stop")


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_order_is_kept_whatever_the_batch(pool: AnalyzerPool, files: list[Path], batch: int) -> None:
    sources = [files[0], "missing.dat", files[1], Unreadable("here", "this", "no reason"), *files[2:5]]
    recorder, documents = Recorder(), []
    predictions = list(
        replay(
            sources,
            pool,
            raw=lambda name, doc: documents.append(name),
            publishers=[recorder],
            model=("pt-l3", "abc"),
            batch=batch,
        )
    )
    names = ["scan_0.dat", "missing.dat", "scan_1.dat", "this", "scan_2.dat", "scan_3.dat", "scan_4.dat"]
    assert [p.provenance.scan for p in predictions] == names
    assert [p.refused for p in predictions if p.refused] == ["no such file", "no reason"]
    assert {p.model for p in predictions} == {"pt-l3"}
    told = [(f"start scan_{n}.dat", f"predicted scan_{n}.dat", "stop") for n in range(5)]
    assert recorder.told == [word for words in told for word in words]
    assert documents == ["start", "descriptor", "event_page", "stop"] * 5


def test_the_batch_does_not_change_the_prediction(pool: AnalyzerPool, files: list[Path]) -> None:
    alone, together = (list(replay(files, pool, batch=batch)) for batch in (1, 100))
    for one, other in zip(alone, together, strict=True):
        assert one.values["CN1"].value == pytest.approx(other.values["CN1"].value, abs=1e-4)


def test_files_of_a_few_points_are_refused(pool: AnalyzerPool, tmp_path: Path) -> None:
    (tmp_path / "short.dat").write_text("# energy mu\n11500 1\n11501 2\n11502 3\n")
    (prediction,) = replay([tmp_path / "short.dat"], pool)
    assert prediction.refused is not None
    assert "at least 5 points" in prediction.refused


def energies_of_a_bad_file(kind: str, energy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Energies as a misread encoder, a stitched or a repeated scan leave them."""
    odd, after = energy.copy(), int(np.searchsorted(energy, 11700.0))
    if kind == "misread":
        odd[after] += 30.0
    elif kind == "stitched":
        odd[after:] -= 7.0
    elif kind == "there_and_back":
        odd = np.concatenate([energy[::2], energy[1::2][::-1]])
    elif kind == "shuffled":
        np.random.default_rng(0).shuffle(odd)
    elif kind == "falling":
        odd = odd[::-1]
    elif kind == "no_numbers":
        odd[:] = np.nan
    elif kind == "one_energy":
        odd[:] = 11600.0
    return odd


@pytest.mark.parametrize(
    ("kind", "flags", "refusal"),
    [
        ("misread", {"unsorted"}, None),
        ("stitched", {"unsorted"}, None),
        ("there_and_back", {"unsorted"}, None),
        ("shuffled", {"unsorted"}, None),
        ("falling", set(), None),
        ("no_numbers", set(), "with an energy"),
        ("one_energy", set(), "over more than 2 eV"),
    ],
)
def test_a_file_is_one_spectrum_whatever_its_energies_do(
    pool: AnalyzerPool, tmp_path: Path, kind: str, flags: set[str], refusal: str | None
) -> None:
    grid = xanes_grid(11564.0)
    energy = energies_of_a_bad_file(kind, grid)
    measured_at = np.sort(energy)[::-1] if kind == "falling" else energy
    mu = measured(np.where(np.isfinite(measured_at), measured_at, grid), "pt_l3", growth(4)[1], Mismatch())
    np.savetxt(tmp_path / "odd.dat", np.column_stack([energy, mu]), header="energy mu")
    (prediction,) = replay([tmp_path / "odd.dat"], pool)
    if refusal is None:
        assert prediction.refused is None
        assert "incomplete" not in prediction.flags
    else:
        assert refusal in (prediction.refused or "")
    assert set(prediction.flags) & {"unsorted"} == flags


def test_a_file_takes_less_than_a_fifth_of_a_second(pool: AnalyzerPool, files: list[Path]) -> None:
    list(replay(files, pool))
    began = time.process_time()
    list(replay(files * 10, pool))
    assert (time.process_time() - began) / (10 * len(files)) < 0.1
