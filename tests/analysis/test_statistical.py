"""The two parts of an error: what noise does, which averaging mends, and what the model gets wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.analysis.averages import Averages
from xas_live.errors import Refusal
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import init_network, mean_gradients, network
from xas_live.models.registry import load_model
from xas_live.prediction import Prediction, change
from xas_live.reduction import FoilAnchor
from xas_live.simulator import growth
from xas_live.simulator.library import site_library
from xas_live.spectrum import Provenance

REPEATS = 48


@pytest.fixture(scope="module")
def sample():
    return growth(4, "au_l3")[1]


@pytest.fixture(scope="module")
def analyzer(au, au_anchor):
    return Analyzer(au, au_anchor, AnalysisConfig(align="none"))


def repeats_of(scan_of, sample, noise, n=REPEATS):
    spectra = [
        scan_of(
            sample,
            noise=noise,
            seed=k,
            provenance=Provenance(scan="1", run_uid="run", sweep=k, time=float(k)),
        )
        for k in range(n)
    ]
    return [replace(spectrum, reference=None) for spectrum in spectra]


@pytest.mark.parametrize("noise", [0.0005, 0.003, 0.01])
def test_the_statistical_part_is_the_scatter_of_repeats(analyzer, scan_of, sample, noise):
    told = analyzer.analyze(repeats_of(scan_of, sample, noise))
    for name in ("CN1", "CN2", "CN3", "R1"):
        scatter = np.std([p.values[name].value for p in told], ddof=1)
        half = np.median([p.values[name].statistical for p in told])
        assert half == pytest.approx(1.645 * scatter, rel=0.35), name


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_a_noisy_reference_does_not_blow_up_the_statistical_part(scan_of, noise):
    """Noise between neighbouring points must not pass for the slopes that the alignment rests on."""
    rng, sample, pd = np.random.default_rng(2), growth(4, "pd_k")[1], load_model("pd-k")
    foil = scan_of(None, "pd_k", reference=None)
    spectra = [
        replace(scan, reference=foil.mu + noise * rng.standard_normal(len(foil.mu)))
        for scan in (scan_of(sample, "pd_k", noise=noise / 2, seed=k) for k in range(REPEATS))
    ]
    config = AnalysisConfig(align="reference")
    told = Analyzer(pd, FoilAnchor.fit(foil, pd), config).analyze(spectra)
    values = [p.values["CN1"] for p in told if p.refused is None]
    assert len(values) > 0.9 * REPEATS
    scatter = np.std([value.value for value in values], ddof=1)
    typical = np.sqrt(np.mean([value.statistical**2 for value in values]))
    assert typical == pytest.approx(1.645 * scatter, rel=0.35)


def test_averages_narrow_the_statistical_part_and_leave_the_models(analyzer, scan_of, sample):
    spectra = repeats_of(scan_of, sample, 0.005, 16)
    single = analyzer.analyze(spectra)
    [average] = Averages().add(spectra, single).values()
    [together] = analyzer.analyze([average])
    of_one = np.median([p.values["CN1"].statistical for p in single])
    assert 0.15 * of_one < together.values["CN1"].statistical < 0.35 * of_one
    assert together.values["CN1"].model > 0.5 * single[0].values["CN1"].model


def test_the_parts_make_up_the_interval_and_a_noisy_sweep_has_a_wider_one(analyzer, scan_of, sample):
    quiet, noisy = analyzer.analyze([repeats_of(scan_of, sample, n, 1)[0] for n in (0.0005, 0.03)])
    for prediction in (quiet, noisy):
        value = prediction.values["CN1"]
        half = value.std * 1.6448536
        assert np.hypot(value.statistical, value.model) == pytest.approx(half, rel=1e-6)
    assert noisy.values["CN1"].std > quiet.values["CN1"].std
    assert noisy.values["CN1"].statistical > 10 * quiet.values["CN1"].statistical


def test_without_noise_that_is_known_there_are_no_parts(analyzer, scan_of, sample):
    """A growing sweep's preview has an interval, and no parts."""
    scan = scan_of(sample, noise=0.001)
    part = replace(
        scan, energy=scan.energy[:-60], mu=scan.mu[:-60], reference=None, counts={}, complete=False
    )
    shown = analyzer.preview(part)
    assert shown is not None
    assert np.isnan(shown.values["CN1"].statistical)
    assert shown.to_json()["values"]["CN1"]["statistical"] is None


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(hidden=(7, 5), members=3),
        NetworkSpec(hidden=(7, 5), members=3, activation="relu"),
        NetworkSpec(kind="cnn", hidden=(6,), members=2, kernels=(3,), kernel_width=4),
    ],
)
def test_gradients_of_the_mean_are_those_of_small_changes(spec):
    weights = init_network(spec, 12, 2, torch.Generator().manual_seed(1))
    x = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    got = mean_gradients(spec, arrays, x)
    there = mean_gradients(spec, weights, torch.from_numpy(x))
    np.testing.assert_allclose(got, there.numpy(), atol=1e-6)
    double = {name: weight.double() for name, weight in weights.items()}
    for k in (0, 5, 11):
        step = np.zeros((1, 12))
        step[0, k] = 1e-6
        ends = [network(spec, double, torch.from_numpy(x + sign * step)).mean(0) for sign in (1, -1)]
        np.testing.assert_allclose(got[:, :, k], (ends[0] - ends[1]).numpy() / 2e-6, atol=1e-5)


# --- changes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series(analyzer, scan_of):
    samples = growth(9, "au_l3")
    spectra = [replace(scan_of(s, noise=0.001, seed=k), reference=None) for k, s in enumerate(samples)]
    return samples, [replace(p, temperature=300.0) for p in analyzer.analyze(spectra)]


def test_a_change_has_a_narrower_interval_that_holds_the_truth(series):
    samples, told = series
    truth = [s.weights() @ site_library("au_l3").sites.cn[:, 0] for s in samples]
    inside, narrower = [], []
    for i in range(len(told)):
        for j in range(i):
            found = change(told[j], told[i])["CN1"]
            inside.append(found.lower <= truth[i] - truth[j] <= found.upper)
            narrower.append(found.std / np.hypot(told[i].values["CN1"].std, told[j].values["CN1"].std))
    assert np.mean(inside) > 0.85
    assert np.median(narrower) < 0.6


def test_a_sweep_and_its_repeat_differ_by_noise_alone(analyzer, scan_of, sample):
    one, other = analyzer.analyze(repeats_of(scan_of, sample, 0.0005, 2))
    found = change(one, other)["CN1"]
    assert found.statistical == pytest.approx(
        np.hypot(one.values["CN1"].statistical, other.values["CN1"].statistical)
    )
    assert found.model < 0.2 * one.values["CN1"].model


def test_the_models_part_does_not_cancel_where_more_than_the_structure_differs(series):
    _, told = series
    alike = change(told[3], told[4])["CN1"]
    hotter = change(told[3], replace(told[4], temperature=500.0))["CN1"]
    assert hotter.model == pytest.approx(np.hypot(told[3].values["CN1"].model, told[4].values["CN1"].model))
    assert hotter.model > 2 * alike.model


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"refused": "no edge"}, "was refused: no edge"),
        ({"partial": True}, "still growing"),
        ({"model_sha256": "x"}, "by one model"),
        ({"element": "Pt"}, "one absorber"),
    ],
)
def test_changes_that_mean_nothing_are_refused(series, other, word):
    _, told = series
    changed: Prediction = replace(told[4], **other)
    with pytest.raises(Refusal, match=word):
        change(told[3], changed)
