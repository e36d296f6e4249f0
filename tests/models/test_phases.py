"""Fractions of measured standards, fitted jointly with the metal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import Analyzer
from xas_live.models.sections.phases import Metals, Mixed, mesh_of, phase_fractions
from xas_live.models.sections.specs import PhasesSection
from xas_live.reduction.standards import StandardError
from xas_live.simulator import Sample

G = 40


@pytest.fixture(scope="module")
def metals() -> Metals:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, G)
    factor = np.stack([0.1 * np.sin((k + 1) * np.pi * x) for k in range(4)], axis=1)
    factor = np.stack([np.linalg.qr(factor)[0] * 0.3, np.linalg.qr(factor)[0] * 0.1])
    return Metals(
        np.stack([np.ones(G), np.ones(G) + 0.01 * rng.standard_normal(G)]), factor, np.full(2, 1e-5)
    )


def draw(metals, rng):
    k = rng.integers(2)
    return metals.mean[k] + metals.factor[k] @ rng.standard_normal(4) + 0.003 * rng.standard_normal(G)


def test_shares_are_found_and_their_intervals_hold(metals):
    rng, standard = np.random.default_rng(1), 1.0 + np.exp(-0.5 * ((np.arange(G) - 8) / 2.0) ** 2)
    inside = []
    for _ in range(60):
        w = rng.uniform(0.0, 0.6)
        mixed = Mixed.fit((1 - w) * draw(metals, rng) + w * standard, standard[None], metals)
        found, std = mixed.moments(mixed.fractions[:, 0])
        assert abs(found - w) < 0.08
        inside.append(abs(found - w) <= 1.645 * std + 0.01)
    assert np.mean(inside) > 0.8


def test_a_standard_like_the_metals_own_changes_leaves_the_share_open(metals):
    x = draw(metals, np.random.default_rng(2))
    alike = metals.mean[0] + metals.factor[0][:, 0]
    other = 1.0 + np.exp(-0.5 * ((np.arange(G) - 8) / 2.0) ** 2)
    fits = (Mixed.fit(x, standard[None], metals) for standard in (alike, other))
    open_, told = (mixed.moments(mixed.fractions[:, 0])[1] for mixed in fits)
    assert open_ > 3.0 * told


def test_two_standards_share_what_is_no_metal(metals):
    rng = np.random.default_rng(3)
    a, b = (1.0 + np.exp(-0.5 * ((np.arange(G) - c) / 2.0) ** 2) for c in (8, 30))
    x = 0.5 * draw(metals, rng) + 0.3 * a + 0.2 * b
    mixed = Mixed.fit(x, np.stack([a, b]), metals)
    mean, std = (np.full((len(mixed.weight), 1), value) for value in (9.0, 0.3))
    section = PhasesSection(leading="CN1", sample="CN1_sample")
    found = phase_fractions(mixed, ["CN1"], mean, std, ["a", "b"], section)
    assert found.fractions["a"][0] == pytest.approx(0.3, abs=0.06)
    assert found.fractions["b"][0] == pytest.approx(0.2, abs=0.06)
    assert sum(mean for mean, _ in found.fractions.values()) == pytest.approx(1.0)
    assert found.sample[0] == pytest.approx(9.0 * found.fractions["metal"][0])
    assert mesh_of(2).sum(1).max() < 0.91
    with pytest.raises(ValueError, match="4 standards"):
        Mixed.fit(x, np.stack([a] * 4), metals)


@pytest.fixture(scope="module")
def oxide(scan_of):
    """A foil whose white line is raised and whose oscillations are gone: what an oxide looks like."""
    foil = scan_of(None, reference=None)
    x = foil.energy - 11919.0
    mu = 0.2 + 1.0 * (0.5 + np.arctan((x - 1.0) / 2.0) / np.pi) + 0.8 * np.exp(-0.5 * ((x - 3.0) / 3.0) ** 2)
    return replace(foil, mu=mu)


def mixed_scan(scan_of, oxide, share, **more):
    metal = scan_of(Sample({"cuboctahedron_7_3": 1.0}, "au_l3"), reference=None, **more)
    return metal, replace(metal, mu=(1 - share) * metal.mu + share * oxide.mu)


def test_a_standard_makes_the_metals_own_numbers_readable(au, au_anchor, scan_of, oxide):
    analyzer = Analyzer(au, au_anchor, standards={"oxide": oxide})
    pure, half = mixed_scan(scan_of, oxide, 0.3, noise=0.001)
    (without,) = Analyzer(au, au_anchor).analyze([half])
    assert not without.in_domain
    alone, found = analyzer.analyze([pure, half])
    assert found.fractions["oxide"].value == pytest.approx(0.3, abs=0.07)
    assert alone.fractions["oxide"].value < 0.05
    assert found.values["CN1"].value == pytest.approx(alone.values["CN1"].value, abs=0.8)
    sample = found.values["CN1_sample"]
    assert sample.lower < 0.7 * alone.values["CN1"].value < sample.upper
    assert found.in_domain
    assert abs(found.outcome.correlation) <= 1
    assert found.configuration["standards"].keys() == {"oxide"}


def test_standards_that_cannot_be_used_are_refused_by_name(au, au_anchor, oxide):
    for wrong, words in (
        ({"metal": oxide}, "called metal"),
        ({"oxide": replace(oxide, element="Pt")}, "the standard oxide is Pt L3"),
        ({"oxide": replace(oxide, mu=np.ones(len(oxide)))}, "the standard oxide is not usable"),
        ({f"s{i}": oxide for i in range(4)}, "4 standards"),
    ):
        with pytest.raises(StandardError, match=words):
            Analyzer(au, au_anchor, standards=wrong)


def test_without_an_anchor_standards_are_left_aside_and_flagged(au, scan_of, oxide):
    (found,) = Analyzer(au, None, standards={"oxide": oxide}).analyze([scan_of(None)])
    assert "standards_need_an_anchor" in found.flags
    assert not found.fractions
