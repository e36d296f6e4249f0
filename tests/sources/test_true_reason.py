"""What is wrong with the data is said before the absorber is asked for, and a guess is said as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xas_live.analysis import AnalyzerPool
from xas_live.energy import xanes_grid
from xas_live.simulator import growth
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.sources.replay import replay
from xas_live.spectrum import Array

E0 = 11564.0
ENERGY = xanes_grid(E0, 300.0)
MU = measured(ENERGY, "pt_l3", growth(8, "pt_l3")[1], Mismatch()) + 0.2
I0 = 2e5 * (1 + 0.1 * np.sin(np.arange(len(ENERGY)) / 40.0))


def reason(folder: Path, energy: Array, i0: Array, it: Array) -> str:
    path = folder / "scan.dat"
    np.savetxt(path, np.column_stack([energy, i0, it]), header="energy i0 it")
    [prediction] = replay([path], AnalyzerPool(None, None))
    assert prediction.refused is not None
    return prediction.refused


def test_energies_in_kev(tmp_path: Path) -> None:
    assert "looks like keV" in reason(tmp_path, ENERGY / 1000, I0, I0 * np.exp(-MU))


def test_a_dead_detector(tmp_path: Path) -> None:
    assert reason(tmp_path, ENERGY, 0 * I0, I0 * np.exp(-MU)).startswith("i0 is 0 at every point")


@pytest.mark.parametrize(("low", "high"), [(11580, 11590), (11650, 11654), (11700, 11760), (11400, 11440)])
def test_a_closed_shutter(tmp_path: Path, low: float, high: float) -> None:
    first, last = np.searchsorted(ENERGY, [low, high])
    i0, it = I0.copy(), I0 * np.exp(-MU)
    i0[first:last], it[first:last] = 3.0, 12.0
    words = reason(tmp_path, ENERGY, i0, it)
    assert "jump" in words
    assert f"{ENERGY[first - 1]:.1f}" in words or f"{ENERGY[last - 1]:.1f}" in words


def test_a_last_value_cut_short(tmp_path: Path) -> None:
    it = I0 * np.exp(-MU)
    it[-1] = 16.0
    assert "jump" in reason(tmp_path, ENERGY, I0, it)


def test_a_guessed_absorber_without_a_model_is_said_to_be_a_guess(tmp_path: Path) -> None:
    energy = np.arange(6912.0, 7500.0, 1.0)
    mu = 0.4 + 0.5 * (1 + np.tanh((energy - 7125.0) / 3.0))
    words = reason(tmp_path, energy, np.full_like(energy, 2e5) + energy, (2e5 + energy) * np.exp(-mu))
    assert "no model for Fe K, which is a guess" in words
    assert "(7112 eV) by where mu rises, at 712" in words


def test_detector_pixels_are_no_energies(tmp_path: Path) -> None:
    pixels = np.arange(0.0, 1024.0)
    mu = 0.3 + np.where(pixels > 165, 1.0, 0.0)
    assert "no X-ray absorption scan" in reason(tmp_path, pixels, 1e5 + pixels, (1e5 + pixels) * np.exp(-mu))
