"""Drift over a series of sweeps."""

from __future__ import annotations

import numpy as np

from xas_live.analysis import drift
from xas_live.analysis.drift import ALARM, ExchangeabilityTest, SeriesMonitor
from xas_live.prediction import Alignment, DomainVerdict, Prediction
from xas_live.spectrum import Provenance


def series(scores, shifts=None, **metadata):
    monitor, found = SeriesMonitor(), []
    for i, score in enumerate(scores):
        where = Provenance(scan=str(i), metadata=metadata)
        shift = 0.0 if shifts is None else shifts[i]
        found.append(
            monitor.add(
                Prediction(
                    "m",
                    "sha",
                    provenance=where,
                    domain=DomainVerdict(score=score),
                    alignment=Alignment("reference", shift=shift),
                )
            )
        )
    return found


def told(scores, shifts=None, **metadata):
    return [each.said for each in series(scores, shifts, **metadata)]


def test_exchangeable_series_seldom_sound_the_alarm():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        test = ExchangeabilityTest()
        alarms += any(test.add(v) > ALARM for v in rng.gamma(2.0, size=150))
    assert alarms <= 4  # 1 % by Ville's inequality


def test_a_slow_drift_is_noticed_before_any_sweep_stands_out():
    rng = np.random.default_rng(1)
    scores = 0.3 * rng.standard_normal(200) + np.concatenate([np.zeros(60), np.linspace(0, 1.0, 140)])
    lines = told(scores)
    first = next(i for i, line in enumerate(lines) if line)
    assert 60 < first < 190
    assert "drift" in lines[first][0]
    assert f"scan {first}" in lines[first][0]


def test_a_moving_energy_scale_is_told_once_each_time():
    shifts = np.concatenate([np.zeros(10), np.full(10, 0.5), np.zeros(5), np.full(5, -0.6)])
    lines = told(np.zeros(30), shifts)
    moved = [i for i, line in enumerate(lines) if any("energy scale" in text for text in line)]
    assert moved == [10, 25]
    assert "+0.50 eV" in lines[10][0]


def test_what_is_told_is_what_is_kept():
    """The stake passes 100 where the alarm is told, and starts again; the energy scale's alarm lasts."""
    rng = np.random.default_rng(1)
    found = series(np.concatenate([rng.standard_normal(60), 10.0 + np.arange(40)]))
    alarms = [k for k, drift in enumerate(found) if drift.alarm]
    assert alarms
    assert alarms[0] > 60
    assert alarms == [k for k, drift in enumerate(found) if drift.said]
    assert [drift.stake > ALARM for drift in found] == [drift.alarm for drift in found]
    assert found[alarms[0] + 1].stake < 2.0
    assert [drift.sweeps for drift in found] == list(range(1, 101))

    moving = series(np.zeros(20), np.concatenate([np.zeros(10), np.full(10, 0.5)]))
    assert [drift.energy_alarm for drift in moving] == [False] * 10 + [True] * 10
    assert sum(bool(drift.said) for drift in moving) == 1
    assert np.isnan([drift.energy_drift for drift in moving[:5]]).all()
    np.testing.assert_allclose([drift.energy_drift for drift in moving[5:]], [0.0] * 5 + [0.5] * 10)


def test_refused_and_nameless_numbers_are_passed_over():
    monitor = SeriesMonitor()
    before = monitor.add(Prediction("m", "sha", domain=DomainVerdict(score=0.1)))
    refused = monitor.add(Prediction("m", "sha", refused="no edge", domain=DomainVerdict(score=9.0)))
    assert (refused.stake, refused.sweeps, refused.alarm, refused.said) == (before.stake, 1, False, ())
    test = ExchangeabilityTest()
    assert test.add(float("nan")) == 1.0


def test_old_scores_are_forgotten_and_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr("xas_live.analysis.drift.REMEMBERED", 50)
    test = ExchangeabilityTest()
    for value in np.random.default_rng(0).standard_normal(500):
        test.add(value)
    assert len(test._sorted) == len(test._order) == 50


def prediction_of(sample, **facts):
    where = Provenance(metadata={"sample": sample})
    return Prediction("m", "sha", provenance=where, domain=DomainVerdict(score=1.0), **facts)


def test_the_series_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(drift, "MOST_SERIES", 3)
    monitor = SeriesMonitor()
    for sample in ("a", "b", "c", "a", "d"):  # "b" was used longest ago
        monitor.add(prediction_of(sample))
    assert [monitor.add(prediction_of(sample)).sweeps for sample in ("a", "c", "d", "b")] == [3, 2, 2, 1]


def test_refused_and_partial_sweeps_begin_no_series(monkeypatch):
    monkeypatch.setattr(drift, "MOST_SERIES", 1)
    monitor = SeriesMonitor()
    monitor.add(prediction_of("a"))
    for k in range(5):
        found = [monitor.add(prediction_of(str(k), refused="no edge"))]
        found += [monitor.add(prediction_of(str(k), partial=True))]
        assert [(each.stake, each.sweeps) for each in found] == [(1.0, 0)] * 2
    assert monitor.add(prediction_of("a", refused="no edge")).sweeps == 1
    assert monitor.add(prediction_of("a")).sweeps == 2
