"""Dense sweeps on the standard grid of their edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.analysis import Analyzer
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.normalize import NormalizationOperator, Windows, flat_once
from xas_live.reduction.quality import Unusable, check, check_all
from xas_live.reduction.rebin import LARGEST_GAP, EdgeGrid, edge_grid
from xas_live.reduction.standards import Standard
from xas_live.simulator import Mismatch, Sample
from xas_live.simulator.absorption import measured as absorption
from xas_live.spectrum import Spectrum

E0, POINTS = 11919.0, 10_000
GRID = edge_grid(E0)
WINDOWS = Windows(-145.0, -50.0, 75.0, 595.0, nnorm=2, npre=1)
NETWORK = E0 + np.arange(-8.0, 85.0, 0.5)
PARTICLES = [Sample({name: 1.0}, "au_l3") for name in ("cuboctahedron_7_3", "cuboctahedron_9_4")]


def steady(points: int = POINTS, *, jitter: float = 0.0, seed: int = 0, e0: float = E0) -> np.ndarray:
    """Energies of a sweep at even speed; jitter is the standard deviation in steps."""
    energy = np.linspace(e0 - 150.0, e0 + 600.0, points)
    return energy + jitter * (energy[1] - energy[0]) * np.random.default_rng(seed).standard_normal(points)


def crank(points: int = POINTS) -> np.ndarray:
    """Energies of a sweep that a crank drives: slow at both ends."""
    turn = np.sin(np.linspace(-1.46, 1.46, points))
    return E0 + 225.0 + 375.0 * turn / turn[-1]


def smooth(x: np.ndarray, width: float) -> np.ndarray:
    """An edge as sharp as a core hole of that half width (eV) allows, with a white line and a background."""
    return (
        0.4 - 3e-4 * x + 0.5 + np.arctan(x / width) / np.pi + 0.3 / (1.0 + ((x - 1.2 * width) / width) ** 2)
    )


def structure(x: np.ndarray) -> np.ndarray:
    """The same with fine structure."""
    k = np.sqrt(np.maximum(x, 0.0) / 3.81)
    return smooth(x, 2.7) + 0.15 * np.sin(5.4 * k) * np.minimum(k / 3.0, 1.0) ** 3 * np.exp(-0.03 * k**2)


def simulated(energy: np.ndarray, sample: Sample | None = PARTICLES[0], noise: float = 0.0, seed: int = 0,
              **rest: object) -> Spectrum:  # fmt: skip
    mu = absorption(energy, "au_l3", sample, Mismatch()) + 0.2
    mu = mu + noise * np.random.default_rng(seed).standard_normal(len(energy))
    known = {"element": "Au", "edge": "L3", "temperature": 295.0}
    return Spectrum(energy=energy, mu=mu, **(known | rest))


def averaged(energy: np.ndarray, mu: np.ndarray, grid: EdgeGrid = GRID) -> tuple[np.ndarray, np.ndarray]:
    """Centres, and what stands there."""
    layout = grid.layout(energy)
    assert layout is not None
    return layout.axis.energy, layout.average(mu[None])[0]


@pytest.fixture
def as_measured(monkeypatch):
    """A way to have dense sweeps taken as measured, point by point."""
    return lambda: monkeypatch.setattr(EdgeGrid, "layout", lambda self, energy: None)


# --- the grid -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("e0", "fine"), [(7112.0, 0.25), (8979.0, 0.25), (11564.0, 0.35), (24350.0, 0.4)])
def test_the_grid_belongs_to_the_edge(e0, fine):
    grid = edge_grid(e0)
    step = np.diff(grid.energy)
    x = grid.energy[1:] - e0
    assert grid.fine_step == pytest.approx(fine)
    np.testing.assert_allclose(step[x < -52.0], 2.0, atol=1e-6)
    np.testing.assert_allclose(step[(x > -49.0) & (x < 29.0)], fine, atol=1e-6)
    k = np.sqrt((grid.energy[grid.energy > e0 + 33.0] - e0) / 3.809982)
    np.testing.assert_allclose(np.diff(k), 0.05, atol=0.007)  # limits of bins are multiples of 0.05 eV
    assert edge_grid(e0) is grid


# --- values of the bins ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    slope=st.floats(-1, 1),
    offset=st.floats(-3, 3),
    points=st.integers(6000, 20_000),
    jitter=st.floats(0, 2),
    seed=st.integers(0, 1000),
)
def test_a_line_stays_as_it_is(slope, offset, points, jitter, seed):
    energy = steady(points, jitter=jitter, seed=seed)
    centre, found = averaged(energy, offset + slope * (energy - E0))
    off = np.abs(found - offset - slope * (centre - E0))
    assert off[10:-10].max() < 1e-6
    assert off.max() < 0.02


@pytest.mark.parametrize(("e0", "width"), [(8979.0, 1.5), (11564.0, 2.65), (11919.0, 2.7), (24350.0, 3.2)])
@pytest.mark.parametrize("jitter", [0.0, 0.6])
def test_a_bin_is_true_to_1e_4_of_the_edge_step(e0, width, jitter):
    for seed in range(5):
        energy = steady(jitter=jitter, seed=seed, e0=e0)
        centre, found = averaged(energy, smooth(energy - e0, width), edge_grid(e0))
        assert np.abs(found - smooth(centre - e0, width)).max() < 1e-4


def test_a_plain_mean_would_not_be(monkeypatch):
    energy = steady(jitter=0.6)
    monkeypatch.setattr("xas_live.reduction.rebin.ITERATIONS", 0)
    centre, found = averaged(energy, smooth(energy - E0, 2.7))
    assert np.abs(found - smooth(centre - E0, 2.7)).max() > 2e-4


@settings(deadline=None, max_examples=15)
@given(points=st.integers(8000, 40_000), jitter=st.floats(0, 1), seed=st.integers(0, 1000))
def test_noise_falls_with_the_root_of_the_points_in_a_bin(points, jitter, seed):
    energy = steady(points, jitter=jitter, seed=seed)
    layout = GRID.layout(energy)
    noise = np.random.default_rng(seed).standard_normal((8, points))
    left = layout.average(noise) * np.sqrt(layout.weights)
    assert layout.weights.sum() == pytest.approx(points, rel=0.01)
    assert 0.9 < left[:, layout.axis.judged].std() < 1.25  # taking the curvature out costs a tenth


def test_empty_bins_are_filled_from_beside_and_weigh_nothing():
    energy = steady()
    fine = np.flatnonzero(np.abs(GRID.energy - E0) < 20.0)
    lost = [fine[10], fine[30], fine[31], *fine[50 : 50 + LARGEST_GAP]]
    kept = np.ones(len(energy), dtype=bool)
    for i in lost:
        kept &= np.abs(energy - GRID.energy[i]) > 0.5 * GRID.fine_step + 0.01
    layout = GRID.layout(energy[kept])
    at = np.searchsorted(layout.axis.energy, GRID.energy[lost])
    np.testing.assert_array_less(layout.weights[at], 0.01)
    found = layout.average(smooth(energy[kept] - E0, 2.7)[None])[0]
    np.testing.assert_allclose(found, smooth(layout.axis.energy - E0, 2.7), atol=0.01)
    np.testing.assert_allclose(found[at[:3]], smooth(GRID.energy[lost[:3]] - E0, 2.7), atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(start=st.floats(-180, -60), end=st.floats(70, 900), jitter=st.floats(0, 1))
def test_a_sweep_has_the_bins_whose_centres_it_passes(start, end, jitter):
    energy = np.linspace(E0 + start, E0 + end, 14_000)
    energy += jitter * (energy[1] - energy[0]) * np.random.default_rng(0).standard_normal(len(energy))
    axis = GRID.layout(energy).axis.energy
    wanted = GRID.energy[(GRID.energy >= energy.min()) & (GRID.energy <= energy.max())]
    np.testing.assert_array_equal(axis, wanted)


# --- what is dense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "energy",
    [
        steady(600),
        steady(3000),
        E0 + np.concatenate([np.arange(-150, -20, 5.0), np.arange(-20, 60, 0.1), np.arange(60, 600, 2.0)]),
        np.delete(steady(), slice(2000, 2030)),  # over 2 eV of the edge are missing
        E0 + np.linspace(100.0, 600.0, POINTS),
    ],
)
def test_others_are_taken_as_measured(energy):
    spectrum = simulated(energy, noise=0.002)
    found, measured = check(spectrum, GRID), check(spectrum)
    assert found.weights is None
    np.testing.assert_array_equal(found.energy, measured.energy)
    np.testing.assert_array_equal(found.mu, measured.mu)


def test_a_step_scan_is_predicted_bit_for_bit_as_without_rebinning(au, au_anchor, scan_of, as_measured):
    scans = [scan_of(s, noise=0.002, seed=i) for i, s in enumerate(PARTICLES)]
    found = Analyzer(au, au_anchor).analyze(scans)
    as_measured()
    for one, other in zip(found, Analyzer(au, au_anchor).analyze(scans), strict=True):
        assert one.values == other.values
        assert one.flags == other.flags


# --- normalisation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("energy", [steady(), steady(jitter=0.6), crank()], ids=["steady", "jitter", "crank"])
def test_line_and_curve_are_those_of_all_the_points(energy):
    mu = structure(energy - E0)
    ordered = np.argsort(energy)
    flat, step = flat_once(energy[ordered], mu[ordered][None], E0, WINDOWS, NETWORK)
    layout = GRID.layout(energy)
    bins, axis = layout.average(mu[None]), layout.axis.energy
    found, found_step = flat_once(axis, bins, E0, WINDOWS, NETWORK, layout.weights[None])
    assert found_step[0] == pytest.approx(step[0], rel=3e-4)
    np.testing.assert_allclose(found, flat, atol=5e-4)
    unweighted = flat_once(axis, bins, E0, WINDOWS, NETWORK)[1]
    assert abs(unweighted[0] - step[0]) > 5 * abs(found_step[0] - step[0])


@pytest.mark.parametrize("kind", ["matrices", "torch"])
def test_weighted_matrices_give_what_is_worked_out_once(kind):
    layouts = [GRID.layout(steady(jitter=0.6, seed=i)) for i in range(3)]
    axis = layouts[0].axis.energy
    mu = np.stack([structure(axis - E0) * (1 + i) for i in range(3)])
    weights = np.stack([layout.weights for layout in layouts])
    once, steps = flat_once(axis, mu, E0, WINDOWS, NETWORK, weights)
    operator = NormalizationOperator(axis, E0, WINDOWS, NETWORK)
    there = torch.from_numpy if kind == "torch" else np.asarray
    flat, found = operator.flat(there(mu), there(weights))
    np.testing.assert_allclose(np.asarray(flat), once, atol=1e-10)
    np.testing.assert_allclose(np.asarray(found), steps, rtol=1e-10)
    norm, again, _ = operator(there(mu), there(weights))
    np.testing.assert_allclose(np.asarray(again), once, atol=1e-10)
    before = NETWORK < E0
    np.testing.assert_allclose(np.asarray(norm)[:, before], once[:, before], atol=1e-6)


# --- predictions ----------------------------------------------------------------------------------------


def test_a_dense_sweep_is_predicted_as_its_points_would_be(au, au_anchor, as_measured):
    spectra = [simulated(energy, s) for s in PARTICLES for energy in (steady(), steady(jitter=0.6), crank())]
    found = Analyzer(au, au_anchor).analyze(spectra)
    as_measured()
    # The simulated mu has kinks, which bins and cells of points round differently: 0.005 at most in CN1
    for one, other in zip(found, Analyzer(au, au_anchor).analyze(spectra), strict=True):
        assert one.refused is None
        assert one.flags == ()
        assert one.edge_step == pytest.approx(other.edge_step, rel=1e-3)
        for name, value in one.values.items():
            assert value.value == pytest.approx(other.values[name].value, abs=0.02)


def test_jittering_sweeps_share_axis_and_operator(au, au_anchor):
    analyzer = Analyzer(au, au_anchor)
    for seed in range(5):
        energy = steady(jitter=0.6, seed=seed)
        (found,) = analyzer.analyze([simulated(energy, noise=0.005, seed=seed)])
        assert found.flags == ()
    [reducer] = analyzer.reducers
    assert len(reducer._operators._operators) == 1
    assert len(reducer._plans) == 1
    spectra = [simulated(steady(jitter=0.6, seed=seed)) for seed in range(3)]
    checked = check_all(spectra, reducer._axes, [edge_grid(11919.0)] * 3)
    assert len({id(one.axis) for one in checked}) == 1
    assert len({id(sweep.plan) for sweep in reducer.reduce(spectra)}) == 1


def test_it_depends_on_no_sweep_before(au, au_anchor):
    spectra = [simulated(steady(jitter=0.6, seed=i), noise=0.005, seed=i) for i in range(4)]
    used = Analyzer(au, au_anchor)
    used.analyze(spectra)
    again, fresh = used.analyze(spectra[3:]), Analyzer(au, au_anchor).analyze(spectra[3:])
    for name, value in fresh[0].values.items():
        assert again[0].values[name].value == pytest.approx(value.value, abs=1e-4)


def test_gates_and_flags_see_the_noise_of_bins(au, au_anchor, as_measured):
    spectrum = simulated(steady(jitter=0.6), noise=0.03)
    (found,) = Analyzer(au, au_anchor).analyze([spectrum])
    assert not {"noisy", "glitch", "unsorted", "repeated_energies"} & set(found.flags)
    (drowned,) = Analyzer(au, au_anchor).analyze(
        [replace(spectrum, mu=simulated(spectrum.energy, noise=0.13).mu)]
    )
    assert "noise of" in drowned.refused
    as_measured()
    (points,) = Analyzer(au, au_anchor).analyze([spectrum])
    assert {"noisy", "unsorted", "repeated_energies"} <= set(points.flags)


def test_a_down_sweep_gives_what_an_up_sweep_gives():
    spectrum = simulated(steady(jitter=0.6), noise=0.005)
    up = check(spectrum, GRID)
    down = check(replace(spectrum, energy=spectrum.energy[::-1], mu=spectrum.mu[::-1]), GRID)
    order = np.random.default_rng(0).permutation(len(spectrum))
    mixed = check(replace(spectrum, energy=spectrum.energy[order], mu=spectrum.mu[order]), GRID)
    assert up.axis is down.axis is mixed.axis
    assert (up.flags, down.flags, mixed.flags) == ((), (), ())
    for other in (down, mixed):
        np.testing.assert_allclose(other.mu, up.mu, atol=1e-12)
        np.testing.assert_array_equal(other.weights, up.weights)


def test_a_sweep_that_ends_early_is_refused_with_what_it_lacks(au, au_anchor):
    energy = steady()
    (short,) = Analyzer(au, au_anchor).analyze([simulated(energy[energy < E0 + 60.0])])
    assert "the sweep ends at 11979 eV" in short.refused or "the sweep ends at 11978 eV" in short.refused
    (longer,) = Analyzer(au, au_anchor).analyze([simulated(energy[energy < E0 + 140.0])])
    assert longer.flags == ("short_range",)


# --- what is wrong is seen ------------------------------------------------------------------------------


def spoil(spectrum: Spectrum, column: str, at: list[int], values: object) -> Spectrum:
    changed = getattr(spectrum, column).copy()
    changed[at] = values
    return replace(spectrum, **{column: changed})


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("mu", [3.0, 0.0, -1.0]),  # spikes
        ("mu", np.nan),
        ("energy", np.nan),
        ("energy", [0.0, 11.9, E0 + 4000.0]),  # no reading, one in keV, one far off
        ("energy", [E0 + 300.0, E0 - 100.0, E0 + 400.0]),  # of another part of the sweep
    ],
)
def test_points_misread_are_left_out_and_said(column, values):
    spectrum, at = simulated(steady(jitter=0.6), noise=0.003), [1990, 2030, 1000]
    found = check(spoil(spectrum, column, at, values), GRID)
    without = {name: np.delete(getattr(spectrum, name), at) for name in ("energy", "mu")}
    wanted = check(replace(spectrum, **without), GRID)
    assert found.flags == ("bad_points",)
    assert wanted.flags == ()
    np.testing.assert_allclose(found.mu, wanted.mu, atol=1e-12)
    np.testing.assert_array_equal(found.weights, wanted.weights)


def test_a_glitch_wider_than_a_bin_is_flagged_as_in_a_step_scan(au, au_anchor):
    spectrum = simulated(steady(), noise=0.002)
    hit = np.abs(spectrum.energy - (E0 + 20.2)) < 0.25
    (found,) = Analyzer(au, au_anchor).analyze([replace(spectrum, mu=spectrum.mu + 0.3 * hit)])
    assert "glitch" in found.flags


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: replace(s, energy=s.energy / 1000.0), "looks like keV"),
        (lambda s: replace(s, mu=np.full(len(s), 0.7)), "the same at every energy"),
        (lambda s: replace(s, mu=np.where(np.arange(len(s)) % 9 == 0, np.nan, s.mu)), "are not numbers"),
        (lambda s: replace(s, mu=-s.mu), "falls"),
        (lambda s: with_i0(s, np.full(len(s), 5.0)), "dead or saturated"),
        (lambda s: with_i0(s, np.minimum(lively(s), 1e6)), "saturated"),
    ],
)
def test_what_is_wrong_is_named(au, au_anchor, change, reason):
    (found,) = Analyzer(au, au_anchor).analyze([change(simulated(steady(jitter=0.6), noise=0.003))])
    assert reason in found.refused


def lively(spectrum: Spectrum, size: float = 0.01) -> np.ndarray:
    return 1e6 * (1.0 + size * np.random.default_rng(5).standard_normal(len(spectrum)))


def with_i0(spectrum: Spectrum, i0: np.ndarray) -> Spectrum:
    return Spectrum.from_counts(
        spectrum.energy, {"i0": i0, "it": i0 * np.exp(-spectrum.mu)}, element="Au", edge="L3"
    )


def test_mu_that_follows_i0_is_flagged(au, au_anchor):
    spectrum = simulated(steady(jitter=0.6), noise=0.001)
    i0 = lively(spectrum, 0.1)
    offset = {"i0": i0 + 1e5, "it": i0 * np.exp(-spectrum.mu)}
    bad = Spectrum.from_counts(spectrum.energy, offset, element="Au", edge="L3", temperature=295.0)
    found = Analyzer(au, au_anchor).analyze([bad, with_i0(spectrum, i0)])
    assert ["i0_nonlinear" in p.flags for p in found] == [True, False]


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_a_batch_is_checked_as_its_members_are(data):
    energy, spectra = steady(jitter=0.6), []
    for seed in range(3):
        spectrum = simulated(energy, noise=0.003, seed=seed)
        what = data.draw(st.sampled_from(["nothing", "nothing", "nan", "spike", "dead", "reference"]))
        if what in ("nan", "spike"):
            spectrum = spoil(spectrum, "mu", [data.draw(st.integers(0, len(energy) - 1))],
                             np.nan if what == "nan" else 9.0)  # fmt: skip
        elif what == "dead":
            spectrum = replace(spectrum, mu=np.zeros(len(energy)))
        elif what == "reference":
            spectrum = replace(spectrum, reference=simulated(energy, None, 0.003, seed).mu)
        spectra.append(spectrum)
    for spectrum, found in zip(spectra, check_all(spectra, AxisCache(), [GRID] * 3), strict=True):
        if isinstance(found, Unusable):
            with pytest.raises(Unusable):
                check(spectrum, GRID)
            continue
        alone = check(spectrum, GRID)
        assert found.axis is alone.axis
        assert found.flags == alone.flags
        np.testing.assert_allclose(found.mu, alone.mu, atol=1e-12)
        np.testing.assert_array_equal(found.weights, alone.weights)
        assert (found.reference is None) == (spectrum.reference is None)


# --- foils and standards --------------------------------------------------------------------------------


def test_a_dense_foil_anchors_as_a_step_scan_does(au, au_anchor, tmp_path):
    dense = FoilAnchor.fit(simulated(steady(jitter=0.6), None, noise=0.003), au)
    assert len(dense.energy) == len(dense.weights) < 600
    assert dense.noise < 0.003
    assert dense.shift + dense.e0 == pytest.approx(au_anchor.shift + au_anchor.e0, abs=0.1)
    assert dense.stretch == pytest.approx(au_anchor.stretch, abs=0.005)
    back = FoilAnchor.load(dense.save(tmp_path / "anchor"))
    assert back.sha256 == dense.sha256
    np.testing.assert_array_equal(back.weights, dense.weights)
    assert replace(dense, weights=None).sha256 != dense.sha256
    again = replace(back, theory="another").fitted_to(au)
    assert (again.shift, again.stretch, again.noise) == (dense.shift, dense.stretch, dense.noise)
    sweep = simulated(steady(jitter=0.6, seed=1))
    (one,), (other,) = (Analyzer(au, anchor).analyze([sweep]) for anchor in (dense, au_anchor))
    assert one.values["CN1"].value == pytest.approx(other.values["CN1"].value, abs=0.15)


def test_a_dense_reference_channel_is_rebinned_with_the_sample(au):
    energy = steady(jitter=0.6)
    scan = simulated(energy, noise=0.003, reference=simulated(energy - 1.0, None, 0.003, 7).mu)
    (found,) = Analyzer(au, "reference").analyze([scan])
    assert (found.refused, found.anchored, found.aligned) == (None, True, "reference")
    foil = FoilAnchor.fit(simulated(energy, None), au)
    (aligned,) = Analyzer(au, foil).analyze([scan])
    assert aligned.shift == pytest.approx(1.0, abs=0.03)


def test_a_dense_standard_is_rebinned(au, au_anchor):
    energy = steady(jitter=0.6)
    dense = Standard.of("oxide", simulated(energy), au)
    ordered = Standard("oxide", np.unique(energy), simulated(np.unique(energy)).mu, None)
    assert dense.weights is not None
    found, wanted = (s.flat(au_anchor, au.grid, WINDOWS, 0.0) for s in (dense, ordered))
    np.testing.assert_allclose(found, wanted, atol=2e-3)
