"""What adsorbates on the surface of a metal particle change in the spectra of its atoms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import h5py
import numpy as np

from xas_live.spectrum import Array
from xas_live.theory.sites import Mask, SiteLibrary, data_file, extend_below

LEVEL_SHIFT = 0.5  # eV: each calculation has the zero of its own Fermi level; surface levels shift so far
STRETCH = (0.8, 1.25)  # of what an adsorbate changes in energy: bonds in the beam are not quite those
STRENGTH = (0.6, 1.4)  # of the change itself
ALIKE = 3  # sites of the nearest coordination number, among which one is chosen
BULK_CN = 12.0


@dataclass(frozen=True, eq=False)
class _Site:
    """A covered surface site: its number of neighbours, and what it differs by from the bare one."""

    cn1: float
    energy: Array
    covered: Array
    bare: Array


class Adsorbates:
    """Differences between covered and bare surface sites of one metal, for every site of a library.

    Parameters
    ----------
    library : of the bare sites.
    mesh : (m,) eV.
    variants : of each adsorbate: which calculated site stands for a library's, how far its level shifts, and
        by how much the change is stretched and stronger, is drawn once for each.
    rng : draws them.

    Attributes
    ----------
    names : of the adsorbates, one for each variant.
    tables : (variants, sites, m) change of absorption where the site is covered; zero inside the particle.
    surface : (sites,) which sites can be covered.
    """

    def __init__(
        self, library: SiteLibrary, mesh: Array, rng: np.random.Generator, variants: int = 10
    ) -> None:
        self.surface: Mask = library.cn[:, 0] < BULK_CN
        names: list[str] = []
        tables: list[Array] = []
        for name, sites in _covered(library.element, library.edge).items():
            for _ in range(variants):
                names.append(name)
                tables.append(self._table(library, sites, mesh, rng))
        self.names = tuple(names)
        self.tables = np.stack(tables) if tables else np.zeros((0, len(library.cn), len(mesh)))

    def _table(
        self, library: SiteLibrary, sites: tuple[_Site, ...], mesh: Array, rng: np.random.Generator
    ) -> Array:
        own, stretch = np.array([site.cn1 for site in sites]), rng.uniform(*STRETCH)
        table = np.zeros((len(library.cn), len(mesh)))
        for i in np.flatnonzero(self.surface):
            near = np.argsort(np.abs(own - library.cn[i, 0]), kind="stable")[:ALIKE]
            site, shift = sites[int(rng.choice(near))], rng.uniform(-LEVEL_SHIFT, LEVEL_SHIFT)
            change = np.interp(site.energy - shift, site.energy, site.covered) - site.bare
            table[i] = rng.uniform(*STRENGTH) * np.interp(mesh / stretch, site.energy, change)
        return table


@cache
def _covered(element: str, edge: str) -> dict[str, tuple[_Site, ...]]:
    """Covered sites by adsorbate; empty for a metal of which none were calculated."""
    found: dict[str, list[_Site]] = {}
    with h5py.File(data_file("adsorbates", ".h5")) as file:
        of = (file["element"].asstr()[:] == element) & (file["edge"].asstr()[:] == edge)
        if not of.any():
            return {}
        labels = {
            name: file[f"labels/{name}"].asstr()[:] for name in ("adsorbate", "bare_site", "bound", "cn")
        }
        energy, mu = file["energy"][:].astype(np.float64), file["mu"][:].astype(np.float64)
    library_name = f"{element}_{edge}".lower()
    with h5py.File(data_file(library_name, "_sites.h5")) as file:
        ids = {each: i for i, each in enumerate(file["sites/id"].asstr()[:])}
        bare, bare_energy = file["scale_1.000/mu"][:].astype(np.float64), file["energy"][:].astype(np.float64)
    for i in np.flatnonzero(of):
        if not json.loads(labels["bound"][i]):
            continue  # on a covered particle, but none of its own neighbours
        long_energy, covered = extend_below(energy, mu[i], -60.0)
        own_energy, own = extend_below(bare_energy, bare[ids[labels["bare_site"][i]]], -60.0)
        cn1 = float(json.loads(labels["cn"][i])[0])
        site = _Site(cn1, long_energy, covered, np.interp(long_energy, own_energy, own))
        found.setdefault(str(labels["adsorbate"][i]), []).append(site)
    return {name: tuple(sites) for name, sites in sorted(found.items())}
