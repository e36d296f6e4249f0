"""attach: the one line, with the real models, a real RunEngine and a real archive."""

from __future__ import annotations

import os
import shutil
import signal
import time

import databroker
import matplotlib as mpl
import pytest
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky_tiled_plugins import TiledWriter
from typer.testing import CliRunner

import xas_live
import xas_live.archive
from xas_live.analysis import SettingsError
from xas_live.archive import writers_of
from xas_live.archive.address import ServerState
from xas_live.callbacks import LiveStructurePlot
from xas_live.cli import app
from xas_live.errors import XasLiveError
from xas_live.models.bundle import ModelError
from xas_live.simulator import SimulatedBeamline, growing_particles, simulated_scan


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """No screen, and nobody's saved anchors."""
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    with mpl.rc_context():
        mpl.use("Agg")
        yield


def test_one_line_is_enough(tmp_path, capsys):
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    plot = LiveStructurePlot()
    xas = xas_live.attach(RE, plot=plot)
    line, figure = capsys.readouterr().out.strip().splitlines()
    assert "by element and edge" in line
    assert "The figure is kept in" in figure
    uids = RE(growing_particles(beamline, 3))
    assert xas.wait(60)
    assert not xas.errors
    assert [p.provenance.run_uid for p in xas.predictions] == list(uids)
    assert [p.model for p in xas.predictions] == ["au-l3"] * 3
    assert all(p.anchored and p.aligned == "reference" and p.refused is None for p in xas.predictions)
    first, _, last = (p.values["CN1"].value for p in xas.predictions)
    assert last > first + 1.0
    assert xas.status().lag < 10
    assert plot.save(tmp_path / "figure.png").stat().st_size > 20_000
    assert xas.close()
    RE(simulated_scan(beamline, None))
    assert xas.status().sweeps == 3
    assert xas.status().waiting == 0


def test_several_models_watch_one_session(capsys, tuned):
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    with xas_live.attach(RE, model=["au-l3", tuned, "au-l3-msd"], plot=False) as xas:
        [line] = capsys.readouterr().out.strip().splitlines()
        assert "with au-l3 and au-tuned and au-l3-msd" in line
        RE(simulated_scan(beamline, None))
        assert xas.wait(60)
        assert not xas.errors
        assert xas.table["model"].tolist() == ["au-l3", "au-tuned", "au-l3-msd"]
        assert xas.table["refused"].tolist() == [""] * 3
        assert (xas.status().sweeps, xas.latest.model) == (1, "au-l3")
        assert "1 sweep" in repr(xas)


def test_an_absorber_without_a_model_is_refused_with_the_reason():
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    with xas_live.attach(RE, plot=False) as xas:
        RE(simulated_scan(beamline, None, md={"element": "Fe", "edge": "K"}))
        assert xas.wait(60)
        assert "no model for Fe K" in xas.latest.refused
        assert "no model for Fe K" in repr(xas)


@pytest.mark.slow
def test_derived_runs_reach_the_archive(tmp_path, capsys):
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    archive = xas_live.archive.open_archive(tmp_path / "archive")
    try:
        xas = xas_live.attach(RE, archive=archive, write_raw=True)
        assert archive.uri in capsys.readouterr().out
        [uid] = RE(simulated_scan(beamline, None))
        assert xas.wait(60)
        assert xas.close()
        assert not xas.errors
        assert list(xas.status().writers) == ["raw", "derived"]
        writers = archive._writers
        assert all(writer.flush(60) for writer in writers)
        assert uid in archive.client
        [derived] = archive.derived.values()
        assert derived.metadata["start"]["raw_uid"] == uid
    finally:
        archive.close()


@pytest.mark.slow
def test_raw_runs_are_stored_where_nobody_else_stores_them(archive, capsys):
    """As README has it: attach with a folder, scan, replay from the folder."""
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    with xas_live.attach(RE, archive=archive.folder, plot=False) as xas:
        assert list(xas.status().writers) == ["raw", "derived"]
        assert "raw runs go to" in capsys.readouterr().out
        [uid] = RE(simulated_scan(beamline, None))
    done = CliRunner().invoke(app, ["replay", "--from", str(archive.folder), uid])
    assert done.exit_code == 0, done.output
    assert "1 spectra analysed, 0 refused" in done.output
    with xas_live.attach(RE, archive=archive, plot=False, write_raw=False) as xas:
        assert list(xas.status().writers) == ["derived"]
        assert "write_raw=True stores them, too" in capsys.readouterr().out
    RE.subscribe(archive.raw_writer())
    with xas_live.attach(RE, archive=archive, plot=False) as xas:  # somebody stores them already
        assert list(xas.status().writers) == ["derived"]
        assert "raw runs do not go there (RE has RunWriter)" in capsys.readouterr().out


def test_writers_of_runs_are_known_by_what_they_are(archive):
    RE = RunEngine({})
    assert writers_of(RE) == []
    RE.subscribe(print)
    RE.subscribe(BestEffortCallback())
    assert writers_of(RE) == []
    broker = databroker.temp()
    RE.subscribe(broker.v1.insert)
    RE.subscribe(TiledWriter(archive.client))
    RE.subscribe(archive.client.post_document)
    assert set(writers_of(RE)) == {"TiledWriter", "CatalogOfBlueskyRuns", type(broker.v1).__name__}
    assert writers_of(object()) == []


def test_settings_that_cannot_be_had_are_refused_at_once(tmp_path):
    RE = RunEngine({})
    with pytest.raises(SettingsError, match="needs an archive"):
        xas_live.attach(RE, write_raw=True)
    with pytest.raises(ModelError):
        xas_live.attach(RE, model="no-such-model", plot=False)
    with pytest.raises(ModelError, match="given 2 times"):
        xas_live.attach(RE, model=["au-l3", "au-l3"], plot=False)
    with pytest.raises(ModelError, match="no model is given"):
        xas_live.attach(RE, model=[], plot=False)
    for settings, message in (
        ({"align": "sideways"}, "no alignment"),
        ({"align": 51.0}, "-50 to 50"),
        ({"anchor": "foil.xdi"}, "xas-live anchor FILE"),
        ({"mapping": {"energy": "energy"}}, "give a ChannelMapping"),
        ({"publishers": [print]}, "no publisher"),
        ({"publishers": print}, "give a list of publishers"),
        ({"device": 3}, "device=3: give 'auto'"),
        ({"model": 7}, "model=7: give the name"),
        ({"archive": 5}, "archive=5: give an Archive"),
        ({"write_raw": "yes"}, "write_raw='yes': give True, False or None"),
        ({"process": 1}, "process=1: give True or False"),
        ({"standards": ["oxide"]}, "give spectra by name"),
        ({"device": "abacus"}, "cannot be used here"),
        ({"device": "cuda:99"}, "cannot be used here"),
        ({"archive": ""}, "is empty"),
    ):
        with pytest.raises(XasLiveError, match=message):
            xas_live.attach(RE, plot=False, **settings)
    with pytest.raises(SettingsError, match="plot='yes': give True, False"):
        xas_live.attach(RE, plot="yes")
    with pytest.raises(SettingsError, match="no RunEngine"):
        xas_live.attach(5)


def test_attaching_again_takes_the_place_of_the_first(tmp_path, capsys):
    RE, other = RunEngine({}), RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    elsewhere = xas_live.attach(other, plot=False)
    first = xas_live.attach(RE, plot=False, archive=tmp_path / "archive")
    assert "in place of" not in capsys.readouterr().out
    with pytest.raises(SettingsError):
        xas_live.attach(RE, plot="yes")
    assert first.status().running, "what is refused replaces nothing"
    with xas_live.attach(RE, plot=False, archive=tmp_path / "archive") as second:
        assert "in place of what was attached before, which is closed" in capsys.readouterr().out
        assert not first.status().running
        RE(simulated_scan(beamline, None))
        assert second.wait(60)
        assert (first.status().sweeps, second.status().sweeps) == (0, 1)
        assert elsewhere.status().running
    elsewhere.close()
    with xas_live.attach(RE, plot=False):
        assert "in place of" not in capsys.readouterr().out


@pytest.mark.slow
def test_an_archive_whose_server_does_not_start_again_is_said_until_it_does(tmp_path):
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=1)
    with (
        xas_live.archive.open_archive(tmp_path / "archive") as archive,
        xas_live.attach(RE, archive=archive, write_raw=True, plot=False) as xas,
    ):

        def online():
            return all(writer.online for writer in xas.status().writers.values())

        obstacle = archive.folder / "server.sock.new"
        (obstacle / "in the way").mkdir(parents=True)
        os.kill(ServerState.load(archive.folder).pid, signal.SIGKILL)
        RE(simulated_scan(beamline, None))
        assert xas.wait(60)
        deadline = time.monotonic() + 30
        while online() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "runs not in the archive" in repr(xas)
        assert any("does not start: " in str(error) for error in xas.errors)
        assert xas.latest.refused is None
        shutil.rmtree(obstacle)
        deadline = time.monotonic() + 90
        while not (online() and len(archive.client) == 1) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert list(archive.client.values().first()["primary"].read())
