"""One beamline session from end to end: what is promised of live, stored and replayed runs together."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import list_scan
from databroker import Broker
from tiled.queries import Eq

import xas_live
from xas_live.analysis import AnalyzerPool
from xas_live.archive import Archive
from xas_live.callbacks.publishers.results import LastAverages
from xas_live.energy import xanes_grid
from xas_live.prediction import Prediction
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.sources.replay import replay
from xas_live.sources.stored import stored_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(archive: Archive) -> tuple[list[str], list[Prediction]]:
    """Four simulated scans, analysed live, raw and derived runs stored."""
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=3)
    with xas_live.attach(RE, archive=archive, plot=False, write_raw=True) as xas:
        energies = xanes_grid(beamline.library.edge_energy)[::2]
        uids = [
            uid
            for sample in growth(4, "au_l3")
            for uid in RE(simulated_scan(beamline, sample, energies=energies))
        ]
        assert xas.wait(60)
        predictions = xas.predictions
        assert not xas.errors
    assert [p.refused for p in predictions] == [None] * 4
    return uids, predictions


def in_archive(catalog: Any, key: str, uid: str) -> Any:
    """The complete run whose start document has this uid under `key`, as soon as it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in catalog.search(Eq(key, uid)).values():
            if run.metadata.get("stop"):
                return run
        time.sleep(0.2)
    pytest.fail(f"no complete run with {key} {uid} in the archive")


def test_replay_of_the_stored_runs_gives_the_live_predictions(archive, session):
    uids, live = session
    for uid in uids:
        in_archive(archive.client, "uid", uid)
    again = list(replay(stored_runs(archive.client, uids), AnalyzerPool()))
    for then, now in zip(live, again, strict=True):
        assert then.provenance.run_uid == now.provenance.run_uid
        assert then.flags == now.flags
        assert then.configuration == now.configuration
        for name, value in then.values.items():
            assert now.values[name].value == pytest.approx(value.value, abs=1e-4)
            assert now.values[name].lower == pytest.approx(value.lower, abs=1e-3)


def test_a_derived_run_is_read_by_tiled_and_databroker_and_leads_to_its_raw_run(archive, session):
    uids, live = session
    derived = in_archive(archive.derived, "raw_uid", uids[-1])
    table = derived["predictions"].read()
    assert float(table["CN1"][0]) == pytest.approx(live[-1].values["CN1"].value, abs=1e-6)
    assert str(table["flags"].values[0]) == ", ".join(live[-1].flags) or not live[-1].flags
    raw = archive.client[derived.metadata["start"]["raw_uid"]]
    assert raw.metadata["start"]["truth"]["n_atoms"] == 309
    by_broker = Broker(archive.derived)[derived.metadata["start"]["uid"]].table("predictions")
    assert float(by_broker["CN1"].iloc[0]) == pytest.approx(live[-1].values["CN1"].value, abs=1e-6)


def test_repeats_are_averaged_live_in_the_archive_and_in_replay(archive):
    RE = RunEngine({})
    sample = growth(4, "au_l3")[1]
    beamline = SimulatedBeamline("au_l3", counts=1e5, seed=1)
    beamline.load(sample)
    grid = xanes_grid(beamline.library.edge_energy)
    five_sweeps = np.concatenate([grid, grid[::-1]] * 2 + [grid]).tolist()
    with xas_live.attach(RE, archive=archive, plot=False, write_raw=True) as xas:
        (uid,) = RE(list_scan([beamline.ion_chambers], beamline.energy, five_sweeps, md=beamline.metadata()))
        assert xas.wait(60)
        live, sweeps = xas.average, xas.predictions
        RE(simulated_scan(SimulatedBeamline("au_l3", counts=1e8), sample))
        assert xas.wait(60)
        quiet = xas.latest.values["CN1"].value
        assert xas.average is live
        assert not xas.errors
    assert live.provenance.averaged == 5
    assert live.provenance.run_uid == uid
    off = np.array([p.values["CN1"].value - quiet for p in sweeps])
    assert abs(live.values["CN1"].value - quiet) < 0.5 * np.sqrt(np.mean(off**2))

    rows = in_archive(archive.derived, "raw_uid", uid)["averages"].read()
    assert int(rows["averaged"][-1]) == 5
    assert float(rows["CN1"][-1]) == pytest.approx(live.values["CN1"].value, abs=1e-6)
    # ln(i0 / it) of counted photons: behind an edge step and a slope of 0.3 a quarter of them is left
    assert float(rows["noise"][-1]) == pytest.approx(np.sqrt((1 + 1 / 0.27) / 1e5 / 5), rel=0.15)
    np.testing.assert_allclose(rows["flat"][-1], live.reduced.flat, atol=1e-9)

    in_archive(archive.client, "uid", uid)
    last = LastAverages()
    list(replay(stored_runs(archive.client, [uid]), AnalyzerPool(), publishers=[last]))
    [again] = last.predictions
    assert again.provenance.averaged == 5
    assert again.configuration == live.configuration
    for name, value in live.values.items():
        assert again.values[name].value == pytest.approx(value.value, abs=1e-4)


def test_predictions_appear_while_the_plan_runs():
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", dwell=0.002, seed=1)
    beamline.load(growth(2, "au_l3")[0])
    seen: list[int] = []
    grid = xanes_grid(beamline.library.edge_energy)
    up_and_down = np.concatenate([grid, grid[::-1], grid]).tolist()
    with xas_live.attach(RE, plot=False) as xas:
        RE.subscribe(lambda name, doc: seen.append(len(xas.predictions)), "event")
        RE(list_scan([beamline.ion_chambers], beamline.energy, up_and_down, md=beamline.metadata()))
        assert xas.wait(60)
        assert len(xas.predictions) == 3
    assert max(seen) >= 1  # there were predictions before the last event of the run
    values = [p.values["CN1"].value for p in xas.predictions]
    assert np.ptp(values) < 1.0


def test_many_runs_in_one_session_leave_the_plan_as_it_was():
    def scan(RE: RunEngine) -> tuple[int, str]:
        documents: list[str] = []
        token = RE.subscribe(lambda name, doc: documents.append(name))
        beamline = SimulatedBeamline("pt_l3", seed=1)
        energies = xanes_grid(beamline.library.edge_energy)[::2]
        (uid,) = RE(simulated_scan(beamline, growth(2, "pt_l3")[0], energies=energies))
        RE.unsubscribe(token)
        return len(documents), uid

    alone, _ = scan(RunEngine({}))
    RE = RunEngine({})
    with xas_live.attach(RE, plot=False) as xas:
        assert [scan(RE)[0] for _ in range(3)] == [alone] * 3
        assert xas.wait(60)
        assert [p.refused for p in xas.predictions] == [None] * 3
