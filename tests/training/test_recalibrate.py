"""Intervals from a user's own standards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xas_live.models.bundle import Bundle
from xas_live.theory.sites import SiteLibrary
from xas_live.training.recalibrate import recalibrated
from xas_live.training.recipe import Nuisances
from xas_live.training.simulate import Simulator, fcc_particles
from xas_live.training.transfer import Labelled, LabelledError


def labelled(au: Bundle, count: int, repeats: int = 1) -> Labelled:
    library = SiteLibrary.load("au_l3")
    chosen = np.random.default_rng(0).permutation(np.array(fcc_particles(library), dtype=object))[:count]
    rows = np.zeros((count, len(library.cn)))
    for row, particle in zip(rows, chosen, strict=True):
        row[particle.sites] = particle.share
    rows = np.repeat(rows, repeats, axis=0)
    x, y = Simulator(library, au.grid).measure(
        rows, Nuisances(noise=(0.005, 0.005)), np.random.default_rng(1)
    )
    group = np.repeat(np.arange(count), repeats)
    return Labelled(x, y, group, {"file": "x.h5", "sha256": "0", "spectra": len(x), "groups": count})


def test_intervals_become_the_standards_and_say_so(au, tmp_path):
    given = labelled(au, 12, repeats=2)
    bundle = recalibrated(au, given, "mine").save(tmp_path / "mine")
    assert bundle.card.calibration["calibrated_on"] == "standards (12 particles)"
    assert bundle.tensors["calibration_scores"].shape == (1, 12, 5)
    assert bundle.card.accuracy.coverage["CN1"] >= 0.75
    for name in ("layer0.weight", "encoder.layer0.weight", "domain_reference"):
        assert torch.equal(bundle.tensors[name], au.tensors[name])
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    assert size < 8 * 2**20


def test_many_standards_give_intervals_by_size(au):
    assert recalibrated(au, labelled(au, 60), "mine").tensors["calibration_scores"].shape == (3, 20, 5)


def test_too_few_are_refused_with_their_number(au):
    with pytest.raises(LabelledError, match="8 particles with every label are too few"):
        recalibrated(au, labelled(au, 8), "mine")
