"""Documents that are lost, repeated, late or out of order: the sweep is the same, or flagged, and told."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import event_model
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.callbacks.edges import GRID, Edges, counts_of, documents
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.order import HOLD, EventOrder, SequenceNumbers
from xas_live.callbacks.live import LiveAnalysis
from xas_live.flags import Flag
from xas_live.spectrum import Spectrum

ENERGIES = np.arange(11414.0, 11964.0, 2.0)
Document = tuple[str, dict]


def run(energies: Sequence[float] = ENERGIES, page: int = 0, **more) -> list[Document]:
    sizes = [page] * (len(energies) // page + 1) if page else []
    return [(name, dict(doc)) for name, doc in documents(energies, page=sizes, **more)]


def assemble(stream: Sequence[Document], **more) -> tuple[list[Spectrum], list[str]]:
    said: list[str] = []
    assembler = SpectrumAssembler(say=said.append, **more)
    spectra = [spectrum for name, doc in stream for spectrum in assembler(name, copy.deepcopy(doc))]
    return spectra + assembler.finish(), said


def same(one: Spectrum, other: Spectrum) -> bool:
    return np.array_equal(one.energy, other.energy) and np.array_equal(one.mu, other.mu)


def is_flagged(spectrum: Spectrum) -> bool:
    return Flag.DOCUMENTS_LOST in spectrum.flags or not spectrum.complete


def left_out(spectrum: Spectrum) -> str:
    return "; ".join(spectrum.provenance.read["left_out"])


@pytest.mark.parametrize("page", [0, 20])
def test_a_whole_run_is_not_flagged(page):
    [spectrum], said = assemble(run(page=page))
    assert spectrum.flags == ()
    assert spectrum.complete
    assert spectrum.provenance.read["left_out"] == []
    assert not [line for line in said if "lost" in line]


@pytest.mark.parametrize(("at", "first", "last"), [(2, 1, 20), (5, 61, 80), (14, 241, 260)])
def test_a_lost_page_is_told_and_flagged_with_how_many(at, first, last):
    pages = run(page=20)
    [spectrum], said = assemble(pages[:at] + pages[at + 1 :])
    assert spectrum.flags == (Flag.DOCUMENTS_LOST,)
    assert f"20 events are lost (seq_num {first} to {last})" in left_out(spectrum)
    assert any("20 events are lost" in line for line in said)
    assert spectrum.complete is (first > 1)


def test_the_stop_document_tells_of_lost_events_at_the_end():
    docs = run()
    [spectrum], said = assemble(docs[:-41] + docs[-1:])
    assert spectrum.flags == (Flag.DOCUMENTS_LOST,)
    assert not spectrum.complete
    assert "40 events are lost (seq_num 236 to 275)" in left_out(spectrum)
    assert said[-1].endswith("40 events are lost (seq_num 236 to 275).")


@pytest.mark.parametrize("page", [0, 20])
@pytest.mark.parametrize("later", [1, 2, 5])
def test_swapped_documents_are_put_in_order(page, later):
    docs = run(page=page)
    [whole], _ = assemble(docs)
    docs[4], docs[4 + later] = docs[4 + later], docs[4]
    [spectrum], _ = assemble(docs)
    assert same(spectrum, whole)
    assert not is_flagged(spectrum)


def test_an_event_that_comes_after_it_was_taken_for_lost_is_left_out():
    """The last one of the first sweep must not lead the second."""
    docs = run(np.r_[ENERGIES, ENERGIES])
    n = len(ENERGIES)
    late = docs.pop(1 + n)
    docs.insert(n + HOLD + 20, late)
    spectra, said = assemble(docs)
    assert [len(s) for s in spectra] == [n - 1, n]
    assert all(is_flagged(s) for s in spectra)
    assert any("1 of them came too late" in line for line in said)


@pytest.mark.parametrize("lost_at_the_end", [1, 10])
def test_without_a_stop_document_how_far_the_last_sweep_went_is_not_known(lost_at_the_end):
    """Neither the sweep before it nor one that itself lost its beginning tells."""
    docs = run(np.r_[ENERGIES, ENERGIES])
    spectra, _ = assemble(docs[: -1 - lost_at_the_end])
    assert [s.complete for s in spectra] == [True, False]
    spectra, _ = assemble([*docs[:2], *docs[22 : -1 - lost_at_the_end]])
    assert [s.complete for s in spectra] == [False, False]


@pytest.mark.parametrize("page", [0, 20])
@pytest.mark.parametrize("later", [1, 3, 8])
def test_a_document_that_comes_again_changes_nothing(page, later):
    docs = run(page=page)
    [whole], _ = assemble(docs)
    docs.insert(4 + later, docs[4])
    [spectrum], said = assemble(docs)
    assert same(spectrum, whole)
    assert not is_flagged(spectrum)
    assert any("came again" in line for line in said)


def test_points_measured_again_replace_the_first_ones():
    docs = run()
    events = docs[2:-1]
    [whole], _ = assemble(docs)
    first = copy.deepcopy(events[:150])
    for k, (_, doc) in enumerate(first):
        doc["uid"] = f"first-{k}"
        doc["data"]["it"] *= 0.5 if k >= 100 else 1.0
    [spectrum], _ = assemble(docs[:2] + first + events[100:] + docs[-1:])
    assert same(spectrum, whole)
    assert not is_flagged(spectrum)


@pytest.mark.parametrize("late", [1, 50, 200])
def test_a_late_descriptor_costs_nothing(late):
    docs = run()
    [whole], _ = assemble(docs)
    [spectrum], said = assemble(docs[:1] + docs[2 : 2 + late] + docs[1:2] + docs[2 + late :])
    assert same(spectrum, whole)
    assert any("whose descriptor has not" in line for line in said) is (late >= 50)


def test_an_early_stop_is_told_and_the_sweep_incomplete():
    docs = run()
    [spectrum], said = assemble(docs[:-101] + docs[-1:] + docs[-101:-1])
    assert is_flagged(spectrum)
    assert not spectrum.complete
    assert any("came after its stop document" in line for line in said)


def test_without_a_start_document_the_sweep_is_incomplete_and_told():
    docs = run(element="Pt", edge="L3")
    [spectrum], said = assemble(docs[1:])
    assert not spectrum.complete
    assert "start document" in left_out(spectrum)
    assert any("start document has not come" in line for line in said)
    late, _ = assemble(docs[1:50] + docs[:1] + docs[50:])
    assert [s.element for s in late] == ["Pt"]
    assert late[0].complete


def test_without_a_stop_document_the_sweep_is_given_when_the_analysis_is_closed():
    docs = run()[:-1]
    spectra, said = assemble(docs)
    assert [s.complete for s in spectra] == [False]
    assert any("no stop document has come" in line for line in said)
    live = LiveAnalysis(Edges())
    for name, doc in docs:
        live(name, doc)
    live.close(20)
    assert [p.outcome.values["CN1"].value for p in live.predictions] == [len(ENERGIES)]


def test_numbers_that_do_not_count_are_told_and_the_events_taken_as_they_come():
    docs = run()
    [whole], _ = assemble(docs)
    for name, doc in docs:
        if name == "event":
            doc["seq_num"] = 1
    [spectrum], said = assemble(docs)
    assert same(spectrum, whole)
    assert "seq_num is the same at every event" in spectrum.provenance.read["guessed"][0]
    assert any("seq_num is the same" in line for line in said)


@pytest.mark.parametrize("padding", [1, 84])
def test_zeros_that_fill_up_arrays_are_no_points(padding):
    run_ = event_model.compose_run(metadata={"element": "Pt", "edge": "L3"})
    counts = counts_of(GRID)
    columns = {"energy": GRID, "i0": counts["i0"], "it": counts["it"]}
    keys = {name: {"dtype": "array", "shape": [len(GRID) + padding], "source": "x"} for name in columns}
    keys["energy"]["units"] = "eV"
    descriptor = run_.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"d": list(keys)}, configuration={}
    )
    docs = [("start", run_.start_doc), ("descriptor", descriptor.descriptor_doc)]
    for k in range(3):
        data = {name: np.r_[column, np.zeros(padding)] for name, column in columns.items()}
        event = descriptor.compose_event(
            data=data, timestamps=dict.fromkeys(data, 1.7e9 + k), time=1.7e9 + k, validate=False
        )
        docs.append(("event", event))
    spectra, _ = assemble([*docs, ("stop", run_.compose_stop())])
    assert [len(s) for s in spectra] == [len(GRID)] * 3
    assert all("zero throughout" in left_out(s) for s in spectra)


def test_a_readback_of_0_costs_its_point_alone():
    energies = ENERGIES.copy()
    docs = run(energies)
    docs[2][1]["data"]["energy"] = 0.0
    [spectrum], _ = assemble(docs)
    assert np.isnan(spectrum.energy).sum() == 1
    assert np.nanmin(spectrum.energy) == ENERGIES[1]


@settings(deadline=None, max_examples=60)
@example(  # the page moved comes after it was taken for lost; the last page is lost, and the stop document
    sweeps=2, back=False, page=20, lost={26}, again=[], moved=[(0, 27)], stop_lost=True
)
@given(
    sweeps=st.integers(1, 3),
    back=st.booleans(),
    page=st.sampled_from([0, 7, 20, 60]),
    lost=st.sets(st.integers(0, 400), max_size=6),
    again=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40)), max_size=4),
    moved=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), max_size=4),
    stop_lost=st.booleans(),
)
def test_whatever_happens_to_documents_the_sweep_is_the_same_or_flagged(
    sweeps, back, page, lost, again, moved, stop_lost
):
    """A sweep that is neither flagged nor told of is one of the whole run."""
    parts = [ENERGIES[::-1] if back and k % 2 else ENERGIES for k in range(sweeps)]
    docs = run(np.concatenate(parts), page=page)
    wholes, _ = assemble(docs)
    assert len(wholes) == sweeps
    events = docs[2:-1]
    for at, later in moved:
        if at < len(events):
            events.insert(min(at + later, len(events) - 1), events.pop(at))
    for at, later in again:
        if at < len(events):
            events.insert(min(at + later, len(events)), events[at])
    gone = {id(events[at][1]) for at in lost if at < len(events)}
    events = [event for event in events if id(event[1]) not in gone]
    spectra, said = assemble(docs[:2] + events + ([] if stop_lost else docs[-1:]))
    sound = [s for s in spectra if not is_flagged(s)]
    for spectrum in sound:
        assert any(same(spectrum, whole) for whole in wholes)
    if len(sound) < len(wholes):
        assert any(word in line for line in said for word in ("lost", "stop document"))
    if not gone and all(later <= HOLD // 2 for _, later in moved) and not stop_lost:
        assert len(sound) == len(wholes)


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(1, 60))
def test_sequence_numbers(numbers, back):
    kept, known = SequenceNumbers(), set()
    for number in numbers:
        kept.add(number, number)
        known.add(number)
    assert [n for n in range(1, 61) if n in kept] == sorted(known)
    missing = {n for first, last in kept.missing(1, 60) for n in range(first, last + 1)}
    assert missing == set(range(1, 61)) - known
    kept.forget_from(back)
    assert [n for n in range(1, 61) if n in kept] == sorted(n for n in known if n < back)


def test_what_waits_is_given_in_the_end():
    order = EventOrder()
    pages = [dict(doc) for name, doc in run(page=20) if name == "event_page"]
    assert order.take(pages[0])
    assert order.take(pages[2]) == []
    assert [page["seq_num"][0] for page in order.finish()] == [41]
    assert order.numbers.missing(1, 60) == [(21, 40)]
