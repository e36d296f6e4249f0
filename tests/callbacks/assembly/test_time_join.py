"""Energy and detectors in streams of their own: the spectra of the streams joined at once by numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.callbacks.edges import GRID, counts_of, documents
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.time_join import StreamJoin
from xas_live.flags import Flag
from xas_live.spectrum import Spectrum

T0 = 1.7e9
Table = dict[str, np.ndarray]


def encoder(sweeps: int = 2, *, rate: float = 37.0, seed: int = 0) -> Table:
    """A monochromator that runs up and down, read at times of its own (s)."""
    rng = np.random.default_rng(seed)
    times = T0 + np.cumsum(rng.uniform(0.3, 1.7, int(rate * 4 * sweeps))) / rate
    way = np.interp((times - times[0]) % 8.0, [0.0, 4.0, 8.0], [GRID[0], GRID[-1], GRID[0]])
    return {"enc_energy": way, "enc_time": times}


def adc(of: Table, *, rate: float = 51.0, before: float = 0.0, after: float = 0.0, seed: int = 1) -> Table:
    """Detectors read over the encoder's time, from so long before it to so long after it (s)."""
    rng = np.random.default_rng(seed)
    first, last = of["enc_time"][0] - before, of["enc_time"][-1] + after
    times = first + np.cumsum(rng.uniform(0.3, 1.7, int((last - first) * rate * 0.98))) / rate
    times = times[times <= last]
    counts = counts_of(np.interp(times, of["enc_time"], of["enc_energy"]))
    return {name: np.array(counts[name]) for name in ("i0", "it", "ir")} | {"adc_time": times}


def run_of(
    streams: dict[str, Table],
    order: list[tuple[str, int]],
    *,
    how: str = "pages",
    path: Path | None = None,
    units: dict[str, str] | None = None,
    clock: bool = True,
    late: bool = False,
) -> Iterator[tuple[str, Any]]:
    """A valid run: of each stream in turn so many points, as pages, events or rows of an HDF5 file.

    `clock`: times stand in a field of each stream, else only in the events. `late`: a stream is declared with
    its first points.
    """
    run = event_model.compose_run(metadata={"element": "Pt", "edge": "L3"})
    yield "start", run.start_doc
    bundles: dict[str, Any] = {}
    at = dict.fromkeys(streams, 0)

    def declared(name: str) -> Iterator[tuple[str, Any]]:
        fields = [field for field in streams[name] if clock or not field.endswith("_time")]
        keys = {f: {"dtype": "number", "shape": [], "source": "t", "dtype_numpy": "<f8"} for f in fields}
        if "enc_energy" in keys:
            keys["enc_energy"]["units"] = "eV"
        for field, unit in (units or {}).items():
            if field in keys:
                keys[field]["units"] = unit
        if how == "datum":
            for key in keys.values():
                key["external"] = "STREAM:"
        descriptor = run.compose_descriptor(
            name=name, data_keys=keys, object_keys={name: fields}, configuration={}
        )
        yield "descriptor", descriptor.descriptor_doc
        resources = {}
        for field in fields if how == "datum" else ():
            resources[field] = run.compose_stream_resource(
                mimetype="application/x-hdf5", uri=f"file://localhost{path}", data_key=field,
                parameters={"dataset": field, "chunk_shape": [16], "swmr": False},
            )  # fmt: skip
            yield "stream_resource", resources[field].stream_resource_doc
        bundles[name] = (descriptor, resources, fields)

    if not late:
        for name in streams:
            yield from declared(name)
    for name, count in order:
        table = streams[name]
        times = next(values for field, values in table.items() if field.endswith("_time"))
        first, end = at[name], min(at[name] + count, len(times))
        if end == first:
            continue
        if name not in bundles:
            yield from declared(name)
        at[name] = end
        descriptor, resources, fields = bundles[name]
        if how == "datum":
            for field in fields:
                yield (
                    "stream_datum",
                    resources[field].compose_stream_datum(
                        {"start": first, "stop": end},
                        seq_nums={"start": first + 1, "stop": end + 1},
                        descriptor=descriptor.descriptor_doc,
                    ),
                )
        elif how == "pages":
            part = times[first:end].tolist()
            yield (
                "event_page",
                descriptor.compose_event_page(
                    data={field: table[field][first:end].tolist() for field in fields},
                    timestamps=dict.fromkeys(fields, part),
                    time=[time + 0.01 for time in part],
                    seq_num=list(range(first + 1, end + 1)),
                ),
            )
        else:
            for k in range(first, end):
                yield (
                    "event",
                    descriptor.compose_event(
                        data={field: float(table[field][k]) for field in fields},
                        timestamps=dict.fromkeys(fields, float(times[k])),
                        time=float(times[k]) + 0.01,
                    ),
                )
    yield "stop", run.compose_stop()


def whole(streams: dict[str, Table], size: int = 10**6) -> list[tuple[str, int]]:
    return [(name, size) for name in streams]


def at_once(streams: dict[str, Table]) -> list[Spectrum]:
    """What a plain run gives whose energies are interpolated all at once."""
    known = streams["encoder"]
    table = {
        field: values for name in streams if name != "encoder" for field, values in streams[name].items()
    }
    times = streams["adc"]["adc_time"]
    inside = (times >= known["enc_time"][0]) & (times <= known["enc_time"][-1])
    at = times[inside]
    energy = np.interp(at, known["enc_time"], known["enc_energy"])
    columns = {name: table[name][inside] for name in ("i0", "it", "ir") if len(table[name]) == len(times)}
    for name in {"i0", "it", "ir"} - set(columns):
        columns[name] = np.interp(at, streams["monitor"]["monitor_time"], table[name])
    docs = list(documents(energy, page=[len(energy)], element="Pt", edge="L3"))
    for kind, doc in docs:
        if kind == "event_page":
            doc["data"] |= columns
            doc["time"] = at.tolist()
    return assembled(docs)


def assembled(docs: Any, **kwargs: Any) -> list[Spectrum]:
    assembler = SpectrumAssembler(**kwargs)
    return [spectrum for name, doc in docs for spectrum in assembler(name, doc)]


def assert_same(found: list[Spectrum], expected: list[Spectrum], *, times: bool = True) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        for name in ("energy", "mu", "reference"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name in a.counts.keys() | b.counts.keys():
            np.testing.assert_array_equal(a.counts[name], b.counts[name])
        assert (a.complete, a.provenance.sweep, a.mode) == (b.complete, b.provenance.sweep, b.mode)
        assert not times or a.provenance.time == b.provenance.time


@st.composite
def turns(draw: Any, streams: dict[str, Table]) -> list[tuple[str, int]]:
    """Points of all streams in chunks of any size, in any order of the streams."""
    waiting = {}
    for name, table in streams.items():
        n = len(next(iter(table.values())))
        cuts = sorted(draw(st.lists(st.integers(0, n), max_size=8)))
        waiting[name] = [b - a for a, b in itertools.pairwise([0, *cuts, n])]
    order = []
    while any(waiting.values()):
        name = draw(st.sampled_from([n for n, left in waiting.items() if left]))
        order.append((name, waiting[name].pop(0)))
    return order


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    how=st.sampled_from(["pages", "events", "datum"]),
    clock=st.booleans(),
    late=st.booleans(),
    sweeps=st.integers(1, 3),
    outside=st.sampled_from([(0.0, 0.0), (0.5, 0.0), (0.0, 0.7), (1.0, 1.0)]),
    rate=st.sampled_from([5.0, 51.0, 300.0]),
    seed=st.integers(0, 20),
)
def test_however_they_come_they_are_joined_as_at_once(
    tmp_path, data, how, clock, late, sweeps, outside, rate, seed
):
    encoded = encoder(sweeps, seed=seed)
    before, after = outside
    streams = {"encoder": encoded, "adc": adc(encoded, rate=rate, before=before, after=after, seed=seed + 1)}
    path = tmp_path / "scan.h5"
    if how == "datum":
        with h5py.File(path, "w") as file:
            for table in streams.values():
                for field, values in table.items():
                    file[field] = values
    order = data.draw(turns(streams))
    said: list[str] = []
    docs = run_of(streams, order, how=how, path=path, clock=clock or how == "datum", late=late)
    # Where only the events tell times, the last one's is that of its document.
    assert_same(assembled(docs, say=said.append), at_once(streams), times=clock or how == "datum")
    assert any("Streams" in line and "joined by time" in line for line in said)
    times, span = streams["adc"]["adc_time"], encoded["enc_time"]
    outside_n = int(np.sum((times < span[0]) | (times > span[-1])))
    lost = [line for line in said if "left out" in line]
    assert len(lost) == bool(outside_n)
    assert all(f"{outside_n} of {len(times)} points of stream 'adc'" in line for line in lost)


@settings(deadline=None, max_examples=15)
@given(data=st.data(), seed=st.integers(0, 20))
def test_three_streams(data, seed):
    """The transmitted beam leads; what stands in a third stream is interpolated as the energy is."""
    encoded = encoder(seed=seed)
    counted = adc(encoded, seed=seed + 1)
    monitored = adc(encoded, rate=20.0, before=0.5, after=0.5, seed=seed + 2)
    streams = {
        "encoder": encoded,
        "adc": {name: counted[name] for name in ("it", "ir", "adc_time")},
        "monitor": {"i0": monitored["i0"], "monitor_time": monitored["adc_time"]},
    }
    order = data.draw(turns(streams))
    assert_same(assembled(run_of(streams, order)), at_once(streams))


def test_a_sweep_is_given_while_the_run_goes_on():
    streams = {"encoder": encoder(3)}
    streams["adc"] = adc(streams["encoder"])
    order = [(name, 20) for _ in range(100) for name in streams]
    docs = list(run_of(streams, order, how="pages"))
    assembler = SpectrumAssembler()
    early = [spectrum for name, doc in docs[: len(docs) * 5 // 6] for spectrum in assembler(name, doc)]
    assert_same(early, at_once(streams)[:2])
    growing = assembler.growing
    assert growing is not None
    assert not growing.complete


def test_clocks_by_name_and_unit():
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    expected = at_once(streams)
    renamed = {
        "encoder": {"enc_energy": streams["encoder"]["enc_energy"]},
        "adc": {name: streams["adc"][name] for name in ("i0", "it", "ir")},
    }
    # Counters that start with the run, in seconds and in milliseconds, whose names do not say clock.
    renamed["encoder"]["enc_count_time"] = streams["encoder"]["enc_time"] - T0
    renamed["adc"]["adc_real_time"] = (streams["adc"]["adc_time"] - T0) * 1e3
    mapping = ChannelMapping(time={"encoder": "enc_count_time", "adc": "adc_real_time"})
    docs = run_of(renamed, whole(renamed), units={"adc_real_time": "ms"})
    found = assembled(docs, mapping=mapping)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.energy, b.energy, rtol=0, atol=1e-3)  # times are good to 1e-7 s there
        assert a.counts.keys() == b.counts.keys()


def test_clocks_of_different_zero_are_told():
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    streams["adc"]["adc_time"] -= T0
    said: list[str] = []
    assert assembled(run_of(streams, whole(streams)), say=said.append) == []
    [line] = [line for line in said if "Is it one clock?" in line]
    assert "'adc'" in line
    assert "by field 'enc_time'" in line


def test_files_without_a_clock_are_told(tmp_path):
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    said: list[str] = []
    docs = run_of(streams, whole(streams), how="datum", path=tmp_path / "x.h5", clock=False)
    assert assembled(docs, say=said.append) == []
    assert any("does not tell the time of its points" in line for line in said)


def test_times_that_are_none_or_run_back_are_left_out_and_told():
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    expected = at_once({name: dict(table) for name, table in streams.items()})
    spoiled = {name: {f: v.copy() for f, v in table.items()} for name, table in streams.items()}
    for name, at in (("encoder", 30), ("adc", 50)):
        for field in spoiled[name]:
            extra = [np.nan, T0 - 5.0] if field.endswith("_time") else [1.0, 1.0]
            spoiled[name][field] = np.insert(spoiled[name][field], at, extra)
    said: list[str] = []
    assert_same(assembled(run_of(spoiled, whole(spoiled, 7) * 200), say=said.append), expected)
    for name in streams:
        assert any(f"2 points of stream {name!r} are left out" in line for line in said)


def test_encoder_points_that_nobody_needs_are_let_go():
    streams = {"encoder": encoder(20)}
    streams["adc"] = adc(streams["encoder"])
    joined: StreamJoin | None = None
    assembler = SpectrumAssembler()
    most = 0
    for name, doc in run_of(streams, [(name, 30) for _ in range(400) for name in streams]):
        assembler(name, doc)
        for run in assembler._runs.values():
            joined = run._join or joined
        if joined is not None:
            most = max(most, *(len(part.points.rows) for part in joined._parts.values()))
    assert len(streams["encoder"]["enc_time"]) > 2900
    assert most < 1500


def test_one_stream_with_everything_is_read_alone():
    """Streams of single detectors beside the scan, as monitors are, change nothing."""
    run = list(documents(np.r_[GRID, GRID], element="Pt", edge="L3"))
    beside = {"encoder": encoder(), "it_monitor": {"it": np.ones(9), "monitor_time": T0 + np.arange(9.0)}}
    other = [pair for pair in run_of(beside, whole(beside)) if pair[0] not in ("start", "stop")]
    for name, doc in other:
        if name == "descriptor":
            doc["run_start"] = run[0][1]["uid"]
    expected = assembled(run)
    for docs in ([*run[:1], *other, *run[1:]], [*run[:-1], *other, run[-1]]):
        assert_same(assembled(docs), expected)


@pytest.mark.parametrize("lacking", ["encoder", "adc"])
def test_what_lacks_is_told(lacking):
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    del streams[lacking]
    said: list[str] = []
    assert assembled(run_of(streams, whole(streams, 20) * 40), say=said.append) == []
    [line] = said
    assert "gives no spectra" in line


@pytest.mark.parametrize("how", ["pages", "events"])
def test_a_stream_that_adds_nothing_is_passed_over(how):
    """A second monitor of the beam goes on after the first points were joined."""
    streams = {"encoder": encoder()}
    streams["adc"] = adc(streams["encoder"])
    expected = at_once(streams)
    beside = adc(streams["encoder"], rate=20.0, seed=5)
    streams["second"] = {"i0": beside["i0"], "second_time": beside["adc_time"]}
    order = [(name, 9) for _ in range(60) for name in streams]
    assert_same(assembled(run_of(streams, order, how=how)), expected)


def test_a_defect_where_points_become_sweeps_is_told_as_one(tmp_path, monkeypatch):
    """It is not taken for a kind of file that nothing reads."""

    def defect(*_: Any, **__: Any) -> None:
        raise ValueError("a defect")

    streams = {"encoder": encoder(3)}
    streams["adc"] = adc(streams["encoder"])
    path = tmp_path / "run.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for table in streams.values():
            for name, values in table.items():
                file.create_dataset(name, data=values, chunks=(16,))
    monkeypatch.setattr("xas_live.callbacks.assembly.run.spectrum_of", defect)
    docs = [*run_of(streams, whole(streams), how="datum", path=path)][:-1]
    with pytest.raises(ValueError, match="a defect"):
        assembled(docs)


@pytest.mark.parametrize("stream", ["encoder", "adc"])
def test_a_lost_page_of_a_joined_stream_is_told_and_flagged(stream):
    streams = {"encoder": (known := encoder()), "adc": adc(known)}
    order = [(name, 20) for _ in range(30) for name in streams]
    docs = list(run_of(streams, order))
    pages = [
        k for k, (name, doc) in enumerate(docs) if name == "event_page" and stream_of(docs, doc) == stream
    ]
    del docs[pages[4]]
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    spectra = [spectrum for name, doc in docs for spectrum in assembler(name, doc)]
    assert any(Flag.DOCUMENTS_LOST in spectrum.flags for spectrum in spectra)
    assert any("20 events" in line and "lost" in line for line in said)
    whole = [s for name, doc in run_of(streams, order) for s in assembler(name, doc)]
    assert not any(spectrum.flags for spectrum in whole)


def stream_of(docs: list[tuple[str, Any]], page: dict[str, Any]) -> str:
    """The stream that a page belongs to."""
    return next(d["name"] for name, d in docs if name == "descriptor" and d["uid"] == page["descriptor"])


def test_what_a_stream_without_energy_counts_does_not_matter():
    docs = list(documents(GRID))
    run_start = docs[0][1]["uid"]
    image = {"dtype": "array", "shape": [10, 10], "source": "x", "external": "STREAM:"}
    images = {
        "run_start": run_start,
        "time": 1.0,
        "uid": "images",
        "name": "images",
        "data_keys": {"image": image},
        "configuration": {},
        "hints": {},
        "object_keys": {},
    }
    docs.insert(2, ("descriptor", images))
    docs[-1] = ("stop", {**docs[-1][1], "num_events": {"primary": len(GRID), "images": 200}})
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append)
    [spectrum] = [s for name, doc in docs for s in assembler(name, doc)]
    assert spectrum.flags == ()
    assert not [line for line in said if "lost" in line]
