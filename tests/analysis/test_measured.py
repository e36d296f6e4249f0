"""Shipped models on real measured spectra, judged by EXAFS labels that nothing was fitted to."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.stats import spearmanr

from xas_live.analysis import AnalyzerPool
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import FoilAnchor
from xas_live.sources.files import read_file
from xas_live.sources.replay import replay, spectra_of


@pytest.fixture(scope="module")
def series(measured):
    files = sorted((measured / "au_nanoparticles").glob("*.dat"))
    foil = spectra_of(read_file(files[-1])[0])[0]
    pool = AnalyzerPool("au-l3", FoilAnchor.fit(foil, load_model("au-l3")))
    return list(replay(files, pool))


def test_six_gold_colloids_agree_with_exafs(series, measured):
    with (measured / "au_nanoparticles" / "labels.csv").open(encoding="utf-8") as file:
        labels = [row for row in csv.DictReader(file) if "foil" not in row["sample"]]
    colloids = series[1:7]
    assert all(p.in_domain for p in colloids)
    cn1 = [p.values["CN1"] for p in colloids]
    exafs, error = (np.array([float(row[key]) for row in labels]) for key in ("CN1", "CN1_err"))
    ours = np.array([value.value for value in cn1])
    assert np.abs(ours - exafs).mean() <= 0.8
    assert spearmanr(ours, exafs).statistic >= 0.8
    overlap = [v.lower <= c + e and v.upper >= c - e for v, c, e in zip(cn1, exafs, error, strict=True)]
    assert sum(overlap) >= 4
    assert series[7].values["CN1"].value >= ours.max() + 1.0


def test_the_precursor_salt_is_thrown_out(series):
    assert series[0].refused or not series[0].in_domain


def test_repeated_scans_of_an_alloy_in_air_agree_and_are_flagged(measured):
    scans = [
        scan
        for path in sorted((measured / "b18_pt3sn").glob("*.dat"))
        for scan in read_file(path, columns={"energy": 0, "i0": 2, "it": 3, "ir": 4})
    ]
    predictions = list(replay(scans, AnalyzerPool("pt-l3", "reference")))
    assert len(predictions) == 4
    assert np.ptp([p.values["CN1"].value for p in predictions]) <= 0.3
    for p in predictions:
        assert {"edge_above_foil", "out_of_domain"} & set(p.flags)
