"""adaptive where an optimizer of bluesky-adaptive says; it is told what was predicted at its own settings."""

from __future__ import annotations

import math
import threading

import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky_adaptive import protocols
from bluesky_adaptive.scipy import SCP, InteractiveOptimizer, Minimize, Objective, RangeDOF, ScipyCFG

from tests.rules.scripted import POINTS, Scripted, said, sweeping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.errors import Refusal
from xas_live.plans import End, OptimizerRecommender, adaptive
from xas_live.prediction import Degree


def cn1_at(furnace):
    return 7.0 + ((furnace - 430.0) / 50.0) ** 2


class Beamline:
    """Scans a sample whose CN1 depends on the furnace, sweep by sweep as `looks` says."""

    def __init__(self) -> None:
        self.RE = RunEngine({})
        self.furnace = math.nan
        self.sweeps = 1
        self.looks: list[dict[str, object]] = []
        self.analysis = LiveAnalysis(Scripted(self._tell))
        self.RE.subscribe(self.analysis)
        self._detectors, self._energy = sweeping()

    def _tell(self, k):
        looks = self.looks[k] if k < len(self.looks) else {}
        return said(cn1_at(self.furnace) + looks.pop("more", 0.0), **looks)

    def scan_at(self, settings):
        self.furnace = settings["furnace"]
        md = {"element": "Pt", "edge": "L3"}
        return (yield from bp.list_scan(self._detectors, self._energy, POINTS * self.sweeps, md=md))

    def run(self, recommender, **arguments):
        found = []

        def keep():
            first = recommender.next
            found.append((yield from adaptive(self.scan_at, first, recommender, self.analysis, **arguments)))

        self.RE(keep())
        return found[0]


@pytest.fixture
def beamline():
    made = Beamline()
    yield made
    made.analysis.close(10)


class Grid:
    """An optimizer that goes through temperatures, and ends after the last or below a CN1."""

    below = 0.0

    def __init__(self, *temperatures: float) -> None:
        self.left = list(enumerate(temperatures))
        self.told: list[dict[str, object]] = []

    def suggest(self, num_points=None):
        return [{"_id": n, "furnace": at} for n, at in self.left[: num_points or 1]]

    def ingest(self, points):
        self.told += points
        self.left.pop(0)

    def get_best_points(self):
        return []

    def should_stop(self):
        if self.told[-1]["CN1"] < self.below:
            return True, f"CN1 is below {self.below:g}"
        return not self.left, None


def test_an_optimizer_of_bluesky_adaptive_finds_the_temperature(beamline):
    config = ScipyCFG(
        dofs=[RangeDOF(name="furnace", bounds=(300.0, 600.0), parameter_type="float")],
        objective=Objective(name="CN1", minimize=True),
        optimizer=SCP.NELDER_MEAD,
        max_iter=None,
    )
    with InteractiveOptimizer(Minimize(config, base_args={"tol": 10.0}), timeout=60) as optimizer:
        assert isinstance(optimizer, protocols.Optimizer)
        result = beamline.run(OptimizerRecommender(optimizer, "CN1"), max_scans=20)
        assert optimizer.final.x[0] == pytest.approx(430, abs=12)
        assert optimizer.final.fun == pytest.approx(cn1_at(optimizer.final.x[0]))
    # This optimizer tells its end by an exception.
    assert result.reason == (
        "the recommender failed, RuntimeError: The optimizer has suspended or reached convergence"
    )
    assert [settings["_id"] for settings in result.settings] == list(range(len(result.settings)))
    assert beamline.analysis.decisions[0].action == "scan at furnace = 472.5, _id = 1"


def test_an_optimizer_is_told_the_mean_of_what_may_be_used_and_ends_with_its_reason(beamline):
    optimizer = Grid(500, 450, 430, 400)
    optimizer.below = 7.1
    assert isinstance(optimizer, protocols.Optimizer)
    assert isinstance(optimizer, protocols.SupportsStoppingCriteria)
    beamline.sweeps = 3
    beamline.looks = [{"more": 0.5}, {"more": 9.0, "degree": Degree.NOT_USABLE}, {"more": -0.1}]
    result = beamline.run(OptimizerRecommender(optimizer, "CN1"), max_scans=9)
    assert result.reason == "the optimizer has ended it: CN1 is below 7.1"
    assert [point["_id"] for point in optimizer.told] == [0, 1, 2]
    expected = [cn1_at(500) + 0.2, cn1_at(450), cn1_at(430)]
    assert [point["CN1"] for point in optimizer.told] == pytest.approx(expected)


def test_what_may_not_be_used_is_measured_again_and_not_told(beamline):
    optimizer = Grid(500, 400)
    beamline.looks = [{"degree": Degree.NOT_USABLE}, {"refused": "dark"}, {"partial": True}]
    result = beamline.run(OptimizerRecommender(optimizer, "CN1"), max_scans=9)
    assert [settings["furnace"] for settings in result.settings] == [500, 500, 500, 500, 400]
    assert optimizer.told == [{"_id": 0, "CN1": cn1_at(500)}, {"_id": 1, "CN1": cn1_at(400)}]
    assert result.reason == "the optimizer has ended it"


def test_while_a_slow_optimizer_thinks_the_scans_go_on_and_mix_with_nothing(beamline):
    go, threads = threading.Event(), []

    class Slow(Grid):
        def ingest(self, points):
            threads.append(threading.current_thread())
            if not self.told:
                go.wait(20)
            super().ingest(points)

    scan_at, scans = beamline.scan_at, []

    def scanning(settings):
        scans.append(settings)
        if len(scans) == 3:
            go.set()
        return (yield from scan_at(settings))

    beamline.scan_at, optimizer = scanning, Slow(500, 400)
    result = beamline.run(OptimizerRecommender(optimizer, "CN1"), max_scans=9, timeout=0.5)
    furnace = [settings["furnace"] for settings in result.settings]
    assert furnace == sorted(furnace, reverse=True)
    assert furnace.count(500) >= 3
    assert optimizer.told == [{"_id": 0, "CN1": cn1_at(500)}, {"_id": 1, "CN1": cn1_at(400)}]
    assert threading.main_thread() not in threads


def test_a_second_plan_goes_on_where_the_first_has_ended(beamline):
    optimizer = Grid(500, 450, 400)
    recommender = OptimizerRecommender(optimizer, "CN1")
    beamline.run(recommender, max_scans=2)
    assert beamline.run(recommender, max_scans=9).settings == ({"_id": 2, "furnace": 400},)
    with pytest.raises(Refusal, match="suggests nothing more"):
        _ = recommender.next


def test_errors_go_with_the_means_and_settings_with_what_has_no_id():
    class NoIds(Grid):
        def suggest(self, num_points=None):
            return [{"furnace": at} for _, at in self.left[:1]]

    optimizer = NoIds(500, 400)
    recommender = OptimizerRecommender(optimizer, "CN1", with_errors=True)
    two = [said(8.0, statistical=0.2, sweep=0), said(8.2, statistical=0.2, sweep=1)]
    optimizer.should_stop = lambda: (False, None)
    assert recommender(recommender.next, two) == {"furnace": 400}
    (told,) = optimizer.told
    assert told["furnace"] == 500
    assert told["CN1"] == pytest.approx((8.1, 0.2 / 1.6449 / math.sqrt(2)), rel=1e-4)
    end = recommender(recommender.next, [said(9.0, statistical=math.nan)])
    assert end == End("the optimizer suggests nothing more")
    assert optimizer.told[1]["CN1"] == pytest.approx((9.0, math.nan), nan_ok=True)


def test_an_optimizer_that_fails_and_a_target_that_is_not_given_end_it_in_words(beamline):
    class Fails(Grid):
        def ingest(self, points):
            raise ValueError("no model of it")

    failed = beamline.run(OptimizerRecommender(Fails(500), "CN1"), max_scans=3)
    assert failed.reason == "the recommender failed, ValueError: no model of it"
    wrong = beamline.run(OptimizerRecommender(Grid(500), "CN9"), max_scans=3)
    assert wrong.reason == "the recommender failed, Refusal: test gives no 'CN9': choose from CN1"
    assert beamline.RE.state == "idle"


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(Refusal, match="no optimizer"):
        OptimizerRecommender(object(), "CN1")
    with pytest.raises(Refusal, match="names of its objectives"):
        OptimizerRecommender(Grid(500))
