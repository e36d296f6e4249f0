"""PredictionSignals in plans: a real RunEngine, the simulated beamline, and the archive."""

from __future__ import annotations

import math
import sys
import threading
import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks import LiveTable
from bluesky.preprocessors import baseline_wrapper
from bluesky.suspenders import SuspendBoolLow, SuspendFloor
from event_model import DocumentNames, schema_validators
from ophyd.utils import ReadOnlyError

import xas_live
from xas_live.energy import xanes_grid
from xas_live.errors import Refusal
from xas_live.plans import wait_for_prediction
from xas_live.prediction import Degree, Outcome, Prediction, Value, Verdict
from xas_live.signals import PredictionSignals, Target
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.spectrum import Provenance

ENERGIES = xanes_grid(11919.0)[::2]


@pytest.fixture
def beamline():
    made = SimulatedBeamline("au_l3", seed=5, counts=1e8, drift=0.0)
    made.load(growth(4, "au_l3")[2])
    return made


@pytest.fixture
def RE():
    return RunEngine({}, context_managers=[])


@pytest.fixture
def signals():
    return PredictionSignals()


@pytest.fixture
def xas(RE, au_anchor, signals):
    with xas_live.attach(RE, plot=False, anchor=au_anchor, align="none", publishers=[signals]) as analysis:
        signals.bind(analysis)
        yield analysis


def scan(beamline, *others):
    """The sample that is loaded, with other detectors beside the ion chambers."""
    detectors = [beamline.ion_chambers, *others]
    return bp.list_scan(detectors, beamline.energy, ENERGIES.tolist(), md=beamline.metadata())


class Sweep:
    def __init__(self, primary):
        self.primary = primary


def prediction(cn1=8.4, degree=Degree.TRUSTED, **rest):
    values = {"CN1": Value(cn1, 0.5, cn1 - 1, cn1 + 1, statistical=0.3, model=0.9)}
    where = Provenance(run_uid="1" * 36, scan_id=7, time=1.7e9)
    return Prediction(
        "m", "sha", "Au", "L3", where, Outcome(values), Verdict(degree, ("noisy",)), flags=("noisy",), **rest
    )


def test_before_a_prediction_there_are_no_numbers(signals):
    assert math.isnan(signals.cn1.get())
    assert signals.verdict.get() == ""
    assert signals.sweeps.get() == 0
    assert not signals.fresh.get()
    assert not signals.actionable.get()
    assert signals.stale_reason.get() == "no analysis is watched"


def test_a_scan_is_shown(RE, xas, signals, beamline):
    RE(scan(beamline))
    assert xas.wait(30)
    said, value = xas.latest, xas.latest.values["R1"]
    assert signals.r1.get() == value.value
    assert (signals.r1_lower.get(), signals.r1_upper.get()) == (value.lower, value.upper)
    assert (signals.r1_statistical.get(), signals.r1_model.get()) == (value.statistical, value.model)
    assert signals.r1.timestamp == said.provenance.time
    assert signals.non_metal.get() == said.chemistry.non_metal.value
    assert signals.verdict.get() == said.verdict.degree
    assert signals.verdict_reason.get() == said.verdict.reason
    assert signals.flags.get() == ", ".join(said.flags)
    assert signals.absorber.get() == "Au L3"
    assert (signals.scan.get(), signals.raw_uid.get()) == (1, said.provenance.run_uid)
    assert 0 <= signals.lag.get() < 10
    assert signals.sweeps.get() == 1


def test_age_grows_until_it_is_stale_and_a_new_sweep_is_fresh(RE, xas, signals, beamline):
    RE(scan(beamline))
    assert xas.wait(30)
    value = signals.cn1.get()
    deadline = time.monotonic() + 30
    while signals.fresh.get():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the limit is" in signals.stale_reason.get()
    assert signals.age.get() > xas.current().limit
    assert not signals.actionable.get()
    assert signals.cn1.get() == value
    RE(scan(beamline))
    assert xas.wait(30)
    assert signals.fresh.get()


def test_a_closed_analysis_is_told(xas, signals):
    xas.close()
    assert signals.stale_reason.get() == "the analysis was closed"


@pytest.mark.parametrize(
    "said", [prediction(degree=Degree.NOT_USABLE), prediction(refused="the edge is missing")]
)
def test_what_must_not_be_used_leaves_no_number(signals, said):
    signals.predicted(Sweep(prediction()))
    assert signals.cn1.get() == 8.4
    signals.predicted(Sweep(said))
    assert math.isnan(signals.cn1.get())
    assert math.isnan(signals.cn1_statistical.get())
    assert signals.verdict.get() == "not usable"
    assert signals.verdict_reason.get() == said.verdict.reason
    assert signals.sweeps.get() == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (prediction(), 1),
        (prediction(degree=Degree.CAUTION), 1),
        (prediction(degree=Degree.NOT_USABLE), 0),
        (prediction(degree=None), 0),
        (prediction(partial=True), 0),
        (prediction(refused="no"), 0),
    ],
)
def test_actionable_is_what_is_fresh_judged_usable_and_whole(RE, xas, beamline, said, expected):
    RE(scan(beamline))
    assert xas.wait(30)
    signals = PredictionSignals()
    signals.bind(xas)
    signals.predicted(Sweep(said))
    assert signals.actionable.get() == expected
    signals.close()


def test_nobody_else_can_set_them(RE, signals):
    for name in signals.component_names:
        with pytest.raises(ReadOnlyError):
            getattr(signals, name).put(1)
    with pytest.raises(ReadOnlyError):
        RE(bps.mv(signals.cn1, 5.0))
    assert RE.state == "idle"


def test_a_scan_that_reads_them_is_predicted_as_without(RE, xas, signals, beamline):
    """Their names are never taken for energy or detectors, though a target is named as one."""
    odd = PredictionSignals(["CN1", "i0", "it", "mono_energy", "iff"], name="ref")
    twin = SimulatedBeamline("au_l3", seed=5, counts=1e8, drift=0.0)
    twin.load(growth(4, "au_l3")[2])
    RE(scan(beamline))
    RE(scan(twin, signals, odd))
    RE(baseline_wrapper(scan(beamline), [signals, odd]))
    assert xas.wait(30)
    alone, beside, baseline = xas.predictions
    assert beside.provenance.read["channels"] == alone.provenance.read["channels"]
    for name, value in alone.values.items():  # batches round differently
        same = beside.values[name]
        assert (same.value, same.upper) == pytest.approx((value.value, value.upper), rel=1e-4)
    assert baseline.provenance.read["channels"] == alone.provenance.read["channels"]
    assert baseline.refused is None


def test_they_can_be_read_tabled_and_stored(RE, xas, signals, beamline, raw_writer, archive, capsys):
    RE(scan(beamline))
    assert xas.wait(30)
    documents = []
    RE.subscribe(lambda name, document: documents.append((name, document)))
    RE.subscribe(raw_writer)
    (uid,) = RE(bp.count([signals], num=2), LiveTable(["xas_cn1"]))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    descriptor = next(document for name, document in documents if name == "descriptor")
    assert descriptor["hints"]["xas"]["fields"] == ["xas_cn1"]
    assert descriptor["data_keys"]["xas_r1"]["units"] == "Å"
    assert descriptor["data_keys"]["xas_r1"]["precision"] == 3
    assert f"{signals.cn1.get():.2f}" in capsys.readouterr().out
    assert raw_writer.flush(60)
    stored = archive.client[uid]["primary"].read()
    assert np.all(stored["xas_cn1"] == signals.cn1.get())
    assert list(stored["xas_verdict"].astype(str)) == [str(xas.latest.verdict.degree)] * 2
    assert list(stored["xas_raw_uid"].astype(str)) == [xas.latest.provenance.run_uid] * 2


def test_a_suspender_holds_a_plan_until_the_prediction_is_good(RE, signals):
    signals.predicted(Sweep(prediction(6.0)))
    floor = SuspendFloor(signals.cn1, 8.0)
    floor.install(RE)
    deadline = time.monotonic() + 10
    while not floor.tripped:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    signals.predicted(Sweep(prediction(9.0)))
    while floor.tripped:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    low = SuspendBoolLow(signals.actionable)  # nothing watches an analysis: it is stale
    low.install(RE)
    while not low.tripped:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_plan_waits_for_the_prediction_of_its_run(RE, xas, signals, beamline):
    seen = []

    def plan():
        uid = yield from scan(beamline)
        seen.append((yield from wait_for_prediction(signals, uid)))
        seen.append((yield from bps.rd(signals.cn1)))
        seen.append((yield from wait_for_prediction(signals, "another", timeout=0.1)))

    RE(plan())
    assert seen == [True, xas.latest.values["CN1"].value, False]


@pytest.fixture
def quick_threads():
    """Threads take turns all the time, so that what they can break they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_reading_never_mixes_two_sweeps(signals, quick_threads):
    """One thread shows sweeps, this one reads."""
    ended = threading.Event()

    def show():
        k = 0
        while not ended.is_set():
            k += 1
            signals.predicted(Sweep(prediction(float(k))))

    writer = threading.Thread(target=show)
    writer.start()
    try:
        for _ in range(300):
            reading = {name: each["value"] for name, each in signals.read().items()}
            if reading["xas_sweeps"]:
                assert reading["xas_cn1_upper"] - reading["xas_cn1_lower"] == 2.0
                assert reading["xas_cn1"] == reading["xas_sweeps"]
    finally:
        ended.set()
        writer.join()


def test_targets_of_other_models_are_signals_too():
    signals = PredictionSignals(["MSD", Target("oxidation", "e", 0, 4)], name="xas2")
    assert signals.describe()["xas2_msd"]["units"] == "Å²"
    assert signals.describe()["xas2_oxidation_lower"]["units"] == "e"
    assert signals.hints == {"fields": ["xas2_msd"]}
    assert not hasattr(signals, "cn1")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("CN1", "give a list"),
        ([], "at least one"),
        (["CN1", "cn1"], "each once"),
        (["C N"], "letters, digits"),
        (["verdict"], "another name"),
        (["close"], "another name"),
        (["name"], "another name"),
        ([3], "give its name"),
    ],
)
def test_targets_that_cannot_be_used_are_refused(targets, words):
    with pytest.raises(Refusal, match=words):
        PredictionSignals(targets)


def test_a_subclass_and_several_devices_live_side_by_side():
    class Mine(PredictionSignals):
        pass

    one, two = Mine(["CN1"], name="a"), PredictionSignals(["R1"], name="b")
    assert isinstance(one, Mine)
    assert "a_cn1" in one.read()
    assert "b_cn1" not in two.read()


def test_simulated_scan_of_a_foil_is_shown_too(RE, xas, signals, beamline):
    RE(simulated_scan(beamline, None, energies=ENERGIES))
    assert xas.wait(30)
    assert signals.verdict.get() == str(xas.latest.verdict.degree or "not judged")


def test_what_is_predicted_beside_the_targets_is_told_once(RE, xas, beamline, capsys):
    signals = PredictionSignals(["CN1"], name="few")
    signals.bind(xas)
    RE(scan(beamline))
    assert xas.wait(30)
    for _ in range(2):
        signals.predicted(Sweep(xas.latest))
    signals.close()
    assert capsys.readouterr().out.count("predicts CN2, CN3, CN4, R1, for which few has no signals") == 1
