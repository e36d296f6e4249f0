"""Several models at one spectrum: each says what it would say alone, and the first leads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import AnalyzerPool, RunHistory
from xas_live.models.bundle import ModelError
from xas_live.models.ensemble import Ensemble
from xas_live.models.registry import SHIPPED_FOLDER, load_model
from xas_live.reduction.reducer import Reducer
from xas_live.simulator import Sample, growth

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


@pytest.fixture(scope="module")
def spectra(scan_of):
    """Good ones on two axes, some without a reference channel, and one that is refused."""
    scans = [scan_of(s, noise=0.002, seed=i, shift=0.05 * i) for i, s in enumerate(growth(4, "au_l3"))]
    short = scan_of(SAMPLE, end=300.0, noise=0.002, seed=9)
    bare = [replace(scan, reference=None) for scan in scans[:2]]
    return [*scans, short, replace(scans[0], mu=-scans[0].mu), *bare]


@pytest.fixture
def reductions(monkeypatch):
    """How often spectra are reduced, by theory and number at once; the reduction itself is the real one."""
    counts: Counter[tuple[str, int]] = Counter()
    real = Reducer.reduce

    def counted(self, spectra):
        counts[self.target.theory.sha256, len(spectra)] += 1
        return real(self, spectra)

    monkeypatch.setattr(Reducer, "reduce", counted)
    return counts


def told(prediction):
    """All that a prediction says, but for the time it took."""
    record = prediction.to_json()
    del record["seconds"]
    reduced = prediction.reduced
    curves = () if reduced is None else (reduced.flat, reduced.foil, reduced.network_input, reduced.denoised)
    return record | {
        "configuration": prediction.configuration,
        "provenance": prediction.provenance,
        "shift": prediction.shift,
        "curves": [None if curve is None else curve.tolist() for curve in curves],
    }


@pytest.fixture
def oxide(scan_of):
    foil = scan_of(None)
    x = foil.energy - 11919.0
    mu = 0.2 + 0.5 + np.arctan((x - 1.0) / 2.0) / np.pi + 1.2 * np.exp(-0.5 * ((x - 2.0) / 3.0) ** 2)
    return replace(foil, mu=mu, reference=None)


@pytest.mark.parametrize("anchor", ["reference", "auto", "foil", None])
@pytest.mark.parametrize("with_standard", [False, True])
def test_each_says_exactly_what_it_says_alone(
    spectra, tuned, au_anchor, oxide, anchor, with_standard, monkeypatch, tmp_path
):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    au_anchor.save()
    settings = {"anchor": au_anchor if anchor == "foil" else anchor}
    settings["standards"] = {"oxide": oxide} if with_standard else None
    models = ["au-l3", tuned, "au-l3-msd"]
    found = AnalyzerPool(models, **settings).analyze_all(spectra)
    for k, model in enumerate(models):
        alone = AnalyzerPool(model, **settings).analyze(spectra)
        assert [told(of_sweep[k]) for of_sweep in found] == [told(p) for p in alone]
    assert [p.model for p in found[0]] == ["au-l3", "au-tuned", "au-l3-msd"]
    assert [p.refused is None for p in found[5]] == [False] * 3
    assert found[0][0].values["CN1"].value != found[0][1].values["CN1"].value
    assert set(found[0][2].values) == {"MSD", "radial_variance"}
    assert len({p.model_sha256 for p in found[0]}) == 3


def test_a_device_that_fails_at_the_start_is_left_for_the_cpu(spectra, monkeypatch, caplog):
    real = Ensemble.__init__

    def failing(self, bundle, device, level):
        if device.type != "cpu":
            raise RuntimeError("CUDA error: out of memory")
        real(self, bundle, device, level)

    monkeypatch.setattr(Ensemble, "__init__", failing)
    pool = AnalyzerPool("au-l3", "reference", device="meta")
    found = pool.analyze(spectra[:2])
    assert [p.refused for p in found] == [None, None]
    assert "the analysis goes on on the CPU" in caplog.text


def test_what_models_have_in_common_is_reduced_once(spectra, tuned, au_anchor, oxide, reductions):
    au, msd = (load_model(name).inputs[0].theory.sha256 for name in ("au-l3", "au-l3-msd"))
    models = ["au-l3", "au-l3-msd", tuned]
    n = len(spectra)
    pool = AnalyzerPool(models, au_anchor)
    pool.analyze_all(spectra)
    assert reductions == {(au, n): 1, (msd, n): 1}
    reductions.clear()
    pool.analyze(spectra)
    assert reductions == {(au, n): 1}
    reductions.clear()
    # Standards are reduced with the sweeps; what each model predicts from them is its own.
    AnalyzerPool(models, au_anchor, standards={"oxide": oxide}).analyze_all(spectra)
    assert reductions == {(au, n): 1, (msd, n): 1}


def test_the_lead_alone_is_asked_for_one_prediction(spectra, tuned, scan_of):
    one, other = (AnalyzerPool([tuned, "au-l3"], "reference") for _ in range(2))
    assert [told(p) for p in one.analyze(spectra)] == [told(lead) for lead, _ in other.analyze_all(spectra)]
    growing, history = replace(scan_of(SAMPLE), complete=False), RunHistory()
    history.add(one.analyze(spectra)[:1])
    assert one.preview(growing, history.before(growing)).model == "au-tuned"


def test_only_models_of_the_absorber_speak_and_the_first_of_them_leads(scan_of):
    pool = AnalyzerPool(["pt-l3", "au-l3-msd", "au-l3"], "reference")
    gold, platinum = scan_of(SAMPLE), scan_of(Sample(SAMPLE.particles, "pt_l3"), "pt_l3")
    iron = replace(gold, element="Fe", edge="K")
    found = pool.analyze_all([gold, platinum, iron])
    assert [[p.model for p in of] for of in found] == [["au-l3-msd", "au-l3"], ["pt-l3"], ["pt-l3"]]
    assert found[2][0].refused == "the sample is Fe K, the model is for Pt L3"
    assert [p.model for p in pool.analyze([gold, platinum, iron])] == ["au-l3-msd", "pt-l3", "pt-l3"]
    assert told(found[2][0]) == told(AnalyzerPool("pt-l3", "reference").analyze([iron])[0])
    # By absorber there is one shipped model each, as ever.
    by_absorber = AnalyzerPool(anchor="reference").analyze_all([gold, iron])
    assert [[p.model for p in of] for of in by_absorber] == [["au-l3"], [""]]
    assert by_absorber[1][0].refused.startswith("no model for Fe K")


def test_a_guessed_absorber_does_not_overrule_the_models_chosen(scan_of):
    guessed = replace(scan_of(SAMPLE), element="Re", edge="L2", absorber_guessed=True)
    [found] = AnalyzerPool(["au-l3", "au-l3-msd"], "reference").analyze_all([guessed])
    assert [(p.model, p.refused) for p in found] == [("au-l3", None), ("au-l3-msd", None)]


@pytest.mark.parametrize("batches_only", [True, False])
def test_a_further_model_that_fails_costs_no_other(spectra, tuned, monkeypatch, caplog, batches_only):
    expected = {
        model: [told(p) for p in AnalyzerPool(model, "reference").analyze(spectra)]
        for model in ("au-l3", "au-l3-msd")
    }
    real = Ensemble.judge

    def failing(self, inputs, wrong=None):
        if self.bundle.name == "au-tuned" and (len(inputs) > 1 or not batches_only):
            raise ValueError("too much for it")
        return real(self, inputs, wrong)

    monkeypatch.setattr(Ensemble, "judge", failing)
    pool = AnalyzerPool(["au-l3", tuned, "au-l3-msd"], "reference")
    found = pool.analyze_all(spectra)
    assert [told(of[0]) for of in found] == expected["au-l3"]
    assert [told(of[2]) for of in found] == expected["au-l3-msd"]
    good = [of[1] for of in found if of[0].refused is None]
    if batches_only:
        assert [p.refused for p in good] == [None] * len(good)
        assert not caplog.records
    else:
        assert {p.refused for p in good} == {"the analysis failed (ValueError: too much for it)"}
        assert [p.configuration for p in good] == [of[0].configuration for of in found if not of[0].refused]
        assert {p.model for p in good} == {"au-tuned"}
        pool.analyze_all(spectra)
        assert [record.getMessage() for record in caplog.records] == [
            "au-tuned: the analysis failed (ValueError: too much for it); the other models go on"
        ]
        with pytest.raises(ValueError, match="too much for it"):
            AnalyzerPool([tuned, "au-l3"], "reference").analyze_all(spectra)


def test_a_model_that_gives_no_number_leaves_the_shared_reduction_as_it_was(
    spectra, tuned, au, tmp_path, monkeypatch
):
    monkeypatch.setattr("xas_live.models.bundle.LARGEST", np.inf)  # no file holds such a model
    tensors = au.tensors | {"target_mean": au.tensors["target_mean"] * np.inf}
    card = au.card.model_copy(update={"name": "au-unsound"})
    replace(au, card=card, tensors=tensors).save(tmp_path / "au-unsound")
    pool = AnalyzerPool([tuned, tmp_path / "au-unsound", "au-l3"], "reference")
    for first, unsound, last in pool.analyze_all(spectra[:3]):
        assert (first.refused, last.refused) == (None, None)
        assert "au-unsound gave no number" in unsound.refused
        assert unsound.element == "Au"


def test_an_anchor_that_does_not_fit_refuses_by_name(scan_of, au_anchor):
    gold, platinum = scan_of(SAMPLE), scan_of(Sample(SAMPLE.particles, "pt_l3"), "pt_l3")
    (of_gold,), (of_platinum,) = AnalyzerPool(["au-l3", "pt-l3"], au_anchor).analyze_all([gold, platinum])
    assert of_gold.refused is None
    assert (of_platinum.model, of_platinum.model_sha256) == ("pt-l3", load_model("pt-l3").sha256)
    assert "foil cannot anchor pt-l3" in of_platinum.refused


def test_models_that_cannot_be_had_together_are_refused():
    with pytest.raises(ModelError, match="no model 'au-l4': shipped are au-l3, au-l3-msd, pd-k, pt-l3"):
        AnalyzerPool(["au-l3", "au-l4"])
    with pytest.raises(ModelError, match="au-l3 is given 2 times"):
        AnalyzerPool(["au-l3", "pt-l3", SHIPPED_FOLDER / "au-l3"])
    with pytest.raises(ValueError, match="no model is given"):
        AnalyzerPool([])
