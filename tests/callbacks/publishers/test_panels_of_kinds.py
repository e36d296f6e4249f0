"""The live figure of models that give classes, curves and numbers, drawn for real."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.models.kinds import (
    CLASSES,
    EDGE,
    chi_input,
    classifier_bundle,
    curve_bundle,
    mixed_bundle,
    sweeps,
)
from xas_live import Analyzer
from xas_live.analysis.drift import Drift
from xas_live.callbacks.publishers.base import SweepResult
from xas_live.callbacks.publishers.marks import BLUE, PLAIN, VERMILION
from xas_live.callbacks.publishers.output_panels import PANELS, ClassesPanel, CurvePanel, SeriesPanel
from xas_live.callbacks.publishers.plot import MOST_PANELS, LiveStructurePlot, previewed
from xas_live.prediction import (
    Alignment,
    Chemistry,
    Classes,
    Curve,
    Degree,
    Outcome,
    Prediction,
    Reduced,
    Size,
    Value,
    Verdict,
)
from xas_live.spectrum import Spectrum

R = np.linspace(1.5, 6.0, 10)
GRID = np.linspace(-30.0, 90.0, 40)


def publish(plot: LiveStructurePlot, spectrum: Spectrum, prediction: Prediction) -> None:
    plot.predicted(SweepResult(spectrum, (prediction,), (Drift(1.0),)))


def figure_of(bundle, count=3, refused=(), **options) -> tuple[LiveStructurePlot, list[Prediction]]:
    plot, spectra = LiveStructurePlot(**options), sweeps(count, refused)
    predictions = Analyzer(bundle, device="cpu").analyze(spectra)
    for spectrum, prediction in zip(spectra, predictions, strict=True):
        publish(plot, spectrum, prediction)
    plot.refresh()
    return plot, predictions


def shown(outcomes, **changes) -> LiveStructurePlot:
    """A figure of sweeps with these outcomes."""
    plot = LiveStructurePlot()
    for spectrum, outcome in zip(sweeps(len(outcomes)), outcomes, strict=True):
        reduced = Reduced(GRID, np.ones(40), None, np.ones(40), kind="norm")
        prediction = Prediction(
            "m", "", "Pt", "L3", spectrum.provenance, outcome, reduced=reduced,
            alignment=Alignment(e0=EDGE), edge_step=1.0,
        )  # fmt: skip
        publish(plot, spectrum, replace(prediction, **changes))
    plot.refresh()
    return plot


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def labels(plot: LiveStructurePlot) -> list[str]:
    return [panel.ax.get_ylabel() for panel in plot._panels.values()]


def test_every_kind_has_a_panel():
    plot, _ = figure_of(mixed_bundle())
    assert set(PANELS) == {Value, Chemistry, Classes, Curve}
    assert [type(panel) for panel in plot._panels.values()] == [
        SeriesPanel, SeriesPanel, ClassesPanel, CurvePanel,
    ]  # fmt: skip
    assert labels(plot) == ["oxidation\nstate", "bond\n(Å)", "environment", "g\n(1/Å)"]


def test_a_classifier_shows_classes_and_nothing_else():
    plot, predictions = figure_of(classifier_bundle(), refused=(0,))
    assert list(plot._panels) == ["environment"]
    panel = plot._panels["environment"]
    ends = panel._bars.lines[PLAIN].get_ydata().reshape(2, len(CLASSES), 3)[..., :2]
    heights = np.ptp(ends, axis=-1) / 0.78
    given = [list(p.classes["environment"].probabilities.values()) for p in predictions[1:]]
    np.testing.assert_allclose(heights, given)
    members = sum(len(p.classes["environment"].members) for p in predictions[1:])
    assert len(panel._dots[PLAIN].trusted.get_xdata()) == members
    assert panel._refused.get_xdata().tolist() == [1.0]
    best = predictions[-1].classes["environment"].likeliest
    said = texts(plot.figure)
    assert f"Pt L3   {best}" in said
    assert "NOT JUDGED" in " ".join(said)
    assert "this model does not judge spectra" in " ".join(said)
    assert "in the 90 % set" in said
    assert "90 % interval" not in said
    assert not any("CN1" in text or "size" in text or "unanchored" in text for text in said)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_any_number_of_classes_stays_in_the_figure(count):
    names = [f"an octahedron {k}" if k % 2 else f"C{k}" for k in range(count)]
    plot, _ = figure_of(classifier_bundle(classes=names))
    canvas = FigureCanvasAgg(plot.figure)
    canvas.draw()
    boxes = [text.get_window_extent() for text in plot._panels["environment"]._rows]
    assert max(box.x1 for box in boxes) < plot.figure.bbox.x1
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    label = plot._panels["environment"].ax.yaxis.label.get_window_extent()
    assert label.x0 > plot._spectrum.ax.get_window_extent().x1


def test_classes_are_marked_by_degree_and_true_ones_named():
    classes = Classes({"T4": 0.8, "O6": 0.2}, ("T4",))
    plot = shown([Outcome(classes={"site": classes})] * 2, verdict=Verdict(Degree.NOT_USABLE, ("odd",)))
    panel = plot._panels["site"]
    assert len(panel._dots[PLAIN].unusable.get_xdata()) == 2
    assert len(panel._dots[PLAIN].trusted.get_xdata()) == 0
    assert panel._rows[0].get_color() == VERMILION
    assert "not usable" in texts(plot.figure)
    assert "Pt L3" in texts(plot.figure)  # without a class
    true = replace(sweeps(1)[0].provenance, metadata={"truth": {"site": "O6"}})
    plot = shown([Outcome(classes={"site": classes})], provenance=true)
    assert plot._panels["site"]._truth.get_ydata().tolist() == pytest.approx([0.1 + 0.78])
    assert "truth" in texts(plot.figure)


def test_an_average_is_a_line_in_every_row():
    classes = Classes({"T4": 0.75, "O6": 0.25}, ("T4",))
    plot = shown([Outcome(classes={"site": classes})] * 2)
    spectrum = sweeps(2)[-1]
    where = replace(spectrum.provenance, averaged=2)
    mean = Prediction("m", "", "Pt", "L3", where, Outcome(classes={"site": classes}))
    plot.averaged(replace(spectrum, provenance=where), mean)
    plot.refresh()
    lines = np.array(plot._panels["site"]._means.lines.get_segments())
    np.testing.assert_allclose(lines[:, :, 1], [[1.1 + 0.78 * 0.75] * 2, [0.1 + 0.78 * 0.25] * 2])
    assert "mean of sweeps" in texts(plot.figure)


def test_the_latest_curve_has_its_band_and_earlier_ones_are_faint():
    curves = [Curve(R, R + k, R + k - 0.5, R + k + 0.5, "r", "Å", "1/Å") for k in range(3)]
    plot = shown([Outcome(curves={"g": curve}) for curve in curves])
    panel = plot._panels["g"]
    np.testing.assert_array_equal(panel._curve.get_ydata(), R + 2)
    np.testing.assert_array_equal(panel._traces[-1].get_ydata(), R + 1)
    assert len(panel._traces[0].get_xdata()) == 0
    [path] = panel._band.get_paths()
    np.testing.assert_array_equal(path.vertices[:10, 1], R + 1.5)
    assert panel.ax.get_xlabel() == "r (Å)"
    assert {"scan 17.3", "90 % band"} < set(texts(plot.figure))
    assert panel._curve.get_color() == BLUE


def test_a_model_of_chi_names_k_and_has_no_preview_in_energy():
    plot, predictions = figure_of(curve_bundle(given=chi_input()))
    ax = plot._spectrum.ax
    assert ax.get_xlabel() == "k (1/Å)"
    assert "χ(k)" in ax.get_ylabel()
    assert "(1/Å²)" in ax.get_ylabel()
    assert [line.get_visible() for line in plot._spectrum._steps] == [True, False]
    assert ax.get_xlim() == pytest.approx((3.0, predictions[0].reduced.grid[-1]))
    assert not plot._spectrum._inset.get_visible()
    growing = sweeps(1)[0]
    assert previewed(growing, (growing, predictions[0])) is None
    publish(plot, growing, Analyzer(curve_bundle(), device="cpu").analyze([growing])[0])
    plot.refresh()
    assert ax.get_xlabel() == "energy from the edge (eV)"
    assert ax.get_ylabel() == "normalised absorption"
    assert len(plot._spectrum._traces[-1].get_xdata()) == 0  # no chi over energies


def test_the_layout_follows_what_the_model_gives():
    plot, _ = figure_of(classifier_bundle())
    before = plot._panels["environment"].ax
    spectrum = sweeps(1)[0]
    publish(plot, spectrum, Analyzer(mixed_bundle(), device="cpu").analyze([spectrum])[0])
    plot.refresh()
    assert list(plot._panels) == ["oxidation_state", "bond", "environment", "g"]
    assert before not in plot.figure.axes
    plot.refresh()
    assert plot._panels["bond"].ax in plot.figure.axes


def test_nothing_is_laid_out_before_the_first_result():
    plot, _ = figure_of(classifier_bundle(), count=1, refused=(0,))
    assert plot._panels == {}
    assert len(plot.figure.axes) == 3


def test_the_user_chooses_by_name():
    plot, _ = figure_of(mixed_bundle(), targets=("g", "bond"))
    assert list(plot._panels) == ["g", "bond"]
    axes = Figure().subplots(2)
    axes[1].set_title("mine")
    plot, _ = figure_of(mixed_bundle(), ax={"environment": axes[0], "g": axes[1]})
    assert list(plot._panels) == ["environment", "g"]
    assert axes[1].get_title() == "mine"
    assert axes[0].get_xlabel() == "scan"


def test_a_model_of_many_numbers_shows_the_first_of_them():
    many = {f"n{k}": Value(1.0, 0.1, 0.8, 1.2) for k in range(30)}
    plot = shown([Outcome(many)])
    assert list(plot._panels) == [f"n{k}" for k in range(MOST_PANELS)]


def test_size_has_a_panel_only_where_a_model_gives_one():
    number = {"CN1": Value(9.0, 0.3, 8.5, 9.5)}
    assert list(shown([Outcome(number)])._panels) == ["CN1"]
    bulk = Size(None, None, None, "bulk-like")
    plot = shown([Outcome(number, size=bulk)])
    assert list(plot._panels) == ["CN1", "size"]
    assert "Pt L3   bulk-like" in texts(plot.figure)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Value(9.04, 0.3, 8.5, 9.6), "9.0"),
        (Value(0.341, 0.02, 0.31, 0.37), "0.341"),
        (Value(2.7501, 0.01, 2.73, 2.77, unit="Å"), "2.750"),
    ],
)
def test_a_number_is_as_long_as_its_interval_says(value, said):
    panel = shown([Outcome({"x": value})])._panels["x"]
    assert panel._value.get_text() == said
    low, high = panel.ax.get_ylim()
    assert low < value.lower < value.upper < high
    assert high - low < 3 * (value.upper - value.lower)


def test_a_number_without_an_interval_has_an_axis():
    low, high = shown([Outcome({"x": Value(2.0, math.nan, 2.0, 2.0)})])._panels["x"].ax.get_ylim()
    assert low < 2.0 < high
