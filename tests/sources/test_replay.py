"""`replay` keeps the order, tells the publishers, and is quick."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import list_scan
from event_model.documents import RunStart, RunStop

from xas_live.analysis import AnalyzerPool
from xas_live.callbacks.live import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.energy import xanes_grid
from xas_live.models.bundle import Bundle
from xas_live.models.registry import SHIPPED_FOLDER
from xas_live.prediction import Prediction
from xas_live.simulator import SimulatedBeamline, growth
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.sources.documents import Document
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

    def run_started(self, start: RunStart) -> None:
        self.told.append(f"start {start.get('scan') or start.get('scan_id')}")

    def models_used(self, models: Sequence[Bundle]) -> None:
        self.told += [f"model {model.name}" for model in models]

    def predicted(self, result: SweepResult) -> None:
        assert result.spectrum.provenance is result.primary.provenance
        self.told.append(f"predicted {result.primary.provenance.scan}")

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        self.told.append(f"mean of {prediction.provenance.averaged}")

    def run_stopped(self, stop: RunStop) -> None:
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
    told[0] = (told[0][0], "model pt-l3", *told[0][1:])
    assert recorder.told == [word for words in told for word in words]
    assert documents == ["start", "descriptor", "event_page", "stop"] * 5


class Run:
    """A run recorded earlier, that may break off or hold what cannot be read."""

    source, whole = "memory", False

    def __init__(self, scan: str, documents: Sequence[Document], breaks: bool = False) -> None:
        self.scan = scan
        self._documents = documents
        self._breaks = breaks

    def documents(self) -> Iterator[Document]:
        yield from self._documents
        if self._breaks:
            raise KeyError("column")


def repeated(scan: int, sweeps: int) -> list[Document]:
    """The documents of a run of repeats up and down, by a RunEngine."""
    beamline = SimulatedBeamline("pt_l3", counts=1e6, drift=0.0, seed=scan)
    beamline.load(growth(4)[1])
    grid = xanes_grid(beamline.library.edge_energy)[::2]
    energies = np.concatenate([grid[:: -1 if k % 2 else 1] for k in range(sweeps)]).tolist()
    found: list[Document] = []
    plan = list_scan([beamline.ion_chambers], beamline.energy, energies, md=beamline.metadata())
    RunEngine({"scan_id": scan - 1})(plan, lambda name, doc: found.append((name, doc)))
    return found


def test_live_and_replay_make_the_same_calls_in_the_same_order(pool: AnalyzerPool) -> None:
    runs = [repeated(scan, sweeps) for scan, sweeps in ((1, 3), (2, 1))]
    replayed, watched = Recorder(), Recorder()
    predictions = list(
        replay([Run(str(k), run) for k, run in enumerate(runs, 1)], pool, publishers=[replayed])
    )
    with LiveAnalysis(pool, [watched]) as live:
        for run in runs:  # a whole run is one batch
            for name, doc in run:
                live(name, doc)
            assert live.wait(60)
        assert not live.errors
        for ours, theirs in zip(predictions, live.predictions, strict=True):
            assert ours.values["CN1"].value == pytest.approx(theirs.values["CN1"].value, abs=1e-4)
    last_of_batches = [word for word in watched.told if word != "mean of 2"]  # live they may come one by one
    assert replayed.told == last_of_batches
    assert replayed.told == [
        *("start 1", "model pt-l3", "predicted 1", "predicted 1", "predicted 1", "mean of 3", "stop"),
        *("start 2", "predicted 2", "stop"),
    ]


def test_a_defect_in_one_source_or_publisher_does_not_end_the_replay(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Defective(AnalyzerPool):
        """Fails at one spectrum, as nobody expected."""

        def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
            if any(spectrum.provenance.scan == "scan_1.dat" for spectrum in spectra):
                raise ZeroDivisionError("no step")
            return super().analyze_all(spectra)

    class Failing(BasePublisher):
        def predicted(self, result: SweepResult) -> None:
            raise OSError("disk full")

    run = repeated(1, 1)
    bad_stop = [*run[:-3], ("stop", {})]  # the plan's last two points are missing
    recorder, said = Recorder(), list[str]()
    sources = [files[0], files[1], Run("broken", run[:5], breaks=True), Run("odd", bad_stop), files[2]]
    predictions = list(
        replay(
            sources,
            Defective(SHIPPED_FOLDER / "pt-l3", anchor=None),
            raw=lambda name, doc: 1 / 0,
            publishers=[Failing(), recorder],
            say=said.append,
        )
    )
    assert [p.provenance.scan for p in predictions] == [
        *("scan_0.dat", "scan_1.dat", "broken", "odd", "scan_2.dat")
    ]
    assert [p.refused is None for p in predictions] == [True, False, False, True, True]
    assert predictions[3].partial  # its stop document tells nothing
    assert predictions[1].refused == "the analysis failed (ZeroDivisionError: no step)"
    assert predictions[2].refused == "it cannot be read (KeyError: 'column')"
    assert [word for word in recorder.told if word.startswith("predicted")] == [
        f"predicted {scan}" for scan in ("scan_0.dat", "scan_1.dat", "odd", "scan_2.dat")
    ]
    problems = {line.split(":")[0] for line in said if "Error" in line}
    assert {"Defective", "Failing.predicted", "Run.documents", "raw runs"} <= problems
    assert len(said) == len(set(said))


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
