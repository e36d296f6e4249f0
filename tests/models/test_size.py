"""From coordination numbers to sizes."""

from __future__ import annotations

import numpy as np
import pytest

from xas_live.models.sections.size import ParticleSize, fcc_diameter, sphere_diameter
from xas_live.prediction import Value
from xas_live.theory.sites import SiteLibrary


@pytest.fixture(scope="module")
def size_of(au):
    section, r1 = au.card.sections.size, float(au.array("bulk_r1")[0])
    return ParticleSize(section, au.array("particle_cn"), au.array("particle_atoms"), r1)


def values(cn, half=(0.3, 0.3, 0.8, 0.6)):
    return {
        f"CN{i + 1}": Value(c, h / 1.645, c - h, c + h) for i, (c, h) in enumerate(zip(cn, half, strict=True))
    }


def test_the_spherical_formula_inverts_itself():
    for diameter in (1.0, 2.0, 5.0):
        ratio = 2 * 2.884 / (10 * diameter)
        cn1 = 12 * (1 - 0.75 * ratio + ratio**3 / 16)
        assert sphere_diameter(cn1, 2.884) == pytest.approx(diameter)
    assert sphere_diameter(12.0, 2.884) == float("inf")


@pytest.mark.parametrize("name", ["cuboctahedron_5_2", "cuboctahedron_9_4", "truncoct_8_2"])
def test_particles_of_the_library_get_their_own_size(size_of, name):
    library = SiteLibrary.load("au_l3")
    particle = library.particles[name]
    size = size_of(values(library.particle_cn(particle)))
    truth = fcc_diameter(particle.n_atoms, library.r1[1.0])
    assert size.lower <= truth <= size.upper
    assert size.diameter_nm == pytest.approx(truth, rel=0.25)
    assert size.label.endswith("nm")


def test_bulk_has_no_size(size_of):
    size = size_of(values((12.0, 6.0, 24.0, 12.0)))
    assert (size.diameter_nm, size.label) == (None, "bulk-like")
    wide = size_of(values((11.6, 5.8, 22.0, 11.0), half=(1.5, 1, 3, 2)))
    assert wide.diameter_nm is None
    assert wide.label.startswith("bulk-like, over")


def test_where_the_interval_reaches_bulk_there_is_no_upper_end(size_of):
    size = size_of(values((10.5, 5.1, 18.0, 9.0), half=(1.0, 0.5, 2, 1)))
    assert size.upper is None
    assert size.label == f"> {size.lower:.1f} nm"


def test_a_wide_interval_gives_no_bolder_size_than_its_lower_end(size_of):
    size = size_of(values((10.4, 5.0, 17.6, 8.8), half=(1.8, 1.2, 4, 2.5)))
    assert size.diameter_nm > size.lower + 1.0
    assert size.label == f"> {size.lower:.1f} nm"


@pytest.mark.parametrize("cn1", np.linspace(4.0, 10.5, 14))
def test_the_label_is_rounded_from_the_number_that_is_stored(size_of, cn1):
    size = size_of(values((cn1, cn1 / 2, 2 * cn1 - 5, cn1 - 3), half=(0.2, 0.2, 0.4, 0.4)))
    shown = size.diameter_nm if size.upper is not None else size.lower
    assert size.label.removeprefix("> ") == f"{shown:.1f} nm"
