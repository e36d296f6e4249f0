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
    ],
)
def test_metadata(start, found):
    assert absorber_from_metadata(start) == found


def step(e0, first=-150.0, last=600.0):
    energy = np.arange(e0 + first, e0 + last, 2.0)
    return energy, np.arctan((energy - e0 - 2) / 3) / np.pi - 1e-4 * energy


@pytest.mark.parametrize(
    ("e0", "found"), [(11564, ("Pt", "L3")), (11919, ("Au", "L3")), (24350, ("Pd", "K")), (7112, ("Fe", "K"))]
)
def test_energies(e0, found):
    assert absorber_from_energies(*step(e0)) == found


def test_what_is_known_is_kept():
    assert absorber_from_energies(*step(11564), element="Pt") == ("Pt", "L3")
    assert absorber_from_energies(*step(11564), element="Au") == ("Au", None)


def test_no_guess_where_nothing_or_too_little_is_behind_the_edge():
    assert absorber_from_energies(*step(11564, last=30.0)) == (None, None)
    assert absorber_from_energies(*step(10000)) == (None, None)
    energy, mu = step(11564)
    assert absorber_from_energies(energy, mu * np.nan) == (None, None)
    assert absorber_from_energies(energy / 1000, mu) == (None, None)
