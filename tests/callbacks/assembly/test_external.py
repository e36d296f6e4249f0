"""Detector data in files: the same spectra as from events, and a real flyer that writes while it is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import short_uid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ophyd.status import Status

from tests.callbacks.edges import GRID, counts_of, documents
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.external import ExternalColumns, NoReaderError
from xas_live.spectrum import Spectrum

FIELDS = ("energy", "i0", "it", "ir")


def table_of(energies: np.ndarray) -> dict[str, np.ndarray]:
    counts = counts_of(energies)
    return {name: np.asarray(energies if name == "energy" else counts[name], dtype=float) for name in FIELDS}


def written(path: Path, table: dict[str, np.ndarray], points: int = 1) -> Path:
    """An HDF5 file with one dataset a field, `points` of them in a row."""
    with h5py.File(path, "w", libver="latest") as file:
        for name, values in table.items():
            rows = values if points == 1 else values.reshape(-1, points)
            chunk = (16, *rows.shape[1:]) if points == 1 else (1, points)
            file.create_dataset(name, data=rows, chunks=chunk)
    return path


def streamed(
    path: Path,
    rows: int,
    points: int,
    order: list[tuple[str, int, int]],
    exit_status: str = "success",
    **parameters: Any,
) -> Iterator[tuple[str, Any]]:
    """A valid run whose data stand in a file, announced in ranges (field, first row, end)."""
    run = event_model.compose_run(metadata={"element": "Pt", "edge": "L3"})
    yield "start", run.start_doc
    shape = [] if points == 1 else [points]
    keys = {
        name: {
            "dtype": "number" if points == 1 else "array", "dtype_numpy": "<f8", "shape": shape,
            "source": "test", "external": "STREAM:", "units": "eV" if name == "energy" else "",
        }
        for name in FIELDS
    }  # fmt: skip
    descriptor = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"panda": list(keys)}, configuration={}
    )
    yield "descriptor", descriptor.descriptor_doc
    bundles = {}
    for name in FIELDS:
        chunk = [16] if points == 1 else [1, points]
        bundles[name] = run.compose_stream_resource(
            mimetype="application/x-hdf5", uri=f"file://localhost{path}", data_key=name,
            parameters={"dataset": name, "chunk_shape": chunk, "swmr": False, **parameters},
        )  # fmt: skip
        yield "stream_resource", bundles[name].stream_resource_doc
    for name, first, end in order:
        if end > first:
            yield (
                "stream_datum",
                bundles[name].compose_stream_datum(
                    {"start": first, "stop": end},
                    seq_nums={"start": first + 1, "stop": end + 1},
                    descriptor=descriptor.descriptor_doc,
                ),
            )
    yield "stop", run.compose_stop(exit_status=exit_status)


def assembled(docs: Any) -> list[Spectrum]:
    assembler = SpectrumAssembler()
    return [spectrum for name, doc in docs for spectrum in assembler(name, doc)]


def assert_same(found: list[Spectrum], expected: list[Spectrum]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in ("energy", "mu", "reference"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.complete, a.provenance.sweep, a.mode) == (b.complete, b.provenance.sweep, b.mode)
        assert a.counts.keys() == b.counts.keys()
        assert a.flags == b.flags == ()


@st.composite
def announcements(draw: Any, rows: int) -> list[tuple[str, int, int]]:
    """Every field's rows in ranges of its own, the fields' ranges in any order among one another."""
    waiting = {}
    for name in FIELDS:
        cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=6)))
        waiting[name] = list(itertools.pairwise([0, *cuts, rows]))
    order = []
    while any(waiting.values()):
        name = draw(st.sampled_from([n for n, left in waiting.items() if left]))
        order.append((name, *waiting[name].pop(0)))
    return order


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), sweeps=st.integers(1, 3), up_and_down=st.booleans())
def test_points_in_files_give_the_spectra_of_plain_events(tmp_path, data, sweeps, up_and_down):
    turns = [GRID if k % 2 == 0 or not up_and_down else GRID[::-1] for k in range(sweeps)]
    energies = np.concatenate(turns)
    path = written(tmp_path / "scan.h5", table_of(energies))
    order = data.draw(announcements(len(energies)))
    plain = assembled(documents(energies, element="Pt", edge="L3"))
    assert_same(assembled(streamed(path, len(energies), 1, order)), plain)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), sweeps=st.integers(1, 4))
def test_whole_sweeps_as_rows_give_the_spectra_of_plain_events(tmp_path, data, sweeps):
    energies = np.concatenate([GRID] * sweeps)
    path = written(tmp_path / "scan.h5", table_of(energies), points=len(GRID))
    order = data.draw(announcements(sweeps))
    plain = assembled(documents(energies, element="Pt", edge="L3"))
    assert_same(assembled(streamed(path, sweeps, len(GRID), order)), plain)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_points_in_rows_of_one_are_read_before_all_are_announced(tmp_path, data):
    path = written(tmp_path / "scan.h5", {name: v[:, None] for name, v in table_of(GRID).items()})
    order = data.draw(announcements(len(GRID)))
    plain = assembled(documents(GRID, element="Pt", edge="L3"))
    assert_same(assembled(streamed(path, len(GRID), 1, order)), plain)


def test_a_slice_of_a_dataset_is_read_as_the_resource_says(tmp_path):
    """What the direct way does not read, the consolidator's adapter does."""
    n = len(GRID)
    table = {
        name: np.stack([np.zeros((2, n)), v.reshape(2, n)], axis=1)
        for name, v in table_of(np.tile(GRID, 2)).items()
    }
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for name, values in table.items():
            file.create_dataset(name, data=values, chunks=(1, 2, n))
    order = [(name, 0, 2) for name in FIELDS]
    docs = streamed(path, 2, n, order, slice=":,1,:")
    assert_same(assembled(docs), assembled(documents(np.tile(GRID, 2), element="Pt", edge="L3")))


def test_rows_that_are_not_written_yet_are_awaited(tmp_path):
    path = written(tmp_path / "scan.h5", {name: v[:40] for name, v in table_of(GRID).items()})
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    found = []
    for name, doc in streamed(path, len(GRID), 1, [(name, 0, len(GRID)) for name in FIELDS]):
        if name == "stop":
            written(path, table_of(GRID))
        found += assembler(name, doc)
    assert_same(found, assembled(documents(GRID, element="Pt", edge="L3")))
    assert not any("cannot be read" in line for line in said)


def test_a_file_that_is_not_there_is_told_and_stops_nothing(tmp_path):
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    order = [(name, 0, len(GRID)) for name in FIELDS]
    docs = list(streamed(tmp_path / "none.h5", len(GRID), 1, order))
    assert [s for name, doc in docs for s in assembler(name, doc)] == []
    assert any("none.h5 cannot be read" in line for line in said)


def test_an_aborted_run_gives_what_its_files_hold(tmp_path):
    table = table_of(GRID)
    path = written(tmp_path / "scan.h5", {name: values[:40] for name, values in table.items()})
    order = [(name, 0, 60) for name in FIELDS]
    (found,) = assembled(streamed(path, 60, 1, order, exit_status="abort"))
    assert len(found) == 40
    assert not found.complete


class Flyer:
    """A fly scanner as beamlines have them: it moves, counts and writes HDF5 in SWMR mode by itself."""

    name = "flyer"
    parent = None

    def __init__(self, path: Path, sweeps: int) -> None:
        self.path, self.sweeps = path, sweeps
        self._given = 0
        self._bundles: dict[str, Any] = {}

    def kickoff(self) -> Status:
        self._file = h5py.File(self.path, "w", libver="latest")
        for name in FIELDS:
            self._file.create_dataset(
                name, shape=(0, len(GRID)), maxshape=(None, len(GRID)), chunks=(1, len(GRID)), dtype="<f8"
            )
        self._file.swmr_mode = True
        self._done = 0
        return _finished()

    def fly(self) -> None:
        """One sweep: a row in every dataset, flushed."""
        for name, values in table_of(GRID).items():
            dataset = self._file[name]
            dataset.resize(self._done + 1, axis=0)
            dataset[self._done] = values
            dataset.flush()
        self._done += 1

    def complete(self) -> Status:
        self._file.close()
        return _finished()

    def describe_collect(self) -> dict[str, Any]:
        return {
            name: {
                "dtype": "array", "dtype_numpy": "<f8", "shape": [len(GRID)], "source": "flyer",
                "external": "STREAM:", "units": "eV" if name == "energy" else "",
            }
            for name in FIELDS
        }  # fmt: skip

    def get_index(self) -> int:
        return self._done

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        for name in FIELDS:
            if name not in self._bundles:
                self._bundles[name] = event_model.compose_stream_resource(
                    mimetype="application/x-hdf5", uri=f"file://localhost{self.path}", data_key=name,
                    parameters={"dataset": name, "chunk_shape": [1, len(GRID)], "swmr": True},
                )  # fmt: skip
                yield "stream_resource", self._bundles[name].stream_resource_doc
            if self._done > self._given:
                yield (
                    "stream_datum",
                    self._bundles[name].compose_stream_datum({"start": self._given, "stop": self._done}),
                )
        self._given = self._done

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


def _finished() -> Status:
    status = Status()
    status.set_finished()
    return status


def test_a_real_flyer_is_read_while_it_writes(tmp_path):
    flyer, group = Flyer(tmp_path / "fly.h5", 3), short_uid()
    found: list[tuple[int, Spectrum]] = []
    assembler = SpectrumAssembler()
    RE = RunEngine({})
    RE.subscribe(lambda name, doc: found.extend((flyer._done, s) for s in assembler(name, doc)))

    @bpp.run_decorator(md={"element": "Pt", "edge": "L3"})
    def fly():
        yield from bps.declare_stream(flyer, name="primary", collect=True)
        yield from bps.kickoff(flyer, wait=True)
        for _ in range(flyer.sweeps):
            flyer.fly()
            yield from bps.collect(flyer, name="primary")
        yield from bps.complete(flyer, wait=True, group=group)

    RE(fly())
    assert len(found) == 3
    assert found[0][0] == 2, "a sweep is given when the next begins, while the file is still written"
    plain = assembled(documents(np.concatenate([GRID] * 3), element="Pt", edge="L3"))
    assert_same([spectrum for _, spectrum in found], plain)


def test_a_run_may_go_on_in_another_file_before_the_first_is_whole(tmp_path):
    """A detector that begins a new file every few sweeps; the first one's rows are flushed late."""
    first, second = tmp_path / "0.h5", tmp_path / "1.h5"
    energies = np.tile(GRID, 5)
    table = table_of(energies)
    early, late = (
        {name: v[part] for name, v in table.items()}
        for part in (slice(0, 2 * len(GRID)), slice(2 * len(GRID), None))
    )
    run = event_model.compose_run(metadata={"element": "Pt", "edge": "L3"})
    key = {
        "dtype": "array",
        "dtype_numpy": "<f8",
        "shape": [len(GRID)],
        "source": "test",
        "external": "STREAM:",
    }
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={n: dict(key) for n in FIELDS},
        object_keys={"daq": list(FIELDS)},
        configuration={},
    )
    assembler = SpectrumAssembler()
    found: list[Spectrum] = []

    def send(name: str, doc: Any) -> None:
        found.extend(assembler(name, doc))

    def announce(path: Path, rows: int, done: int) -> None:
        for name in FIELDS:
            bundle = run.compose_stream_resource(
                mimetype="application/x-hdf5", uri=f"file://localhost{path}", data_key=name,
                parameters={"dataset": name, "chunk_shape": [1, len(GRID)], "swmr": False},
            )  # fmt: skip
            send("stream_resource", bundle.stream_resource_doc)
            send(
                "stream_datum",
                bundle.compose_stream_datum(
                    {"start": 0, "stop": rows},
                    seq_nums={"start": done + 1, "stop": done + rows + 1},
                    descriptor=descriptor.descriptor_doc,
                ),
            )

    send("start", run.start_doc)
    send("descriptor", descriptor.descriptor_doc)
    announce(first, 2, 0)
    assert not found, "its file is not there yet"
    written(second, late, len(GRID))
    announce(second, 3, 2)
    assert not found, "what came first is still awaited"
    written(first, early, len(GRID))
    send("stop", run.compose_stop())
    assert_same(found, assembled(documents(energies, element="Pt", edge="L3")))


def test_data_that_nothing_reads_are_named_once(tmp_path):
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    half = len(GRID) // 2
    order = [(name, *ends) for name in FIELDS for ends in ((0, half), (half, len(GRID)))]
    for name, doc in streamed(tmp_path / "run.h5", len(GRID), 1, order, chunk_shape=[0]):
        assert not assembler(name, doc)
    told = [line for line in said if "nothing reads application/x-hdf5 of" in line]
    assert len(told) == len(FIELDS)
    assert "'energy' (Chunk size in all dimensions must be at least 1" in told[0]


def test_data_that_nothing_reads_are_refused(tmp_path):
    order = [(name, 0, len(GRID)) for name in FIELDS]
    run = dict(reversed(list(streamed(tmp_path / "run.h5", len(GRID), 1, order, chunk_shape=[0]))))
    columns = ExternalColumns(run["descriptor"], FIELDS, ())
    with pytest.raises(NoReaderError, match="Chunk size"):
        columns.announce(run["stream_resource"], run["stream_datum"])
