"""Fluorescence of several elements: found, corrected for dead time, summed without the dead ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import SynSignal

from tests.callbacks.edges import GRID, Edges, Energy, mu_of
from xas_live import ChannelMapping
from xas_live.callbacks.assembly import MappingError, SpectrumAssembler
from xas_live.callbacks.assembly.stream_fields import find_mapping
from xas_live.callbacks.live import LiveAnalysis
from xas_live.callbacks.publishers import BasePublisher, SweepResult
from xas_live.elements import find_elements, find_rates, summed
from xas_live.errors import Refusal
from xas_live.modes import IFF
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.sources.scan import Scan
from xas_live.spectrum import Spectrum

Columns = Mapping[str, np.ndarray]
Documents = Iterator[tuple[str, Any]]
GAINS = (1.0, 0.8, 1.2, 0.9)


def four_elements(*, dead: int | None = 3, dead_time: float = 0.2) -> dict[str, np.ndarray]:
    """What four elements read, one of them dead, and their count rates; fluor_N, icr_N and ocr_N."""
    columns: dict[str, np.ndarray] = {"energy": GRID, "i0": 1e6 + 1e4 * np.sin(GRID / 40.0)}
    for n, gain in enumerate(GAINS, 1):
        true = gain * 2e-3 * columns["i0"] * mu_of(GRID)
        rate = 20.0 * true
        live = 1.0 - dead_time * rate / rate.max()  # the dead time grows with the rate: it bends the edge
        columns[f"fluor_{n}"] = np.zeros(len(GRID)) if n == dead else true * live
        columns[f"icr_{n}"], columns[f"ocr_{n}"] = (rate, rate * live) if n != dead else (0 * rate, 0 * rate)
    return columns


def by_hand(columns: Columns, *, of: Sequence[int] = (1, 2, 4)) -> np.ndarray:
    return sum(columns[f"fluor_{n}"] * columns[f"icr_{n}"] / columns[f"ocr_{n}"] for n in of)


def run_of(columns: Columns, *, page: bool = True, units: Mapping[str, str] | None = None,
           baseline: Mapping[str, tuple[float, str]] | None = None, **start: Any) -> Documents:  # fmt: skip
    """A valid run whose stream has these columns, and a baseline of values with units."""
    run = event_model.compose_run(metadata=start)
    yield "start", run.start_doc

    def declared(name: str, unit: str | None) -> dict[str, Any]:
        return {"dtype": "number", "shape": [], "source": name} | (
            {"units": unit} if unit is not None else {}
        )

    def stream(name: str, keys: dict[str, Any]) -> Any:
        return run.compose_descriptor(
            name=name, data_keys=keys, object_keys={"all": list(keys)}, configuration={}
        )

    if baseline:
        of = stream("baseline", {name: declared(name, unit) for name, (_, unit) in baseline.items()})
        yield "descriptor", of.descriptor_doc
        data = {name: value for name, (value, _) in baseline.items()}
        yield "event", of.compose_event(data=data, timestamps=dict.fromkeys(data, 1.7e9), time=1.7e9)
    units = {"energy": "eV", **(units or {})}
    of = stream("primary", {name: declared(name, units.get(name)) for name in columns})
    yield "descriptor", of.descriptor_doc
    n = len(next(iter(columns.values())))
    times = [1.7e9 + k for k in range(n)]
    if page:
        data = {name: values.tolist() for name, values in columns.items()}
        stamps = dict.fromkeys(data, times)
        numbers = list(range(1, n + 1))
        yield "event_page", of.compose_event_page(data=data, timestamps=stamps, time=times, seq_num=numbers)
    else:
        for k in range(n):
            data = {name: float(values[k]) for name, values in columns.items()}
            yield (
                "event",
                of.compose_event(data=data, timestamps=dict.fromkeys(data, times[k]), time=times[k]),
            )
    yield "stop", run.compose_stop()


def assembled(
    columns: Columns, mapping: ChannelMapping | None = None, **more: Any
) -> tuple[list[Spectrum], list[str]]:
    said: list[str] = []
    assembler = SpectrumAssembler(mapping, say=said.append)
    return [s for name, doc in run_of(columns, **more) for s in assembler(name, doc)], said


# --- the sum ----------------------------------------------------------------------------------------------


def test_a_four_element_run_of_a_run_engine_is_the_sum_done_by_hand():
    columns = four_elements()
    energy = Energy(name="energy")

    def reads(name: str) -> Any:
        return lambda: float(np.interp(energy.position, GRID, columns[name]))

    detectors = [SynSignal(name=name, func=reads(name)) for name in columns if name != "energy"]
    RE, said, given = RunEngine({}), [], []
    assembler = SpectrumAssembler(say=said.append)
    RE.subscribe(lambda name, doc: given.extend(assembler(name, doc)))
    RE(bp.list_scan(detectors, energy, GRID.tolist()))
    [spectrum] = given
    assert spectrum.mode == "fluorescence"
    np.testing.assert_allclose(spectrum.counts["iff"], by_hand(columns), rtol=1e-12)
    np.testing.assert_allclose(spectrum.mu, by_hand(columns) / columns["i0"], rtol=1e-12)
    np.testing.assert_allclose(spectrum.mu, 2e-3 * (1.0 + 0.8 + 0.9) * mu_of(GRID), rtol=1e-9)
    chosen, dead = said
    assert (
        "iff = fluor_1 + fluor_2 + fluor_3 + fluor_4, dead time by icr_1 icr_2 icr_3 icr_4 over ocr_1"
        in chosen
    )
    assert "fluor_3 is left out of its sum, for it counts nothing" in dead
    read = spectrum.provenance.read
    assert read["channels"]["iff"] == "fluor_1 + fluor_2 + fluor_4, each times ICR/OCR"
    assert read["left_out"] == ["fluor_3: it counts nothing"]


@pytest.mark.parametrize("page", [True, False])
@pytest.mark.parametrize(
    "mapping",
    [
        ChannelMapping(i0="i0", iff="fluor_*", icr="icr_*", ocr="ocr_*"),
        ChannelMapping(i0="i0", iff=["fluor_1", "fluor_2", "fluor_3", "fluor_4"]),
        ChannelMapping(energy="energy", i0="i0", iff=["fluor_[12]", "fluor_4"]),
        ChannelMapping(iff="fluor_?", i0="i0", without="*_3"),
    ],
)
def test_lists_and_patterns_are_the_same_sum(mapping, page):
    columns = four_elements()
    [spectrum], said = assembled(columns, mapping, page=page)
    np.testing.assert_allclose(spectrum.counts["iff"], by_hand(columns), rtol=1e-12)
    assert "fluor_1 + fluor_2" in said[0]


def test_weights_and_counts_left_as_they_are():
    columns = four_elements(dead=None)
    [spectrum], said = assembled(
        columns, ChannelMapping(i0="i0", iff="fluor_*", weights={"fluor_2": 0.5}, dead_time=False)
    )
    expected = columns["fluor_1"] + 0.5 * columns["fluor_2"] + columns["fluor_3"] + columns["fluor_4"]
    np.testing.assert_allclose(spectrum.counts["iff"], expected, rtol=1e-12)
    assert spectrum.provenance.read["channels"]["iff"] == "fluor_1 + 0.5 fluor_2 + fluor_3 + fluor_4"
    assert "weights={'fluor_2': 0.5}, dead_time=False" in said[0]


def test_one_element_is_corrected_too():
    columns = {name: four_elements()[name] for name in ("energy", "i0", "fluor_1", "icr_1", "ocr_1")}
    for mapping in (None, ChannelMapping(i0="i0", iff="fluor_1")):
        [spectrum], _ = assembled(columns, mapping)
        np.testing.assert_allclose(spectrum.counts["iff"], by_hand(columns, of=[1]), rtol=1e-12)


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        (lambda c: 0 * c, "it counts nothing"),
        (lambda c: 0 * c + 7.0, "it reads 7 at all points"),
        (lambda c: 0 * c + np.nan, "it has no readings"),
        (lambda c: np.where(np.arange(len(c)) < 40, c, c[40]), "at 15 points in succession"),
        (lambda c: np.where(np.arange(len(c)) < 40, c, 0.0), "it reads 0 at 15 points in succession"),
    ],
)
def test_an_element_that_does_not_count_is_left_out_and_named(reads, why):
    columns = {name: c for name, c in four_elements(dead=None).items() if name[:3] not in ("icr", "ocr")}
    columns["fluor_2"] = reads(columns["fluor_2"])
    [spectrum], said = assembled(columns)
    np.testing.assert_allclose(
        spectrum.counts["iff"], columns["fluor_1"] + columns["fluor_3"] + columns["fluor_4"]
    )
    assert why in said[1]
    assert why in spectrum.provenance.read["left_out"][0]


def test_a_detector_that_is_all_dead_stays_as_it_is():
    columns = {name: c * (name[0] != "f") for name, c in four_elements().items()}
    [spectrum], _ = assembled(columns)
    assert not spectrum.counts["iff"].any()
    assert spectrum.provenance.read["left_out"] == []


def test_points_that_came_in_and_were_not_processed_have_no_counts():
    icr, ocr = np.full(6, 100.0), np.array([80.0, 80.0, 0.0, 80.0, 80.0, 80.0])
    icr[3] = ocr[3] = 0.0
    counts = np.array([8.0, 16.0, 0.0, 0.0, 8.0, 9.0])
    assert (
        repr(summed(["a"], [counts], [(icr, ocr)]).values.tolist()) == "[10.0, 20.0, nan, 0.0, 10.0, 11.25]"
    )


@settings(max_examples=60)
@given(
    n=st.integers(2, 8),
    dead=st.sets(st.integers(0, 7)),
    how=st.sampled_from([0.0, 3.0, np.nan]),
    dead_time=st.floats(0.0, 0.6),
    weights=st.lists(st.floats(0.1, 3.0), min_size=8, max_size=8),
    downwards=st.booleans(),
    page=st.booleans(),
)
def test_whatever_is_dead_the_rest_is_the_sum(n, dead, how, dead_time, weights, downwards, page):
    grid = GRID[::-1] if downwards else GRID
    rng = np.random.default_rng(n)
    columns = {"energy": grid, "i0": rng.uniform(1e5, 2e5, len(grid))}
    total = np.zeros(len(grid))
    alive = [k for k in range(n) if k not in dead] or list(range(n))
    names = [f"xs_channel{k + 1:02}_mcaroi01_total_rbv" for k in range(n)]
    for k, name in enumerate(names):
        true = rng.poisson(500.0 * (1 + mu_of(grid)))
        columns[name] = true * (1.0 - dead_time)
        if k not in alive:
            columns[name] = np.full(len(grid), how)
        else:
            total += weights[k] * true
        rate = rng.uniform(1e4, 2e4, len(grid))
        columns[f"xs_channel{k + 1:02}_icr"], columns[f"xs_channel{k + 1:02}_ocr"] = (
            rate,
            rate * (1.0 - dead_time),
        )
    mapping = ChannelMapping(mode="fluorescence", weights=dict(zip(names, weights, strict=False)))
    [spectrum], said = assembled(columns, mapping, page=page)
    order = slice(None, None, -1 if downwards else 1)
    np.testing.assert_allclose(spectrum.counts["iff"], total[order], rtol=1e-9)
    np.testing.assert_allclose(spectrum.mu, (total / columns["i0"])[order], rtol=1e-9)
    assert len(said) == 1 + n - len(alive)


# --- names ------------------------------------------------------------------------------------------------

FACILITIES = {
    "NSLS-II BMM": (
        ["dcm_energy", "dcm_energy_setpoint", "I0", "It", "Ir", "Pt1", "Pt2", "Pt3", "Pt4", "ICR1", "OCR1"],
        {"energy": "dcm_energy", "i0": "I0", "iff": ("Pt1", "Pt2", "Pt3", "Pt4")},
    ),
    "NSLS-II ISS": (
        ["hhm_energy", *(f"apb_ave_ch{n}_mean" for n in range(1, 9)),
         *(f"xs_channel{n}_rois_roi0{r}_value" for n in (1, 2, 3, 4) for r in (1, 2))],
        {"i0": "apb_ave_ch1_mean", "iff": tuple(f"xs_channel{n}_rois_roi01_value" for n in (1, 2, 3, 4))},
    ),
    "NSLS-II QAS": (["energy", "i0", "it", "ir", "iff", "aux1"], {"i0": "i0", "ir": "ir", "iff": "iff"}),
    "NSLS-II TES": (
        ["mono_energy", "I0", *(f"xs_channel0{n}_mcaroi01_total_rbv" for n in (1, 2, 3, 4))],
        {"iff": tuple(f"xs_channel0{n}_mcaroi01_total_rbv" for n in (1, 2, 3, 4))},
    ),
    "APS scaler": (["energy_energy", "scaler1_I0", "scaler1_time", "vor_ch1", "vor_ch2", "vor_ch10"],
                   {"i0": "scaler1_I0", "iff": ("vor_ch1", "vor_ch2", "vor_ch10")}),
    "APS mca": (["dcm_energy", "ic0", "mca1_rois_roi0_count", "mca2_rois_roi0_count"],
                {"i0": "ic0", "iff": ("mca1_rois_roi0_count", "mca2_rois_roi0_count")}),
    "SSRL": (["mono_energy", "I0", "SCA1_1", "SCA1_2", "SCA1_3"], {"iff": ("SCA1_1", "SCA1_2", "SCA1_3")}),
    "quadEM": (["mono_energy", *(f"quadem1_current{n}_mean_value" for n in (1, 2, 3, 4))],
               {"i0": "quadem1_current1_mean_value", "iff": "quadem1_current4_mean_value"}),
}  # fmt: skip


def descriptor(names: Sequence[str], hints: Sequence[str] = ()) -> Any:
    keys = {name: {"dtype": "number", "shape": [], "source": "x"} for name in names}
    return {
        "name": "primary",
        "data_keys": keys,
        "uid": "d",
        "run_start": "r",
        "hints": {"d": {"fields": hints}},
    }


@pytest.mark.parametrize("where", FACILITIES)
def test_names_of_facilities_in_fluorescence(where):
    names, expected = FACILITIES[where]
    mapping = find_mapping(descriptor(names), {"uid": "r"}, ChannelMapping(mode="fluorescence"))
    assert {key: getattr(mapping, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mono_energy", *(f"apb_ave_ch{n}_mean" for n in range(1, 5))],
         ("apb_ave_ch1_mean", "apb_ave_ch2_mean")),
        (["mono_energy", *(f"quadem1_current{n}_mean_value" for n in range(1, 5))],
         ("quadem1_current1_mean_value", "quadem1_current2_mean_value")),
        (["energy", "ic0", "ic1", "ic2"], ("ic0", "ic1")),
        (["energy", "scaler1_I0", "scaler1_It", "scaler1_Ir"], ("scaler1_I0", "scaler1_It")),
        (["mono_energy", "I0", "I1", "I2", "SCA1_1", "SCA1_2"], ("I0", "I1")),
    ],
)  # fmt: skip
def test_names_of_facilities_in_transmission(names, expected):
    mapping = find_mapping(descriptor(names), {"uid": "r"})
    assert (mapping.mode, mapping.i0, mapping.it) == ("transmission", *expected)


def test_an_order_of_inputs_is_said_to_be_a_guess():
    names, _ = FACILITIES["quadEM"]
    columns = {name: four_elements()["i0"] for name in names} | {names[0]: GRID, names[2]: 1e5 * mu_of(GRID)}
    [spectrum], [said] = assembled(columns)
    guess = "i0, it, ir, iff: by the numbers of the inputs of the quad electrometer, in the usual order"
    assert f"Guessed: {guess}." in said
    assert spectrum.provenance.read["guessed"] == [guess]


def test_of_several_regions_the_hinted_one_is_taken_and_that_is_said():
    names = [f"xs_channel{n}_rois_roi0{r}_value" for n in (1, 2) for r in (1, 2, 3)]
    found = find_elements(names, IFF, hinted=["xs_channel1_rois_roi02_value"])
    assert found is not None
    assert found.fields == ("xs_channel1_rois_roi02_value", "xs_channel2_rois_roi02_value")
    assert found.remarks == ("iff: of 3 regions that of xs_channel1_rois_roi02_value is taken",)


def test_elements_beside_a_transmission_scan_are_told_and_not_read():
    mapping = find_mapping(descriptor(["energy", "i0", "it", "fluor_1", "fluor_2"]), {"uid": "r"})
    assert (mapping.mode, mapping.iff) == ("transmission", None)
    assert mapping.remarks == ("fluor_1 to fluor_2 are there too: mode='fluorescence' sums them",)
    one = find_mapping(descriptor(["energy", "i0", "fluor", "fluor_1", "fluor_2"]), {"uid": "r"})
    assert one.iff == "fluor", "named as the whole detector"


def test_of_channels_given_in_part_the_rest_is_guessed():
    doc = descriptor(["energy", "I0", "I1", "sdd_a", "sdd_b"])
    mapping = find_mapping(doc, {"uid": "r"}, ChannelMapping(iff=["sdd_a", "sdd_b"]))
    assert (mapping.mode, mapping.channels) == ("fluorescence", {"i0": "I0", "iff": ("sdd_a", "sdd_b")})
    mapping = find_mapping(doc, {"uid": "r"}, ChannelMapping(it="sdd_a"))
    assert (mapping.mode, mapping.channels) == ("transmission", {"i0": "I0", "it": "sdd_a"})


def test_what_each_mode_needs_and_what_is_there_is_said():
    with pytest.raises(MappingError) as refused:
        find_mapping(descriptor(["energy", "i0", "detector_a"]), {"uid": "r"})
    assert "transmission needs i0 and it, fluorescence needs i0 and iff; found: i0 = i0" in str(refused.value)
    assert "has detector_a, energy, i0" in str(refused.value)
    with pytest.raises(MappingError, match=r"nothing found for it \(transmission needs i0 and it; found: i0"):
        find_mapping(descriptor(["energy", "i0", "iff"]), {"uid": "r"}, ChannelMapping(mode="transmission"))


@pytest.mark.parametrize(
    ("names", "fields", "found"),
    [
        (["icr_1", "icr_2", "ocr_1", "ocr_2"], ["fluor_1", "fluor_2"], True),
        (["dxp1_InputCountRate", "dxp1_OutputCountRate"], ["dxp_ch1_roi0"], True),
        (["vor_1_icr", "vor_2_icr", "vor_1_ocr", "vor_2_ocr"], ["vor_1", "vor_2"], True),
        (["icr_1", "icr_2", "ocr_1"], ["fluor_1", "fluor_2"], False),
        (["icr_1", "a_icr_1", "ocr_1"], ["fluor_1"], False),
        (["icr_1", "icr_2", "ocr_1", "ocr_2"], ["fluor_1_dtc", "fluor_2_dtc"], False),
        (["icr_1", "ocr_1"], ["scaler1_pips"], False),
        (["ICR1", "OCR1"], ["Pt1"], True),
        ([], ["fluor_1"], False),
    ],
)
def test_count_rates_are_found_by_the_numbers_of_the_elements(names, fields, found):
    assert bool(find_rates([*fields, *names], fields, IFF)[0]) is found


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"iff": 5}, "iff=5: give the name of a field"),
        ({"iff": []}, "iff="),
        ({"i0": ["a", 3]}, "i0="),
        ({"mu": ["a", "b"]}, "mu=.*give one name"),
        ({"icr": "icr_*"}, "both rates"),
        ({"weights": {"a": "2"}}, "weights=.*give a number"),
        ({"energy_unit": "K"}, "energy_unit='K'"),
        ({"energy_unit": "keV", "angle": "t", "d_spacing": 3.1}, "one of them"),
        ({"temperature": "t", "temperature_unit": "mV"}, "temperature_unit='mV'"),
        ({"temperature_unit": "K"}, "of a field"),
        ({"signals": 3}, "signals=3"),
        ({"up_offset": "1"}, "up_offset='1'"),
    ],
)
def test_a_mapping_of_wrong_arguments_is_refused(given, complaint):
    with pytest.raises(Refusal, match=complaint):
        ChannelMapping(**given)


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        (ChannelMapping(i0="i0", iff="sdd_*"), r"no field for iff='sdd_\*'"),
        (ChannelMapping(i0="i0", iff=["fluor_1", "fluor_9"]), "no field for iff="),
        (ChannelMapping(i0="i0", iff="fluor_*", without="fluor_*"), "no field for iff="),
        (
            ChannelMapping(i0="i0", iff="fluor_*", icr="icr_1", ocr="ocr_1"),
            "stands for 1 fields, and iff for 4",
        ),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused_with_the_fields(mapping, complaint):
    with pytest.raises(MappingError, match=complaint):
        find_mapping(descriptor(list(four_elements())), {"uid": "r"}, mapping)


def test_a_mapping_with_sums_prints_as_the_call_that_makes_it():
    mapping = ChannelMapping(
        i0="i0", iff=["a", "b"], without="c*", weights={"a": 2.0}, dead_time=False, signals="x"
    )
    assert eval(str(mapping)) == mapping


def test_elements_in_a_stream_of_their_own_are_the_same_sum():
    """The energy of an encoder in one stream, detector and temperature in another, joined by time."""
    columns, run = four_elements(), event_model.compose_run()
    docs: list[tuple[str, Any]] = [("start", run.start_doc)]
    columns["furnace"] = np.full(len(GRID), 200.0)
    streams = {}
    for name, names in (("mono", ["energy"]), ("detectors", [n for n in columns if n != "energy"])):
        keys = {n: {"dtype": "number", "shape": [], "source": n} for n in names}
        if name == "mono":
            keys["energy"]["units"] = "eV"
        else:
            keys["furnace"]["units"] = "degC"
        objects = {"all": names}
        streams[name] = run.compose_descriptor(
            name=name, data_keys=keys, object_keys=objects, configuration={}
        )
        docs.append(("descriptor", streams[name].descriptor_doc))
    for k in range(len(GRID)):
        for of in streams.values():
            data = {n: float(columns[n][k]) for n in of.descriptor_doc["data_keys"]}
            time = 1.7e9 + k
            docs.append(
                ("event", of.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time))
            )
    docs.append(("stop", run.compose_stop()))
    said: list[str] = []
    assembler = SpectrumAssembler(ChannelMapping(temperature="furnace"), say=said.append)
    [spectrum] = [s for name, doc in docs for s in assembler(name, doc)]
    np.testing.assert_allclose(spectrum.counts["iff"], by_hand(columns), rtol=1e-12)
    assert spectrum.temperature == pytest.approx(473.15)
    assert spectrum.provenance.read["left_out"] == ["fluor_3: it counts nothing"]
    assert "dead time by icr_1" in said[0]


# --- files ------------------------------------------------------------------------------------------------


def test_columns_of_a_file_are_the_same_sum(tmp_path: Path):
    columns = four_elements()
    path = tmp_path / "four.dat"
    np.savetxt(path, np.column_stack(list(columns.values())), header=" ".join(columns), fmt="%.12g")
    [scan] = read_file(path)
    assert isinstance(scan, Scan)
    [spectrum] = spectra_of(scan)
    assert spectrum.mode == "fluorescence"
    np.testing.assert_allclose(spectrum.counts["iff"], by_hand(columns), rtol=1e-9)
    assert scan.read["channels"]["iff"] == "columns fluor_1 + fluor_2 + fluor_4, each times ICR/OCR"
    assert scan.read["left_out"] == ["column fluor_3: it counts nothing"]


def test_a_file_with_a_transmitted_beam_is_summed_where_that_is_asked(tmp_path: Path):
    columns = {name: c for name, c in four_elements().items() if name[:3] not in ("icr", "ocr")}
    columns["it"] = columns["i0"] * np.exp(-mu_of(GRID))
    path = tmp_path / "both.dat"
    np.savetxt(path, np.column_stack(list(columns.values())), header="  ".join(columns), fmt="%.12g")
    [transmitted], [fluorescence] = read_file(path), read_file(path, mode="fluorescence")
    assert isinstance(transmitted, Scan)
    assert isinstance(fluorescence, Scan)
    assert set(transmitted.channels) == {"energy", "i0", "it"}
    expected = columns["fluor_1"] + columns["fluor_2"] + columns["fluor_4"]
    np.testing.assert_allclose(fluorescence.channels["iff"], expected, rtol=1e-9)


def test_regions_named_by_the_element_that_a_file_states(tmp_path: Path):
    columns = four_elements()
    named = {"energy": GRID, "i0": columns["i0"]} | {f"Pt{n}": columns[f"fluor_{n}"] for n in (1, 2, 4)}
    path = tmp_path / "pt.dat"
    header = "Element: Pt\n" + "  ".join(named)
    np.savetxt(path, np.column_stack(list(named.values())), header=header, fmt="%.12g")
    [scan] = read_file(path)
    assert isinstance(scan, Scan)
    np.testing.assert_allclose(scan.channels["iff"], sum(named[f"Pt{n}"] for n in (1, 2, 4)), rtol=1e-9)


# --- temperature, units, signals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "given", "kelvin"),
    [("degC", {}, 374.15), ("C", {}, 374.15), ("K", {}, 101.0), ("kelvin", {}, 101.0), (None, {}, 101.0),
     ("K", {"temperature_unit": "degC"}, 374.15), ("V", {"temperature_unit": "°C"}, 374.15), ("V", {}, None)],
)  # fmt: skip
@pytest.mark.parametrize("where", ["points", "baseline"])
def test_the_temperature_has_the_unit_of_its_field(unit, given, kelvin, where):
    columns = {"energy": GRID, "i0": four_elements()["i0"], "iff": 1e3 * mu_of(GRID)}
    more: dict[str, Any] = {}
    if where == "points":
        columns["linkam"] = np.linspace(100.0, 102.0, len(GRID))
        more["units"] = {"linkam": unit} if unit is not None else {}
    else:
        more["baseline"] = {"linkam": (101.0, unit)}
    [spectrum], said = assembled(columns, ChannelMapping(temperature="linkam", **given), **more)
    assert spectrum.temperature == (None if kelvin is None else pytest.approx(kelvin))
    assert any("'linkam' not found beside the energy" in line for line in said) is (kelvin is None)


def test_a_temperature_that_is_named_goes_before_the_start_document():
    columns = {
        "energy": GRID,
        "i0": four_elements()["i0"],
        "iff": 1e3 * mu_of(GRID),
        "t": np.full(len(GRID), 500.0),
    }
    [named], _ = assembled(columns, ChannelMapping(temperature="t"), temperature=300.0)
    [unnamed], _ = assembled(columns, temperature=300.0)
    assert (named.temperature, unnamed.temperature) == (500.0, 300.0)


def test_signals_are_kept_as_means():
    columns = {"energy": GRID, "i0": four_elements()["i0"], "iff": 1e3 * mu_of(GRID)}
    columns["potential"] = np.linspace(0.5, 0.7, len(GRID))
    mapping = ChannelMapping(signals=["potential", "flow", "nowhere"])
    [spectrum], said = assembled(columns, mapping, baseline={"flow": (12.0, "sccm")})
    metadata = spectrum.provenance.metadata
    assert (metadata["potential"], metadata["flow"]) == (pytest.approx(0.6), 12.0)
    assert "nowhere" not in metadata
    assert any("'nowhere' not found" in line for line in said)


def test_an_energy_whose_unit_is_not_said():
    columns = {"mono": GRID / 1000.0, "i0": four_elements()["i0"], "iff": 1e3 * mu_of(GRID)}
    [spectrum], said = assembled(
        columns, ChannelMapping(energy="mono", energy_unit="keV", i0="i0", iff="iff")
    )
    np.testing.assert_allclose(spectrum.energy, GRID)
    assert said == []
    assert spectrum.provenance.read["energy_unit"] == "keV"


def test_the_mapping_changes_with_the_next_run():
    columns = {"energy": GRID, "i0": four_elements()["i0"], "iff": 1e3 * mu_of(GRID)}
    columns["it"] = 1e5 / mu_of(GRID)
    modes: list[str] = []

    class Modes(BasePublisher):
        def predicted(self, result: SweepResult) -> None:
            modes.append(result.spectrum.mode)

    with LiveAnalysis(Edges(), [Modes()]) as live:
        first, second = list(run_of(columns, page=False)), list(run_of(columns, page=False))
        for name, doc in first[:20]:
            live(name, doc)
        live.mapping = ChannelMapping(mode="fluorescence")
        for name, doc in [*first[20:], *second]:
            live(name, doc)
        assert live.wait(60)
        assert live.mapping == ChannelMapping(mode="fluorescence")
        assert modes == ["transmission", "fluorescence"]
        with pytest.raises(MappingError, match="give a ChannelMapping"):
            live.mapping = "fluorescence"  # type: ignore[assignment]
