"""The average over repeats: less noise, a nearer prediction, and nothing spoils it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import Analyzer
from xas_live.analysis.averages import Averages
from xas_live.prediction import Prediction
from xas_live.simulator import growth
from xas_live.spectrum import Provenance

NOISE = 0.01  # of a point, in edge steps
N = 16


@pytest.fixture(scope="module")
def sample():
    return growth(4, "au_l3")[1]


@pytest.fixture(scope="module")
def analyzer(au, au_anchor):
    return Analyzer(au, au_anchor)


def where(sweep, **rest):
    return Provenance(scan="7", run_uid="run", sweep=sweep, time=100.0 + sweep, **rest)


@pytest.fixture(scope="module")
def repeats(scan_of, sample):
    return [scan_of(sample, noise=NOISE, seed=k, provenance=where(k)) for k in range(N)]


def said(spectra, **rest):
    return [
        Prediction("m", "sha", s.element, s.edge, s.provenance, partial=not s.complete, **rest)
        for s in spectra
    ]


def average_of(spectra, **rest):
    found = Averages().add(spectra, said(spectra, **rest))
    [average] = found.values()
    return average


def test_the_noise_goes_down_by_the_square_root_of_the_number(repeats, scan_of, sample):
    average, quiet = average_of(repeats), scan_of(sample)
    np.testing.assert_array_equal(average.energy, quiet.energy)
    left = np.std(average.mu - quiet.mu)
    assert left == pytest.approx(NOISE / np.sqrt(N), rel=0.15)
    assert np.sqrt(np.mean(average.mu_error**2)) == pytest.approx(left, rel=0.15)
    np.testing.assert_allclose(average.mu, np.mean([s.mu for s in repeats], axis=0), rtol=1e-12)
    np.testing.assert_allclose(average.reference, quiet.reference, rtol=1e-12)
    assert average.counts == {}
    assert (average.provenance.averaged, average.provenance.sweep, average.provenance.time) == (N, 15, 115.0)


def test_its_prediction_is_nearer_and_the_sweeps_are_as_they_were(repeats, analyzer, scan_of, sample):
    alone = analyzer.analyze(repeats)
    [quiet] = analyzer.analyze([scan_of(sample)])
    [average] = Averages().add(repeats, alone).values()
    [mean] = analyzer.analyze([average])
    assert mean.provenance.averaged == N
    for name in ("CN1", "CN2", "R1"):
        off = np.array([p.values[name].value - quiet.values[name].value for p in alone])
        left = mean.values[name].value - quiet.values[name].value
        assert abs(left) < 0.5 * np.sqrt(np.mean(off**2)), name
    assert "noisy" not in mean.flags
    again = analyzer.analyze(repeats)
    assert [p.values for p in again] == [p.values for p in alone]


def test_an_offset_of_whole_sweeps_is_no_noise(repeats):
    moved = [replace(s, mu=s.mu + 0.1 * k) for k, s in enumerate(repeats)]
    np.testing.assert_allclose(average_of(moved).mu_error, average_of(repeats).mu_error, rtol=1e-6)


def test_bad_sweeps_do_not_enter(repeats, analyzer, scan_of):
    dead = replace(repeats[1], mu=np.full(len(repeats[1]), 0.3))
    aborted = replace(repeats[2], complete=False, mu=repeats[2].mu + 50.0)
    short = replace(repeats[3], energy=repeats[3].energy[:200], mu=repeats[3].mu[:200] + 50.0, reference=None)
    series = [dead, repeats[0], aborted, short, *repeats[4:6]]
    predictions = analyzer.analyze(series)
    assert predictions[0].refused is not None
    assert predictions[3].refused is None
    [(last, average)] = Averages().add(series, predictions).items()
    assert last == 5
    assert average.provenance.averaged == 3
    np.testing.assert_allclose(average.mu, np.mean([repeats[k].mu for k in (0, 4, 5)], axis=0), rtol=1e-12)
    # and with what is dead first and last: nothing new to say
    assert Averages().add([dead, repeats[0]], analyzer.analyze([dead, repeats[0]])) == {}


def test_sweeps_on_other_axes_are_averaged_where_they_overlap(scan_of, sample):
    quiet = scan_of(sample, provenance=where(0))
    shifted = quiet.energy[3:] + 0.1
    other = replace(
        quiet,
        energy=shifted,
        mu=np.interp(shifted, quiet.energy, quiet.mu),
        reference=np.interp(shifted, quiet.energy, quiet.reference),
        provenance=where(1),
    )
    average = average_of([quiet, other])
    np.testing.assert_array_equal(average.energy, quiet.energy[4:])
    near = np.interp(average.energy, quiet.energy, quiet.mu)
    assert np.abs(average.mu - near).max() < 0.02
    assert not np.array_equal(average.mu, near)


def test_a_bad_reference_does_not_enter_and_leaves_the_configuration_alone(repeats):
    average = average_of(repeats[:3], flags=("bad_reference",))
    assert np.isnan(average.reference).all()  # as in its sweeps: there, but bad
    without = average_of([replace(s, reference=None) for s in repeats[:3]])
    assert without.reference is None


def test_streams_absorbers_and_runs_are_apart_and_only_the_newest_average_is_given(repeats):
    places = [where(0), where(1, stream="other"), where(2), where(3, stream="other"), where(4)]
    spectra = [replace(s, provenance=place) for s, place in zip(repeats[:5], places, strict=True)]
    spectra.append(replace(repeats[5], provenance=replace(where(0), run_uid="another")))
    predictions = said(spectra)
    predictions[4] = replace(predictions[4], edge="K")
    averages = Averages()
    found = averages.add(spectra, predictions)
    assert {k: s.provenance.averaged for k, s in found.items()} == {2: 2, 3: 2}
    more = replace(repeats[6], provenance=where(5))
    assert [s.provenance.averaged for s in averages.add([more], said([more])).values()] == [3]
    averages.forget("run")
    assert averages.add([more], said([more])) == {}


def test_one_by_one_or_all_at_once_is_the_same(repeats):
    averages = Averages()
    for s in repeats:
        last = averages.add([s], said([s]))
    [stepwise] = last.values()
    np.testing.assert_array_equal(stepwise.mu, average_of(repeats).mu)
    np.testing.assert_array_equal(stepwise.mu_error, average_of(repeats).mu_error)
