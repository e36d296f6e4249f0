"""What `xas-live anchor` takes for a foil: measured foils, and simulated foils and particles by size.

Writes benchmarks/results/foils.json and the page docs/explanations/foils.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from pages import write_page
from record import claim, commit, measured_folder, record

from xas_live.analysis.foil_care import NoFoilError, foil_anchor
from xas_live.energy import xanes_grid
from xas_live.models.bundle import Bundle
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import WEAKEST_FOIL, AnchorError, FoilAnchor
from xas_live.reduction.constants import K2_PER_EV
from xas_live.simulator import Mismatch, Sample
from xas_live.simulator.absorption import measured as measured_absorption
from xas_live.simulator.library import site_library
from xas_live.sources.files import read_file
from xas_live.sources.replay import spectra_of
from xas_live.sources.scan import Scan, parse_columns
from xas_live.spectrum import Array, Spectrum

MODELS = {"pt_l3": "pt-l3", "pd_k": "pd-k", "au_l3": "au-l3"}
MEASURED = {
    "pt-l3": ["foils_nsls/Pt_foil_Pt_L3.dat", "foils_xdi/pt_metal_rt.xdi"],
    "pd-k": ["foils_nsls/Pd_foil_Pd_K.dat"],
    "au-l3": ["foils_nsls/Au_foil_Au_L3.dat", "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi",
              "au_nanoparticles/14_Au_foil.dat"],
}  # fmt: skip
REFERENCES = {  # foils in the reference channel of a sample's scan
    "pt-l3": [(f"b18_pt3sn/26382{n}_PtSn_OC_{n + 1}.dat", "energy=0,i0=2,it=3,ir=4") for n in range(4)],
    "pd-k": [("qas_raw/Pd_foil_0001.dat", None)],
}
PARTICLES = {"au-l3": "au_nanoparticles/*_Colloid.dat", "pt-l3": "xraylarch_pt/*.dat"}
BROADER = (0.0, 1.0)  # eV, Gaussian width by which measured foils are broadened as well
SIZES = ((13, 30), (31, 80), (81, 200), (201, 600), (601, 1300), (1301, 3000))  # atoms
FAMILIES = ("cuboctahedron", "octahedron", "sphere", "truncoct")
BEAMLINES = 40  # drawn for each metal
STEP = 0.25  # eV


def foils(model: str) -> Iterator[tuple[str, Spectrum]]:
    """Give the measured foils of a model's metal, with their names."""
    for name in MEASURED[model]:
        (scan,) = read_file(measured_folder() / name)
        assert isinstance(scan, Scan)
        yield name, spectra_of(scan)[0]
    for name, columns in REFERENCES.get(model, []):
        numbers = None if columns is None else parse_columns(columns)
        (scan,) = read_file(measured_folder() / name, columns=numbers)
        assert isinstance(scan, Scan)
        found = spectra_of(scan)[0]
        assert found.reference is not None
        element, edge = load_model(model).absorbers[0]
        yield f"{name}, reference", Spectrum(found.energy, found.reference, element=element, edge=edge)


def broadened(energy: Array, mu: Array, width: float) -> Array:
    """Return a spectrum as an instrument broader by a Gaussian of this width (eV) measures it."""
    if width < STEP:
        return mu
    mesh = np.arange(energy[0], energy[-1], STEP)
    reach = int(np.ceil(4.0 * width / STEP))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP / width) ** 2)
    fine = np.pad(np.interp(mesh, energy, mu), reach, mode="edge")
    return np.interp(energy, mesh, np.convolve(fine, kernel / kernel.sum(), mode="valid"))


class Theory:
    """How theory errs for a metal, drawn at random: alike at every beamline."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.stretch, self.gain = rng.uniform(0.99, 1.06), rng.uniform(0.92, 1.0)
        self.bump, self.bump_at = rng.uniform(-0.03, 0.03), rng.uniform(5.0, 40.0)
        self.sigma2 = rng.uniform(0.0, 0.008)  # Å²: the disorder that it leaves out


class Beamline:
    """A simulated beamline, drawn at random: its energy scale, resolution, foil and noise."""

    def __init__(self, library: str, theory: Theory, rng: np.random.Generator) -> None:
        self.library, self.rng = library, rng
        self.mismatch = Mismatch(
            shift=rng.uniform(-2.0, 2.0),
            stretch=theory.stretch + rng.uniform(-0.002, 0.002),
            gain=theory.gain + rng.uniform(-0.01, 0.01),
            bump=theory.bump + rng.uniform(-0.005, 0.005),
            bump_at=theory.bump_at,
        )
        self.width = rng.uniform(0.0, 1.0)
        self.sigma2 = theory.sigma2 + rng.uniform(0.0, 0.001)  # some 50 K between foils
        self.noise = rng.uniform(0.0002, 0.003)

    def scan(self, sample: Sample | None) -> Spectrum:
        """Return a scan of a sample (None: of a foil), with a foil in the reference channel."""
        known = site_library(self.library)
        energy = xanes_grid(known.edge_energy, 600.0)
        return Spectrum(
            energy=energy,
            mu=self._measure(energy, sample),
            reference=self._measure(energy, None),
            element=known.element,
            edge=known.edge,
            temperature=295.0,
        )

    def _measure(self, energy: Array, sample: Sample | None) -> Array:
        known, rng = site_library(self.library), self.rng
        mu = measured_absorption(energy, self.library, sample, self.mismatch)
        above = np.clip(energy - known.edge_energy - self.mismatch.shift, 0.0, None)
        smooth = _without_waves(energy, mu, above)
        mu = smooth + (mu - smooth) * np.exp(-2.0 * K2_PER_EV * above * self.sigma2)
        mu = broadened(energy, mu, self.width)
        return np.asarray(0.2 + mu + self.noise * rng.standard_normal(len(energy)))


def _without_waves(energy: Array, mu: Array, above: Array) -> Array:
    """Return a spectrum without the fine structure of its later half: averages over a wave and more."""
    weight = np.exp(-0.5 * ((energy[:, None] - energy) / 25.0) ** 2) * np.gradient(energy)
    weight = np.where(above[None, :] > 15.0, weight, 0.0)
    averaged = (weight @ mu) / np.maximum(weight.sum(1), 1e-12)
    part = 1.0 / (1.0 + np.exp(-(above - 20.0) / 3.0))
    return np.asarray(mu + part * (averaged - mu))


def verdict(foil: Spectrum, bundle: Bundle, known: list[FoilAnchor]) -> str:
    """Return "taken", "refused" (it looks like a particle) or "no fit"."""
    try:
        foil_anchor(foil, bundle, known)
    except NoFoilError:
        return "refused"
    except AnchorError:
        return "no fit"
    return "taken"


def asked(scan: Spectrum, bundle: Bundle, other: FoilAnchor) -> dict[str, str]:
    """Return the verdict on a scan by theory alone, by its own reference, and by another beamline's foil."""
    bare = replace(scan, reference=None)
    return {
        "theory": verdict(bare, bundle, []),
        "reference": verdict(scan, bundle, []),
        "saved foil": verdict(bare, bundle, [other]),
    }


def simulated(library: str, seed: int) -> dict[str, dict[str, float]]:
    """Return what share of foils, and of particles by size, is taken for a foil."""
    rng, bundle = np.random.default_rng(seed), load_model(MODELS[library])
    particles = site_library(library).sites.particles.values()
    taken: dict[str, list[dict[str, str]]] = {}
    for _ in range(BEAMLINES):
        theory = Theory(rng)
        here, elsewhere = Beamline(library, theory, rng), Beamline(library, theory, rng)
        other = FoilAnchor.fit(replace(elsewhere.scan(None), reference=None), bundle)
        taken.setdefault("foil", []).append(asked(here.scan(None), bundle, other))
        for low, high in SIZES:
            fitting = [p for p in particles if p.family in FAMILIES and low <= p.n_atoms <= high]
            chosen = fitting[rng.integers(len(fitting))]
            sample = Sample({chosen.name: 1.0}, library, surface_contraction=rng.uniform(0.0, 0.03))
            taken.setdefault(f"{low} to {high}", []).append(asked(here.scan(sample), bundle, other))
    return {
        what: {by: float(np.mean([each[by] == "taken" for each in found])) for by in found[0]}
        for what, found in taken.items()
    }


def measured() -> list[dict[str, Any]]:
    """Return of every measured foil, as it is and broadened, its strength and whether it is taken."""
    rows = []
    for model in MEASURED:
        bundle = load_model(model)
        every = dict(foils(model))
        anchors = {name: FoilAnchor.fit(foil, bundle) for name, foil in every.items()}
        for name, foil in every.items():
            others = [anchors[each] for each in anchors if each != name]
            for width in BROADER:
                bare = replace(foil, mu=broadened(foil.energy, foil.mu, width), reference=None, counts={})
                strength = FoilAnchor.fit(bare, bundle).strength
                verdicts = [verdict(bare, bundle, [])] + [verdict(bare, bundle, [each]) for each in others]
                rows.append({
                    "model": model, "foil": name, "broader": width, "strength": round(float(strength or 0.0), 3),
                    "asked": len(verdicts), "taken": verdicts.count("taken"),
                })  # fmt: skip
    return rows


def particles() -> list[dict[str, Any]]:
    """Return whether measured particles are taken: by theory alone, and by a measured foil."""
    rows = []
    for model, pattern in PARTICLES.items():
        bundle = load_model(model)
        known = [FoilAnchor.fit(foil, bundle) for _, foil in foils(model)][:1]
        for path in sorted(measured_folder().glob(pattern)):
            (scan,) = read_file(path)
            assert isinstance(scan, Scan)
            sample = replace(spectra_of(scan)[0], reference=None)
            by = {"theory": verdict(sample, bundle, []), "saved foil": verdict(sample, bundle, known)}
            rows.append({"sample": f"{path.parent.name}/{path.name}", **by})
    return rows


def main() -> None:
    """Measure, record and write the page."""
    commit()
    found = measured()
    real = particles()
    drawn = {library: simulated(library, seed) for seed, library in enumerate(MODELS)}
    for library, shares in drawn.items():
        for what, share in shares.items():
            print(library, what, share, flush=True)
    for row in (*found, *real):
        print(row, flush=True)
    as_they_are = [row for row in found if row["broader"] == 0.0]
    smallest, larger = f"{SIZES[0][0]} to {SIZES[0][1]}", f"{SIZES[3][0]} to {SIZES[3][1]}"
    result = record("foils", [
        claim("measured", "measured foils taken, of all judgements",
              sum(row["taken"] for row in as_they_are) / sum(row["asked"] for row in as_they_are), equal=1.0),
        claim("particles", f"measured particles taken, of {len(real)}, by a measured foil",
              sum(row["saved foil"] == "taken" for row in real), at_most=1),
        claim("simulated_foils", "simulated foils taken, by the strictest judgement",
              min(min(shares["foil"].values()) for shares in drawn.values()), at_least=0.95),
        claim("smallest", f"particles of {smallest} atoms taken, by theory alone",
              max(shares[smallest]["theory"] for shares in drawn.values()), at_most=0.1),
        claim("by_reference", f"particles of {larger} atoms taken, by the reference channel",
              max(shares[larger]["reference"] for shares in drawn.values()), at_most=0.05),
        claim("by_saved", f"particles of {larger} atoms taken, by a saved foil of another beamline",
              max(shares[larger]["saved foil"] for shares in drawn.values()), at_most=0.1),
    ], {"beamlines": BEAMLINES, "weakest_foil": WEAKEST_FOIL},
        measured=found, particles=real, simulated=drawn)  # fmt: skip
    write_page("foils", result)


if __name__ == "__main__":
    main()
