"""The cost of departures: no departure ever narrows an interval."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xas_live.models.sections.cost import REGIONS, departures, raw_widening, shapes_of, widening
from xas_live.models.sections.specs import CostSection

RESPECTS, TARGETS = 6, 3
SECTION = CostSection(leading="CN1", column=0, trusted=1.3, limit=3.0, kinds=("none",))


def tensors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "cost_rim": np.exp(rng.normal(size=RESPECTS)),
        "cost_in": np.exp(rng.normal(-1.0, 1.0, (RESPECTS, 5))),
        "cost_in_bias": -rng.random(5),
        "cost_out": np.exp(rng.normal(-1.0, 1.0, (5, TARGETS))),
        "cost_out_bias": rng.normal(-0.5, 0.3, TARGETS),
        "cost_factors": np.array([[1.0] * TARGETS, [1.2] * TARGETS]),
    }


far = st.lists(st.floats(0.0, 30.0), min_size=RESPECTS, max_size=RESPECTS).map(np.array)


@settings(deadline=None)
@given(seed=st.integers(0, 20), base=far, more=far)
def test_a_further_departure_never_narrows_an_interval(seed, base, more):
    t = tensors(seed)
    before, after = (raw_widening(t, each[None])[0] for each in (base, base + more))
    assert (after >= before - 1e-12).all()
    assert (before >= 1.0).all()


@settings(deadline=None)
@given(seed=st.integers(0, 20), base=far)
def test_arrays_and_tensors_agree(seed, base):
    t = tensors(seed)
    there = {name: torch.from_numpy(each) for name, each in t.items()}
    by, out = widening(SECTION, t, base[None])
    by_there, out_there = widening(SECTION, there, torch.from_numpy(base[None]))
    np.testing.assert_allclose(by_there.numpy(), by, rtol=1e-9)
    assert bool(out_there[0]) == bool(out[0])


def test_what_is_no_departure_keeps_its_interval():
    t = tensors(0) | {"cost_out_bias": np.full(TARGETS, -1.0), "cost_in_bias": np.full(5, -50.0)}
    by, out = widening(SECTION, t, np.zeros((1, RESPECTS)))
    assert by.tolist() == [[1.0] * TARGETS]
    assert not out[0]


def test_departures_part_regions_and_signs():
    grid = np.arange(-8.0, 80.0, 1.0)
    bulk = 1.0 / (1.0 + np.exp(-grid)) + 0.1 * np.sin(grid / 5.0)
    shapes = list(shapes_of(grid, bulk).values())
    higher = np.exp(-0.5 * ((grid - 1.5) / 3.5) ** 2)[None]
    scores = np.array([[0.5, -1.0]])
    up, down = (departures(grid, shapes, scores, sign * higher, None)[0] for sign in (1.0, -1.0))
    assert up[:2].tolist() == [0.5, 0.0]  # nearer than usual is no departure
    regions = slice(2, 2 + len(REGIONS))
    assert np.argmax(up[regions]) == 0
    np.testing.assert_allclose(up[regions], down[regions])
    white = 2 + len(REGIONS)
    assert up[white] > 1.0 > up[white + 1] == 0.0
    assert down[white + 1] > 1.0 > down[white] == 0.0
