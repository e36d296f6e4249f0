"""The verdict in degrees: what makes it, and that it holds on spectra of known kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.analysis.verdict import NO_METAL, OTHER_PHASE, chemistry_of, verdict_of
from xas_live.flags import Flag
from xas_live.models.ensemble import Judged
from xas_live.models.registry import load_model
from xas_live.models.sections.chemistry import ChemistryEstimate
from xas_live.prediction import LOOKS, Degree, DomainVerdict
from xas_live.reduction.anchor import FoilAnchor
from xas_live.simulator import Sample
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.theory.phases import moved, phases_of

SAMPLE = Sample({"cuboctahedron_7_3": 1.0}, "au_l3")


@pytest.fixture(scope="module")
def sections(au):
    return au.card.sections


def judged(sections, *, shares=None, non_metal=0.0, half=0.5, widening=1.0, departed=False) -> Judged:
    """One sweep, as an ensemble might judge it."""
    of = dict.fromkeys(sections.chemistry.kinds, 0.0) | {"metal": 1.0} | (shares or {})
    row = np.array([[of[kind] for kind in sections.chemistry.kinds]])
    seen = ChemistryEstimate(row, np.array([[non_metal, 0.1]]), np.array([[0.05, 0.05]]), np.array([0.02]))
    width = sections.cost.column + 1
    return Judged(
        mean=np.full((1, width), 10.0), half=np.full((1, width), half), p=np.array([0.5]),
        scores=np.zeros((1, 3)), latent=np.zeros((1, 0)), residual=None, reconstruction=None, chemistry=seen,
        widening=np.full((1, width), widening), departed=np.array([departed]),
    )  # fmt: skip


def verdict(sections, found, flags=(), reason=""):
    chemistry = chemistry_of(sections, found, 0, 0.9, 1.645)
    return verdict_of(sections, found, 0, DomainVerdict(reason=reason), chemistry, flags)


def test_a_spectrum_like_the_training_s_is_trusted(sections):
    found, raised = verdict(sections, judged(sections))
    assert (found.degree, found.reasons, found.widening, raised) == (Degree.TRUSTED, (), 1.0, ())


def test_a_departure_is_under_caution_with_its_reason_and_widening(sections):
    found, raised = verdict(
        sections, judged(sections, widening=1.7, departed=True), reason="its white line is higher"
    )
    assert found.degree is Degree.CAUTION
    assert found.reasons == ("its white line is higher",)
    assert found.widening == 1.7
    assert raised == (Flag.OUT_OF_DOMAIN,)


def test_an_interval_past_the_limit_is_not_usable(sections):
    limit = sections.cost.limit
    assert verdict(sections, judged(sections, half=limit))[0].degree is Degree.TRUSTED
    found, raised = verdict(sections, judged(sections, half=limit + 0.1, departed=True), reason="odd")
    assert found.degree is Degree.NOT_USABLE
    assert f"CN1 is uncertain by {limit + 0.1:.1f}" in found.reason
    assert found.reasons[-1] == "odd"
    assert Flag.NOT_USABLE in raised


@pytest.mark.parametrize("kind", ["alloy", "oxide", "salt", "sulphide"])
def test_another_phase_is_named_and_beyond_a_share_stops(sections, kind):
    for share, degree in (
        (OTHER_PHASE - 0.05, Degree.TRUSTED),
        (0.5, Degree.CAUTION),
        (0.9, Degree.NOT_USABLE),
    ):
        found, raised = verdict(sections, judged(sections, shares={kind: share, "metal": 1.0 - share}))
        assert found.degree is degree
        assert (LOOKS[kind] in found.reason) == (share > OTHER_PHASE)
        assert (Flag.OTHER_PHASE in raised) == (share > OTHER_PHASE)
    assert OTHER_PHASE < 0.5 < NO_METAL


def test_what_bare_metal_is_taken_for_is_no_non_metal(sections):
    trace = chemistry_of(sections, judged(sections, non_metal=0.02), 0, 0.9, 1.645)
    assert trace.non_metal.lower == 0.0
    some = judged(sections, non_metal=0.15)
    found, raised = verdict(sections, some)
    assert found.degree is Degree.CAUTION
    assert "10% to 20% of the spectrum is no metal" in found.reason
    assert raised == (Flag.NON_METAL,)


@pytest.mark.parametrize(
    ("flag", "degree"),
    [
        (Flag.TEMPERATURE_UNKNOWN, Degree.TRUSTED),
        (Flag.ALIGNED_BY_E0, Degree.TRUSTED),
        (Flag.GLITCH, Degree.CAUTION),
        (Flag.UNANCHORED, Degree.NOT_USABLE),
        (Flag.BEYOND_TRAINING.of("CN1"), Degree.NOT_USABLE),
        (Flag.BEYOND_TRAINING.of("CN3"), Degree.TRUSTED),
    ],
)
def test_flags_count_by_their_severity(sections, flag, degree):
    assert verdict(sections, judged(sections), (str(flag),))[0].degree is degree


def test_a_model_that_knows_no_cost_does_not_judge():
    sections = load_model("au-l3-msd").card.sections
    bare = Judged(*(np.zeros((1, 2)),) * 2, np.ones(1), np.zeros((1, 3)), np.zeros((1, 0)), None, None)
    assert verdict_of(sections, bare, 0, DomainVerdict(), None, ())[0].degree is None


def test_degrees_of_particle_salt_and_unanchored_sweep(au, au_anchor, scan_of):
    analyzer = Analyzer(au, au_anchor, AnalysisConfig(align="none"), "cpu")
    particle = scan_of(SAMPLE, reference=None)
    (salt,) = (phase for phase in phases_of("Au", "L3") if phase.name == "AuCl4")
    mu = moved(salt, particle.energy - au_anchor.energies(np.zeros(1))[0], 0.0) + 0.2
    good, bad = analyzer.analyze([particle, replace(particle, mu=mu)])
    assert good.verdict.degree is Degree.TRUSTED
    assert good.outcome.chemistry.looks == ""
    assert bad.verdict.degree is Degree.NOT_USABLE
    assert Flag.NOT_USABLE in bad.flags
    (loose,) = Analyzer(au, None, AnalysisConfig(align="none"), "cpu").analyze([particle])
    assert loose.verdict.degree is Degree.NOT_USABLE
    assert "no foil ties theory" in loose.verdict.reason


def test_a_wider_interval_is_what_is_shown(au, au_anchor, scan_of):
    analyzer = Analyzer(au, au_anchor, AnalysisConfig(align="none"), "cpu")
    particle = scan_of(SAMPLE, reference=None)
    bump = 0.25 * np.exp(-0.5 * ((particle.energy - au_anchor.e0 - 6.0) / 3.0) ** 2)
    good, odd = analyzer.analyze([particle, replace(particle, mu=particle.mu + bump)])
    assert odd.verdict.degree is not Degree.TRUSTED
    assert odd.verdict.widening > 1.0
    width = [p.values["CN1"].upper - p.values["CN1"].lower for p in (good, odd)]
    assert width[1] > width[0]


def test_measured_foils_are_trusted(measured):
    au = load_model("au-l3")
    (own,), (other,) = (
        read_file(measured / name)
        for name in ("au_nanoparticles/14_Au_foil.dat", "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi")
    )
    anchor = FoilAnchor.fit(spectra_of(own)[0], au)
    (found,) = Analyzer(au, anchor, AnalysisConfig(align="e0"), "cpu").analyze(spectra_of(other))
    assert found.verdict.degree is Degree.TRUSTED
