"""The live figure and the RunEngine: turns while a plan runs, errors, the picture on disk."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import matplotlib as mpl
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import DefaultDuringTask, DuringTask
from matplotlib.backend_bases import CloseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import xas_live
from xas_live.analysis import SettingsError
from xas_live.callbacks.publishers.drawing import LiveFigure, draw_while_plans_run, why_no_window
from xas_live.callbacks.publishers.picture import PictureFile
from xas_live.callbacks.publishers.plot import LiveStructurePlot
from xas_live.simulator import SimulatedBeamline, simulated_scan


class Window(FigureCanvasAgg):
    """A canvas with an event loop that `flush_events` runs; notes who draws it."""

    required_interactive_framework = "none that exists"
    broken = False

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self.drawn: list[str] = []
        self.turns = 0

    def draw(self) -> None:
        self.drawn.append(threading.current_thread().name)
        if self.broken:
            raise ValueError("no ink")
        super().draw()

    def flush_events(self) -> None:
        self.turns += 1


@pytest.fixture(autouse=True)
def _agg(tmp_path, monkeypatch):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    with mpl.rc_context():
        mpl.use("Agg")
        yield


@pytest.fixture
def window() -> Window:
    return Window(LiveFigure(figsize=(13.5, 8.2)))


@pytest.fixture
def plot(window: Window) -> LiveStructurePlot:
    return LiveStructurePlot(fig=window.figure)


def scan(RE, **settings):
    beamline = SimulatedBeamline("au_l3", seed=1, **settings)
    return RE(simulated_scan(beamline, None))


def until(true, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(true())


def test_it_is_drawn_in_the_main_thread_while_a_plan_runs(window, plot):
    RE = RunEngine({})
    task = RE._during_task
    with xas_live.attach(RE, plot=plot) as xas:
        assert window.drawn == []
        scan(RE, dwell=0.002)
        assert set(window.drawn) == {"MainThread"}
        assert window.turns >= len(window.drawn)
        assert not xas.errors
    assert RE._during_task is task
    RE(bps.sleep(0.2))
    turns = window.turns
    RE(bps.sleep(0.2))
    assert window.turns == turns


def test_what_fails_in_drawing_is_told_and_the_plan_goes_on(window, plot, capsys):
    window.broken = True
    RE = RunEngine({})
    with xas_live.attach(RE, plot=plot) as xas:
        [uid] = scan(RE, dwell=0.002)
        assert xas.wait(60)
        assert {str(error) for error in xas.errors} == {"LiveStructurePlot: ValueError: no ink"}
        assert xas.latest.provenance.run_uid == uid
    assert capsys.readouterr().out.count("no ink") == 1


def test_a_window_that_is_gone_is_left_alone(window, plot):
    RE = RunEngine({})
    with xas_live.attach(RE, plot=plot) as xas:
        CloseEvent("close_event", window)._process()
        scan(RE, dwell=0.002)
        assert window.drawn == []
        assert window.turns == 0
        assert not xas.errors


def test_a_plan_run_in_another_thread_draws_nothing_there(window, plot):
    RE = RunEngine({}, context_managers=[])  # signals are the main thread's
    with xas_live.attach(RE, plot=plot) as xas:
        thread = threading.Thread(target=scan, args=(RE,), kwargs={"dwell": 0.002})
        thread.start()
        thread.join()
        assert xas.wait(60)
    assert window.drawn == []
    assert xas.status().sweeps == 1


class Polling(DuringTask):
    """A during task of a user's own, that looks after something else meanwhile."""

    def __init__(self) -> None:
        self.looked = 0

    def block(self, blocking_event):
        while not blocking_event.is_set():
            self.looked += 1
            blocking_event.wait(0.01)


def test_a_during_task_of_the_users_goes_on_and_comes_back(window, plot):
    task = Polling()
    RE = RunEngine({}, during_task=task)
    with xas_live.attach(RE, plot=plot):
        scan(RE, dwell=0.002)
        assert task.looked > 1
        assert window.drawn
    assert RE._during_task is task


def idle(true):
    """A plan that does nothing until something is true."""
    for _ in range(1000):
        if true():
            return
        yield from bps.sleep(0.02)


@pytest.mark.parametrize("first", [0, 1])
def test_two_figures_on_one_engine_are_closed_in_any_order(first):
    RE = RunEngine({})
    windows = [Window(LiveFigure()), Window(LiveFigure())]
    both = [draw_while_plans_run(RE, LiveStructurePlot(fig=each.figure).screen) for each in windows]
    RE(idle(lambda: all(each.turns for each in windows)))
    assert all(each.turns for each in windows)
    both[first]()
    before = [each.turns for each in windows]
    RE(idle(lambda: windows[1 - first].turns > before[1 - first]))
    assert windows[1 - first].turns > before[1 - first]
    assert windows[first].turns == before[first]
    both[1 - first]()
    assert isinstance(RE._during_task, DefaultDuringTask)


def test_a_figure_is_drawn_by_one_thread_at_a_time(plot):
    with plot.figure.lock:
        other = threading.Thread(target=plot.figure.canvas.draw)
        other.start()
        other.join(0.1)
        assert other.is_alive()
    other.join()


def test_without_a_window_the_picture_is_kept_and_the_reason_told(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    RE = RunEngine({})
    with xas_live.attach(RE) as xas:
        line = capsys.readouterr().out.splitlines()[1]
        assert "there is no display" in line
        assert "%matplotlib widget" in line
        folder = tmp_path / "home" / "figures"
        assert not folder.exists()  # nothing is measured
        assert xas.plot.figure_png() is None
        scan(RE)
        assert xas.wait(60)
        assert until(lambda: folder.exists() and list(folder.glob("live_*.png")))
        html = xas._repr_html_()
        assert "data:image/png;base64," in html
        assert "<th>CN1</th>" in html
    [picture] = folder.iterdir()
    assert str(picture) in line
    assert Image.open(picture).size == (1350, 820)
    assert not xas.errors


def test_the_picture_is_kept_where_the_user_wants_it(tmp_path, capsys):
    picture = tmp_path / "web" / "now.png"
    RE = RunEngine({})
    with xas_live.attach(RE, plot=picture) as xas:
        assert f"The figure is kept in {picture}" in capsys.readouterr().out
        scan(RE)
        assert xas.wait(60)
    assert Image.open(picture).width == 1350
    for wrong in ("yes", 1, tmp_path):
        with pytest.raises(SettingsError, match=r"path of a \.png file"):
            xas_live.attach(RE, plot=wrong)


def test_a_figure_of_the_users_own_is_left_to_the_user(tmp_path, capsys):
    figure = Figure()
    with xas_live.attach(RunEngine({}), plot=LiveStructurePlot(fig=figure)) as xas:
        assert not any(isinstance(each, PictureFile) for each in xas.publishers)
        assert "figure is kept" not in capsys.readouterr().out


def test_a_picture_that_cannot_be_written_is_told_once_and_tried_again(tmp_path):
    (tmp_path / "file").write_text("")
    told: list[str] = []
    path = tmp_path / "file" / "now.png"
    kept = PictureFile(path, lambda: b"picture", lambda where, error: told.append(where))
    kept.run_stopped({})
    assert until(lambda: told)
    assert str(path) in told[0]
    (tmp_path / "file").unlink()
    kept.close()
    assert path.read_bytes() == b"picture"
    assert [each.name for each in path.parent.iterdir()] == ["now.png"]


def test_pictures_are_written_after_each_other_and_the_last_one_is_whole(tmp_path):
    path = tmp_path / "now.png"
    made = iter(range(1000))
    kept = PictureFile(path, lambda: str(next(made)).encode(), lambda where, error: None)
    kept.run_stopped({})
    assert until(path.exists)
    for _ in range(200):
        kept.measuring(None)
        kept.run_stopped({})
    kept.close()
    assert 0 < int(path.read_text()) < 10  # of 200 news


def test_the_reason_names_the_backend():
    figure = LiveFigure()
    figure.no_window = "TclError: no display name"
    assert "opens no window (TclError: no display name)" in why_no_window(figure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", ":1")
        assert "backend agg has no windows" in why_no_window(Figure()).lower()


def test_a_backend_that_opens_no_window_leaves_the_analysis_alone(monkeypatch, capsys):
    import matplotlib.pyplot as plt

    def fails(**_: object) -> Figure:
        raise RuntimeError("no colours")

    monkeypatch.setattr(plt, "figure", fails)
    with xas_live.attach(RunEngine({})) as xas:
        assert "opens no window (RuntimeError: no colours)" in capsys.readouterr().out
        assert isinstance(xas.plot.figure, LiveFigure)


def test_a_picture_path_in_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with xas_live.attach(RunEngine({}), plot="~/now.png") as xas:
        kept = [each for each in xas.publishers if isinstance(each, PictureFile)]
        assert [each.path for each in kept] == [Path(tmp_path / "now.png")]
