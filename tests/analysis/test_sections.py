"""A model carries only the sections that it has: the others are neither asked for nor missed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from xas_live.analysis import Analyzer, Earlier
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.ensemble import Ensemble
from xas_live.models.registry import load_model
from xas_live.models.sections.domain import domain_distances, domain_p_value, fit_reference, fit_subspace
from xas_live.models.sections.latent import reconstruct
from xas_live.models.sections.specs import OxideSection
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.standards import StandardError
from xas_live.simulator import Sample

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")
N = 3000  # draws
NEEDED_BY = {
    "domain": ("preview", "oxide", "chemistry", "cost"),
    "theory": ("preview", "size", "phases", "edge_rise", "chemistry", "cost"),
    "latent": ("cost", "change"),
    "chemistry": ("cost",),
}


@pytest.fixture(scope="module")
def au():
    """The model with every section that one may have but chemistry and cost, whose tests are their own."""
    au, of_msd = load_model("au-l3"), load_model("au-l3-msd").tensors
    reference = au.tensors["domain_reference"]
    tensors = {
        **{k: v for k, v in au.tensors.items() if not k.startswith(("chemistry", "cost_"))},
        **{k: v for k, v in of_msd.items() if k.startswith("oxide.")},
        "domain_reference": torch.cat([reference, reference[..., -1:]], dim=-1),
    }
    sections = au.card.sections.model_copy(update={"oxide": OxideSection(), "chemistry": None, "cost": None})
    return Bundle(au.card.model_copy(update={"sections": sections}), tensors, "with oxide")


@pytest.fixture(scope="module")
def au_anchor(scan_of):
    return FoilAnchor.fit(scan_of(None, reference=None), load_model("au-l3"))


@pytest.mark.parametrize("names", [("cost",), ("chemistry",)])
def test_without_chemistry_or_cost_there_is_no_verdict(au_anchor, scan, names):
    shipped = load_model("au-l3")
    bundle = without(shipped, *names)
    (found,) = Analyzer(bundle, au_anchor).analyze([scan])
    (whole,) = Analyzer(shipped, au_anchor).analyze([scan])
    assert whole.verdict.degree is not None
    assert found.verdict.degree is None
    assert (found.outcome.chemistry is None) == ("chemistry" in names)
    assert found.values["CN1"].value == whole.values["CN1"].value


def test_the_cost_of_departures_is_of_the_distances_it_was_learned_from():
    shipped = load_model("au-l3")
    sections = shipped.card.sections.model_copy(update={"chemistry": None})
    with pytest.raises(ModelError, match=r"'cost_rim' has shape \(17,\), its card asks for \(12,\)"):
        replace(shipped, card=shipped.card.model_copy(update={"sections": sections}))


def sections_without(bundle, *names):
    """The card's sections but for these and those that need them."""
    gone = {*names, *(other for name in names for other in NEEDED_BY.get(name, ()))}
    return bundle.card.sections.model_copy(update=dict.fromkeys(gone))


def without(bundle, *names):
    """The model without these sections and their tensors."""
    sections = sections_without(bundle, *names)
    inputs = bundle.card.inputs
    if sections.theory is None:
        inputs = tuple(each.model_copy(update={"anchor": "none"}) for each in inputs)
    card = bundle.card.model_copy(update={"sections": sections, "inputs": inputs})
    of = (card.points, len(inputs), card.width)
    gone = set(bundle.card.sections.tensors(*of)) - set(sections.tensors(*of))
    return Bundle(card, {k: v for k, v in bundle.tensors.items() if k not in gone}, "without")


@cache
def drawn(bundle, n, seed):
    """Network inputs as training had them, as one Gaussian."""
    rng = np.random.default_rng(seed)
    mean, covariance = bundle.array("train_mean"), bundle.array("train_covariance")
    return torch.from_numpy(rng.multivariate_normal(mean, covariance, n, method="svd")).float()


@cache
def judged_by(au, *gone, stratified=True):
    """The model without these sections, its domain fitted anew to the distances that are left."""
    sections = sections_without(au, *gone)
    domain = sections.domain.model_copy(
        update={"stratify_by": "CN1" if stratified else None, "threshold": 0.02}
    )
    x = drawn(au, N, 0)
    latent = reconstruct(au.tensors, x)[1] if sections.latent is not None else None
    ensemble = Ensemble(au, torch.device("cpu"), 0.9)
    [estimate] = ensemble._estimates(ensemble._decoded(x.numpy()))
    disagreement, predicted = (torch.from_numpy(v) for v in (estimate.disagreement, estimate.mean))
    fitted = {**au.tensors, **fit_subspace(drawn(au, N, 1), drawn(au, N, 2))}
    far = domain_distances(fitted, x, latent, disagreement.mean(1), sections.distances)
    fitted |= fit_reference(far, predicted[:, 0] if stratified else None, sections.distances)
    card = au.card.model_copy(update={"sections": sections.model_copy(update={"domain": domain})})
    return Bundle(card, fitted, "judged anew")


@pytest.fixture(scope="module")
def scan(scan_of):
    return scan_of(SAMPLE, noise=0.002)


@pytest.fixture(scope="module")
def whole(au, au_anchor, scan):
    return Analyzer(au, au_anchor).analyze([scan])[0]


ALL_BUT_THEORY = ("domain", "oxide", "latent", "phases", "preview", "size", "edge_rise")


@pytest.mark.parametrize("names", [*((name,) for name in ALL_BUT_THEORY), ALL_BUT_THEORY])
def test_without_a_section_a_model_loads_and_predicts(au, au_anchor, scan, whole, names, tmp_path):
    judged_anew = "domain" not in names and {"oxide", "latent"} & set(names)
    bundle = judged_by(au, *names) if judged_anew else without(au, *names)
    bundle = bundle.save(tmp_path / "model")
    assert [name for name in names if getattr(bundle.card.sections, name) is not None] == []
    analyzer = Analyzer(bundle, au_anchor)
    (found,) = analyzer.analyze([scan])
    assert found.refused is None
    assert found.values == whole.values
    np.testing.assert_array_equal(found.reduced.network_input, whole.reduced.network_input)
    json.dumps(found.to_json(), allow_nan=False)
    sections = bundle.card.sections
    assert (found.size is None) == (sections.size is None)
    assert (found.reduced.denoised is None) == (sections.latent is None)
    assert len(found.domain.latent) == (0 if sections.latent is None else 8)
    assert found.domain_judged == found.to_json()["domain_judged"] == (sections.domain is not None)
    if sections.domain is None:
        assert found.domain.inside is None
        assert math.isnan(found.domain.p)
        assert math.isnan(found.domain.score)
        assert found.in_domain  # nothing speaks against it
        assert "out_of_domain" not in found.flags
    growing = replace(
        scan, energy=scan.energy[:-60], mu=scan.mu[:-60], reference=None, counts={}, complete=False
    )
    foreseen = analyzer.preview(growing, Earlier(au_anchor))
    assert (foreseen is None) == (sections.preview is None)


@pytest.mark.parametrize(
    ("section", "tensor"),
    [
        ("theory", "theory_bulk"),
        ("domain", "domain_joint"),
        ("oxide", "oxide.layer0.weight"),
        ("latent", "decoder.layer0.bias"),
        ("phases", "metal_mean"),
        ("preview", "partial_widening"),
        ("size", "particle_cn"),
        ("edge_rise", "edge_rise_limit"),
    ],
)
def test_a_section_that_is_there_is_asked_for_its_tensors(au, section, tensor):
    lacking = {k: v for k, v in au.tensors.items() if k != tensor}
    with pytest.raises(ModelError, match=f"model au-l3: its weights lack {tensor}"):
        Bundle(au.card, lacking, "")
    if section not in ("oxide", "latent"):  # without these the domain is judged by fewer distances
        Bundle(without(au, section).card, lacking, "")


def test_tensors_of_another_shape_are_named(au):
    wrong = au.tensors | {"edge_rise_limit": torch.zeros(2)}
    with pytest.raises(ModelError, match=r"'edge_rise_limit' has shape \(2,\), its card asks for \(1,\)"):
        Bundle(au.card, wrong, "")
    Bundle(without(au, "edge_rise").card, wrong, "")


def test_standards_are_refused_by_a_model_that_fits_no_shares(au, au_anchor, scan_of):
    with pytest.raises(StandardError, match="au-l3 does not fit shares of other phases: leave them out"):
        Analyzer(without(au, "phases"), au_anchor, standards={"oxide": scan_of(None)})


def test_without_theory_no_foil_is_laid_on_it(au, au_anchor, scan):
    bundle = without(au, "theory")
    assert bundle.inputs[0].theory is None
    (found,) = Analyzer(bundle, au_anchor).analyze([scan])
    assert found.refused is None
    assert not found.anchored
    assert "unanchored" not in found.flags
    assert found.reduced.foil is None
    np.testing.assert_array_equal(found.reduced.network_input, found.reduced.flat)
    assert found.configuration["anchor"] is None
    (unaided,) = Analyzer(bundle).analyze([scan])
    assert unaided.to_json()["values"] == found.to_json()["values"]


# --- the domain by fewer distances ----------------------------------------------------------------------

CASES = {
    (): ("subspace", "residual", "disagreement", "oxide"),
    ("oxide",): ("subspace", "residual", "disagreement"),
    ("latent",): ("subspace", "disagreement", "oxide"),
    ("oxide", "latent"): ("subspace", "disagreement"),
}


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("gone", sorted(CASES))
def test_the_domain_is_judged_by_the_distances_that_a_model_has(au, gone, stratified, tmp_path):
    bundle = judged_by(au, *gone, stratified=stratified).save(tmp_path / "model")
    assert bundle.card.sections.distances == CASES[gone]
    ensemble = Ensemble(bundle, torch.device("cpu"), 0.9)
    judged = ensemble.judge(drawn(au, N, 3).numpy())
    assert judged.scores.shape == (N, len(CASES[gone]))
    for level in (0.05, 0.2, 0.5):  # of N draws judged by N others, which are ranked among themselves
        chance = 4.0 * np.sqrt(2.0 * level * (1.0 - level) / N)
        assert abs((judged.p < level).mean() - level) < chance + 5.0 * len(judged.scores[0]) / N
    spoilt = drawn(au, 50, 4).numpy().copy()
    spoilt[:, 60] += 0.3
    far = ensemble.judge(spoilt)
    assert np.mean(far.p < 0.02) > 0.9
    assert np.isfinite(far.residual).all()
    assert (far.reconstruction is None) == ("latent" in gone)


def test_an_unlike_spectrum_is_refused_its_domain_in_words(au, au_anchor, scan_of):
    scan = scan_of(SAMPLE)
    x = scan.energy - 11919.0
    white = replace(scan, mu=scan.mu + 0.5 * np.exp(-0.5 * ((x - 3.0) / 3.0) ** 2))
    for gone in CASES:
        (found,) = Analyzer(judged_by(au, *gone), au_anchor).analyze([white])
        assert found.domain.inside is False
        assert found.domain.score > 1
        assert found.domain.reason
        assert "out_of_domain" in found.flags
        assert ("oxide" not in found.domain.reason) or "oxide" not in gone


@pytest.mark.parametrize("section", ["oxide", "latent"])
def test_a_reference_of_other_distances_is_named(au, section):
    left = ", ".join(sections_without(au, section).distances)
    with pytest.raises(ModelError, match=f"'domain_reference' has 4 distances, its card asks for 3: {left}"):
        without(au, section)


@pytest.mark.parametrize("names", [("subspace",), ("disagreement", "oxide"), ("subspace", "residual")])
@pytest.mark.parametrize("stratified", [True, False])
def test_fewer_distances_hold_their_false_alarms_too(names, stratified):
    generator = torch.Generator().manual_seed(3)

    def draw(n):
        by = torch.rand(n, generator=generator)
        return (1.0 + by[:, None]) * torch.randn((n, len(names)), generator=generator), by

    def judged(distances, by):
        return domain_p_value(tensors, distances, by if stratified else None, names)

    distances, by = draw(6000)
    tensors = fit_reference(distances, by if stratified else None, names)
    assert tensors["domain_reference"].shape[2] == len(names)
    assert len(tensors["domain_edges"]) == (5 if stratified else 0)
    p, _ = judged(*draw(5000))
    for level in (0.01, 0.05, 0.2, 0.5):
        assert abs((p < level).float().mean().item() - level) < 0.02
    for k in range(len(names)):
        distances, by = draw(50)
        distances[:, k] = 12.0
        p, scores = judged(distances, by)
        assert (p < 0.01).all()
        assert (scores[:, k] > 1).all()
