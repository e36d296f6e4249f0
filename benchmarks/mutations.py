"""Inputs that go wrong, drawn at random: files, document streams, and runs of a real RunEngine.

Of each the truth is known: the simulated sample's, whose whole scan is read as it should be.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
from collections.abc import Callable, Generator
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import bluesky.plan_stubs as bps
import event_model
import numpy as np
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from ophyd.sim import SynAxis, SynSignal

from xas_live.simulator import growth
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.spectrum import Array

E0 = 11564.0
Document = tuple[str, dict[str, Any]]
Random = np.random.Generator

ENERGY = np.round(
    np.concatenate(
        [
            np.arange(-150, -30, 6.0),
            np.arange(-30, 60, 1.0),
            np.arange(60, 160, 2.5),
            np.arange(160, 400, 8.0),
        ]
    )
    + E0,
    4,
)
SAMPLES = [measured(ENERGY, "pt_l3", sample, Mismatch()) + 0.2 for sample in growth(6, "pt_l3")]
FOIL = 1.3 * measured(ENERGY, "pt_l3", None, Mismatch()) + 0.3


def counts_of(which: int, rng: Random) -> dict[str, Array]:
    """Return the columns of one sweep of a sample: energy (eV), i0, it, ir."""
    i0 = 2e5 * (1.0 + 0.1 * np.sin(np.arange(len(ENERGY)) / 40.0))
    it = i0 * np.exp(-SAMPLES[which] - 5e-4 * rng.standard_normal(len(ENERGY)))
    return {"energy": ENERGY, "i0": i0, "it": it, "ir": it * np.exp(-FOIL)}


# ---------------------------------------------------------------------------------------------------- files


def file_of(which: int, rng: Random) -> tuple[str, bytes]:
    """Return a sound file of a sample, in a format drawn at random: its name, and what it holds."""
    columns = counts_of(which, rng)
    kinds: list[Callable[[dict[str, Array], Random], tuple[str, bytes]]] = [
        _text,
        _text,
        _text,
        _xdi,
        _perl,
        _json,
    ]
    name, raw = kinds[rng.integers(len(kinds))](columns, rng)
    if rng.random() < 0.05:
        raw = (gzip.compress if rng.random() < 0.5 else bz2.compress)(raw)
    return name, raw


def _rows(columns: list[Array], delimiter: str) -> list[str]:
    return [delimiter.join(f"{value:.5f}" for value in row) for row in np.transpose(columns)]


def _text(columns: dict[str, Array], rng: Random) -> tuple[str, bytes]:
    delimiter = str(rng.choice(["  ", "\t", ",", ";", " "]))
    if rng.random() < 0.5:
        names, data = ["energy", "mu"], [columns["energy"], np.log(columns["i0"] / columns["it"])]
    else:
        names, data = ["Energy (eV)", "I0", "It", "Ir"], list(columns.values())
    for _ in range(rng.integers(0, 3)):
        at = int(rng.integers(0, len(names) + 1))
        names.insert(at, str(rng.choice(["Ring Current", "time", "aux1", "Live Time", "temperature"])))
        data.insert(at, np.arange(len(ENERGY)) * 0.5)
    rows = _rows(data, delimiter)
    if delimiter in "\t;" and rng.random() < 0.3:
        rows = [row.replace(".", ",") for row in rows]
    joint = {" ": "  "}.get(delimiter, delimiter)
    header = [f"# sample {rng.integers(100)}", str(rng.choice(["# ", "", "#L "])) + joint.join(names)]
    text = "\n".join([*header, *rows]) + "\n"
    return "scan.dat", text.encode(str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])))


def _xdi(columns: dict[str, Array], rng: Random) -> tuple[str, bytes]:
    names = ["energy eV", "i0", "itrans", "irefer"]
    header = ["# XDI/1.0", *(f"# Column.{k}: {name}" for k, name in enumerate(names, 1))]
    header += ["# Element.symbol: Pt", "# Element.edge: L3", "# ///", "#---", "# energy i0 itrans irefer"]
    return "scan.xdi", "\n".join([*header, *_rows(list(columns.values()), "  ")]).encode()


def _perl(columns: dict[str, Array], rng: Random) -> tuple[str, bytes]:
    text = "# Athena project file -- Demeter version 0.9.20\n\n"
    for k in range(int(rng.integers(1, 3))):
        pairs = "'label','a','is_xmu','1','bkg_z','Pt','fft_edge','L3'"
        x, y = (
            ",".join(f"'{value:.6f}'" for value in values)
            for values in (columns["energy"], np.log(columns["i0"] / columns["it"]))
        )
        text += f"$old_group = 'g{k}';\n@args = ({pairs});\n@x = ({x});\n@y = ({y});\n[record]\n\n"
    return "a.prj", (text + "@journal = ('done');\n1;\n").encode()


def _json(columns: dict[str, Array], rng: Random) -> tuple[str, bytes]:
    project: dict[str, Any] = {
        "_____header1": "# Athena project file -- Demeter version 0.9.26",
        "_____journal": ["a"],
        "_____order": ["g"],
        "g": {
            "args": {"label": "A", "bkg_z": "Pt", "fft_edge": "l3"},
            "x": columns["energy"].tolist(),
            "y": np.log(columns["i0"] / columns["it"]).tolist(),
        },
    }
    return "a.prj", json.dumps(project).encode()


def mutated_bytes(raw: bytes, rng: Random) -> bytes:
    """Return a file with one to four things wrong, drawn at random."""
    for _ in range(int(rng.integers(1, 5))):
        raw = _MUTATIONS[rng.integers(len(_MUTATIONS))](raw, rng)
    return raw


def _flip(raw: bytes, rng: Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(int(rng.integers(1, 20))):
        if changed:
            changed[rng.integers(len(changed))] = int(rng.integers(256))
    return bytes(changed)


def _cut(raw: bytes, rng: Random) -> bytes:
    return raw[: int(rng.integers(len(raw) + 1))]


def _lines(change: Callable[[list[bytes], int, Random], None]) -> Callable[[bytes, Random], bytes]:
    def mutate(raw: bytes, rng: Random) -> bytes:
        lines = raw.split(b"\n")
        change(lines, int(rng.integers(len(lines))), rng)
        return b"\n".join(lines)

    return mutate


def _drop_lines(lines: list[bytes], at: int, rng: Random) -> None:
    del lines[at : at + int(rng.integers(1, 40))]


def _repeat_lines(lines: list[bytes], at: int, rng: Random) -> None:
    part = lines[at : at + int(rng.integers(1, 40))]
    where = int(rng.integers(len(lines) + 1))
    lines[where:where] = part


def _insert_text(lines: list[bytes], at: int, rng: Random) -> None:
    texts = [
        b"# comment",
        b"beam dump",
        b"",
        b"#L Energy  I0",
        b"nan nan nan",
        b"-- ---",
        b"1e999",
        b'"',
        b"\x00",
        b"0 0 0 0",
    ]
    lines.insert(at, texts[rng.integers(len(texts))])


def _change_word(lines: list[bytes], at: int, rng: Random) -> None:
    words = lines[at].split(b" ")
    others = [
        b"",
        b"NaN",
        b"overflow",
        b"-1",
        b"0",
        b"1e30",
        b"1,5",
        b"12.3.4",
        b"energy",
        b"\xff",
        b"1e-320",
    ]
    words[rng.integers(len(words))] = others[rng.integers(len(others))]
    lines[at] = b" ".join(words)


def _shuffle_lines(lines: list[bytes], at: int, rng: Random) -> None:
    order = rng.permutation(len(lines))
    lines[:] = [lines[k] for k in order]


def _delimiter(raw: bytes, rng: Random) -> bytes:
    known = [b"\t", b",", b";", b" ", b".", b"  "]
    first, second = rng.integers(len(known), size=2)
    return raw.replace(known[first], known[second])


def _reverse_columns(lines: list[bytes], at: int, rng: Random) -> None:
    for k in range(at, len(lines)):
        lines[k] = b" ".join(reversed(lines[k].split()))


def _garbage(raw: bytes, rng: Random) -> bytes:
    at = int(rng.integers(len(raw) + 1))
    return raw[:at] + rng.integers(256, size=int(rng.integers(1, 200)), dtype=np.uint8).tobytes() + raw[at:]


_MUTATIONS: list[Callable[[bytes, Random], bytes]] = [
    _flip,
    _cut,
    _delimiter,
    _garbage,
    *map(_lines, (_drop_lines, _repeat_lines, _insert_text, _change_word, _shuffle_lines, _reverse_columns)),
]


# -------------------------------------------------------------------------------------------------- streams


def stream_of(which: int, rng: Random) -> list[Document]:
    """Return a sound run of one to three sweeps of a sample, as events, pages or arrays in events."""
    columns = counts_of(which, rng)
    sweeps, kind = int(rng.integers(1, 4)), str(rng.choice(["event", "page", "array"]))
    n = len(ENERGY)
    metadata = {"element": "Pt", "edge": "L3"} if rng.random() < 0.7 else {}
    run = event_model.compose_run(metadata=metadata)
    shape = [n] if kind == "array" else []
    keys = {
        name: {
            "source": "x",
            "dtype": "array" if shape else "number",
            "shape": shape,
            "units": "eV" if name == "energy" else "",
        }
        for name in columns
    }
    bundle = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"d": list(keys)}, configuration={}
    )
    docs: list[Document] = [("start", dict(run.start_doc)), ("descriptor", dict(bundle.descriptor_doc))]
    back = rng.random() < 0.5
    parts = [slice(None, None, -1) if back and k % 2 else slice(None) for k in range(sweeps)]
    whole = {name: np.concatenate([column[part] for part in parts]) for name, column in columns.items()}
    if kind == "array":
        for k, part in enumerate(parts):
            data: dict[str, Any] = {name: column[part].tolist() for name, column in columns.items()}
            docs.append(("event", _event(bundle, data, 1.7e9 + k)))
    elif kind == "event":
        for k in range(sweeps * n):
            docs.append(
                ("event", _event(bundle, {name: float(c[k]) for name, c in whole.items()}, 1.7e9 + k))
            )
    else:
        size = int(rng.integers(5, 60))
        for at in range(0, sweeps * n, size):
            data = {name: column[at : at + size].tolist() for name, column in whole.items()}
            times = [1.7e9 + at + k for k in range(len(data["energy"]))]
            page = bundle.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, times),
                time=times,
                seq_num=[at + k + 1 for k in range(len(times))],
                validate=False,
            )
            docs.append(("event_page", dict(page)))
    return [*docs, ("stop", dict(run.compose_stop()))]


def _event(bundle: Any, data: dict[str, Any], time: float) -> dict[str, Any]:
    return dict(
        bundle.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time, validate=False)
    )


def mutated_stream(docs: list[Document], rng: Random) -> list[Document]:
    """Return a run with one to four things wrong in its documents, drawn at random."""
    docs = copy.deepcopy(docs)
    for _ in range(int(rng.integers(1, 5))):
        if docs:
            _STREAM_MUTATIONS[rng.integers(len(_STREAM_MUTATIONS))](docs, int(rng.integers(len(docs))), rng)
    return docs


def disordered_stream(docs: list[Document], rng: Random) -> list[Document]:
    """Return a run some of whose events are lost, repeated, late or swapped; their content is sound."""
    first, *events, last = docs[1:]
    for _ in range(int(rng.integers(1, 5))):
        if events:
            change = (_lose, _repeat, _move, _swap)[rng.integers(4)]
            change(events, int(rng.integers(len(events))), rng)
    return [docs[0], first, *events, last]


def _lose(docs: list[Document], at: int, rng: Random) -> None:
    del docs[at : at + int(rng.integers(1, 6))]


def _repeat(docs: list[Document], at: int, rng: Random) -> None:
    docs.insert(min(at + int(rng.integers(1, 30)), len(docs)), docs[at])


def _move(docs: list[Document], at: int, rng: Random) -> None:
    docs.insert(min(at + int(rng.integers(1, 30)), len(docs)), docs.pop(at))


def _swap(docs: list[Document], at: int, rng: Random) -> None:
    other = int(rng.integers(len(docs)))
    docs[at], docs[other] = docs[other], docs[at]


def _shuffle(docs: list[Document], at: int, rng: Random) -> None:
    docs[at:] = [docs[at + k] for k in rng.permutation(len(docs) - at)]


_ODD: list[Any] = [
    None,
    "",
    "x",
    -1,
    0,
    1e300,
    float("nan"),
    [],
    {},
    [None],
    [[1.0], [2.0, 3.0]],
    True,
    "9" * 400,
    b"\xff",
]


def _odd(rng: Random) -> Any:
    return copy.deepcopy(_ODD[rng.integers(len(_ODD))])


def _change_entry(docs: list[Document], at: int, rng: Random) -> None:
    doc = docs[at][1]
    if doc:
        doc[list(doc)[rng.integers(len(doc))]] = _odd(rng)


def _drop_entry(docs: list[Document], at: int, rng: Random) -> None:
    doc = docs[at][1]
    if doc:
        del doc[list(doc)[rng.integers(len(doc))]]


def _change_data(docs: list[Document], at: int, rng: Random) -> None:
    data = docs[at][1].get("data") or docs[at][1].get("data_keys")
    if isinstance(data, dict) and data:
        name = list(data)[rng.integers(len(data))]
        if rng.random() < 0.2:
            del data[name]
        elif isinstance(data[name], list) and data[name] and rng.random() < 0.6:
            data[name][rng.integers(len(data[name]))] = _odd(rng)
        else:
            data[name] = _odd(rng)


def _change_number(docs: list[Document], at: int, rng: Random) -> None:
    docs[at][1]["seq_num"] = [1, 0, -5, 10**12, "7", None, 3.5][rng.integers(7)]


def _rename(docs: list[Document], at: int, rng: Random) -> None:
    names = [
        "event",
        "event_page",
        "start",
        "stop",
        "descriptor",
        "datum",
        "stream_datum",
        "resource",
        "bulk_events",
    ]
    docs[at] = (str(rng.choice(names)), docs[at][1])


_STREAM_MUTATIONS: list[Callable[[list[Document], int, Random], None]] = [
    _lose,
    _repeat,
    _move,
    _swap,
    _shuffle,
    _change_entry,
    _drop_entry,
    _change_data,
    _change_data,
    _change_number,
    _rename,
]


# --------------------------------------------------------------------------------------- a real RunEngine


def random_run(which: int, rng: Random) -> list[Document]:
    """Return the documents of a run of a RunEngine: one or two sweeps, in one or two streams.

    It may be paused and go back to its last checkpoint several times, and may be aborted or fail. Points that are
    measured again were measured wrongly before.
    """
    columns = counts_of(which, rng)
    energy = SynAxis(name="energy", value=float(ENERGY[0]))
    state = {"bad": False, "aborts": False}

    def read(name: str) -> Callable[[], float]:
        return lambda: (
            float(np.interp(energy.position, ENERGY, columns[name])) * (0.5 if state["bad"] else 1.0)
        )

    detectors = [SynSignal(name=name, func=read(name)) for name in ("i0", "it", "ir")]
    twice = [SynSignal(name=f"other_{name}", func=read(name)) for name in ("i0", "it")]
    sweeps, every = int(rng.integers(1, 3)), int(rng.integers(5, 40))
    points = np.concatenate([ENERGY if k % 2 == 0 else ENERGY[::-1] for k in range(sweeps)])
    pauses = {int(at) for at in rng.integers(1, len(points), size=rng.integers(0, 4))}
    ends_at = int(rng.integers(20, len(points))) if rng.random() < 0.3 else None
    fails, several = rng.random() < 0.5, rng.random() < 0.3

    def plan() -> Generator[Msg, Any, None]:
        yield from bps.open_run({"element": "Pt", "edge": "L3"})
        for k, point in enumerate(points):
            if k % every == 0:
                yield from bps.checkpoint()
            yield from bps.mv(energy, float(point))
            state["bad"] = any(at - 3 < k <= at for at in pauses)  # the beam goes before the pause
            yield from bps.trigger_and_read([energy, *detectors])
            if several:
                yield from bps.trigger_and_read([energy, *twice], name="second")
            if k in pauses:
                pauses.remove(k)
                yield from bps.pause()
            if k == ends_at and fails:
                raise RuntimeError("a motor stalled")
            if k == ends_at:
                state["aborts"] = True
                yield from bps.pause()
        yield from bps.close_run()

    docs: list[Document] = []
    engine = RunEngine({}, call_returns_result=False)
    engine.subscribe(lambda name, doc: docs.append((name, copy.deepcopy(doc))))
    with redirect_stdout(io.StringIO()):
        _until_it_ends(engine, plan(), state)
    return docs


def _until_it_ends(engine: RunEngine, plan: Generator[Msg, Any, None], state: dict[str, bool]) -> None:
    """Run a plan, resume it after its pauses, and abort it where it asks for that."""
    step: Callable[[], object] = partial(engine, plan)
    while True:
        try:
            step()
        except RunEngineInterrupted:
            state["bad"] = False
            step = engine.abort if state["aborts"] else engine.resume
        except RuntimeError:
            return
        else:
            return
