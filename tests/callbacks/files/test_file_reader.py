"""Files are read by another process: one that never answers holds up nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps

from tests.callbacks.assembly.test_external import FIELDS, streamed, table_of, written
from tests.callbacks.edges import GRID, Edges
from tests.hung_mount import hung_mount
from xas_live.callbacks.assembly import SpectrumAssembler, external
from xas_live.callbacks.files.reader import FileReader, FileReadError, NoAnswerError
from xas_live.callbacks.files.rows import MOST_VALUES, DatasetRows, OtherShapeError
from xas_live.callbacks.live import LiveAnalysis

LIMIT_S = 0.5
ORDER = [(name, 0, len(GRID)) for name in FIELDS]


def rows_of(path: Path, row: tuple[int, ...] = ()) -> DatasetRows:
    return DatasetRows(path, "energy", False, None, row)


@pytest.fixture
def reader() -> Iterator[FileReader]:
    with closing(FileReader(LIMIT_S)) as opened:
        yield opened


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """An HDF5 file whose data never come: HDF5 waits for a pipe, as it does for a mount that hangs."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "silent.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for name in FIELDS:
            file[name] = h5py.ExternalLink(str(tmp_path / "pipe"), name)
    return path


def test_rows_are_those_of_the_file(reader, tmp_path):
    path = written(tmp_path / "scan.h5", table_of(GRID))
    found = reader.read(rows_of(path), 3, 12)
    np.testing.assert_array_equal(found, GRID[3:12])
    assert reader.read(rows_of(path), 5, 5).shape == (0,)
    with pytest.raises(FileReadError, match=f"holds {len(GRID)} rows so far, row 100000 is announced"):
        reader.read(rows_of(path), 0, 100_000)
    with pytest.raises(OtherShapeError, match="not \\(7,\\)"):
        reader.read(rows_of(path, (7,)), 0, 1)
    with pytest.raises(FileReadError, match="more than"):
        reader.read(rows_of(path), 0, MOST_VALUES + 1)


def test_what_is_no_file_is_refused_by_name(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket.h5"))
        for name, kind in (("pipe.h5", "pipe"), ("socket.h5", "socket"), ("none.h5", "")):
            with pytest.raises(FileReadError, match=f"is no file but a {kind}" if kind else "No such file"):
                reader.read(rows_of(tmp_path / name), 0, 1)


def test_a_file_that_does_not_answer_costs_the_limit_once_and_others_are_read(
    reader, silent, tmp_path, caplog
):
    good = written(tmp_path / "scan.h5", table_of(GRID))
    reader.read(rows_of(good), 0, 1)
    with pytest.raises(NoAnswerError, match=f"has not answered for {LIMIT_S} s"):
        reader.read(rows_of(silent), 0, 1)
    for _ in range(100):
        with pytest.raises(NoAnswerError, match=r"asked again in \d+ s"):
            reader.read(rows_of(silent), 0, 1)
    assert len(reader.read(rows_of(good), 0, len(GRID))) == len(GRID)
    assert [record.message for record in caplog.records if "does its mount hang" in record.message] == [
        caplog.messages[0]
    ]
    reader.ask_again()
    with pytest.raises(NoAnswerError, match="has not answered"):
        reader.read(rows_of(silent), 0, 1)


def test_a_mount_that_hangs_costs_the_limit_once_and_files_elsewhere_are_read(reader, tmp_path):
    good = written(tmp_path / "scan.h5", table_of(GRID))
    with hung_mount(tmp_path / "detector") as folder:
        with pytest.raises(NoAnswerError, match=f"has not answered for {LIMIT_S} s"):
            reader.read(rows_of(folder / "scan.h5"), 0, 1)
        with pytest.raises(NoAnswerError, match=r"asked again in \d+ s"):
            reader.read(rows_of(folder / "scan.h5"), 0, 1)
        assert len(reader.read(rows_of(good), 0, len(GRID))) == len(GRID)


def test_the_process_is_started_again_when_it_was_ended(reader, tmp_path):
    good = written(tmp_path / "scan.h5", table_of(GRID))
    for _ in range(3):
        assert len(reader.read(rows_of(good), 0, 9)) == 9
        os.kill(reader.pid, signal.SIGKILL)
    assert len(reader.read(rows_of(good), 0, 9)) == 9


class Unsent:
    """Rows whose reader cannot be sent."""

    paths = ()

    def prepare(self): ...

    def __reduce__(self):
        raise TypeError("cannot pickle '_io.BufferedReader' object")


def test_a_reader_that_only_the_session_has_is_refused_and_others_go_on(reader, tmp_path):
    good = written(tmp_path / "scan.h5", table_of(GRID))
    with pytest.raises(FileReadError, match="its reader cannot go to another process"):
        reader.read(Unsent(), 0, 1)
    assert len(reader.read(rows_of(good), 0, 9)) == 9


def test_neither_plan_nor_later_runs_wait_for_a_file_that_does_not_answer(silent, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "FILES", FileReader(LIMIT_S))
    good = written(tmp_path / "scan.h5", table_of(GRID))
    live = LiveAnalysis(Edges())
    meanwhile: list[tuple[str, bool]] = []

    def plan():
        for name, doc in streamed(silent, len(GRID), 1, ORDER):
            live(name, doc)
        while not (busy := live.status().busy):  # reading
            yield from bps.sleep(0.01)
        for name, doc in streamed(good, len(GRID), 1, ORDER):
            live(name, doc)
        meanwhile.append((busy.split()[0], live.status().waiting > 0))
        yield from bps.null()

    monkeypatch.setattr(external.FILES, "_answer_s", 3.0)
    RunEngine({})(plan())
    assert meanwhile == [("SpectrumAssembler", True)], "the plan has gone on while the file was asked"
    assert live.wait(60)
    assert live.status().sweeps == 1
    live.close()


def test_a_document_that_announces_too_many_rows_is_told(tmp_path):
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    order = [(name, 0, 10**12) for name in FIELDS]
    for name, doc in streamed(tmp_path / "run.h5", len(GRID), 1, order):
        assert not assembler(name, doc)
    assert any("announces rows 0 to 1000000000000" in line for line in said)
