"""chi(k) against larch's autobk, the reference that it must equal."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from foils import FOILS
from larch import Group
from larch.xafs import autobk, find_e0

from xas_live.reduction.chi import BackgroundError, ChiOperator
from xas_live.reduction.constants import K2_PER_EV
from xas_live.reduction.grid import BeyondDataError
from xas_live.reduction.normalize import Windows
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.stages import ReducedSweep, RefusedSweep
from xas_live.reduction.target import InputTarget
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.spectrum import Spectrum

E0 = 11919.0
WINDOWS = Windows(-150.0, -50.0, 100.0, 600.0)


@pytest.fixture
def our_constant(monkeypatch):
    """Larch with our rounding of k² per eV: what is left is the arithmetic."""
    monkeypatch.setattr(importlib.import_module("larch.xafs.autobk"), "ETOK", K2_PER_EV)


def by_larch(energy, mu, e0, windows, **settings):
    """k, chi and edge step, larch's clamps left out."""
    given = {name: getattr(windows, name) for name in ("pre1", "pre2", "norm1", "norm2", "nnorm")}
    group = Group()
    autobk(
        energy.copy(), mu.copy(), group=group, ek0=e0, nclamp=0, pre_edge_kws={"e0": e0, **given}, **settings
    )
    return group.k, group.chi, group.edge_step


def exafs_axis(end=900.0, seed=None):
    """A scan in even steps of k past the edge; with a seed its points jitter."""
    near = [np.arange(-200.0, -30.0, 5.0), np.arange(-30.0, 30.0, 0.5)]
    energy = E0 + np.concatenate([*near, np.arange(np.sqrt(K2_PER_EV * 30.0), 16.0, 0.05) ** 2 / K2_PER_EV])
    energy = energy[energy <= E0 + end]
    if seed is None:
        return energy
    steps = 0.4 * np.gradient(energy) * np.random.default_rng(seed).uniform(-1.0, 1.0, len(energy))
    return np.sort(np.where(energy == E0, energy, energy + steps))


def fine_structure(k):
    """Two shells."""
    first, second = (
        amplitude * np.exp(-2.0 * sigma2 * k**2) * np.sin(2.0 * k * r + phase)
        for amplitude, r, sigma2, phase in ((0.6, 2.85, 0.007, 1.0), (0.25, 4.05, 0.009, 2.0))
    )
    return (first + second) * k / (k**2 + 4.0)


def wavenumber(energy):
    return np.sqrt(K2_PER_EV * np.clip(energy - E0, 0.0, None))


def exafs(energy, noise=0.0, seed=0, step=0.8):
    """An edge with fine structure on a background that bends."""
    x = energy - E0
    atom = (0.5 + np.arctan(x / 2.5) / np.pi) * (1.0 + 0.15 * np.exp(-np.clip(x, 0.0, None) / 120.0))
    mu = 0.4 - 2e-4 * x + step * (atom + fine_structure(wavenumber(energy)) * (x > 0))
    return mu + noise * np.random.default_rng(seed).standard_normal(len(energy))


def difference(energy, mu, e0, windows, k_weight=0, **settings):
    """Largest of our chi k^k_weight from larch's, over the largest of larch's; and of the edge steps."""
    k, chi, step = by_larch(energy, mu, e0, windows, **settings)
    inside = k <= np.sqrt(K2_PER_EV * (energy[-1] - e0))
    k, chi = k[inside], chi[inside] * k[inside] ** k_weight
    ours, steps = ChiOperator(energy, e0, windows, k, k_weight=k_weight, **settings)(mu[None])
    return np.abs(ours[0] - chi).max() / np.abs(chi).max(), abs(steps[0] / step - 1.0)


@pytest.mark.parametrize("name", FOILS)
def test_chi_equals_larch_on_measured_foils(measured, our_constant, name):
    (spectrum,) = spectra_of(read_file(measured / name)[0])
    e0 = float(find_e0(spectrum.energy, spectrum.mu))
    for k_weight in (0, 2):
        off, off_step = difference(spectrum.energy, spectrum.mu, e0, WINDOWS, k_weight)
        assert off < 1e-9
        assert off_step < 1e-9


@pytest.mark.parametrize("name", FOILS)
def test_the_rounded_constant_costs_a_millionth_of_chi(measured, name):
    (spectrum,) = spectra_of(read_file(measured / name)[0])
    off, _ = difference(spectrum.energy, spectrum.mu, float(find_e0(spectrum.energy, spectrum.mu)), WINDOWS)
    # 4e-6 where a foil's noise is steep in k, at 21 1/Å of the NSLS platinum foil; under 3e-7 elsewhere
    assert off < (1e-5 if "Pt_foil" in name else 1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"rbkg": 1.3}, {"kmax": 11.0}, {"kmin": 1.0, "kmax": 12.52}, {"rbkg": 0.7, "kweight": 2}],
)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_chi_equals_larch_on_noisy_exafs(our_constant, settings, seed):
    energy = exafs_axis(seed=seed)
    mu = exafs(energy, noise=0.002, seed=seed or 0)
    k, chi, step = by_larch(energy, mu, E0, WINDOWS, **settings)
    inside = k <= settings.get("kmax", wavenumber(energy[-1]))
    ours = {"fit_weight" if name == "kweight" else name: value for name, value in settings.items()}
    found, steps = ChiOperator(energy, E0, WINDOWS, k[inside], **ours)(mu[None])
    np.testing.assert_allclose(found[0], chi[inside], atol=1e-9 * np.abs(chi).max(), rtol=0)
    assert steps[0] == pytest.approx(step, rel=1e-9)


def test_chi_is_found_between_the_points_of_larchs_grid_and_as_it_was_put_in():
    energy, k = exafs_axis(), np.arange(3.013, 12.0, 0.071)
    (chi,), (step,) = ChiOperator(energy, E0, WINDOWS, k)(exafs(energy, step=0.8)[None])
    chi *= step / 0.8  # the bend of the background makes the step 7 % larger
    true = fine_structure(k)
    np.testing.assert_allclose(chi, true, rtol=0, atol=0.04 * np.abs(true).max())


@pytest.mark.parametrize(("distance", "kept"), [(0.3, 0.0), (0.5, 0.0), (1.7, 1.0), (2.5, 1.0)])
def test_waves_below_rbkg_are_removed_and_those_above_stay(distance, kept):
    energy, k = exafs_axis(), np.arange(3.0, 12.0, 0.05)
    operator = ChiOperator(energy, E0, WINDOWS, k)
    wave = 0.05 * np.sin(2.0 * distance * wavenumber(energy))
    (with_wave, without), steps = operator(np.stack([exafs(energy) + wave, exafs(energy)]))
    left = with_wave * steps[0] - without * steps[1]
    wanted = kept * 0.05 * np.sin(2.0 * distance * k)
    assert np.sqrt(np.mean((left - wanted) ** 2)) < 0.1 * 0.05 / np.sqrt(2.0)


def test_a_batch_equals_its_spectra_one_by_one_and_chi_times_step_is_linear_in_mu():
    energy, k = exafs_axis(), np.arange(2.0, 14.0, 0.05)
    operator = ChiOperator(energy, E0, WINDOWS, k, k_weight=2)
    batch = np.stack([exafs(energy, noise=0.01, seed=i, step=0.5 + 0.2 * i) for i in range(5)])
    chi, steps = operator(batch)
    for row, step, mu in zip(chi, steps, batch, strict=True):
        (alone,), (alone_step,) = operator(mu[None])
        np.testing.assert_allclose(alone, row, rtol=0, atol=1e-12)
        assert alone_step == pytest.approx(step, rel=1e-12)
    (both,), (both_step,) = operator(2.0 * batch[:1] + 3.0 * batch[1:2])
    assert both_step == pytest.approx(2.0 * steps[0] + 3.0 * steps[1], rel=1e-12)
    together = 2.0 * chi[0] * steps[0] + 3.0 * chi[1] * steps[1]
    np.testing.assert_allclose(both * both_step, together, rtol=0, atol=1e-11)


def test_unfit_data_are_refused_with_the_reason():
    k = np.arange(3.0, 12.0, 0.05)
    with pytest.raises(BeyondDataError, match=r"end at k = 8\.8\d 1/Å, chi\(k\) is wanted to 11\.95"):
        ChiOperator(exafs_axis(end=300.0), E0, WINDOWS, k)
    with pytest.raises(BeyondDataError, match="do not cover the edge"):
        ChiOperator(exafs_axis(), 11000.0, WINDOWS, k)
    with pytest.raises(BackgroundError, match=r"ends 1\d\d eV past the edge.*needs it to 150 eV, 6\.3 1/Å"):
        ChiOperator(exafs_axis(end=130.0), E0, WINDOWS, np.arange(2.0, 5.0, 0.05))
    energy = exafs_axis()
    sparse = np.concatenate([energy[energy < E0 + 5.0], E0 + np.arange(100.0, 901.0, 200.0)])
    with pytest.raises(BackgroundError, match=r"too far apart"):
        ChiOperator(sparse, E0, WINDOWS, k)
    with pytest.raises(ValueError, match="kmax = 10"):
        ChiOperator(energy, E0, WINDOWS, k, kmax=10.0)


@pytest.fixture(scope="module")
def target():
    grid = np.arange(3.0, 12.0, 0.05)
    return InputTarget("shells", "Au", "L3", E0, "chi", grid, WINDOWS, anchor="none", theory=None, k_weight=2)


def reducer_for(target, device="cpu"):
    return Reducer(target, None, None, "auto", torch.device(device), {})


def scan(energy, **noise):
    return Spectrum(energy=energy, mu=exafs(energy, **noise), element="Au", edge="L3")


def compare_with_larch(sweep, target, energy, mu):
    assert isinstance(sweep, ReducedSweep)
    k, chi, step = by_larch(energy, mu, sweep.alignment.e0, sweep.plan.windows)
    chi = np.interp(target.grid, k, chi) * target.grid**2
    np.testing.assert_allclose(sweep.normalised, chi, rtol=0, atol=1e-9 * np.abs(chi).max())
    np.testing.assert_array_equal(sweep.network_input, sweep.normalised)
    assert sweep.edge_step == pytest.approx(step, rel=1e-9)


def test_the_reducer_gives_larchs_chi_alone_and_in_a_batch(our_constant, target):
    sweeps = [scan(exafs_axis(), noise=0.002, seed=i) for i in range(3)] + [scan(exafs_axis(seed=7))]
    together = reducer_for(target).reduce(sweeps)
    for spectrum, in_batch in zip(sweeps, together, strict=True):
        compare_with_larch(in_batch, target, spectrum.energy, spectrum.mu)
        (alone,) = reducer_for(target, "meta").reduce([spectrum])
        np.testing.assert_allclose(alone.normalised, in_batch.normalised, rtol=0, atol=1e-11)
        np.testing.assert_allclose(alone.plan.points, alone.alignment.e0 + target.grid**2 / K2_PER_EV)


def test_a_dense_sweep_is_reduced_from_its_bins(our_constant, target):
    energy = np.arange(E0 - 200.0, E0 + 900.0, 0.1)
    noise, k = 0.005, target.grid
    dense, still = reducer_for(target).reduce([scan(energy, noise=noise), scan(exafs_axis())])
    assert isinstance(dense, ReducedSweep)
    off = (dense.normalised - still.normalised) / k**2
    assert np.sqrt(np.mean(off**2)) < noise


def test_the_reducer_refuses_a_scan_that_ends_too_early(target):
    (short,) = reducer_for(target).reduce([scan(exafs_axis(end=400.0))])
    assert isinstance(short, RefusedSweep)
    assert "the sweep ends at 12316 eV, the model needs it to 12463 eV" in short.reason
    near = InputTarget("near", "Au", "L3", E0, "chi", np.arange(2.0, 5.0, 0.05), WINDOWS, "none")
    (shorter,) = reducer_for(near).reduce([scan(exafs_axis(end=130.0))])
    assert isinstance(shorter, RefusedSweep)
    assert "the background of chi(k) needs it to 150 eV, 6.3 1/Å" in shorter.reason
