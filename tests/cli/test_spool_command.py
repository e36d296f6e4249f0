"""`xas-live spool` shows, sends and exports what is not in the archive."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from xas_live.archive import Archive
from xas_live.archive.aside import set_aside
from xas_live.archive.documents import encode
from xas_live.archive.spool import SessionFolder

Documents = list[tuple[str, dict[str, Any]]]
Run = Callable[..., Result]
MakeRun = Callable[..., Documents]


def put_aside(archive: Archive, documents: Documents, left_out: dict[int, str]) -> Path:
    assert archive.folder is not None
    root = archive.folder / "spool" / "raw"
    folder = SessionFolder.create(root)
    file = folder.path / f"000001-{documents[0][1]['uid']}.jsonl"
    lines = [encode(name, doc, lambda kind: None) for name, doc in documents]
    file.write_bytes(b"".join([*lines[:3], b"\xff broken\n", *lines[3:]] if left_out else lines))
    place = set_aside(root, file, "the archive does not take it", left_out)
    folder.remove_if_empty()
    folder.release()
    return place


def test_a_run_that_was_set_aside_is_listed_exported_and_sent(
    run: Run, archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    documents = make_run([1.0, 2.0], metadata={"scan_id": 7})
    uid = documents[0][1]["uid"]
    place = put_aside(archive, documents, {})
    listed = run("spool", "list", archive.folder)
    assert listed.exit_code == 0, listed.output
    assert uid in listed.output
    assert "does not take it" in listed.output
    records = json.loads(run("spool", "list", archive.folder, "--json").output)
    assert [(r["uid"], r["scan_id"], r["catalog"]) for r in records if r["uid"] == uid] == [(uid, 7, "raw")]
    out = tmp_path / "run.jsonl"
    exported = run("spool", "export", archive.folder, uid[:8], "-o", out)
    assert exported.exit_code == 0, exported.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["name"], line["doc"]) for line in lines] == documents
    sent = run("spool", "send", archive.folder, uid)
    assert sent.exit_code == 0, sent.output
    assert "1 of 1 runs are in the archive" in sent.output
    assert not place.exists()
    assert archive.client[uid].v3.metadata["stop"]["num_events"] == {"primary": 2}


def test_a_run_that_is_refused_again_stays_aside(
    run: Run, archive: Archive, make_run: MakeRun, tmp_path: Path
) -> None:
    documents = make_run([1.0])
    uid = documents[0][1]["uid"]
    put_aside(archive, documents, {4: "it cannot be read"})
    out = tmp_path / "run.jsonl"
    assert "1 lines cannot be read" in run("spool", "export", archive.folder, uid, "-o", out).output
    sent = run("spool", "send", archive.folder, uid)
    assert sent.exit_code == 1
    assert "set aside again" in sent.output
    assert "line 4: it cannot be read" in run("spool", "list", archive.folder).output


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    assert "No run waits" in run("spool", "list", tmp_path).output
    refused = run("spool", "send", tmp_path)
    assert (refused.exit_code, "no run was set aside" in refused.output) == (2, True)
    refused = run("spool", "export", tmp_path, "abc", "-o", tmp_path / "out")
    assert (refused.exit_code, "no run of uid 'abc'" in refused.output) == (2, True)
