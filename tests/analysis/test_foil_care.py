"""What the models would read as a particle is no foil; what is measured of bulk metal is one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from xas_live.analysis import Analyzer, AnalyzerPool, NoFoilError, foil_anchor
from xas_live.models import load_model
from xas_live.reduction import FoilAnchor, known_foils, newest_anchor, saved_anchor, saved_anchors
from xas_live.simulator import Sample
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.spectrum import Provenance

SMALL, LARGER = Sample({"cuboctahedron_3_1": 1.0}, "au_l3"), Sample({"cuboctahedron_9_4": 1.0}, "au_l3")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))


def test_the_smallest_particles_are_refused_by_theory_alone(au, scan_of):
    with pytest.raises(NoFoilError, match=r"fine structure has 4[0-9]% .* vouch"):
        foil_anchor(scan_of(SMALL, reference=None), au)


def test_larger_ones_by_the_reference_channel_or_by_a_saved_foil(au, au_anchor, scan_of):
    scan = scan_of(LARGER)
    with pytest.raises(NoFoilError, match=r"by its own reference channel CN1 is 9\.\d+ .*, of bulk 12"):
        foil_anchor(scan, au)
    bare = replace(scan, reference=None)
    with pytest.raises(NoFoilError, match=f"by the saved foil {au_anchor.sha256[:12]}"):
        foil_anchor(bare, au, [au_anchor])
    assert foil_anchor(bare, au).strength > 0.6  # nothing tells it then


def test_a_foil_is_taken_by_all_three(au, scan_of):
    known = FoilAnchor.fit(scan_of(None, noise=0.002, seed=2, shift=0.7, reference=None), au)
    assert not foil_anchor(scan_of(None, noise=0.002, seed=1), au, [known]).vouched


def test_a_foil_that_the_user_vouches_for_is_taken_and_says_so(au, scan_of, tmp_path):
    taken = foil_anchor(scan_of(SMALL, reference=None), au, vouch=True)
    assert taken.vouched
    again = FoilAnchor.load(taken.save(tmp_path / "a"))
    assert again.vouched
    assert again.strength == taken.strength
    # It judges no other foil.
    assert not foil_anchor(scan_of(None, reference=None), au, [again]).vouched


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("pt-l3", ["foils_nsls/Pt_foil_Pt_L3.dat", "foils_xdi/pt_metal_rt.xdi"]),
        ("pd-k", ["foils_nsls/Pd_foil_Pd_K.dat"]),
        ("au-l3", ["foils_nsls/Au_foil_Au_L3.dat", "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi",
                   "au_nanoparticles/14_Au_foil.dat"]),
    ],
)  # fmt: skip
def test_measured_foils_are_taken_also_by_each_other(measured, model, names):
    bundle = load_model(model)
    read = [spectra_of(read_file(measured / name)[0])[0] for name in names]
    fitted = [foil_anchor(foil, bundle) for foil in read]
    for i, foil in enumerate(read):
        foil_anchor(foil, bundle, fitted[i + 1 :] + fitted[:i])


def test_measured_particles_are_refused_by_a_measured_foil(measured):
    bundle = load_model("pt-l3")
    foil = spectra_of(read_file(measured / "foils_nsls/Pt_foil_Pt_L3.dat")[0])[0]
    known = FoilAnchor.fit(foil, bundle)
    catalyst = spectra_of(read_file(measured / "xraylarch_pt" / "02_10wt_300K.dat")[0])[0]
    with pytest.raises(NoFoilError):
        foil_anchor(catalyst, bundle, [known])


def test_a_particle_in_the_reference_channel_is_flagged(au, scan_of):
    particle = scan_of(SMALL)
    swapped = replace(particle, mu=particle.reference, reference=particle.mu)
    (prediction,) = Analyzer(au, "reference").analyze([swapped])
    assert "weak_foil" in prediction.flags
    (sound,) = Analyzer(au, "reference").analyze([scan_of(LARGER)])
    assert "weak_foil" not in sound.flags


def test_an_older_anchor_still_loads_and_a_weak_one_is_flagged_when_it_is_used(au, scan_of, tmp_path):
    folder = FoilAnchor.fit(scan_of(SMALL, reference=None), au).save()
    numbers = json.loads((folder / "anchor.json").read_text())
    for name in ("strength", "sample", "beamline", "model", "vouched", "sha256"):
        del numbers[name]
    (folder / "anchor.json").write_text(json.dumps(numbers | {"version": 1}))
    old = newest_anchor("Au", "L3")
    assert old.strength is None
    (prediction,) = Analyzer(au, old).analyze([scan_of(LARGER, reference=None)])
    assert "weak_foil" in prediction.flags


def test_a_foil_of_another_beamline_is_flagged_and_judges_no_foil_there(au, scan_of):
    def at(beamline):
        return Provenance(metadata={"beamline_id": beamline} if beamline else {})

    foil = replace(scan_of(None, reference=None), provenance=at("QAS"))
    FoilAnchor.fit(foil, au).save()
    sample = scan_of(LARGER, reference=None)
    pool = AnalyzerPool("au-l3")
    scans = [replace(sample, provenance=at(name)) for name in ("ISS", "qas", "")]
    flagged = ["other_beamline" in p.flags for p in pool.analyze(scans)]
    assert flagged == [True, False, False]
    assert [len(known_foils("Au", "L3", name)) for name in ("QAS", "ISS", "")] == [1, 0, 0]


def test_saved_anchors_are_listed_chosen_and_removed(au, au_anchor, scan_of):
    first = replace(au_anchor, sample="foil", beamline="QAS").save().name
    second = FoilAnchor.fit(scan_of(None, shift=0.4, reference=None), au).save().name
    saved_anchor(first).use()
    assert [each.name for each in saved_anchors()] == [first, second]
    assert newest_anchor("Au", "L3").beamline == "QAS"
    saved_anchor(first).remove()
    assert [each.name for each in saved_anchors("Au", "L3")] == [second]
    with pytest.raises(ValueError, match=f"no saved anchor is named '{first}'; saved: {second}"):
        saved_anchor(first)
