"""The quality gate: what passes, what does not, and why."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.reduction.gate import i0_nonlinear, quality
from xas_live.spectrum import Spectrum

ENERGY = np.concatenate(
    [np.arange(11700, 11890, 5.0), np.arange(11890, 11990, 0.5), np.arange(11990, 12400, 3.0)]
)


def edge(step=1.0, slope=0.0, noise=0.0, at=11919.0, seed=0):
    x = ENERGY - at
    mu = 0.3 + slope * x + step * (0.5 + np.arctan(x / 1.5) / np.pi)
    mu = mu + step * 0.05 * np.sin(np.sqrt(np.maximum(x, 0))) * np.exp(-np.maximum(x, 0) / 200)
    return mu + noise * np.random.default_rng(seed).standard_normal(len(x))


def judged(mu):
    return quality(Spectrum(energy=ENERGY, mu=mu))


@settings(deadline=None, max_examples=30)
@given(
    step=st.floats(1e-3, 1e3),
    slope=st.floats(-0.004, 0.004),
    noise=st.floats(0.0, 0.01),
    seed=st.integers(0, 99),
)
def test_an_edge_of_any_size_on_any_slope_is_usable(step, slope, noise, seed):
    verdict = judged(edge(step, slope * step, noise * step, seed=seed))
    assert verdict.usable, verdict
    assert verdict.margin > 0


@pytest.mark.parametrize(
    ("mu", "words"),
    [
        (np.ones(len(ENERGY)), "same at every energy"),
        (edge(-1.0), "falls"),
        (edge(noise=0.3), "noise of"),
        (edge(0.001, noise=0.02), ""),
        (edge() + np.where(ENERGY > 12100, 1.0, 0.0), "jump of"),
        (0.01 * ENERGY, ""),
        (edge(at=12390.0), "no edge inside the scan"),
    ],
)
def test_what_cannot_be_used_says_why(mu, words):
    verdict = judged(mu)
    assert not verdict.usable
    assert words in verdict.reason


@pytest.mark.parametrize("step", [1e160, 1e250, 1e300])
def test_mu_whose_squares_are_no_numbers_is_refused(step):
    with np.errstate(over="ignore", invalid="ignore"):
        verdict = judged(edge(step))
    assert not verdict.usable
    assert verdict.reason


def test_the_margin_grows_as_the_noise_falls():
    margins = [judged(edge(noise=n)).margin for n in (0.04, 0.02, 0.01)]
    assert margins == sorted(margins)


def test_detectors_that_do_not_count_alike_show():
    rng = np.random.default_rng(0)
    i0 = 1e5 * (1 + 0.05 * rng.standard_normal(len(ENERGY)))
    mu = edge(noise=0.001, seed=5)
    assert not i0_nonlinear(mu[None], i0[None])
    assert i0_nonlinear((mu + 0.2 * np.log(i0 / 1e5))[None], i0[None])
    assert not i0_nonlinear(mu[None] + 1e-4, np.full((1, len(ENERGY)), 1e5))


def test_tagged_scans_of_another_beamline(measured):
    with h5py.File(measured / "bmm_quality" / "bmm_scans.h5") as file:
        verdicts = [
            (
                bool(scan.attrs["tag"]),
                quality(Spectrum(energy=scan[:, 1].astype(float), mu=scan[:, 2].astype(float))),
            )
            for scan in file.values()
        ]
    right = np.mean([tag == verdict.usable for tag, verdict in verdicts])
    assert right >= 0.97
    assert all(verdict.reason for _, verdict in verdicts)
    assert max(v.margin for tag, v in verdicts if not tag and v.usable) < 1.0
