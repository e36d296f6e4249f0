"""Cutting a series of energies at its turning points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xas_live.callbacks.assembly.sweeps import Sweep, SweepCutter, sweep_end

UP = np.arange(8900.0, 9100.0, 2.0)


def ended(cutter: SweepCutter, sweeps: list[Sweep]) -> list[np.ndarray]:
    """Rows of the sweeps given and of those that the end of the stream gives, each as it was given last."""
    finished, last = cutter.finish()
    found: list[np.ndarray] = []
    for sweep in [*sweeps, *finished, *([last] if last is not None else [])]:
        found[len(found) - sweep.again :] = [sweep.rows]
    return found


def cut(energy: np.ndarray, sizes: tuple[int, ...] = ()) -> list[list[float]]:
    """Energies of all sweeps, fed in pages of these sizes, then one by one."""
    cutter = SweepCutter(2)
    rows = np.column_stack([energy, np.arange(1.0, len(energy) + 1)])
    sweeps, at = [], 0
    for size in [*sizes, *[1] * len(rows)]:
        sweeps += cutter.append(rows[at : at + size])
        at += size
    return [sweep[:, 0].tolist() for sweep in ended(cutter, sweeps)]


def test_one_sweep_stays_whole():
    assert sweep_end(UP) is None
    assert cut(UP) == [UP.tolist()]


def test_up_and_down():
    assert cut(np.r_[UP, UP[-2::-1]]) == [UP.tolist(), UP[-2::-1].tolist()]


def test_a_turning_point_measured_twice_goes_to_both():
    assert cut(np.r_[UP, UP[::-1], UP]) == [UP.tolist(), UP[::-1].tolist(), UP.tolist()]


def test_repeats_that_jump_back():
    assert cut(np.tile(UP, 4)) == [UP.tolist()] * 4


def test_repeated_points_stay_in_their_sweep():
    thrice = np.repeat(UP, 3)
    assert cut(np.tile(thrice, 2)) == [thrice.tolist()] * 2


def test_coming_from_elsewhere_is_no_sweep():
    assert cut(np.r_[9500.0, UP]) == [UP.tolist()]


def test_missing_energies_turn_nothing():
    energy = UP.copy()
    energy[[0, 40, -1]] = np.nan
    [sweep] = cut(energy)
    assert np.isnan(sweep).sum() == 3


def test_an_axis_in_kev_is_cut_as_well():
    assert len(cut(np.tile(UP / 1000, 3))) == 3


def test_short_pieces_are_counted_not_kept():
    cutter = SweepCutter(2)
    energy = np.r_[UP, 8990.0, 8995.0, 8990.0, UP]
    cutter.append(np.column_stack([energy, np.arange(len(energy))]))
    cutter.finish()
    assert cutter.fragments >= 1
    assert cut(energy) == [UP.tolist(), UP.tolist()]


def test_standing_still_is_no_sweep():
    assert cut(np.full(50, 9000.0)) == []


def test_points_measured_again_replace_the_first_try():
    cutter = SweepCutter(2)
    rows = np.column_stack([UP, np.arange(len(UP))])
    cutter.append(rows[:60])
    cutter.append(rows[50:])
    _, last = cutter.finish()
    assert last is not None
    assert last.rows[:, 0].tolist() == UP.tolist()


@pytest.mark.parametrize("by", [30.0, -30.0, -8000.0, 1e6])
@pytest.mark.parametrize("at", [1, 40, -3])
@pytest.mark.parametrize("path", [UP, UP[::-1], np.repeat(UP, 3)])
def test_a_misread_energy_is_a_bad_point_of_its_sweep(path, at, by):
    energy = path.copy()
    energy[at] += by
    for sizes in ((), (len(energy),), (45, 60)):
        [first, second] = cut(np.r_[energy, path], sizes) if len(path) > 100 else [*cut(energy, sizes), []]
        assert np.flatnonzero(np.isnan(first)).tolist() == [at % len(path)]
        np.testing.assert_array_equal(np.delete(first, at), np.delete(path, at))
        assert len(second) in (0, len(path))


@pytest.mark.parametrize("by", [3.0, -3.0, 2.5])
def test_a_small_misreading_makes_no_turn(by):
    fine = np.arange(8900.0, 9100.0, 0.5)
    energy = fine.copy()
    energy[200] += by
    [sweep] = cut(energy)
    assert len(sweep) == len(fine)


def test_back_for_two_points_is_no_turn():
    energy = np.r_[UP[:50], UP[46:48], UP[50:]]
    [sweep] = cut(energy)
    assert sweep == energy.tolist()


def test_points_before_the_cut_that_come_again_make_no_sweep():
    """A plan resumes from a checkpoint in the sweep before: its points come twice, by the same numbers."""
    rows = np.column_stack([np.r_[UP, UP], np.arange(1.0, 2 * len(UP) + 1)])
    cutter = SweepCutter(2)
    sweeps = cutter.append(rows[: len(UP) + 20])
    for row in rows[60:]:
        sweeps += cutter.append(row[None])
    assert [sweep[:, 0].tolist() for sweep in ended(cutter, sweeps)] == [UP.tolist()] * 2
    assert cutter.fragments == 0


@given(
    turns=st.lists(st.booleans(), min_size=1, max_size=5),
    noise=st.floats(0.0, 0.9),
    step=st.sampled_from([0.05, 0.5, 3.0]),
    spikes=st.lists(st.tuples(st.integers(0, 900), st.floats(-500, 500)), max_size=3),
    seed=st.integers(0, 100),
    sizes=st.lists(st.integers(1, 300), max_size=8).map(tuple),
)
@example(turns=[False, True], noise=0.890625, step=3.0, spikes=[], seed=97, sizes=())
@settings(deadline=None, max_examples=100)
def test_encoder_noise_and_paging_change_nothing(turns, noise, step, spikes, seed, sizes):
    base = np.arange(0.0, 300 * step, step)
    if np.ptp(base) < 10 * (1 + noise):
        base = base * 5
    path, at_top = [], False
    for jump in turns:  # each sweep goes up, or comes back down when the last one ended at the top
        path.append(base[::-1] if at_top and not jump else base)
        at_top = not (at_top and not jump)
    energy = 9000.0 + np.concatenate(path)
    energy += np.random.default_rng(seed).uniform(-noise, noise, len(energy))
    spoiled = energy.copy()
    for at, by in spikes:
        spoiled[at % len(energy)] += by
    assert repr(cut(spoiled, (len(energy),))) == repr(cut(spoiled, sizes))
    whole = cut(energy, (len(energy),))
    assert len(whole) == len(turns)
    assert sum(map(len, whole)) == len(energy)
    assert cut(energy, sizes) == whole
    for sweep in whole:
        assert abs(len(sweep) - 300) <= 2 + 2 * noise / (base[1] - base[0])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_points(n):
    assert cut(UP[:n]) == []


def events(*passes: np.ndarray) -> list[np.ndarray]:
    """Rows of events that hold a pass of energies each."""
    return [np.column_stack([energy, np.full(len(energy), k + 1.0)]) for k, energy in enumerate(passes)]


def given_by(*passes: np.ndarray) -> list[int]:
    """How many sweeps each event gives at once."""
    cutter = SweepCutter(2)
    return [len(cutter.append(rows)) for rows in events(*passes)]


def test_events_that_are_sweeps_are_given_at_once_when_two_have_shown_it():
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, (4, len(UP)))
    assert given_by(*(UP + noise)) == [0, 2, 1, 1]
    assert given_by(UP[::-1], UP[::-1], UP[::-1]) == [0, 2, 1]


def test_events_that_are_no_sweeps_wait_for_their_successor():
    assert given_by(UP, UP[::-1], UP) == [0, 1, 1], "a smooth turn may share its points"
    assert given_by(UP, UP, UP[:60], UP[60:], UP) == [0, 2, 0, 0, 1], "a sweep in two events"
    assert given_by(UP, UP, np.append(UP[:-1], 9900.0), UP) == [0, 2, 0, 1], "a misread end"
    assert given_by(UP, UP, np.concatenate([UP[:50], UP[49::-1]]), UP) == [0, 2, 1, 1], "there and back"


@settings(deadline=None, max_examples=100)
@given(
    kinds=st.lists(
        st.sampled_from(["sweep", "back", "half", "rest", "longer", "spoiled"]), min_size=1, max_size=9
    ),
    sizes=st.lists(st.integers(1, 4), max_size=6),
    noise=st.floats(0.0, 0.9),
)
def test_it_does_not_matter_how_many_events_come_at_once(kinds, sizes, noise):
    shapes = {
        "sweep": UP, "back": UP[::-1], "half": UP[:50], "rest": UP[50:],
        "longer": np.append(UP, 9100.0 + UP[:20] - 8900.0), "spoiled": np.where(UP == 9000.0, 9500.0, UP),
    }  # fmt: skip
    rng = np.random.default_rng(len(kinds))
    rows = events(*(shapes[kind] + rng.uniform(-noise, noise, len(shapes[kind])) for kind in kinds))

    def cut_in(sizes: list[int]) -> list[list[float]]:
        cutter, sweeps, left = SweepCutter(2), [], list(rows)
        for size in [*sizes, *[1] * len(rows)]:
            if left:
                sweeps += cutter.append(np.concatenate(left[:size]))
                left = left[size:]
        return [sweep[:, 0].tolist() for sweep in ended(cutter, sweeps)]

    assert repr(cut_in(sizes)) == repr(cut_in([]))
