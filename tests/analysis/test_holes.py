"""Stretches without points: completed with intervals that know, or refused; flagged in both cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import Analyzer, RunHistory
from xas_live.analysis.averages import Averages
from xas_live.flags import Flag
from xas_live.models.bundle import Bundle
from xas_live.prediction import Degree
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.reduction.holes import holes
from xas_live.reduction.standards import StandardError
from xas_live.simulator import growth
from xas_live.spectrum import Array, Spectrum

E0 = 11919.0
Scan = Callable[..., Spectrum]


def without(spectrum: Spectrum, first: float, last: float) -> Spectrum:
    """The spectrum without its points between two energies above the edge (eV)."""
    kept = (spectrum.energy <= E0 + first) | (spectrum.energy >= E0 + last)
    reference = None if spectrum.reference is None else spectrum.reference[kept]
    return replace(spectrum, energy=spectrum.energy[kept], mu=spectrum.mu[kept], reference=reference)


@pytest.fixture(scope="module")
def analyzer(au: Bundle, au_anchor: FoilAnchor) -> Analyzer:
    return Analyzer(au, au_anchor)


STEP_SCAN = np.concatenate(
    [np.arange(-200, -30, 5.0), np.arange(-30, 60, 0.5), np.arange(60, 160, 1.5), np.arange(160, 700, 4.0)]
)


@pytest.mark.parametrize(
    "axis",
    [
        STEP_SCAN,
        np.arange(-150, 400, 0.5),
        np.arange(-150, 400, 5.0),
        np.r_[np.arange(-150, -20, 10.0), np.arange(-20, 30, 0.25), 3.81 * np.arange(2.81, 12, 0.05) ** 2],
        np.r_[np.arange(-100, -10, 5.0), np.arange(-10, 15, 0.2), np.arange(15, 40), np.arange(40, 300, 3.0)],
        np.sort(np.random.default_rng(1).uniform(-150, 400, 3000)),
    ],
)  # fmt: skip
def test_the_steps_of_a_whole_scan_are_no_holes(axis: Array) -> None:
    assert holes(E0 + axis, E0, E0 - 8, E0 + 87) == []


@pytest.mark.parametrize(
    ("first", "last"), [(6.0, 26.0), (16.0, 36.0), (50.0, 65.0), (55.0, 75.0), (70.0, 95.0)]
)
def test_a_gap_is_a_hole(first: float, last: float) -> None:
    axis = E0 + STEP_SCAN[(first >= STEP_SCAN) | (last <= STEP_SCAN)]
    [(low, high)] = holes(axis, E0, E0 - 8, E0 + 87)
    assert low <= E0 + first
    assert high >= E0 + last


def test_gaps_beyond_the_grid_do_not_matter(analyzer: Analyzer, scan_of: Scan) -> None:
    whole = scan_of(growth(6, "au_l3")[2], reference=None)
    [prediction, other] = analyzer.analyze([without(whole, 200.0, 300.0), without(whole, -120.0, -60.0)])
    assert Flag.HOLE not in (*prediction.flags, *other.flags)


@pytest.mark.parametrize("at", [6.0, 16.0, 30.0, 60.0])
def test_a_hole_is_completed_flagged_and_widens_the_interval(
    analyzer: Analyzer, scan_of: Scan, at: float
) -> None:
    whole = scan_of(growth(6, "au_l3")[1], reference=None, noise=5e-4)
    [known], [prediction] = analyzer.analyze([whole]), analyzer.analyze([without(whole, at, at + 20.0)])
    assert Flag.HOLE not in known.flags
    assert Flag.HOLE in prediction.flags
    value, before = prediction.values["CN1"], known.values["CN1"]
    assert value.value == pytest.approx(before.value, abs=0.7)
    assert value.upper - value.lower > before.upper - before.lower
    assert value.lower <= before.value <= value.upper
    assert prediction.verdict.degree is not Degree.TRUSTED
    assert "hole" in prediction.verdict.reason


def test_the_order_in_a_batch_does_not_matter(analyzer: Analyzer, scan_of: Scan) -> None:
    whole = scan_of(growth(6, "au_l3")[1], reference=None)
    batch = [whole, without(whole, 16.0, 36.0), whole, without(whole, 40.0, 60.0)]
    alone = [analyzer.analyze([spectrum])[0] for spectrum in batch]
    for one, other in zip(analyzer.analyze(batch), alone, strict=True):
        assert one.values["CN1"].value == pytest.approx(other.values["CN1"].value, abs=1e-4)
        assert one.flags == other.flags


def test_a_hole_over_the_edge_or_over_half_of_the_grid_is_refused(analyzer: Analyzer, scan_of: Scan) -> None:
    whole = scan_of(growth(6, "au_l3")[1], reference=None)
    over_edge, wide = analyzer.analyze([without(whole, -8.0, 12.0), without(whole, 10.0, 75.0)])
    assert over_edge.refused is not None
    assert "over the edge" in over_edge.refused
    assert wide.refused is not None
    assert "no points over" in wide.refused
    assert Flag.HOLE in over_edge.flags
    assert Flag.HOLE in wide.flags


def test_foils_and_standards_with_a_hole_are_refused(
    au: Bundle, au_anchor: FoilAnchor, scan_of: Scan
) -> None:
    foil = scan_of(None, reference=None)
    with pytest.raises(AnchorError, match=r"no points between 11\d\d\d\.\d and 11\d\d\d\.\d eV"):
        FoilAnchor.fit(without(foil, 16.0, 36.0), au)
    sample = scan_of(growth(6, "au_l3")[2])
    with pytest.raises(StandardError, match="no points between"):
        Analyzer(au, au_anchor, standards={"oxide": without(sample, 16.0, 36.0)})
    fitted = Analyzer(au, au_anchor, standards={"oxide": sample})
    [prediction] = fitted.analyze([without(scan_of(growth(6, "au_l3")[1]), 16.0, 36.0)])
    assert prediction.refused is not None
    assert "standards" in prediction.refused


def test_a_sweep_with_its_own_foil_and_a_hole_in_both_is_unanchored(au: Bundle, scan_of: Scan) -> None:
    [prediction] = Analyzer(au, "reference").analyze([without(scan_of(growth(6, "au_l3")[1]), 16.0, 36.0)])
    assert {Flag.HOLE, Flag.BAD_REFERENCE, Flag.UNANCHORED} <= set(prediction.flags)


def test_growing_sweeps_and_averages_pass_over_holes(analyzer: Analyzer, scan_of: Scan) -> None:
    whole = scan_of(growth(6, "au_l3")[1], reference=None)
    growing = replace(whole, energy=whole.energy[whole.energy < E0 + 60], mu=whole.mu[whole.energy < E0 + 60])
    earlier = RunHistory().before(growing)
    assert analyzer.preview(growing, earlier) is not None
    assert analyzer.preview(without(growing, 16.0, 36.0), earlier) is None
    sweeps = [
        replace(spectrum, provenance=replace(spectrum.provenance, run_uid="r"))
        for spectrum in (whole, without(whole, 16.0, 36.0))
    ]
    assert Averages().add(sweeps, analyzer.analyze(sweeps)) == {}


@pytest.mark.slow
def test_random_holes_are_in_their_intervals(analyzer: Analyzer, scan_of: Scan) -> None:
    """Of holes of 5 to 40 eV, and of whole sweeps none is flagged."""
    rng = np.random.default_rng(3)
    samples = growth(12, "au_l3")
    truths, wholes, cut = [], [], []
    for k in range(60):
        sample = samples[rng.integers(len(samples))]
        whole = scan_of(sample, reference=None, noise=8e-4, seed=k)
        at = rng.uniform(-25.0, 90.0)
        truths.append(sample.truth()["CN1"])
        wholes.append(whole)
        cut.append(without(whole, at, at + rng.uniform(5.0, 40.0)))
    known, found = analyzer.analyze(wholes), analyzer.analyze(cut)
    assert not any(Flag.HOLE in p.flags for p in known)
    analysed = [(p, w, t) for p, w, t in zip(found, known, truths, strict=True) if p.refused is None]
    assert len(analysed) > 30
    inside = [p.values["CN1"].lower <= truth <= p.values["CN1"].upper for p, _, truth in analysed]
    assert np.mean(inside) >= 0.95
    unflagged = [(p, w) for p, w, _ in analysed if Flag.HOLE not in p.flags]
    for p, w in unflagged:
        assert p.values["CN1"].value == pytest.approx(w.values["CN1"].value, abs=0.3)
