"""A model of two absorbers: each sweep is reduced for its own, and tied to theory by its own foil."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from xas_live.analysis import Analyzer, AnalyzerPool, Earlier, RunHistory
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.reduction.standards import StandardError
from xas_live.simulator import Sample

PARTICLES = {"cuboctahedron_7_3": 1.0}


@pytest.fixture(scope="module")
def pt():
    return load_model("pt-l3")


@pytest.fixture(scope="module")
def both(au, pt, tmp_path_factory):
    """The networks of Au with the input of Pt besides."""
    card = au.card.model_copy(update={"name": "gold-and-platinum", "inputs": au.card.inputs + pt.card.inputs})
    theory = {f"{name}.1": pt.tensors[name] for name in ("theory_energy", "theory_bulk", "theory_background")}
    return Bundle(card, au.tensors | theory, "").save(tmp_path_factory.mktemp("models") / "both")


@pytest.fixture(scope="module")
def foils(both, scan_of):
    """Foils of both beamlines: that of Pt lies elsewhere."""
    return [
        FoilAnchor.fit(scan_of(None, library, reference=None, shift=shift), both)
        for library, shift in (("au_l3", 0.0), ("pt_l3", 0.4))
    ]


@pytest.fixture(scope="module")
def gold(scan_of):
    return [scan_of(Sample(PARTICLES, "au_l3"), noise=0.002, seed=seed) for seed in range(2)]


@pytest.fixture(scope="module")
def platinum(scan_of):
    return [scan_of(Sample(PARTICLES, "pt_l3"), "pt_l3", noise=0.002, seed=seed) for seed in range(2)]


def test_its_absorbers_are_told(both):
    assert both.absorbers == (("Au", "L3"), ("Pt", "L3"))
    assert [target.element for target in both.inputs] == ["Au", "Pt"]
    assert both.input_for("Pt", None) is both.inputs[1]
    assert both.inputs[0].theory.sha256 != both.inputs[1].theory.sha256


def test_every_input_must_have_its_theory(both):
    with pytest.raises(ModelError, match=r"lack theory_bulk\.1"):
        Bundle(both.card, {k: v for k, v in both.tensors.items() if k != "theory_bulk.1"}, "")


def test_each_sweep_is_reduced_for_its_absorber_and_by_its_foil(both, foils, au, pt, gold, platinum):
    foil_a, foil_b = foils
    mixed = [gold[0], platinum[0], gold[1], platinum[1]]
    found = Analyzer(both, [foil_a, foil_b]).analyze(mixed)
    assert [p.element for p in found] == ["Au", "Pt", "Au", "Pt"]
    assert [p.anchor.foil.sha256 for p in found] == [foil_a.sha256, foil_b.sha256] * 2
    assert [p.anchor.kind for p in found] == ["foil"] * 4
    of_gold = Analyzer(au, foil_a).analyze(gold)
    of_platinum = Analyzer(pt, foil_b).analyze(platinum)
    for one, other in zip([found[0], found[2]], of_gold, strict=True):
        for name, value in one.values.items():  # batches of other sizes are summed in another order
            assert astuple(value)[:5] == pytest.approx(astuple(other.values[name])[:5], rel=1e-4)
        assert one.flags == other.flags
        np.testing.assert_array_equal(one.reduced.network_input, other.reduced.network_input)
    for one, other in zip([found[1], found[3]], of_platinum, strict=True):
        np.testing.assert_array_equal(one.reduced.network_input, other.reduced.network_input)
        assert (one.e0, one.shift, one.edge_step) == (other.e0, other.shift, other.edge_step)
    # The foils in another order are the same foils.
    again = Analyzer(both, [foil_b, foil_a]).analyze(mixed)
    assert [p.values for p in again] == [p.values for p in found]
    assert [p.configuration for p in again] == [p.configuration for p in found]


def test_the_configuration_names_every_foil(both, foils):
    foil_a, foil_b = foils
    whole = Analyzer(both, foils).configuration
    assert whole["anchors"] == {"Au L3": [foil_a.sha256, None], "Pt L3": [foil_b.sha256, None]}
    half = Analyzer(both, foil_b).configuration
    assert half["anchors"] == {"Au L3": [None, None], "Pt L3": [foil_b.sha256, None]}
    fallen_back = Analyzer(both, "reference", fallback=foil_a).configuration
    assert fallen_back["anchors"] == {
        "Au L3": ["reference", foil_a.sha256],
        "Pt L3": ["reference", None],
    }


def test_without_a_foil_of_its_own_a_sweep_is_unanchored(both, foils, gold, platinum):
    of_gold, of_platinum = Analyzer(both, foils[1]).analyze([gold[0], platinum[0]])
    assert "unanchored" in of_gold.flags
    assert "unanchored" not in of_platinum.flags
    assert (of_gold.anchored, of_platinum.anchored) == (False, True)


def test_each_sweeps_own_reference_is_laid_on_its_own_theory(both, foils, gold, platinum):
    found = Analyzer(both, "reference").analyze([gold[0], platinum[0]])
    assert [p.anchor.kind for p in found] == ["reference", "reference"]
    assert [p.anchor.foil.theory for p in found] == [target.theory.sha256 for target in both.inputs]
    spoilt = replace(platinum[0], reference=np.zeros(len(platinum[0])))
    fallen_back, alone = Analyzer(both, "reference", fallback=foils).analyze([spoilt, gold[0]])
    assert "bad_reference" in fallen_back.flags
    assert fallen_back.anchor.foil.sha256 == foils[1].sha256
    assert alone.anchor.kind == "reference"


def test_other_absorbers_and_foils_are_refused(both, foils, gold, scan_of):
    palladium = scan_of(Sample(PARTICLES, "pd_k"), "pd_k")
    (refused,) = Analyzer(both, foils).analyze([palladium])
    assert refused.refused == "the sample is Pd K, the model is for Au L3, Pt L3"
    with pytest.raises(AnchorError, match="two foils of Au L3 are given: give one"):
        Analyzer(both, [foils[0], foils[0]])
    foil = FoilAnchor.fit(scan_of(None, "pd_k", reference=None), load_model("pd-k"))
    with pytest.raises(
        AnchorError, match="a Pd K foil cannot anchor gold-and-platinum, a model of Au L3, Pt"
    ):
        Analyzer(both, [foils[0], foil])
    with pytest.raises(AnchorError, match="a Pd K foil cannot anchor gold-and-platinum"):
        FoilAnchor.fit(palladium, both)


def test_a_pool_gives_its_foils_to_their_absorbers(both, foils, gold, platinum, monkeypatch, tmp_path):
    mixed = [gold[0], platinum[0]]
    expected = Analyzer(both, foils).analyze(mixed)
    found = AnalyzerPool(both.folder, foils).analyze(mixed)
    assert [p.values for p in found] == [p.values for p in expected]
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    for foil in foils:
        foil.save()
    bare = [replace(scan, reference=None) for scan in mixed]
    saved = AnalyzerPool(both.folder).analyze(bare)
    assert [p.anchor.foil.sha256 for p in saved] == [foil.sha256 for foil in foils]
    # Models of one absorber take the foil that is theirs.
    pool = AnalyzerPool([both.folder, "au-l3"], foils)
    of_gold, of_platinum = pool.analyze_all(mixed)
    assert [p.model for p in of_gold] == ["gold-and-platinum", "au-l3"]
    assert [p.model for p in of_platinum] == ["gold-and-platinum"]
    assert [p.refused for p in of_gold] == [None, None]


def test_growing_sweeps_are_foreseen_by_the_foil_of_their_absorber(both, foils, gold, platinum):
    analyzer, history = Analyzer(both, "reference"), RunHistory()
    for sweep in (gold[0], platinum[0]):
        history.add(analyzer.analyze([sweep]))
    for sweep, target in zip((gold[1], platinum[1]), both.inputs, strict=True):
        n = int(np.searchsorted(sweep.energy, target.edge_energy + 60.0))
        growing = replace(
            sweep, energy=sweep.energy[:n], mu=sweep.mu[:n], reference=None, counts={}, complete=False
        )
        foreseen = analyzer.preview(growing, history.before(growing))
        assert foreseen.anchor.foil.theory == target.theory.sha256
        assert foreseen.partial
        assert Analyzer(both, foils).preview(growing, Earlier()) is not None


def oxide_of(foil):
    x = foil.energy - foil.energy[np.gradient(foil.mu, foil.energy).argmax()]
    mu = 0.2 + 0.5 + np.arctan((x - 1.0) / 2.0) / np.pi + 0.8 * np.exp(-0.5 * ((x - 3.0) / 3.0) ** 2)
    return replace(foil, mu=mu, reference=None)


def test_each_standard_is_fitted_to_sweeps_of_its_absorber(both, foils, gold, platinum, scan_of, au):
    oxides = {
        "gold oxide": oxide_of(scan_of(None, reference=None)),
        "platinum oxide": oxide_of(scan_of(None, "pt_l3", reference=None)),
    }
    analyzer = Analyzer(both, foils, standards=oxides)
    of_gold, of_platinum = analyzer.analyze([gold[0], platinum[0]])
    assert set(of_gold.fractions) == {"metal", "gold oxide"}
    assert set(of_platinum.fractions) == {"metal", "platinum oxide"}
    assert analyzer.configuration["standards"].keys() == oxides.keys()
    (alone,) = Analyzer(au, foils[0], standards={"gold oxide": oxides["gold oxide"]}).analyze(gold[:1])
    assert of_gold.values == alone.values
    assert of_gold.fractions == alone.fractions
    (only,) = Analyzer(both, foils, standards={"gold oxide": oxides["gold oxide"]}).analyze(platinum[:1])
    assert only.fractions == {}
    assert only.refused is None
    strange = replace(oxides["gold oxide"], element="Fe", edge="K")
    with pytest.raises(StandardError, match="the standard rust is Fe K"):
        Analyzer(both, foils, standards={"rust": strange})
