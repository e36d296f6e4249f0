"""The live figure says how far to believe each sweep: marks, words and colours, drawn for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tests.callbacks.edges import GRID, documents, predict, result_of
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.publishers.marks import (
    AMBER,
    BLUE,
    GREEN,
    ORANGE,
    PALE,
    PLAIN,
    VERMILION,
    quality_light,
    said,
    verdict_light,
)
from xas_live.callbacks.publishers.plot import LiveStructurePlot
from xas_live.prediction import (
    LOOKS,
    Chemistry,
    Degree,
    Outcome,
    Prediction,
    Size,
    Value,
    Verdict,
)
from xas_live.spectrum import Spectrum

WHITE_LINE = "white line higher than any particle's"
TRUSTED = Verdict(Degree.TRUSTED)
CAUTION = Verdict(Degree.CAUTION, (WHITE_LINE,), 1.4)
UNUSABLE = Verdict(Degree.NOT_USABLE, ("unlike any particle, most of all 4 eV from the edge",), 3.0)
REFUSED = None


def sweep() -> Spectrum:
    assembler = SpectrumAssembler()
    run = documents(GRID, scan_id=1, element="Pt", edge="L3")
    [spectrum] = [s for name, doc in run for s in assembler(name, doc)]
    return spectrum


def chemistry(share: float, adsorbed: float | None = None, looks: str = "") -> Chemistry:
    over = None if adsorbed is None else Value(adsorbed, 0.1, adsorbed - 0.1, adsorbed + 0.1)
    return Chemistry(Value(share, 0.03, max(0.0, share - 0.05), share + 0.05), over, looks=looks)


def figure_of(verdicts: Sequence[Verdict | None], *chemistries: Chemistry) -> LiveStructurePlot:
    """A figure of sweeps with these verdicts (None: refused), the value of each 9 + its place."""
    plot, one = LiveStructurePlot(), sweep()
    for k, verdict in enumerate(verdicts):
        where = replace(one.provenance, scan=str(k + 1), time=1.7e9 + 60.0 * k)
        outcome = Outcome(
            {"CN1": Value(9.0 + k, 0.3, 8.5 + k, 9.5 + k)},
            size=Size(2.0, 1.8, 2.2, "2.0 nm"),
            chemistry=chemistries[k % len(chemistries)] if chemistries else None,
        )
        prediction = replace(predict(one), provenance=where, outcome=outcome, verdict=verdict or Verdict())
        if verdict is REFUSED:
            prediction = Prediction("test", "", "Pt", "L3", where, refused="no edge: mu falls")
        plot.predicted(result_of(replace(one, provenance=where), prediction))
    plot.refresh()
    return plot


def texts(plot: LiveStructurePlot) -> list[str]:
    return [t.get_text() for t in plot.figure.findobj(Text) if t.get_text() and t.get_visible()]


def test_points_are_marked_by_their_degree():
    plot = figure_of([TRUSTED, CAUTION, UNUSABLE, TRUSTED, Verdict(), REFUSED])
    panel = plot._panels["CN1"]
    dots = panel._trails.dots[PLAIN]
    assert dots.trusted.get_data()[1].tolist() == [9.0, 12.0, 13.0]
    assert dots.caution.get_data()[1].tolist() == [10.0]
    assert dots.unusable.get_data()[1].tolist() == [11.0]
    assert panel._refused.get_xdata().tolist() == [6.0]
    assert dots.caution.get_markerfacecolor() == "white"
    path = panel._trails.paths[PLAIN].get_ydata()
    assert np.isnan(path).tolist() == [False, False, True, False, False]  # not joined
    bars = {bar.get_color()[:3]: len(bar.get_xdata()) // 3 for bar in panel._intervals.lines.values()}
    assert sorted(bars.values()) == [1, 1, 3]


def test_what_is_not_usable_does_not_set_the_scale():
    plot = figure_of([TRUSTED, UNUSABLE])
    wild = replace(
        plot._panels["CN1"]._points[-1].prediction, outcome=Outcome({"CN1": Value(9.2, 9, -30.0, 60.0)})
    )
    plot.predicted(result_of(sweep(), wild))
    plot.refresh()
    low, high = plot._panels["CN1"].ax.get_ylim()
    assert 5 < low < 9
    assert 10 < high < 15


@pytest.mark.parametrize(
    ("verdict", "word", "colour", "figures"),
    [
        (TRUSTED, "✓  TRUSTED", GREEN, BLUE),
        (CAUTION, "!  CAUTION", ORANGE, AMBER),
        (UNUSABLE, "×  NOT USABLE", VERMILION, VERMILION),
        (Verdict(), "–  NOT JUDGED", PALE, BLUE),
    ],
)
def test_the_band_says_the_verdict_in_a_word_and_a_colour(verdict, word, colour, figures):
    plot = figure_of([UNUSABLE, verdict])
    assert word in texts(plot)
    assert plot._layout._band.get_facecolor()[:3] == mpl.colors.to_rgb(colour)
    panel = plot._panels["CN1"]
    assert panel._value.get_color() == figures
    shown = (panel._value.get_text(), panel._interval.get_text())
    assert shown == (("10.0", "9.5 – 10.5") if verdict.usable else ("–", "not usable"))
    assert ("Pt L3   2.0 nm" in texts(plot)) is verdict.usable


def test_the_band_waits_for_the_first_sweep_and_names_a_refusal():
    plot = LiveStructurePlot()
    plot.refresh()
    assert not plot._layout._band.get_visible()
    plot = figure_of([TRUSTED, REFUSED])
    assert "scan 2: refused, no edge: mu falls" in texts(plot)
    assert "×  NOT USABLE" in texts(plot)


def test_what_to_do_comes_before_the_reasons():
    looks = Outcome(chemistry=chemistry(0.1, looks=LOOKS["oxide"]))
    doubtful = Prediction("m", "", outcome=looks, verdict=CAUTION)
    assert (
        said(doubtful)
        == f"usable, with an interval 1.4 times wider: {WHITE_LINE}; looks like an oxide, salt or complex"
    )
    assert said(replace(doubtful, verdict=UNUSABLE)).startswith("do not use the numbers: unlike any")
    assert said(replace(doubtful, outcome=Outcome(), verdict=Verdict(Degree.CAUTION))) == "usable"
    assert said(Prediction("m", "", verdict=TRUSTED)) == "like the spectra that the model was trained on"


def test_the_lights_in_words():
    known = Outcome(values={"CN1": Value(9.0, 0.1, 8.8, 9.2)})
    flags = ("not_usable", "other_phase", "e0_far_from_foil")
    out = Prediction("m", "", outcome=known, verdict=UNUSABLE, flags=flags)
    assert verdict_light(out)[1:3] == ("×", "Not usable")
    assert verdict_light(out).words == UNUSABLE.reason
    assert quality_light(out)[1:] == ("!", "Flagged", "e0 far from foil")
    assert verdict_light(None).words.startswith("waiting")
    unjudged = verdict_light(Prediction("m", "", flags=("noisy",)))
    assert unjudged[2:] == ("Not judged", "this model does not judge spectra")
    refused = Prediction("m", "", refused="no edge")
    assert verdict_light(refused)[2:] == ("Not usable", "no number is given")
    assert quality_light(refused)[2:] == ("Refused", "no edge")


def test_remarks_are_no_warning():
    fine = Prediction("m", "", verdict=TRUSTED, flags=("temperature_unknown", "aligned_by_e0"))
    assert quality_light(fine) == (GREEN, "✓", "Good data", "temperature unknown, aligned by e0")
    assert quality_light(replace(fine, flags=("temperature_unknown", "noisy"))).title == "Flagged"


def test_chemistry_has_a_panel_of_its_own_from_none_to_all():
    plot = figure_of([TRUSTED, CAUTION, UNUSABLE], chemistry(0.02), chemistry(0.1, 0.4), chemistry(0.9))
    assert list(plot._panels) == ["CN1", "size", "chemistry"]
    panel = plot._panels["chemistry"]
    assert panel._trails.paths[PLAIN].get_ydata().tolist() == [0.02, 0.1, 0.9]
    assert panel._trails.dots[PLAIN].unusable.get_data()[1].tolist() == [0.9]
    assert panel._adsorbed.get_xdata()[np.isfinite(panel._adsorbed.get_ydata())].tolist() == [2.0]
    assert np.nansum(panel._adsorbed.get_ydata()) == 0.4
    low, high = panel.ax.get_ylim()
    assert low < 0 < 1 < high < 1.1
    assert panel._value.get_text() == "0.90"
    assert panel._adsorbates.get_text() == ""
    assert "adsorbates" in texts(plot)
    plot = figure_of([TRUSTED], chemistry(0.02))
    assert "adsorbates" not in texts(plot)
    assert list(figure_of([TRUSTED])._panels) == ["CN1", "size"]


def test_an_average_has_its_share_too():
    plot = figure_of([TRUSTED, TRUSTED], chemistry(0.1))
    last = plot._panels["CN1"]._points[-1].prediction
    mean = replace(last, outcome=Outcome(chemistry=chemistry(0.3)))
    where = replace(mean.provenance, averaged=2)
    plot.averaged(sweep(), replace(mean, provenance=where))
    plot.refresh()
    [line] = plot._panels["chemistry"]._means.lines.get_segments()
    assert line[:, 1].tolist() == [0.3, 0.3]


def test_refused_sweeps_have_no_share():
    plot = figure_of([REFUSED, TRUSTED, REFUSED], chemistry(0.1))
    panel = plot._panels["chemistry"]
    assert panel._trails.paths[PLAIN].get_xdata().tolist() == [2.0]
    assert panel._value.get_text() == "–"


@pytest.mark.parametrize(
    "verdicts",
    [
        [TRUSTED],
        [UNUSABLE],
        [TRUSTED, CAUTION, UNUSABLE, REFUSED, CAUTION, TRUSTED, CAUTION, UNUSABLE],
        [TRUSTED, CAUTION, UNUSABLE] * 20,
    ],
    ids=len,
)
def test_words_neither_overlap_nor_leave_the_figure(verdicts):
    plot = figure_of(verdicts, chemistry(0.1, 0.4, LOOKS["sulphide"]))
    FigureCanvasAgg(plot.figure).draw()
    layout, bounds = plot._layout, plot.figure.bbox
    key = plot._panels["CN1"].ax.get_legend()
    heads = [layout._verdict, layout._why, layout._absorber, layout._sample, key]
    boxes = [each.get_window_extent() for each in heads]
    assert all(box.x0 >= 0 and box.x1 <= bounds.x1 and box.y1 <= bounds.y1 for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    panel = plot._panels["chemistry"]
    beside = [t for t in (panel._value, panel._interval, panel._adsorbates) if t.get_text()]
    boxes = [t.get_window_extent() for t in beside] + [panel.ax.yaxis.label.get_window_extent()]
    assert all(box.x1 <= bounds.x1 for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_a_long_reason_is_shortened_to_the_band():
    reasons = tuple(f"reason number {k} that says at length what is unlike any particle" for k in range(9))
    plot = figure_of([Verdict(Degree.CAUTION, reasons)])
    FigureCanvasAgg(plot.figure).draw()
    why = plot._layout._why
    assert why.get_text().endswith("…")
    box = why.get_window_extent()
    assert box.x1 < plot.figure.bbox.x1
    assert plot._layout._band.get_window_extent().y0 <= box.y0


@pytest.mark.parametrize("verdict", [TRUSTED, CAUTION, UNUSABLE])
def test_the_note_of_a_growing_sweep_says_its_doubt_beside_the_key(verdict):
    plot, growing = figure_of([TRUSTED, CAUTION, UNUSABLE, REFUSED], chemistry(0.1, 0.4)), sweep()
    plot.measuring(growing, replace(predict(growing), verdict=verdict))
    plot.refresh()
    FigureCanvasAgg(plot.figure).draw()
    note = plot._spectrum.ax._left_title
    assert note.get_text().endswith("" if verdict is TRUSTED else f" ({verdict.degree})")
    key = plot._panels["CN1"].ax.get_legend()
    assert not note.get_window_extent().overlaps(key.get_window_extent())
