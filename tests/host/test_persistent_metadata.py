"""RE.md outlives a session, and nothing that happens to its file ends one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from hypothesis import given
from hypothesis import strategies as st
from ophyd.sim import det

from xas_live.host import PersistentMetadata


def test_scan_ids_go_on_in_the_next_session(tmp_path: Path) -> None:
    path = tmp_path / "metadata" / "RE.md.json"
    seen: list[int] = []
    for session in range(2):
        RE = RunEngine(PersistentMetadata(path))
        RE.md["operator"] = f"session {session}"
        RE.md["offsets"] = {"i0": np.float64(0.5), "dark": np.arange(3)}
        for _ in range(2):
            RE(count([det]), lambda name, doc: seen.append(doc["scan_id"]) if name == "start" else None)
    assert seen == [1, 2, 3, 4]
    again = PersistentMetadata(path)
    assert (again["operator"], again["offsets"]) == ("session 1", {"i0": 0.5, "dark": [0, 1, 2]})
    del again["offsets"]
    assert "offsets" not in PersistentMetadata(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_whatever_json_can_hold_comes_back(tmp_path_factory: pytest.TempPathFactory, entries: dict) -> None:
    path = tmp_path_factory.mktemp("metadata") / "RE.md.json"
    kept = PersistentMetadata(path)
    kept.update(entries)
    assert PersistentMetadata(path) == entries


def test_what_cannot_be_kept_is_named_once_and_the_rest_is_kept(tmp_path: Path) -> None:
    kept = PersistentMetadata(tmp_path / "RE.md.json")
    with pytest.warns(UserWarning, match="does not keep 'motor'"):
        kept["motor"] = object()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept["scan_id"] = 7
    assert "motor" in kept
    assert dict(PersistentMetadata(kept.path)) == {"scan_id": 7}


@pytest.mark.parametrize("content", ["", '{"scan_id": 4', "[1, 2]", "\x00\x80\xff"])
def test_a_damaged_file_is_kept_and_ends_no_session(tmp_path: Path, content: str) -> None:
    path = tmp_path / "RE.md.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.warns(UserWarning, match="is damaged .* set RE.md"):
        kept = PersistentMetadata(path)
    assert not kept
    [aside] = tmp_path.glob("RE.md.json.damaged-*")
    assert aside.read_bytes() == content.encode("latin-1")
    kept["scan_id"] = 1
    assert json.loads(path.read_text()) == {"scan_id": 1}


def test_a_disk_that_cannot_be_written_ends_no_session(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be written"):
        PersistentMetadata(tmp_path / "file" / "RE.md.json")["scan_id"] = 1
    (tmp_path / "folder").mkdir()
    with pytest.warns(UserWarning, match="cannot be read"):
        assert not PersistentMetadata(tmp_path / "folder")
