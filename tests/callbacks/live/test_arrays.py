"""Arrays of detectors: those that make spectra are copied in the plan's thread, which raises nothing."""

from __future__ import annotations

import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd import Signal

from tests.callbacks.edges import GRID, Edges, counts_of
from xas_live.callbacks.live import LiveAnalysis, Notices
from xas_live.callbacks.live.arrays import LARGEST_UNKNOWN, OwnArrays

KEYS = ("energy", "i0", "it")


class Unwilling(np.ndarray):
    """An array that memory does not suffice for."""

    def copy(self, order="C"):
        raise MemoryError("Unable to allocate 143. MiB")


class Said(Notices):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def whole_sweep(image, points=GRID, sweeps=1):
    """A run whose events are whole sweeps, with an image beside."""
    run = event_model.compose_run(metadata={"element": "Pt", "edge": "L3"})
    shape = {**{key: [len(points)] for key in KEYS}, "image": list(np.shape(image))}
    keys = {
        name: {
            "dtype": "array",
            "source": "test",
            "shape": size,
            **({"units": "eV"} if name == "energy" else {}),
        }
        for name, size in shape.items()
    }
    stream = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"camera": list(keys)}, configuration={}
    )
    values = {"energy": points, **{name: counts_of(points)[name] for name in ("i0", "it")}, "image": image}
    yield "start", run.start_doc
    yield "descriptor", stream.descriptor_doc
    for _ in range(sweeps):
        event = stream.compose_event(data=values, timestamps=dict.fromkeys(values, 1.0), validate=False)
        yield "event", event
    yield "stop", run.compose_stop()


def test_what_makes_no_spectra_is_not_copied_and_what_does_is():
    arrays, energy, image = OwnArrays(), GRID.copy(), np.zeros((4000, 5000))
    event = {"descriptor": "d", "data": {"energy": energy, "image": image, "row": [1.0, 2.0], "temp": 295.0}}
    arrays.read("d", frozenset({"energy", "row"}))
    copied, size = arrays.copied(event)
    assert set(copied["data"]) == {"energy", "row", "temp"}
    assert size == GRID.nbytes + 64
    energy[:] = 0.0
    event["data"]["row"].clear()
    np.testing.assert_array_equal(copied["data"]["energy"], GRID)
    assert copied["data"]["row"] == [1.0, 2.0]
    assert "image" in event["data"], "other callbacks have the event as it was"
    assert arrays.missed() == []


def test_before_the_descriptor_is_read_small_arrays_are_copied_and_large_ones_told():
    arrays = OwnArrays()
    large, small = np.zeros(LARGEST_UNKNOWN // 8 + 1), np.zeros(LARGEST_UNKNOWN // 8)
    event = {"descriptor": "d", "data": {"i0": large, "it": small, "image": large}}
    for _ in range(3):
        copied, _ = arrays.copied(event)
        assert set(copied["data"]) == {"it"}
    arrays.read("d", frozenset({"energy", "i0", "it"}))
    assert arrays.missed() == ["an array of 'i0' is left out: it came before its descriptor was read"]
    assert arrays.missed() == []


@pytest.mark.parametrize("of_the_spectrum", [True, False])
def test_a_plan_goes_on_when_memory_is_short(of_the_spectrum):
    said = Said()
    live = LiveAnalysis(Edges(), notices=said)
    unwilling = np.zeros(len(GRID)).view(Unwilling)
    for name, doc in whole_sweep(np.zeros((3, 3)) if of_the_spectrum else unwilling):
        if name == "event" and of_the_spectrum:
            doc = {**doc, "data": {**doc["data"], "i0": unwilling}}
        live(name, doc)  # raises nothing
        live.wait()
    assert live.status().running
    assert [str(error) for error in live.errors] == (
        ["LiveAnalysis: an array of 'i0' is left out: memory is short"] if of_the_spectrum else []
    )
    assert live.status().sweeps == 1
    live.close()


def test_nothing_that_is_raised_in_the_plans_thread_reaches_the_plan(monkeypatch):
    live = LiveAnalysis(Edges())
    signal = Signal(name="signal", value=0)
    real = live._arrays.copied
    monkeypatch.setattr(live._arrays, "copied", lambda event: (_ for _ in ()).throw(MemoryError("none left")))
    RE = RunEngine({})
    RE.subscribe(live)
    RE(bp.count([signal], 3))
    assert live.wait()
    assert [error.message for error in live.errors] == ["MemoryError: none left"] * 3
    monkeypatch.setattr(live._arrays, "copied", real)
    for name, doc in whole_sweep(np.zeros((3, 3))):
        live(name, doc)
    assert live.wait()
    assert live.status().sweeps == 1
    live.close()


def test_an_image_beside_whole_sweeps_costs_no_sweep():
    live = LiveAnalysis(Edges())
    for name, doc in whole_sweep(np.zeros((2000, 1000)), sweeps=3):
        live(name, doc)
    assert live.wait()
    assert live.status().sweeps == 3
    assert live.errors == []
    live.close()
