"""Finding energy and detectors among the fields of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError
from xas_live.callbacks.assembly.scales import energy_scale
from xas_live.callbacks.assembly.stream_fields import find_mapping


def descriptor(*names, units=None, hints=None, stream="primary", **more):
    keys = {name: {"dtype": "number", "shape": [], "source": "x"} for name in names} | more
    for name, unit in (units or {}).items():
        keys[name]["units"] = unit
    hints = {"device": {"fields": hints}} if hints else {}
    return {"name": stream, "data_keys": keys, "hints": hints, "uid": "d", "run_start": "r"}


def start(*dimension):
    return {"uid": "r", "hints": {"dimensions": [(list(dimension), "primary")]} if dimension else {}}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ("energy", "energy_setpoint", "i0", "it", "ir"),
            {"energy": "energy", "i0": "i0", "it": "it", "ir": "ir"},
        ),
        (("mono_energy", "I0", "I1", "I2"), {"energy": "mono_energy", "i0": "I0", "it": "I1", "ir": "I2"}),
        (("hhm_energy", "itrans", "i0", "irefer"), {"it": "itrans", "ir": "irefer"}),
        (("dcm_energy_readback", "dcm_energy_setpoint", "ion_i0", "ion_it"), {"i0": "ion_i0"}),
        (
            ("dcm_energy", "dcm_energy_user_setpoint", "mu"),
            {"energy": "dcm_energy", "mu": "mu", "mode": "mu"},
        ),
        (("energy", "i0", "pips"), {"iff": "pips", "mode": "fluorescence"}),
        (("energy", "i0", "fluor"), {"iff": "fluor"}),
        (("energy", "i0", "if"), {"iff": "if"}),
        (("energy", "xmu", "mu_ref"), {"mu": "xmu", "reference": "mu_ref"}),
        (("energy", "i0", "it", "iff"), {"mode": "transmission", "iff": "iff"}),
        (("ring_energy", "energy", "i0", "it"), {"energy": "energy"}),
        (("energy", "i0", "i0_gain", "it", "it_gain", "it_dark"), {"i0": "i0", "it": "it"}),
        (("energy", "i0_counts", "it_counts"), {"i0": "i0_counts", "it": "it_counts"}),
    ],
)
def test_usual_names(names, found):
    mapping = find_mapping(descriptor(*names), start())
    assert {key: getattr(mapping, key) for key in found} == found


def test_a_hinted_dimension_in_ev_needs_no_telling_name():
    doc = descriptor("pgm", "i0", "it", "stage_energy", units={"pgm": "eV", "stage_energy": "eV"})
    assert find_mapping(doc, start("pgm")).energy == "pgm"


def test_the_hinted_detector_wins():
    doc = descriptor("energy", "a_i0", "bb_i0", "it", hints=["bb_i0"])
    assert find_mapping(doc, start("energy")).i0 == "bb_i0"


def test_a_scan_of_something_else_is_none():
    with pytest.raises(MappingError, match=r"no energy among .* i0, it, stage_x"):
        find_mapping(descriptor("stage_x", "i0", "it"), start("stage_x"))


def test_external_data_are_not_read_from_events():
    image = {"dtype": "array", "shape": [400], "source": "x", "external": "STREAM:"}
    with pytest.raises(MappingError, match="nothing found for i0 and iff"):
        find_mapping(descriptor("energy", i0=image), start("energy"))


def test_what_is_given_wins_and_must_exist():
    doc = descriptor("energy", "i0", "it", "ir", "q1", "q2")
    mapping = find_mapping(doc, start(), ChannelMapping(i0="q1", it="q2"))
    assert mapping.energy == "energy"
    assert mapping.channels == {"i0": "q1", "it": "q2"}
    with pytest.raises(MappingError, match=r"no field for i0='q7'.*energy, i0, ir, it, q1, q2"):
        find_mapping(doc, start(), ChannelMapping(i0="q7", it="q2"))


def test_mode_alone_keeps_the_guesses():
    doc = descriptor("energy", "i0", "it", "iff")
    assert find_mapping(doc, start(), ChannelMapping(mode="fluorescence")).mode == "fluorescence"


def test_wrong_settings_say_what_is_right():
    with pytest.raises(ValueError, match="transmission, fluorescence, mu"):
        ChannelMapping(mode="xeol")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not for mu"):
        ChannelMapping(dark={"mu": 1.0})


@pytest.mark.parametrize(
    ("unit", "ev"),
    [
        ("keV", 11564.0),
        ("kev", 11564.0),
        ("eV", 11.564),
        ("electronvolt", 11.564),
        ("Electron Volts", 11.564),
        ("", 11.564),
    ],
)
def test_units_of_the_energy(unit, ev):
    stream = descriptor("energy", "i0", "it", units={"energy": unit})
    mapping = find_mapping(stream, start())
    assert mapping.energy == "energy"
    assert energy_scale(stream, mapping)(np.array([11.564])) == pytest.approx(ev)


@pytest.mark.parametrize(
    ("unit", "value", "more"),
    [
        (None, 9.84, {}),
        ("deg", 9.84, {}),
        ("rad", np.radians(9.84), {}),
        ("mrad", 1000 * np.radians(9.84), {}),
        ("deg", 9.34, {"offset": 0.5}),
        ("counts", 9.84 * 36000, {"counts_per_degree": 36000}),
    ],
)
def test_an_angle_in_place_of_the_energy(unit, value, more):
    stream = descriptor("theta", "i0", "it", units={"theta": unit} if unit else None)
    mapping = find_mapping(stream, start(), ChannelMapping(angle="theta", d_spacing=3.13553, **more))
    scale = energy_scale(stream, mapping)
    assert scale(np.array([value]))[0] == pytest.approx(
        12398.419843 / (2 * 3.13553 * np.sin(np.radians(9.84)))
    )
    assert "d-spacing 3.13553" in scale.unit


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"angle": "theta"}, "d_spacing"),
        ({"angle": "theta", "d_spacing": 0.0}, "d_spacing=0.0"),
        ({"angle": "theta", "energy": "energy", "d_spacing": 3.1}, "one of them"),
        ({"d_spacing": 3.1}, "angle="),
        ({"angle": "theta", "d_spacing": 3.1, "offset": float("nan")}, "offset"),
        ({"angle": "theta", "d_spacing": 3.1, "counts_per_degree": 0.0}, "counts_per_degree"),
    ],
)
def test_an_angle_that_gives_no_energy_is_refused(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        ChannelMapping(**given)


def test_a_mapping_prints_as_the_call_that_makes_it():
    mapping = ChannelMapping(energy="mono", i0="a", it="b", dark={"i0": 3.0})
    assert eval(str(mapping)) == mapping
