"""An aborted sweep keeps the better of its final estimate and its last preview."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import Analyzer, RunHistory
from xas_live.callbacks.live.pipeline import Completed, PipelineHooks, SweepPipeline
from xas_live.simulator import Sample

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


class Kept(PipelineHooks):
    def __init__(self):
        self.results, self.errors = [], []

    def failed(self, where, error):
        self.errors.append(error)

    def completed(self, document, result):
        self.results.append(result)


def published(analyzer, *spectra):
    hooks = Kept()
    pipeline = SweepPipeline(analyzer, [], RunHistory(), hooks)
    pipeline.process([Completed("event", {}, [spectrum]) for spectrum in spectra])
    assert not hooks.errors
    return [result.primary for result in hooks.results]


def cut(scan, end, **changes):
    """The scan as far as so many eV past the edge."""
    n = int(np.searchsorted(scan.energy, 11919.0 + end))
    return replace(
        scan, energy=scan.energy[:n], mu=scan.mu[:n], reference=None, counts={}, complete=False, **changes
    )


def test_one_that_ends_before_the_models_grid_keeps_its_preview(au, au_anchor, scan_of):
    scan = scan_of(SAMPLE)
    aborted, whole = published(Analyzer(au, au_anchor), cut(scan, 60.0), replace(scan, reference=None))
    assert aborted.refused is None
    assert {"partial", "incomplete"} <= set(aborted.flags)
    assert aborted.partial
    value = aborted.values["CN1"]
    assert value.lower < whole.values["CN1"].value < value.upper
    assert value.upper - value.lower > whole.values["CN1"].upper - whole.values["CN1"].lower


def test_one_that_reaches_the_grid_keeps_the_narrower_of_both(au, au_anchor, scan_of):
    scan = cut(scan_of(SAMPLE), 300.0)
    analyzer = Analyzer(au, au_anchor)
    (aborted,) = published(analyzer, scan)
    (final,), preview = analyzer.analyze([scan]), analyzer.preview(scan)
    halves = [p.values["CN1"].upper - p.values["CN1"].lower for p in (final, preview)]
    kept = aborted.values["CN1"].upper - aborted.values["CN1"].lower
    assert kept == pytest.approx(min(halves))
    assert "incomplete" in aborted.flags


def test_what_is_refused_for_its_data_stays_refused(au, au_anchor, scan_of):
    scan = scan_of(SAMPLE)
    noise = np.random.default_rng(0).standard_normal(len(scan.energy))
    dead, short = replace(scan, mu=0.001 * noise), cut(scan, 10.0)
    for spectrum in (cut(dead, 60.0), short):
        (aborted,) = published(Analyzer(au, au_anchor), spectrum)
        assert aborted.refused is not None


def test_a_whole_sweep_is_not_previewed(au, au_anchor, scan_of):
    class Counting(Analyzer):
        asked = 0

        def preview(self, spectrum, earlier=None):
            self.asked += 1
            return super().preview(spectrum, earlier)

    analyzer = Counting(au, au_anchor)
    published(analyzer, scan_of(SAMPLE, reference=None))
    assert analyzer.asked == 0
