"""A sweep is given with its last point: by the plan, by the sweep before, by a mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.callbacks.edges import GRID, Counter, Edges, Energy, documents
from xas_live.archive import Archive, RunWriter
from xas_live.callbacks.assembly import SpectrumAssembler
from xas_live.callbacks.assembly.expected import Expectation, Planned, plan_of
from xas_live.callbacks.assembly.sweeps import Sweep, SweepCutter, ends_of
from xas_live.callbacks.live import LiveAnalysis
from xas_live.plans import sweep_done
from xas_live.sources.stored import StoredRun, stored_runs
from xas_live.spectrum import Spectrum

UP = np.arange(8900.0, 9100.0, 2.0)
N = len(UP)
Document = tuple[str, dict[str, Any]]


def rows_of(energy: np.ndarray, first: int = 1) -> np.ndarray:
    return np.column_stack([energy, np.arange(first, first + len(energy), dtype=float)])


def given_at(energy: np.ndarray, expected: Expectation | None = None) -> list[tuple[int, int, bool]]:
    """After how many points each sweep was given, how long it was, and whether it was given before."""
    cutter = SweepCutter(2, expected=expected)
    found: list[tuple[int, int, bool]] = []
    for k, row in enumerate(rows_of(energy), 1):
        found += [(k, len(sweep.rows), sweep.again) for sweep in cutter.append(row[None])]
    rest, last = cutter.finish()
    return found + [(0, len(s.rows), s.again) for s in [*rest, *([last] if last is not None else [])]]


def planned(*sweeps: np.ndarray) -> Expectation:
    energy = np.concatenate(sweeps)
    return Expectation(len(energy), [Planned(energy, ends_of(energy))])


def test_the_second_repeat_is_given_with_its_last_point():
    first, *others = given_at(np.tile(UP, 4))
    assert first == (N + 5, N, False)
    assert others == [(k * N, N, False) for k in (2, 3, 4)]


def test_a_sweep_whose_last_points_are_lost_tells_no_end():
    rows = rows_of(np.tile(UP, 3))
    cutter, given = SweepCutter(2), []
    for page in (rows[: N - 20], rows[N + 30 : 2 * N], rows[2 * N : 3 * N - 5], rows[3 * N - 5 :]):
        given.append([len(sweep.rows) for sweep in cutter.append(page)])
    assert given == [[], [N - 20], [N - 30], []]
    rest, last = cutter.finish()
    assert rest == []
    assert last is not None
    assert (len(last.rows), last.again) == (N, False)


def test_up_and_down_each_wait_for_one_of_their_kind():
    there, back = np.r_[UP, UP[::-1]], np.r_[UP, UP[::-1]]
    given = given_at(np.r_[there, back, there])
    assert given[2:] == [(k * N, N, False) for k in (3, 4, 5, 6)]


def test_readbacks_need_not_repeat_exactly():
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * N)
    assert [at for at, _, _ in given_at(np.tile(UP, 3) + noise)][1:] == [2 * N, 3 * N]


@pytest.mark.parametrize("sweeps", [[UP, UP, UP], [UP, UP[::-1], UP], [UP, UP[-2::-1], UP[1:]]])
def test_a_plan_that_lists_its_energies_tells_all_ends(sweeps):
    ends = np.cumsum([len(sweep) for sweep in sweeps])
    expected = [(end, len(sweep), False) for end, sweep in zip(ends, sweeps, strict=True)]
    assert given_at(np.concatenate(sweeps), planned(*sweeps)) == expected


def test_the_number_of_points_of_each_sweep_tells_its_end():
    assert given_at(np.tile(UP, 3), Expectation(N)) == [(k * N, N, False) for k in (1, 2, 3)]
    assert given_at(np.tile(UP, 3), Expectation(3 * N))[0] == (N + 5, N, False), "of the whole run"


def test_a_sweep_that_goes_on_is_given_again_whole():
    longer = np.r_[UP, 9100.0 + 2.0 * np.arange(30)]
    for expected in (Expectation(N), planned(UP)):
        assert given_at(longer, expected) == [(N, N, False), (0, N + 30, True)]
    given = given_at(np.r_[UP, UP, longer, UP])
    assert given[:3] == [(N + 5, N, False), (2 * N, N, False), (3 * N, N, False)]
    assert given[3] == (3 * N + 35, N + 30, True)
    assert [length for _, length, _ in given[4:]] == [N]


def test_a_sweep_that_goes_on_is_said_to_at_once_and_grows_again():
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    longer = np.r_[GRID, GRID[-1] + 10.0 * np.arange(1.0, 20.0)]
    for k, (name, doc) in enumerate(documents(longer, num_points=len(GRID))):
        given = assembler(name, doc)
        points = k - 1
        if points == len(GRID):
            assert len(given) == 1
            assert assembler.growing is None
        if points == len(GRID) + 2:
            assert "sweep 0 have come after its expected end" in said[-1]
            assert len(assembler.growing) == points
    [again] = given
    assert (len(again), again.provenance.sweep, len(said)) == (len(longer), 0, 2)


def test_one_point_more_than_expected_is_not_lost():
    given = given_at(np.r_[UP, UP, UP, 9100.0, UP, UP])
    assert (3 * N + 6, N + 1, True) in given
    assert [length for _, length, _ in given] == [N, N, N, N + 1, N, N]


@pytest.mark.parametrize("at", [-1, -2, -3])
def test_a_misread_end_waits_for_the_turn(at):
    spoiled = UP.copy()
    spoiled[at] = 9999.0
    for expected in (Expectation(N), Expectation(), planned(UP, UP, UP)):
        given = given_at(np.r_[UP, spoiled, UP], expected)
        assert [length for _, length, _ in given] == [
            N,
            N if at < -1 else N - 1,
            N,
        ]  # a jump may hide the last
        assert given[1][0] > 2 * N


def test_events_that_are_sweeps_are_no_points():
    """num_points counts events: here each holds a whole sweep."""
    cutter = SweepCutter(2, expected=Expectation(8))
    sweeps = [cutter.append(np.column_stack([UP, np.full(N, k + 1.0)])) for k in range(8)]
    assert [len(s) for s in sweeps] == [0, 2, 1, 1, 1, 1, 1, 1]
    assert all(len(sweep.rows) == N for given in sweeps for sweep in given)


def test_a_point_measured_again_after_the_end_takes_its_place():
    cutter = SweepCutter(3, expected=Expectation(N))
    rows = np.column_stack([UP, np.zeros(N), np.arange(1.0, N + 1)])
    [first] = cutter.append(rows)
    rows[-1, 1] = 1.0
    [second] = cutter.append(rows[-2:])
    assert (first.again, second.again) == (False, True)
    np.testing.assert_array_equal(second.rows, rows)
    assert cutter.finish() == ([], None)


def test_a_mark_ends_a_sweep_for_sure():
    above = UP + 400.0  # on in the same direction: another edge
    cutter = SweepCutter(2)
    assert cutter.append(rows_of(UP)) == []
    [first] = cutter.mark()
    assert cutter.mark() == []
    assert cutter.append(rows_of(above, N + 1)) == []
    [second] = cutter.mark()
    assert [s.rows[:, 0].tolist() for s in (first, second)] == [UP.tolist(), above.tolist()]
    assert cutter.finish() == ([], None)


def test_a_mark_after_too_few_points_ends_nothing():
    cutter = SweepCutter(2)
    cutter.append(rows_of(UP[:3]))
    assert cutter.mark() == []
    cutter.append(rows_of(UP[3:], 4))
    [sweep] = cutter.mark()
    assert len(sweep.rows) == N
    assert cutter.fragments == 0


SHAPES = {
    "up": UP, "down": UP[::-1], "longer": np.r_[UP, 9100.0 + 2.0 * np.arange(7)], "shorter": UP[:80],
    "dwells": np.r_[UP, UP[-1], UP[-1]], "misread": np.where(UP == 9094.0, 9500.0, UP),
}  # fmt: skip


@settings(max_examples=150)
@given(
    kinds=st.lists(st.sampled_from(list(SHAPES)), min_size=1, max_size=7),
    points=st.sampled_from([None, 5, N - 1, N, N + 1]),
    plans=st.booleans(),
    noise=st.sampled_from([0.0, 0.2, 0.9]),
    sizes=st.lists(st.integers(1, 250), max_size=6),
)
def test_what_is_given_last_is_what_the_turns_tell(kinds, points, plans, noise, sizes):
    rng = np.random.default_rng(len(kinds))
    energy = np.concatenate([SHAPES[kind] for kind in kinds])
    plan = [Planned(np.tile(UP, 7), ends_of(np.tile(UP, 7)))] if plans else []
    rows = rows_of(energy + rng.uniform(-noise, noise, len(energy)))

    def last_given(expected: Expectation | None, sizes: Sequence[int]) -> list[list[float]]:
        cutter, given, at = SweepCutter(2, expected=expected), [], 0
        for size in [*sizes, *[1] * len(rows)]:
            given += cutter.append(rows[at : at + size])
            at += size
        rest, last = cutter.finish()
        found: list[Sweep] = []
        for sweep in [*given, *rest, *([last] if last is not None else [])]:
            assert not sweep.again or found
            found[len(found) - sweep.again :] = [sweep]
        return [sweep.rows[:, 0].tolist() for sweep in found]

    class Nothing(Expectation):
        def end(self, rows: np.ndarray, tolerance: float) -> int | None:
            return None

    by_turns = repr(last_given(Nothing(), [len(rows)]))
    assert repr(last_given(Expectation(points, plan), [])) == by_turns
    assert repr(last_given(Expectation(points, plan), sizes)) == by_turns


# --- the documents of a real RunEngine ------------------------------------------------------------------


@pytest.fixture
def beamline() -> dict[str, Any]:
    energy = Energy(name="energy")
    return {"energy": energy, "detectors": [Counter(name=name, energy=energy) for name in ("i0", "it", "ir")]}


def repeats(
    beamline: dict[str, Any], sweeps: Sequence[np.ndarray], after: Callable[[int], Iterator[Any]], **md: Any
) -> Iterator[Any]:
    """Several sweeps in one run, with a step after each."""

    @bpp.run_decorator(md=md)
    def inner() -> Iterator[Any]:
        for k, sweep in enumerate(sweeps):
            for energy in sweep:
                yield from bps.checkpoint()
                yield from bps.mv(beamline["energy"], float(energy))
                yield from bps.trigger_and_read([beamline["energy"], *beamline["detectors"]])
            yield from after(k)

    return inner()


def predicted_after_each(
    beamline: dict[str, Any], sweeps: Sequence[np.ndarray], *, marked: bool = False, **md: Any
) -> list[int]:
    """How many sweeps are predicted once the last point of each is there, before the plan's next message."""
    RE, counts = RunEngine({}), []
    with LiveAnalysis(Edges()) as live:
        RE.subscribe(live)

        def after(k: int) -> Iterator[Any]:
            if marked:
                yield from sweep_done()
            assert live.wait(60)
            counts.append(live.status().sweeps)
            yield from bps.null()

        RE(repeats(beamline, sweeps, after, **md))
        assert live.wait(60)
        assert not live.errors
        assert [p.provenance.sweep for p in live.predictions] == list(range(len(sweeps)))
        assert [p.values["CN1"].value for p in live.predictions] == [len(sweep) for sweep in sweeps]
    return counts


EIGHT = [GRID] * 8


def test_eight_repeats_that_say_so_give_eight_predictions_before_the_next_message(beamline):
    assert predicted_after_each(beamline, EIGHT, marked=True) == [1, 2, 3, 4, 5, 6, 7, 8]
    there_and_back = [GRID[:: (-1) ** k] for k in range(8)]
    assert predicted_after_each(beamline, there_and_back, marked=True) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("md", [{"num_points": len(GRID)}, {"num_intervals": len(GRID) - 1}])
def test_eight_repeats_of_a_known_number_of_points_do_so_too(beamline, md):
    assert predicted_after_each(beamline, EIGHT, **md) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_repeats_that_say_nothing_do_so_from_the_second_on(beamline):
    assert predicted_after_each(beamline, EIGHT) == [0, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("back", [False, True])
def test_a_list_scan_of_repeats_tells_all_its_ends(beamline, back):
    """num_points counts the points of all of them."""
    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    sweeps = [GRID[::-1] if back and k % 2 else GRID for k in range(4)]
    energies = np.concatenate(sweeps)
    RE(bp.list_scan(beamline["detectors"], beamline["energy"], energies.tolist()))
    assert dict(docs)["start"]["num_points"] == len(energies)
    assembler = SpectrumAssembler()
    given = [doc["seq_num"] for name, doc in docs for _ in assembler(name, doc)]
    assert given == [(k + 1) * len(GRID) for k in range(4)]


def test_a_scan_is_judged_before_its_run_ends(beamline):
    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    RE(bp.scan(beamline["detectors"], beamline["energy"], GRID[0], GRID[-1], len(GRID)))
    RE(bp.rel_scan(beamline["detectors"], beamline["energy"], 0.0, 500.0, 60))
    assembler = SpectrumAssembler()
    given = [(name, doc.get("seq_num"), s.complete) for name, doc in docs for s in assembler(name, doc)]
    assert given == [("event", len(GRID), True), ("event", 60, True)]


def test_marks_are_read_from_the_archive_in_any_order(beamline):
    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    RE(repeats(beamline, [GRID, GRID + 900.0, GRID], lambda k: sweep_done()))
    live = spectra_of(docs)
    assert [len(s) for s in live] == [len(GRID)] * 3
    first, [descriptor, *rest] = docs[:2], docs[1:]
    of_points = [d for d in rest if d[1].get("descriptor") == descriptor[1]["uid"]]
    of_marks = [d for d in rest[:-1] if d not in of_points]
    for order in ([*first, *of_marks, *of_points], [first[0], *of_marks, first[1], *of_points]):
        stored = spectra_of([*order, docs[-1]])
        for one, other in zip(live, stored, strict=True):
            np.testing.assert_array_equal(one.energy, other.energy)
            np.testing.assert_array_equal(one.mu, other.mu)


@pytest.mark.slow
def test_marks_come_back_from_a_tiled_server(beamline, archive: Archive, raw_writer: RunWriter):
    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    RE.subscribe(raw_writer)
    [uid] = RE(repeats(beamline, [GRID, GRID + 900.0, GRID[::-1]], lambda k: sweep_done()))
    assert raw_writer.flush(120)
    [run] = stored_runs(archive.client, [uid], archive.uri)
    assert isinstance(run, StoredRun)
    live, stored = spectra_of(docs), spectra_of(list(run.documents()))
    assert [len(s) for s in stored] == [len(GRID)] * 3
    for one, other in zip(live, stored, strict=True):
        np.testing.assert_array_equal(one.mu, other.mu)


def test_marks_divide_streams_that_are_joined(beamline):
    """The energy in one stream, the detectors in another: a mark counts with the first point after it."""

    @bpp.run_decorator(md={})
    def plan() -> Iterator[Any]:
        for sweep in (GRID, GRID + 900.0, GRID):
            for energy in sweep:
                yield from bps.mv(beamline["energy"], float(energy))
                yield from bps.trigger_and_read([beamline["energy"]], name="mono")
                yield from bps.trigger_and_read(beamline["detectors"])
            yield from sweep_done()

    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    RE(plan())
    spectra = spectra_of(docs)
    assert len(spectra) == 3, "by turns alone the first two are one"
    assert spectra[1].energy[0] > GRID[-1]


def spectra_of(docs: Sequence[Document]) -> list[Spectrum]:
    assembler = SpectrumAssembler()
    return [spectrum for name, doc in docs for spectrum in assembler(name, doc)] + assembler.finish()


@pytest.mark.parametrize("marked", [False, True])
def test_a_plan_that_goes_back_behind_the_end_of_a_sweep_has_it_judged_again(beamline, marked):
    """The beam is gone at the last point; the plan is paused, and measures it again."""
    RE, docs, said = RunEngine({}, call_returns_result=False), [], []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    times = iter([True])

    def after(k: int) -> Iterator[Any]:
        if marked:
            yield from sweep_done()
        if next(times, False):
            yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(repeats(beamline, [GRID, GRID], after, **({} if marked else {"num_points": len(GRID)})))
    RE.resume()
    numbers = [doc["seq_num"] for name, doc in docs if name == "event" and "i0" in doc["data"]]
    assert numbers.count(len(GRID)) == 2
    spoiled = next(doc for name, doc in docs if doc.get("seq_num") == len(GRID) and "i0" in doc["data"])
    spoiled["data"]["it"] *= 0.5
    assembler = SpectrumAssembler(say=said.append)
    spectra = [s for name, doc in docs for s in assembler(name, doc)]
    assert [s.provenance.sweep for s in spectra] == [0, 0, 1]
    wrong, right, other = spectra
    assert wrong.mu[-1] != right.mu[-1]
    np.testing.assert_array_equal(right.mu, other.mu)
    assert any("sweep 0 have come after" in line for line in said)
    assert any("takes the place" in line for line in right.provenance.read["guessed"])


def test_a_sweep_judged_twice_enters_the_average_once(beamline):
    energy = np.r_[GRID, GRID[-1] + 10.0, GRID, GRID[-1] + 10.0]
    with LiveAnalysis(Edges()) as live:
        for name, doc in documents(energy, num_points=len(GRID)):
            live(name, doc)
        assert live.wait(60)
        assert [p.provenance.sweep for p in live.predictions] == [0, 0, 1]
        assert live.average.provenance.averaged == 2


def test_what_start_documents_say_of_the_axis():
    assert plan_of({"uid": "x"}) == (None, (), "primary")
    assert plan_of({"hints": {"dimensions": [(["energy"], "fly")]}}).stream == "fly"
    assert plan_of({"num_points": np.int64(3)}).points == 3
    assert plan_of({"num_intervals": 4}).points == 5
    assert plan_of({"num_points": True}).points is None
    args = ["SynAxis(name='energy')", [1.0, 2.0, 3.0], "SynAxis(name='slit')", [0.0, 0.0, 0.0]]
    plan = plan_of(
        {"num_points": 3, "plan_pattern": "inner_list_product", "plan_pattern_args": {"args": args}}
    )
    assert [axis.tolist() for axis in plan.axes] == [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    for args in (
        None,
        "text",
        [],
        ["m", "n"],
        ["m", [1, "x", 3]],
        ["m", [[1, 2], [3, 4], [5, 6]]],
        ["m", [1]],
    ):
        start = {"num_points": 3, "plan_pattern": "inner_list_product", "plan_pattern_args": {"args": args}}
        assert plan_of(start) == (3, (), "primary")
        assert plan_of(start | {"plan_pattern": "inner_product"}) == (3, (), "primary")


def test_the_plan_tells_of_its_own_stream_only():
    """A monitor beside the scan has points of its own: their number is not that of the plan."""
    docs = list(documents(np.r_[GRID, GRID], stream="monitor", num_points=20))
    assembler = SpectrumAssembler()
    assert [len(s) for name, doc in docs for s in assembler(name, doc)] == [len(GRID)] * 2


def test_the_mark_is_a_valid_stream_of_its_own(beamline):
    RE, docs = RunEngine({}), []
    RE.subscribe(lambda name, doc: docs.append((name, doc)))
    RE(repeats(beamline, [GRID], lambda k: sweep_done()))
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    assert docs[-1][1]["num_events"] == {"primary": len(GRID), "xas_live_sweep_done": 1}
