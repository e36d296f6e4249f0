"""Good samples that a user vouches for: their kind is trusted from then on, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.good_samples import EDGE, bump_at, foil, good, judge, kept, model, strength_of, sweep
from xas_live.models.bundle import Bundle
from xas_live.prediction import Degree
from xas_live.simulator import DEMO_PARTICLES, Sample
from xas_live.spectrum import Provenance
from xas_live.training import Accepted, AcceptError, accept_bundle, accepted
from xas_live.training.recalibrate import recalibrated
from xas_live.training.transfer import Labelled

HIGH = bump_at(25.0, 6.0)  # of another sample


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Accepted:
    """The shipped model with eight sweeps accepted, as it is stored."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    return accept_bundle(model(), good(8, 1, strength_of()), folder, foil())


def refused(spectra, anchor=None, bundle=None, said=""):
    with pytest.raises(AcceptError, match=re.escape(said)):
        accepted(bundle or model(), spectra, "mine", foil() if anchor is None else anchor)


def test_later_spectra_of_an_accepted_sample_are_trusted(mine):
    later = good(8, 2, strength_of())
    assert not any(p.verdict.degree is Degree.TRUSTED for p in judge(model()).analyze(later))
    found = judge(mine.bundle).analyze(later)
    assert all(p.domain.inside and p.verdict.widening == 1.0 for p in found)
    assert sum(p.verdict.degree is Degree.TRUSTED for p in found) >= 7


def test_numbers_are_those_of_the_source(mine):
    later = good(4, 2, strength_of())
    for before, after in zip(judge(model()).analyze(later), judge(mine.bundle).analyze(later), strict=True):
        assert after.values["CN1"].value == pytest.approx(before.values["CN1"].value, abs=1e-4)
        assert after.values["CN1"].std < before.values["CN1"].std


def test_oxide_of_an_accepted_sample_is_not_trusted(mine):
    for p in judge(mine.bundle).analyze(good(6, 3, strength_of(), oxide=0.3)):
        assert p.verdict.degree is not Degree.TRUSTED
        assert not p.domain.inside


def test_a_stronger_departure_than_was_accepted_is_not_trusted(mine):
    for p in judge(mine.bundle).analyze(good(4, 4, 3.0 * strength_of())):
        assert not p.domain.inside


def test_spectra_without_the_departure_are_judged_as_before(mine):
    plain = good(6, 5, 0.0)
    for before, after in zip(judge(model()).analyze(plain), judge(mine.bundle).analyze(plain), strict=True):
        assert after.domain.inside == before.domain.inside


def test_before_and_after_are_shown_for_each(mine):
    assert [p.provenance.scan for p in mine.before] == [f"scan 1.{i}" for i in range(8)]
    assert not any(p.domain.inside for p in mine.before)
    assert all(p.domain.inside for p in mine.after)
    assert 0.9 <= mine.explained <= 1.0


def test_the_card_says_what_was_accepted(mine):
    card = mine.bundle.card
    (sample,) = card.sections.accepted.samples
    assert card.name == "mine"
    assert (sample.model, sample.sha256) == (model().name, model().sha256)
    assert (sample.spectra, sample.left_out, sample.anchor) == (8, (), foil().sha256)
    assert list(sample.files) == [f"scan 1.{i} 0" for i in range(8)]
    assert all(len(digest) == 64 for digest in sample.files.values())
    assert card.trust is None
    assert "a user vouches" in card.limits[-1]


def test_only_the_accepted_tensors_are_new(mine):
    stored = Bundle.load(mine.bundle.folder)
    assert stored.sha256 == mine.bundle.sha256 != model().sha256
    assert set(stored.tensors) - set(model().tensors) == {
        "accepted_axes", "accepted_low", "accepted_high", "accepted_left",
    }  # fmt: skip
    assert all(torch.equal(stored.tensors[name], tensor) for name, tensor in model().tensors.items())


def test_one_spectrum_that_is_unlike_the_others_is_left_out():
    odd = good(1, 6, strength_of(HIGH), HIGH)
    found = accepted(model(), [*good(7, 1, strength_of()), *odd], "mine", foil())
    (sample,) = found.bundle.card.sections.accepted.samples
    assert sample.left_out == ("scan 6.0",)
    assert not judge(kept(found.bundle)).analyze(odd)[0].domain.inside


def test_spectra_that_depart_each_in_a_way_of_their_own_are_refused():
    shapes = [bump_at(energy, 4.0) for energy in (20.0, 28.0, 36.0, 46.0, 58.0, 70.0)]
    many = [good(1, 10 + i, 2.0 * strength_of(shape), shape)[0] for i, shape in enumerate(shapes)]
    refused(many, said="spectra depart when the others are accepted, so that they are no one sample")


def test_half_oxidised_samples_cannot_be_accepted():
    refused(good(6, 3, 0.0, oxide=0.5), said="of 6 spectra depart")


def test_spectra_like_those_in_training_teach_nothing(tmp_path):
    with pytest.raises(AcceptError, match="none of the 6 spectra departs from what pt-l3 was trained on"):
        accept_bundle(model(), good(6, 5, 0.0), tmp_path / "mine", foil())
    assert not (tmp_path / "mine").exists()


def test_too_few_are_refused_with_their_number():
    refused(good(4, 1, strength_of()), said="4 spectra are too few: give at least 5")


def test_a_spectrum_that_cannot_be_analysed_is_named():
    flat = sweep(Sample({DEMO_PARTICLES[1]: 1.0}), provenance=Provenance(scan="flat.dat"))
    flat = replace(flat, mu=np.ones(len(flat.energy)))
    refused([*good(5, 1, strength_of()), flat], said="flat.dat cannot be analysed: ")


def test_spectra_without_a_foil_are_refused():
    with pytest.raises(AcceptError, match=r"scan 1\.0 has no foil: give the foil"):
        accepted(model(), good(5, 1, strength_of()), "mine", None)


def test_nobody_can_vouch_for_what_was_not_measured():
    spectra = good(6, 1, strength_of())
    energy = spectra[2].energy
    kept = (energy < EDGE + 16.0) | (energy > EDGE + 36.0)
    spectra[2] = replace(spectra[2], energy=energy[kept], mu=spectra[2].mu[kept])
    refused(spectra, said="scan 1.2 has a stretch without points")


def test_nobody_can_vouch_for_an_oxide():
    oxide = good(1, 7, 0.0, oxide=1.0)
    refused(
        [*good(6, 1, strength_of()), *oxide], said="of its spectrum is no metal of this element, at most 75%"
    )


def test_a_spectrum_given_twice_is_refused():
    once = good(5, 1, strength_of())
    refused([*once, once[2]], said="scan 1.2 and scan 1.2 hold the same spectrum: give each once")


def test_a_model_that_does_not_judge_departures_is_refused():
    card = model().card
    sections = card.sections.model_copy(update={"cost": None})
    bare = replace(model(), card=card.model_copy(update={"sections": sections}))
    refused(good(5, 1, 0.1), bundle=bare, said="does not know what departures from its training cost")


def test_the_source_is_not_overwritten(mine):
    with pytest.raises(AcceptError, match="holds mine itself: give the derived model another name"):
        accept_bundle(mine.bundle, good(8, 1, strength_of()), mine.bundle.folder, foil())


def test_a_second_sample_is_accepted_on_top_of_the_first(mine, tmp_path):
    other = strength_of(HIGH)
    both = accept_bundle(mine.bundle, good(8, 8, other, HIGH), tmp_path / "both", foil()).bundle
    assert [s.model for s in both.card.sections.accepted.samples] == [model().name, "mine"]
    assert both.card.sections.accepted.axes > mine.bundle.card.sections.accepted.axes
    axes = both.array("accepted_axes")
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-5)
    for later in (good(4, 2, strength_of()), good(4, 9, other, HIGH)):
        assert all(p.domain.inside for p in judge(both).analyze(later))


def test_calibration_keeps_what_was_accepted(mine):
    count = 12
    spectra = [sweep(Sample({DEMO_PARTICLES[i % 4]: 1.0}), noise=0.005, seed=i) for i in range(count)]
    x = np.stack([p.reduced.network_input for p in judge(model()).analyze(spectra)])
    y = torch.linspace(3.0, 12.0, count)[:, None].expand(count, len(model().target_names))
    about = {"file": "x.h5", "sha256": "0", "spectra": count, "groups": count}
    given = Labelled(torch.from_numpy(x).float(), y.clone(), np.arange(count), about)
    found = recalibrated(mine.bundle, given, "calibrated")
    assert found.card.sections.accepted == mine.bundle.card.sections.accepted
    assert torch.equal(found.tensors["accepted_axes"], mine.bundle.tensors["accepted_axes"])
