"""The live figure keeps what was measured, by sample and by absorber, and shows what the user chooses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tests.callbacks.edges import E0, GRID, documents, predict, result_of
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.publishers.marks import EARLIER, MOST_SAMPLES, PLAIN, STYLES, figures_of, shortened
from xas_live.callbacks.publishers.plot import FigureError, LiveStructurePlot
from xas_live.callbacks.publishers.series import Samples, sample_of
from xas_live.models.registry import load_model
from xas_live.prediction import Degree, Outcome, Prediction, Size, Value, Verdict
from xas_live.spectrum import Provenance, Spectrum


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context():
        mpl.use("Agg")
        yield


def sweep(scan: int, sample: str = "", **start) -> Spectrum:
    assembler = SpectrumAssembler()
    metadata = {"element": "Pt", "edge": "L3"} | ({"sample_name": sample} if sample else {}) | start
    run = documents(GRID, scan_id=scan, **metadata)
    [spectrum] = [s for name, doc in run for s in assembler(name, doc)]
    return spectrum


def add(plot: LiveStructurePlot, spectrum: Spectrum, cn1: float = 9.0, **changes) -> None:
    outcome = Outcome({"CN1": Value(cn1, 0.3, cn1 - 0.5, cn1 + 0.5)}, size=Size(2.0, 1.8, 2.2, "2.0 nm"))
    prediction = replace(predict(spectrum), **({"outcome": outcome} | changes))
    plot.predicted(result_of(spectrum, prediction))


def refuse(plot: LiveStructurePlot, spectrum: Spectrum, reason: str = "i0 is 0 at every point") -> None:
    plot.predicted(result_of(spectrum, Prediction.refusal(spectrum, reason)))


def scans(plot: LiveStructurePlot) -> list[str]:
    """Labels of the points that are shown."""
    plot.refresh()
    return [point.label for point in plot._panels["CN1"]._points]


def joined(plot: LiveStructurePlot, name: str = "CN1") -> list[list[tuple[float, float]]]:
    """The lines between points, each as its points."""
    lines: list[list[tuple[float, float]]] = []
    for path in plot._panels[name]._trails.paths.values():
        parts: list[list[tuple[float, float]]] = [[]]
        for x, y in zip(*path.get_data(), strict=True):
            if math.isnan(x) or math.isnan(y):
                parts.append([])
            else:
                parts[-1].append((float(x), float(y)))
        lines += [part for part in parts if len(part) > 1]
    return lines


def texts(plot: LiveStructurePlot) -> list[str]:
    return [t.get_text() for t in plot.figure.findobj(Text) if t.get_text() and t.get_visible()]


def test_foreign_and_refused_scans_erase_nothing():
    plot = LiveStructurePlot()
    for scan in (1, 2):
        add(plot, sweep(scan))
    refuse(plot, sweep(3, element="Fe", edge="K"), "no model is for Fe K")
    assert scans(plot) == ["1", "2"]
    shown = texts(plot)
    assert "Pt L3   2.0 nm" in shown
    assert "scan 3 (Fe K): refused, no model is for Fe K" in shown  # the band is about what was measured last
    assert "Refused" in shown
    refuse(plot, sweep(4))
    add(plot, sweep(5))
    assert scans(plot) == ["1", "2", "4", "5"]
    assert plot._panels["CN1"]._refused.get_xdata().tolist() == [3.0]


def test_alternating_edges_keep_both_histories():
    plot = LiveStructurePlot()
    for scan in range(1, 7):
        add(plot, sweep(scan, "on alumina") if scan % 2 else sweep(scan, element="Pd", edge="K"))
    assert scans(plot) == ["2", "4", "6"]
    panel = plot._panels["CN1"]
    plot.show(absorber="Pt L3")
    assert scans(plot) == ["1", "3", "5"]
    assert "scan 6 (Pd K)" in " ".join(texts(plot))
    plot.show(absorber="Pd")
    assert scans(plot) == ["2", "4", "6"]
    plot.show(sample="on alumina")  # which was measured at Pt alone
    assert scans(plot) == ["1", "3", "5"]
    plot.show()
    add(plot, sweep(7, "on alumina"))
    assert scans(plot) == ["1", "3", "5", "7"]
    assert plot._panels["CN1"] is panel  # artists are moved, not made anew


def test_what_comes_before_any_absorber_is_known_belongs_to_the_first():
    plot = LiveStructurePlot()
    refuse(plot, replace(sweep(1), element=None, edge=None))
    plot.refresh()
    assert "unknown absorber" in texts(plot)
    add(plot, sweep(2))
    assert scans(plot) == ["1", "2"]


def test_lines_join_sweeps_of_one_sample_only():
    plot = LiveStructurePlot()
    for scan, sample in enumerate(("A", "B", "A", "B", "A"), start=1):
        add(plot, sweep(scan, sample), cn1=float(scan))
    plot.refresh()
    assert joined(plot) == [[(1, 1), (3, 3), (5, 5)], [(2, 2), (4, 4)]]
    colours = [path.get_color() for path in plot._panels["CN1"]._trails.paths.values()]
    assert colours == [STYLES[0][1], STYLES[1][1]]
    assert {"A", "B"} < set(texts(plot))
    plot.show(sample="B")
    assert scans(plot) == ["2", "4"]
    assert joined(plot) == [[(1, 2), (2, 4)]]
    plot.show(sample=("A", "B"))
    assert scans(plot) == ["1", "2", "3", "4", "5"]


def test_one_sample_has_the_plain_marks_and_no_name_in_the_key():
    plot = LiveStructurePlot()
    for scan in (1, 2):
        add(plot, sweep(scan, "Pt on carbon"))
    refuse(plot, sweep(3))  # names no sample
    plot.refresh()
    assert list(plot._panels["CN1"]._trails.dots) == [PLAIN]
    assert "Pt on carbon" not in texts(plot)  # but in the line under the head


def test_only_the_samples_measured_last_have_marks_of_their_own():
    samples = Samples()
    for k in range(MOST_SAMPLES):
        samples.add(f"s{k}")
    assert [samples[f"s{k}"] for k in range(MOST_SAMPLES)] == list(range(MOST_SAMPLES))
    samples.add("s0")
    samples.add("new")
    assert (samples["s0"], samples["s1"], samples["s2"], samples["new"]) == (0, EARLIER, 2, 1)
    plot = LiveStructurePlot()
    for scan in range(12):
        add(plot, sweep(scan + 1, f"s{scan % 10}"), cn1=float(scan))
    plot.refresh()
    assert all(len({y % 10 for _, y in line}) == 1 for line in joined(plot))
    assert "2 earlier" in texts(plot)


def test_a_file_name_is_no_sample():
    def named(scan: str, **metadata: object) -> str:
        return sample_of(Provenance(scan=scan, metadata=metadata))

    assert named("foil_001.dat", sample_name="foil_001") == ""
    assert named("12", sample_name="Pt/C") == "Pt/C"
    assert named("12", sample="Pt/C") == "Pt/C"
    assert named("12", sample={"name": "Pt/C"}) == "Pt/C"
    assert named("12", sample={"formula": "Pt"}) == ""


def test_sweeps_stand_at_their_temperature_or_at_any_recorded_number():
    plot = LiveStructurePlot(x="temperature")
    for scan, kelvin in enumerate((300.0, 500.0, 400.0), start=1):
        add(plot, sweep(scan, temperature=kelvin, potential=0.1 * scan), cn1=float(scan))
    add(plot, sweep(4), cn1=4.0)
    plot.refresh()
    ax = plot._panels["size"].ax
    assert joined(plot) == [[(300, 1), (500, 2), (400, 3)]]  # in the order measured
    assert ax.get_xlabel() == "temperature (K)  ·  1 of 4 sweeps have none and are not shown"
    low, high = ax.get_xlim()
    assert 270 < low < 300 < 500 < high < 530
    plot.show(x="potential")
    plot.refresh()
    assert joined(plot) == [[(0.1, 1), (0.2, 2), (pytest.approx(0.3), 3)]]
    plot.show(x="pressure")
    plot.refresh()
    words = plot._panels["size"].ax.get_xlabel()
    assert words == "no sweep has a pressure: recorded are scan, time, potential, temperature"


def test_samples_at_one_temperature_stand_beside_each_other():
    plot = LiveStructurePlot(x="temperature")
    for scan, (sample, kelvin) in enumerate(
        (("A", 300.0), ("B", 300.0), ("A", 400.0), ("B", 400.0)), start=1
    ):
        add(plot, sweep(scan, sample, temperature=kelvin))
    plot.refresh()
    (first, _), (second, _) = joined(plot)
    assert first[0] < 300 < second[0]
    assert second[0] - first[0] < 5


@pytest.mark.parametrize("seconds", [1.0, 60.0, 7200.0])
def test_the_axis_of_time_is_filled(seconds):
    plot = LiveStructurePlot(x="time")
    for scan in range(3):
        spectrum = sweep(scan + 1)
        where = replace(spectrum.provenance, time=1.7e9 + seconds * scan)
        add(plot, replace(spectrum, provenance=where))
    plot.refresh()
    low, high = plot._panels["CN1"].ax.get_xlim()
    [[(first, _), _, (last, _)]] = joined(plot)
    assert (last - first) / (high - low) > 0.9


def test_what_was_not_measured_cannot_be_chosen():
    plot = LiveStructurePlot()
    with pytest.raises(FigureError, match="no sweep of 'Pt L3' was measured: there are none so far"):
        plot.show(absorber="Pt L3")
    add(plot, sweep(1, "A"))
    with pytest.raises(FigureError, match="no sweep of 'Pt L2' was measured: there are Pt L3"):
        plot.show(absorber="Pt L2")
    with pytest.raises(FigureError, match="no sweep of sample 'B' was analysed: there are 'A'"):
        plot.show(sample="B")


def test_a_growing_sweep_of_another_edge_is_drawn_alone():
    plot = LiveStructurePlot()
    add(plot, sweep(1))
    plot.measuring(sweep(2, element="Pd", edge="K"))
    plot.refresh()
    panel = plot._spectrum
    assert "measuring scan 2 (Pd K)" in " ".join(texts(plot))
    assert len(panel._latest.get_xdata()) == 0
    assert scans(plot) == ["1"]
    add(plot, sweep(2, element="Pd", edge="K"))
    plot.measuring(sweep(3))  # of an edge with a history: what is measured is shown
    assert scans(plot) == ["1"]
    assert len(panel._latest.get_xdata()) > 0


def test_the_spectrum_begins_before_the_edge():
    spectrum = sweep(1)
    prediction = predict(spectrum)
    reduced = replace(
        prediction.reduced, grid=GRID[14:30] - E0, flat=prediction.reduced.flat[14:30] - 0.5,
        foil=None, energy=GRID[14:30],
    )  # fmt: skip
    plot = LiveStructurePlot()
    add(plot, spectrum, reduced=reduced, edge_step=1.0)
    plot.refresh()
    x, y = plot._spectrum._latest.get_data()
    assert x[0] == pytest.approx(-50.0)
    measured = np.interp(x, GRID - E0, spectrum.mu - 0.5)
    np.testing.assert_allclose(y, measured, atol=0.02)
    assert np.all(np.diff(x) > 0)


def test_noise_has_a_band_and_raw_channels_are_there_on_demand():
    plot = LiveStructurePlot()
    spectrum = sweep(1)
    noisy = replace(spectrum, mu=spectrum.mu + np.random.default_rng(0).normal(0.0, 0.02, len(GRID)))
    add(plot, noisy, edge_step=1.0)
    plot.refresh()
    assert "noise of a point" in texts(plot)
    refuse(plot, replace(sweep(2), counts={"i0": np.zeros(len(GRID)), "it": np.full(len(GRID), 5.0)}))
    plot.show(raw=True)
    plot.refresh()
    assert plot._spectrum.ax.get_xlabel() == "energy (eV)"
    assert {"i0, largest 0", "it, largest 5"} < set(texts(plot))
    plot.show()
    plot.refresh()
    assert plot._spectrum.ax.get_xlabel() == "energy from the edge (eV)"


def test_a_waterfall_has_the_latest_at_its_foot():
    plot = LiveStructurePlot()
    for scan in range(1, 15):
        add(plot, sweep(scan))
    plot.show(waterfall=True)
    plot.refresh()
    panel = plot._spectrum
    [first, second] = [line.get_ydata()[0] for line in panel._traces[:2]]
    foot = panel._latest.get_ydata()[0]
    assert foot < first < second
    assert {str(scan) for scan in range(3, 15)} <= set(texts(plot))
    assert "2" not in [name.get_text() for name in panel._names]


def test_long_names_are_shortened_in_the_middle():
    assert shortened("short.dat", 12) == "short.dat"
    assert shortened("Pt_on_carbon_reduced_at_500C_0017.dat", 12) == "Pt_on_…7.dat"
    assert all(len(shortened("x" * 40, room)) <= room for room in range(3, 40))
    plot = LiveStructurePlot()
    for k in range(8):
        spectrum = sweep(1)
        name = f"Pt_on_carbon_reduced_in_hydrogen_at_500C_{k:04d}.dat"
        add(plot, replace(spectrum, provenance=replace(spectrum.provenance, scan=name)))
    plot.measuring(replace(spectrum, provenance=replace(spectrum.provenance, scan=name)))
    plot.refresh()
    FigureCanvasAgg(plot.figure).draw()
    ticks = [t for t in plot._panels["size"].ax.get_xticklabels() if t.get_text()]
    assert ticks
    assert all("…" in tick.get_text() and tick.get_text()[-4:].isdigit() for tick in ticks)
    boxes = [tick.get_window_extent() for tick in ticks]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    bounds, half = plot.figure.bbox, plot._panels["CN1"].ax.get_window_extent().x0
    for text in (plot._layout._sample, plot._spectrum._note):
        assert text.get_window_extent().x1 < half
    assert plot._layout._why.get_window_extent().x1 < bounds.x1


@pytest.mark.parametrize("diameter", [1.35, 1.349, 2.25, 3.15])
def test_a_size_is_rounded_alike_in_title_and_panel(diameter):
    plot = LiveStructurePlot()
    label = f"{diameter:.1f} nm"
    outcome = Outcome({"CN1": Value(9.0, 0.3, 8.5, 9.5)}, size=Size(diameter, 1.0, 4.0, label))
    add(plot, sweep(1), outcome=outcome)
    plot.refresh()
    assert f"Pt L3   {label}" in texts(plot)
    assert plot._panels["size"]._value.get_text() == label.removesuffix(" nm")


def test_a_size_without_upper_end_has_a_bar_that_goes_on():
    plot = LiveStructurePlot()
    for scan in (1, 2):
        size = Size(2.0, 1.8, 2.2, "2.0 nm") if scan == 1 else Size(3.5, 1.5, None, "> 1.5 nm")
        add(plot, sweep(scan), outcome=Outcome({"CN1": Value(9.0, 0.3, 8.5, 9.5)}, size=size))
    plot.refresh()
    panel = plot._panels["size"]
    assert panel._value.get_text() == "> 1.5"
    assert panel._open.get_xdata().tolist() == [2.0]
    assert "no upper end" in texts(plot)
    ends = panel._intervals.lines[PLAIN].get_ydata().reshape(-1, 3)[:, :2]
    np.testing.assert_allclose(ends, [[1.8, 2.2], [1.5, panel.ax.get_ylim()[1]]])
    assert panel.ax.get_ylabel().replace("\n", " ") == "size (nm)"


def test_what_is_not_usable_leaves_no_mark_where_there_is_no_size():
    plot = LiveStructurePlot()
    spectrum = sweep(1)
    add(
        plot,
        spectrum,
        outcome=Outcome({"CN1": Value(12.0, 0.3, 11.5, 12.5)}, size=Size(None, None, None, "bulk-like")),
    )
    plot.refresh()
    assert len(plot._panels["size"]._open.get_xdata()) == 1
    add(
        plot,
        spectrum,
        verdict=Verdict(Degree.NOT_USABLE, ("odd",)),
        outcome=Outcome(size=Size(None, None, None, "bulk-like")),
    )
    plot.refresh()
    assert len(plot._panels["size"]._open.get_xdata()) == 1


def test_the_bulk_is_shown_where_the_model_names_it():
    model = load_model("pt-l3")
    plot = LiveStructurePlot()
    plot.models_used([model])
    add(plot, sweep(1), cn1=11.8, model_sha256=model.sha256)
    plot.refresh()
    line = plot._panels["CN1"]._bulk
    assert line.get_visible()
    assert line.get_ydata() == [12.0, 12.0]
    assert "bulk" in texts(plot)
    add(plot, sweep(2), cn1=5.0, model_sha256="another")
    plot.refresh()
    assert not line.get_visible()
    assert "bulk" not in texts(plot)


def test_a_bulk_far_away_does_not_flatten_the_values():
    model = load_model("pt-l3")
    plot = LiveStructurePlot()
    plot.models_used([model])
    add(plot, sweep(1), cn1=6.0, model_sha256=model.sha256)
    plot.refresh()
    assert not plot._panels["CN1"]._bulk.get_visible()
    assert plot._panels["CN1"].ax.get_ylim()[1] < 8


def test_two_decimals_only_where_the_interval_is_narrow():
    assert figures_of(Value(9.04, 0.3, 8.5, 9.6)) == ("9.0", "8.5 – 9.6")
    assert figures_of(Value(0.341, 0.02, 0.31, 0.37)) == ("0.341", "0.310 – 0.370")
    assert figures_of(Value(0.05, 0.02, 0.0, 0.3), 2) == ("0.05", "0.00 – 0.30")


@pytest.mark.parametrize("count", [2, 8, 12])
def test_the_key_of_samples_stays_in_the_figure(count):
    plot = LiveStructurePlot()
    for scan in range(2 * count):
        add(plot, sweep(scan + 1, f"sample number {scan % count} of a long night"))
    plot.refresh()
    FigureCanvasAgg(plot.figure).draw()
    boxes = [legend.get_window_extent() for legend in plot._layout._legends]
    assert len(boxes) == 2
    assert all(box.x1 < plot.figure.bbox.x1 for box in boxes)
    band = plot._layout._band.get_window_extent()
    assert max(box.y1 for box in boxes) < band.y0
    assert not boxes[0].overlaps(boxes[1])


def test_the_part_by_noise_stands_within_the_interval():
    """Only where it is known, and not of sweeps that are not usable."""
    plot = LiveStructurePlot()
    unusable = Verdict(Degree.NOT_USABLE, ("no metal",))
    for scan, (part, verdict) in enumerate(((0.25, None), (math.nan, None), (0.5, None), (0.4, unusable))):
        value = Value(8.0, 0.6, 7.0, 9.0, statistical=part)
        add(
            plot,
            sweep(scan + 1),
            outcome=Outcome({"CN1": value}),
            **({"verdict": verdict} if verdict else {}),
        )
    plot.refresh()
    ends = np.asarray(plot._panels["CN1"]._noise.get_ydata())
    np.testing.assert_allclose(ends[np.isfinite(ends)], [7.75, 8.25, 7.5, 8.5])
    assert "by noise alone" in texts(plot)
