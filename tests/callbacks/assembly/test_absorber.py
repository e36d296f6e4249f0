"""Element and edge of a scan."""

from __future__ import annotations

import numpy as np
import pytest

from xas_live.callbacks.assembly.absorber import absorber_from_energies, absorber_from_metadata


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ({"element": "Pt", "edge": "L3"}, ("Pt", "L3")),
        ({"Element": "pt", "EDGE": "LIII"}, ("Pt", "L3")),
        ({"element": "Pt L3-edge"}, ("Pt", "L3")),
        ({"xas": {"element": "Platinum", "edge": "l_3"}}, ("Pt", "L3")),
        ({"sample": {"absorber": "Au"}, "edge": "L3"}, ("Au", "L3")),
        ({"XDI": {"Element.symbol": "Pd", "Element.edge": "K"}}, ("Pd", "K")),
        ({"edge": "Pd K"}, ("Pd", "K")),
        ({"element": "K", "edge": "K"}, ("K", "K")),
        ({"element": "Pt"}, ("Pt", None)),
        ({"element": "unknown", "edge": "?", "sample": "Pt foil"}, (None, None)),
        ({"element": 78}, (None, None)),
        ({"edge": "Ni_K"}, ("Ni", "K")),
        ({"edge": "Pt-L3"}, ("Pt", "L3")),
        ({"edge": "Pt L3"}, ("Pt", "L3")),
        ({"element": "Pt", "edge": "L3-edge"}, ("Pt", "L3")),
        ({"plan_args": {"element": "'Pt'", "edge": "'L3'"}}, ("Pt", "L3")),
        ({"plan_args": {"md": "{'element': 'Pd', 'edge': 'K'}"}}, ("Pd", "K")),
        ({"XDI": {"Element": {"symbol": "Fe", "edge": "K"}}}, ("Fe", "K")),
        ({"XDI.Element": {"symbol": "Fe", "edge": "K"}}, ("Fe", "K")),
        ({"md": {"XDI": {"Element": {"symbol": "Au", "edge": "L3"}}}}, ("Au", "L3")),
        ({"E0": 11564.0}, ("Pt", "L3")),
        ({"element": "Pt", "e0": "11570"}, ("Pt", "L3")),
        ({"e0": 11.5}, (None, None)),
        ({"md": "{'element': "}, (None, None)),
    ],
)
def test_metadata(start, found):
    assert absorber_from_metadata(start) == found


@pytest.mark.parametrize("misread", [2147483647.0, 1e300, -1e12, 0.0, 2e8])
@pytest.mark.parametrize("at", [0, 100, -1, slice(-4, None), slice(0, 40, 7)])
def test_misread_energies_neither_fill_the_memory_nor_hide_the_edge(misread, at):
    energy, mu = step(11564.0)
    energy[at] = misread
    found = absorber_from_energies(energy, mu)
    assert (found.element, found.edge) == ("Pt", "L3")


def step(e0, first=-150.0, last=600.0):
    energy = np.arange(e0 + first, e0 + last, 2.0)
    return energy, np.arctan((energy - e0 - 2) / 3) / np.pi - 1e-4 * energy


@pytest.mark.parametrize(
    ("e0", "found"), [(11564, ("Pt", "L3")), (11919, ("Au", "L3")), (24350, ("Pd", "K")), (7112, ("Fe", "K"))]
)
def test_energies(e0, found):
    assert absorber_from_energies(*step(e0))[:2] == found


def test_what_is_known_is_kept():
    assert absorber_from_energies(*step(11564), element="Pt")[:2] == ("Pt", "L3")
    assert absorber_from_energies(*step(11564), element="Au")[:2] == ("Au", None)


def test_no_guess_where_nothing_or_too_little_is_behind_the_edge():
    assert absorber_from_energies(*step(11564, last=30.0))[:2] == (None, None)
    assert absorber_from_energies(*step(10000))[:2] == (None, None)
    energy, mu = step(11564)
    assert absorber_from_energies(energy, mu * np.nan)[:2] == (None, None)
    assert absorber_from_energies(energy / 1000, mu)[:2] == (None, None)


@pytest.mark.parametrize(
    ("position", "found"),
    [(7112 + 13, ("Fe", "K")), (8979 + 14, ("Cu", "K")), (4966 + 18, ("Ti", "K")), (11564 - 8, ("Pt", "L3"))],
)
def test_k_and_l3_count_before_l1_and_l2_within_a_chemical_shift(position, found):
    assert absorber_from_energies(*step(position))[:2] == found


def test_a_guess_says_what_it_rests_on():
    assert absorber_from_energies(*step(7125)).how == (
        "looks like Fe K (7112 eV) by where mu rises, at 7126 eV"
    )
    vanadium = absorber_from_energies(*step(5481))  # vanadium oxide, or lanthanum
    assert vanadium[:2] == (None, None)
    assert "La L3 (5483 eV) or V K (5465 eV)" in vanadium.how


def test_no_guess_for_energies_that_are_no_energies():
    pixels = np.arange(0.0, 1024.0)
    assert absorber_from_energies(pixels, np.where(pixels > 165, 1.0, 0.0)) == (None, None, "")
