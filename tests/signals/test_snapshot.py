"""Whatever is predicted can be published, and arrives as it was sent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xas_live.callbacks.live import Current
from xas_live.errors import Refusal
from xas_live.prediction import Chemistry, Degree, Outcome, Prediction, Value, Verdict
from xas_live.signals.pvs import pv_table
from xas_live.signals.quantities import DEFAULT_TARGETS, chosen_targets, quantities
from xas_live.signals.snapshot import LONGEST_TEXT, Snapshot
from xas_live.signals.wire import LONGEST_LINE, line_of, socket_path
from xas_live.spectrum import Provenance

numbers, texts = st.floats(), st.text(st.characters())  # with halves of characters, as names of files have
values = st.builds(Value, numbers, numbers, numbers, numbers, statistical=numbers, model=numbers)
predictions = st.builds(
    Prediction,
    model=texts,
    model_sha256=st.just("sha"),
    element=st.none() | st.text(st.characters(), max_size=60),
    edge=st.none() | st.text(st.characters(), max_size=60),
    provenance=st.builds(
        Provenance,
        run_uid=st.none() | st.text(st.characters(), max_size=60),
        scan_id=st.none() | st.integers(),
        time=st.none() | st.floats(0, 1e11),
    ),
    outcome=st.builds(
        Outcome,
        values=st.dictionaries(st.sampled_from(["CN1", "CN2", "R1", "other"]), values),
        chemistry=st.none() | st.builds(Chemistry, non_metal=values),
    ),
    verdict=st.builds(
        Verdict,
        st.none() | st.sampled_from(list(Degree)),
        st.lists(st.text(st.characters(), max_size=400), max_size=4).map(tuple),
    ),
    flags=st.lists(st.text(st.characters(), max_size=60), max_size=20).map(tuple),
    refused=st.none() | st.text(st.characters(), max_size=1000),
    partial=st.booleans(),
)
currents = st.builds(
    Current, st.none(), age=numbers, limit=numbers, reason=st.text(st.characters(), max_size=600)
)


@given(predictions, currents, st.integers(0, 10**9))
def test_any_prediction_is_published_whole(prediction, current, sweeps):
    snapshot = Snapshot.of(prediction, sweeps).at(current)
    line = line_of(snapshot)
    assert len(line) <= LONGEST_LINE
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    received = Snapshot.model_validate_json(line)
    assert repr(received.columns()) == repr(snapshot.columns())
    assert (received.time, received.in_domain) == (snapshot.time, snapshot.in_domain)
    columns = received.columns()
    for quantity in quantities(chosen_targets(DEFAULT_TARGETS)):
        assert isinstance(columns.get(quantity.name, quantity.empty), type(quantity.empty))
    if not prediction.verdict.usable:
        assert not received.values
        assert not received.actionable
    if current.reason:
        assert not received.actionable


def test_long_reasons_are_cut():
    words = Prediction("m", "sha", refused="x" * 2000)
    reason = Snapshot.of(words, 1).verdict_reason
    assert len(reason) == LONGEST_TEXT
    assert reason.endswith("x...")


@pytest.mark.parametrize(
    "message",
    [
        '{"sweeps": 1.5}',
        '{"verdict": "fine"}',
        '{"unknown": 1}',
        '{"values": {"CN1": {"value": "high"}}}',
        '{"raw_uid": "' + "x" * 60 + '"}',
    ],
)
def test_a_snapshot_that_is_none_is_not_taken(message):
    with pytest.raises(ValidationError):
        Snapshot.model_validate_json(message)


def test_names_of_all_quantities_differ():
    of = quantities(chosen_targets([*DEFAULT_TARGETS, "MSD", "radial_variance"]))
    assert len({quantity.name for quantity in of}) == len({quantity.pv for quantity in of}) == len(of)
    assert all(math.isnan(q.high) or q.high > q.low for q in of)


def test_a_prefix_that_no_pv_can_have_is_refused():
    for prefix in ("", "XAS.", "a b", "x" * 41, "../x"):
        with pytest.raises(Refusal, match="letters, digits"):
            socket_path(prefix)


def test_a_path_that_is_too_long_for_a_socket_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / ("x" * 100)))
    with pytest.raises(Refusal, match="set XAS_LIVE_HOME"):
        socket_path("XAS:")


def test_the_folder_of_the_socket_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    path = socket_path("XAS:")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert socket_path("XAS_") != path


def test_the_page_lists_every_pv():
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "signals-and-pvs.md").read_text()
    for row in pv_table(chosen_targets(DEFAULT_TARGETS)):
        assert "| `{}` | {} | {} | {} |".format(*row) in page
