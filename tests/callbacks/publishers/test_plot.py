"""The live figure, drawn for real."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_webagg_core import TimerAsyncio
from matplotlib.figure import Figure
from PIL import Image

from tests.callbacks.edges import E0, GRID, documents, predict, result_of
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.publishers.marks import PLAIN
from xas_live.callbacks.publishers.plot import FigureError, LiveStructurePlot, previewed
from xas_live.models.registry import load_model
from xas_live.prediction import Degree, DomainVerdict, Outcome, Prediction, Size, Value, Verdict


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context():
        mpl.use("Agg")
        yield


def swept(scan: int = 1, **start):
    assembler = SpectrumAssembler()
    run = documents(GRID, scan_id=scan, **({"element": "Pt", "edge": "L3"} | start))
    [spectrum] = [s for name, doc in run for s in assembler(name, doc)]
    return spectrum


def feed(plot: LiveStructurePlot, count: int, **start) -> None:
    one = swept(**start)
    for scan in range(count):
        where = replace(one.provenance, scan=str(scan), time=1.7e9 + 60.0 * scan)
        spectrum = replace(one, provenance=where)
        plot.predicted(result_of(spectrum))


def shown(plot: LiveStructurePlot, name: str):
    """Points of a panel."""
    return plot._panels[name]._points


def texts(figure: Figure) -> str:
    found = figure.findobj(mpl.text.Text)
    return " | ".join(text.get_text() for text in found if text.get_text())


@pytest.mark.parametrize("count", [0, 1, 12, 200])
@pytest.mark.parametrize("x", ["scan", "time"])
def test_any_number_of_scans(tmp_path, count, x):
    plot = LiveStructurePlot(x=x)
    feed(plot, count, truth={"CN1": 50.0, "diameter_nm": 1.9})
    image = Image.open(plot.save(tmp_path / "figure.png", dpi=50))
    assert image.width > 600
    assert len(set(image.convert("RGB").tobytes())) > 20
    assert ("truth" in texts(plot.figure)) is (count > 0)


def test_an_average_is_a_line_across_its_sweeps_and_only_where_there_are_repeats():
    plot = LiveStructurePlot(targets=("CN1",))
    feed(plot, 1)
    plot.refresh()
    assert "mean of sweeps" not in texts(plot.figure)
    one = swept(2)
    for k in range(3):
        where = replace(one.provenance, sweep=k, time=1.7e9 + 60.0 * k)
        sweep = replace(one, provenance=where)
        plot.predicted(result_of(sweep))
        if k:
            mean = replace(sweep, provenance=replace(where, averaged=k + 1))
            value = Value(50.0 + k, 0.1, 49.0, 53.0)
            plot.averaged(mean, replace(predict(mean), outcome=Outcome(values={"CN1": value})))
    plot.refresh()
    assert "mean of sweeps" in texts(plot.figure)
    means = plot._panels["CN1"]._means
    [line] = means.lines.get_segments()
    np.testing.assert_array_equal(line, [[2.0, 52.0], [4.0, 52.0]])
    [band] = means.bands.get_paths()
    assert {tuple(at) for at in band.vertices} == {(2.0, 49.0), (4.0, 49.0), (4.0, 53.0), (2.0, 53.0)}
    feed(plot, 1, element="Pd", edge="K")
    plot.refresh()
    assert means.lines.get_segments() == []


def test_the_key_stays_in_the_figure_with_all_there_is_to_tell():
    plot = LiveStructurePlot()
    feed(plot, 2, truth={"CN1": 50.0})
    spectrum = swept()
    mean = replace(spectrum, provenance=replace(spectrum.provenance, averaged=2))
    plot.predicted(placed((0.0, 0.0), Degree.CAUTION))
    plot.predicted(placed((0.0, 0.0), Degree.NOT_USABLE))
    plot.predicted(refused_of(spectrum, "no edge"))
    plot.averaged(mean, predict(mean))
    plot.refresh()
    FigureCanvasAgg(plot.figure).draw()
    key = plot._panels["CN1"].ax.get_legend()
    assert len(key.get_texts()) == 7
    box = key.get_window_extent()
    assert box.x1 < plot.figure.bbox.x1
    assert box.y1 < plot.figure.bbox.y1


def placed(latent, degree=Degree.TRUSTED, model="pt-l3"):
    """A sweep with a prediction of a shipped model that has a place on its latent map."""
    spectrum = swept()
    prediction = replace(
        predict(spectrum), model=model, model_sha256=load_model(model).sha256,
        verdict=Verdict(degree), domain=DomainVerdict(p=0.5, latent=latent),
    )  # fmt: skip
    return result_of(spectrum, prediction)


def refused_of(spectrum, reason, element="Pt", edge="L3"):
    """A sweep that the model refused."""
    return result_of(spectrum, Prediction("pt-l3", "", element, edge, spectrum.provenance, refused=reason))


def test_the_latent_map_shows_the_sweeps_over_the_models_training_spectra(tmp_path):
    plot = LiveStructurePlot()
    plot.models_used([load_model("pt-l3")])
    feed(plot, 1)
    plot.refresh()
    panel = plot._latent
    assert not panel.ax.get_visible()  # no sweep has a place yet
    for k in range(3):
        plot.predicted(placed((0.1 * k, -0.1 * k, 7.0)))
    plot.predicted(placed((0.5, 0.5), Degree.CAUTION))
    plot.predicted(placed((99.0, 0.0), Degree.NOT_USABLE))
    plot.save(tmp_path / "figure.png", dpi=40)
    assert panel.ax.get_visible()
    cloud = load_model("pt-l3").array("latent_cloud")[:, :2]
    np.testing.assert_array_equal(panel._training.get_offsets(), cloud)
    assert "darker: higher CN1" in texts(plot.figure)
    dots, newest = panel._trails.dots[PLAIN], panel._newest.dots[PLAIN]
    np.testing.assert_allclose(np.transpose(dots.trusted.get_data()), [[0, 0], [0.1, -0.1], [0.2, -0.2]])
    np.testing.assert_allclose(np.transpose(dots.caution.get_data()), [[0.5, 0.5]])
    rim = panel.ax.get_xlim()[1]
    np.testing.assert_allclose(np.transpose(dots.unusable.get_data()), [[rim, 0.0]])
    np.testing.assert_allclose(np.transpose(newest.unusable.get_data()), [[rim, 0.0]])
    plot.predicted(refused_of(swept(), "no edge"))
    plot.refresh()
    assert panel.ax.get_visible()
    assert len(panel._trails.paths[PLAIN].get_xdata()) == 6
    assert len(newest.unusable.get_xdata()) == 0  # the newest has no place


def test_another_model_has_a_map_of_its_own_and_one_without_training_spectra_has_none():
    plot = LiveStructurePlot()
    pd = load_model("pd-k")
    without = SimpleNamespace(sha256=pd.sha256, tensors={}, card=pd.card)
    plot.models_used([load_model("pt-l3"), load_model("au-l3"), without])
    plot.predicted(placed((0.0, 0.0)))
    plot.predicted(placed((1.0, 1.0), model="au-l3"))
    plot.refresh()
    panel = plot._latent
    np.testing.assert_array_equal(
        panel._training.get_offsets(), load_model("au-l3").array("latent_cloud")[:, :2]
    )
    x, y = panel._trails.paths[PLAIN].get_data()
    np.testing.assert_allclose(x[np.isfinite(x)], [1.0])
    np.testing.assert_allclose(y[np.isfinite(x)], [1.0])
    for model in ("pd-k", "au-l3-msd"):  # one without, and one that it was not told of
        plot.predicted(placed((0.0, 0.0), model="au-l3"))
        plot.refresh()
        assert panel.ax.get_visible()
        plot.predicted(placed((0.0, 0.0), model=model))
        plot.refresh()
        assert not panel.ax.get_visible()


def test_long_words_take_the_room_of_a_hidden_map():
    plot = LiveStructurePlot()
    plot.models_used([load_model("pt-l3")])
    reason = " ".join(["the sweep ends too early for what the model needs"] * 2)

    def lines():
        plot.predicted(refused_of(swept(), reason))
        plot.refresh()
        return next(t for t in plot._lights._words if "sweep ends" in t.get_text()).get_text().splitlines()

    wide = lines()
    plot.predicted(placed((0.0, 0.0)))
    narrow = lines()
    assert len(wide) < len(narrow) <= 4
    assert " ".join(wide) == " ".join(narrow) == reason


def test_it_says_what_matters():
    plot = LiveStructurePlot()
    feed(plot, 2, sample_name="Pt on carbon")
    plot.refresh()
    shown = texts(plot.figure)
    for words in (
        "Pt L3   2.0 nm",
        "Pt on carbon",
        "Trusted",
        "TRUSTED",
        "no flags",
        "90 % interval",
        "scan 1",
    ):
        assert words in shown
    plot.predicted(refused_of(swept(7), "no edge: mu falls"))
    plot.refresh()
    assert "no edge: mu falls" in texts(plot.figure)


def test_bulk_like_has_no_number():
    plot = LiveStructurePlot()
    spectrum = swept()
    bulk = Outcome(size=Size(None, None, None, "bulk-like"))
    prediction = Prediction(
        "m", "", "Pt", "L3", spectrum.provenance, outcome=bulk, verdict=Verdict(Degree.TRUSTED)
    )
    plot.predicted(result_of(spectrum, prediction))
    plot.refresh()
    assert "Pt L3   bulk-like" in texts(plot.figure)


def test_a_refused_sweep_of_no_known_absorber_leaves_the_history():
    plot = LiveStructurePlot()
    feed(plot, 3)
    plot.predicted(refused_of(swept(), "it is no spectrum", None, None))
    feed(plot, 1)
    plot.refresh()
    assert len(shown(plot, "CN1")) == 5


def test_preview_before_and_after_the_first_sweep():
    spectrum = swept()
    x, first = previewed(spectrum, None)
    np.testing.assert_allclose(x, GRID - E0, atol=1.0)
    assert first[0] == pytest.approx(0.0, abs=0.02)
    assert first[-1] == pytest.approx(1.0, abs=0.02)
    assert previewed(swept(element="?", edge="?"), None) is not None  # the energies tell
    prediction = replace(predict(spectrum), edge_step=1.0)
    _, again = previewed(spectrum, (spectrum, prediction))
    np.testing.assert_allclose(again, prediction.reduced.flat, atol=0.02)


def test_embedded_in_your_own_axes():
    figure = Figure()
    axes = figure.subplots(2)
    axes[1].set_title("mine")
    plot = LiveStructurePlot(ax={"CN1": axes[0]})
    feed(plot, 2)
    plot.refresh()
    assert len(figure.axes) == 2
    assert axes[0].get_ylabel() == "CN1"
    assert axes[1].get_title() == "mine"


def test_embedded_in_a_subfigure(tmp_path):
    figure = Figure(figsize=(16, 6))
    left, right = figure.subfigures(1, 2)
    plot = LiveStructurePlot(fig=left)
    feed(plot, 2)
    plot.save(tmp_path / "figure.png", dpi=40)
    assert len(left.axes) == 5  # spectrum, lights, map, CN1 and size
    assert right.axes == []


def test_wrong_settings_say_what_is_right():
    axes = Figure().subplots()
    with pytest.raises(FigureError, match="name of a recorded number, not 7"):
        LiveStructurePlot(x=7)  # type: ignore[arg-type]
    with pytest.raises(FigureError, match="no panels CN9: choose from spectrum, lights, CN1"):
        LiveStructurePlot(ax={"CN9": axes}, targets=("CN1",))
    with pytest.raises(FigureError, match="not both"):
        LiveStructurePlot(ax={"CN1": axes}, fig=Figure())
    with pytest.raises(FigureError, match="names no panel"):
        LiveStructurePlot(ax={})


class LoopCanvas(FigureCanvasAgg):
    """A canvas whose timers fire in asyncio's loop, as those of a window do in its own."""

    _timer_cls = TimerAsyncio


def test_with_an_event_loop_it_draws_there_and_stops_when_closed():
    drawn: list[str] = []

    async def session():
        figure = Figure()
        canvas = LoopCanvas(figure)
        canvas.mpl_connect("draw_event", lambda _: drawn.append(threading.current_thread().name))
        plot = LiveStructurePlot(fig=figure)
        worker = threading.Thread(target=feed, args=(plot, 30))
        worker.start()
        await asyncio.sleep(1.0)
        worker.join()
        busy = len(drawn)
        await asyncio.sleep(0.5)
        idle = len(drawn)
        mpl.backend_bases.CloseEvent("close_event", canvas)._process()
        feed(plot, 1)
        await asyncio.sleep(0.5)
        return busy, idle, len(drawn)

    busy, idle, closed = asyncio.run(session())
    assert 1 <= busy <= 6
    assert idle <= busy + 1
    assert closed == idle
    assert set(drawn) == {"MainThread"}
