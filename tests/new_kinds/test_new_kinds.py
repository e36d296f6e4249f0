"""Models that give classes, curves, and numbers with classes: from a recipe to the archive.

Nothing outside this folder knows these models. Each is trained by `xas-live train`, then judges files, a live
scan with repeats, and the same sweeps in a second process; its results stand in JSON, tables, the derived run
and the live figure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipes
from bluesky import RunEngine
from bluesky.plans import list_scan
from ophyd import Signal, SoftPositioner
from physics import CLASSES, EDGES, R_AXIS, counts, pairs, scan_axis, write_columns
from typer.testing import CliRunner

import xas_live
from xas_live.analysis import AnalyzerProcess
from xas_live.archive import Archive, open_archive
from xas_live.callbacks.publishers import LiveStructurePlot
from xas_live.cli import app
from xas_live.prediction import Prediction

KIND, DISTANCE = 3, 2.4  # of the sample: sixfold, at 2.4 Å


@dataclass(frozen=True)
class Case:
    """A model, and what it must say of the sample.

    Attributes
    ----------
    recipe : writes its recipe and spectra into a folder.
    absorber : of the sample.
    columns : of the table, beside those that all models have.
    """

    name: str
    recipe: Callable[[Path], Path]
    absorber: tuple[str, str]
    columns: tuple[str, ...]

    def check(self, prediction: Prediction) -> None:
        """Hold a prediction of the sample to the truth."""
        assert prediction.refused is None, prediction.refused
        assert prediction.flags == ()
        assert not prediction.anchored
        if self.name in ("environment", "both"):
            found = prediction.classes["environment"]
            assert found.likeliest == CLASSES[KIND]
            assert found.likeliest in found.members
            assert sum(found.probabilities.values()) == pytest.approx(1.0)
        if self.name == "both":
            distance = prediction.values["distance"]
            assert distance.lower < DISTANCE < distance.upper
            assert distance.unit == "Å"
        if self.name == "pairs":
            g = prediction.curves["g"]
            np.testing.assert_allclose(g.x, R_AXIS)
            assert np.abs(g.y - pairs(DISTANCE)).max() < 0.3
            assert g.x[g.y.argmax()] == pytest.approx(DISTANCE, abs=0.1)
            assert (g.lower < g.upper).all()
        assert (prediction.domain.inside is None) == (self.name != "environment")


CASES = {
    "environment": Case("environment", recipes.classifier, ("Fe", "K"), ("environment", "environment_p")),
    "environment of Cu": Case(
        "environment", recipes.classifier, ("Cu", "K"), ("environment", "environment_p")
    ),
    "pairs": Case("pairs", recipes.curve, ("Pt", "L3"), ()),
    "both": Case("both", recipes.both, ("Cu", "K"), ("distance", "distance_lower", "environment")),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the models, trained by the command line."""
    made: dict[str, Path] = {}
    for case in CASES.values():
        if case.name not in made:
            folder = tmp_path_factory.mktemp(case.name)
            arguments = ["train", str(case.recipe(folder)), "--output", str(folder / case.name)]
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            made[case.name] = folder / case.name
    return made


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with open_archive(tmp_path_factory.mktemp("archive")) as opened:
        yield opened


class Beamline:
    """A monochromator and two ion chambers, the sample in the beam."""

    def __init__(self, absorber: tuple[str, str]) -> None:
        edge = EDGES[absorber]
        self.axis = scan_axis(edge)
        self.energy = SoftPositioner(name="energy", egu="eV", init_pos=float(self.axis[0]))
        self.i0, self.it = Signal(name="i0", value=1.0), Signal(name="it", value=1.0)
        self._readings = [counts(self.axis, edge, KIND, DISTANCE, seed) for seed in range(3)]
        self._points = 0
        self.energy.subscribe(self._count, event_type=SoftPositioner.SUB_READBACK, run=False)

    def _count(self, value: float, **_: Any) -> None:
        k = int(np.searchsorted(self.axis, value))
        i0, it = self._readings[min(self._points // len(self.axis), 2)]
        self._points += 1
        self.i0.put(float(i0[k]))
        self.it.put(float(it[k]))


@dataclass(frozen=True)
class Session:
    """What a live scan of three sweeps left."""

    predictions: list[Prediction]
    average: Prediction | None
    table: Any
    uid: str
    picture: Path
    panels: set[str]


@pytest.fixture(scope="module")
def session(
    folders: dict[str, Path], archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Session]:
    made: dict[str, Session] = {}

    def run(which: str) -> Session:
        if which not in made:
            case = CASES[which]
            beamline, figure = Beamline(case.absorber), LiveStructurePlot()
            RE = RunEngine({})
            points = np.concatenate([beamline.axis, beamline.axis[::-1], beamline.axis]).tolist()
            metadata = {"element": case.absorber[0], "edge": case.absorber[1], "sample_name": "sixfold"}
            with xas_live.attach(RE, model=folders[case.name], archive=archive, plot=figure) as xas:
                detectors = [beamline.i0, beamline.it]
                (uid,) = RE(list_scan(detectors, beamline.energy, points, md=metadata))
                assert xas.wait(60)
                assert not xas.errors
                picture = figure.save(tmp_path_factory.mktemp("figure") / f"{case.name}.png", dpi=60)
                axes = {ax.get_ylabel() for ax in figure.figure.axes if ax.get_visible()}
                made[which] = Session(xas.predictions, xas.average, xas.table, uid, picture, axes)
        return made[which]

    return run


@pytest.mark.parametrize("which", CASES)
def test_files_are_judged_and_the_record_says_what_is_in_them(which, folders, tmp_path):
    case = CASES[which]
    file = write_columns(tmp_path / "sample.xdi", case.absorber, KIND, DISTANCE)
    out, picture = tmp_path / "results.json", tmp_path / "results.png"
    arguments = ["replay", str(file), "--model", str(folders[case.name]), "--json", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--plot", str(picture)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [record] = json.loads(out.read_text(encoding="utf-8"))
    assert record["refused"] is None
    assert record["flags"] == []
    if case.name == "pairs":
        assert record["curves"]["g"]["x"] == R_AXIS.tolist()
        assert record["curves"]["g"]["x_unit"] == "Å"
    else:
        assert record["classes"]["environment"]["likeliest"] == CLASSES[KIND]
        assert CLASSES[KIND] in result.output
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("which", CASES)
def test_a_live_scan_is_judged_sweep_by_sweep_and_on_average(which, session):
    case, live = CASES[which], session(which)
    assert len(live.predictions) == 3
    for prediction in live.predictions:
        case.check(prediction)
    assert live.average is not None
    assert live.average.provenance.averaged == 3
    case.check(live.average)
    assert set(case.columns) <= set(live.table.columns)
    assert live.table["averaged"].tolist() == [1, 1, 1, 3]


@pytest.mark.parametrize("which", CASES)
def test_the_second_process_says_the_same(which, session, folders):
    from xas_live.sources.stored import stored_runs

    assert stored_runs is not None
    case, live = CASES[which], session(which)
    with AnalyzerProcess(folders[case.name], anchor=None, device="cpu") as process:
        edge = EDGES[case.absorber]
        energy = scan_axis(edge)
        i0, it = counts(energy, edge, KIND, DISTANCE, seed=0)
        element, of_edge = case.absorber
        spectrum = xas_live.Spectrum.from_counts(energy, {"i0": i0, "it": it}, element=element, edge=of_edge)
        [[there]] = process.analyze_all([spectrum])
    here = xas_live.Analyzer(xas_live.load_model(folders[case.name]), device="cpu").analyze([spectrum])[0]
    case.check(there)
    assert {**there.to_json(), "seconds": None} == {**here.to_json(), "seconds": None}
    assert live.predictions[0].model_sha256 == there.model_sha256


@pytest.mark.parametrize("which", CASES)
def test_the_derived_run_holds_what_was_predicted(which, session, archive):
    case, live = CASES[which], session(which)
    run = _derived(archive, live.uid)
    rows = run["predictions"].read()
    assert len(rows["sweep"]) == 3
    if case.name == "pairs":
        curves = run["spectra"].read()
        np.testing.assert_allclose(curves["curve_g"][0], live.predictions[0].curves["g"].y, atol=1e-9)
        np.testing.assert_allclose(curves["curve_g_x"][0], R_AXIS)
    else:
        p = live.predictions[0].classes["environment"].probabilities[CLASSES[KIND]]
        assert float(rows[f"environment_{CLASSES[KIND]}"][0]) == pytest.approx(p, abs=1e-9)
        assert str(rows["environment"].values[0]) == CLASSES[KIND]
    if case.name == "both":
        assert float(rows["distance"][0]) == pytest.approx(live.predictions[0].values["distance"].value)
    assert int(run["averages"].read()["averaged"][-1]) == 3


@pytest.mark.parametrize("which", CASES)
def test_the_figure_shows_what_the_model_gives_and_nothing_else(which, session):
    live = session(which)
    assert live.picture.stat().st_size > 10_000
    assert not any("CN" in label for label in live.panels)


def _derived(archive: Archive, raw_uid: str) -> Any:
    """The complete derived run of a raw run, as soon as it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in archive.derived.values():
            if run.metadata["start"].get("raw_uid") == raw_uid and run.metadata.get("stop"):
                return run
        time.sleep(0.2)
    pytest.fail(f"no complete derived run of {raw_uid} in the archive")
