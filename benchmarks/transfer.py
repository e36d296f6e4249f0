"""Transfer learning to families of particles that training never saw: test (d).

The 13 particles of the library that are not fcc (icosahedra, decahedra, hcp): 6 are labelled, whole and as
mixtures jittered by site, and the other 7 judge. The source has learned all fcc particles under the same
nuisances. Labels come from more spectra of the same particles, or from more particles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from record import claim
from tasks import site_weights

from xas_live.models.network_spec import NetworkSpec
from xas_live.spectrum import Array
from xas_live.theory.sites import FCC_FAMILIES, SiteLibrary
from xas_live.training.population import used_sites
from xas_live.training.recipe import Nuisances, Schedule, Structures
from xas_live.training.simulate import Mixtures, Simulator, fcc_particles
from xas_live.training.train import FIRST_DRAWS, Trained, draw_members, initial_ensemble
from xas_live.training.transfer import fine_tune

LABELS = (15, 22, 29, 36)
PARTICLES = (2, 4, 6)  # labelled ones, for 36 spectra
SPLITS = 10
REPEATS = 20  # simulated measurements of each particle that judges
SPEC = NetworkSpec(hidden=(400, 400, 200, 200, 100), members=2)
SOURCE = Schedule(steps=2000, batch=128, learning_rate=1e-3, seed=0)
ALIKE = Structures(sites="", random_sites=0.0, particles=1.0)


def transfer_table(sites: str, grid: Array, nuisances: Nuisances) -> dict[str, Any]:
    """Mean absolute errors of CN1 to CN4 before and after, means over splits, and each split's."""
    library = SiteLibrary.load(sites)
    simulator = Simulator(library, grid)
    source = source_ensemble(library, simulator, nuisances)
    others = [p for p in library.particles.values() if p.family not in FCC_FAMILIES]
    at_rest = nuisances.model_copy(update={"lattice": (0.0, 0.0)})
    found: dict[str, list[float]] = {}
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        order = rng.permutation(len(others))
        labelled, tested = [others[i] for i in order[:6]], [others[i] for i in order[6:]]
        rows = np.stack([site_weights(library, particle) for particle in tested])
        x, y = simulator.measure(np.repeat(rows, REPEATS, axis=0), at_rest, rng)

        def error(ensemble: Trained, x: torch.Tensor = x, y: torch.Tensor = y) -> float:
            with torch.inference_mode():
                return float((ensemble.predict(x).mean(0) - y)[:, :4].abs().mean())

        found.setdefault("un-tuned", []).append(error(source))
        for count, spectra in [(6, n) for n in LABELS] + [(k, LABELS[-1]) for k in PARTICLES[:-1]]:
            used = np.isin(np.arange(len(library.cn)), used_sites(labelled[:count]))
            mixtures = Mixtures.of(library, labelled[:count], used, ALIKE)
            w = np.concatenate([np.stack(mixtures.particles), mixtures.draw(spectra - count, rng)])
            known_x, known_y = simulator.measure(w, at_rest, rng)
            everything = [np.arange(len(w))] * SPEC.members
            tuned = fine_tune(SPEC, source.weights, source.scaling, known_x, known_y, everything)
            name = f"{spectra} spectra of {count} particles"
            found.setdefault(name, []).append(error(replace(source, weights=tuned)))
    mean = {name: round(float(np.mean(of)), 4) for name, of in found.items()}
    few, many = (mean[f"{n} spectra of 6 particles"] for n in (LABELS[0], LABELS[-1]))
    return {
        "results": mean,
        "median": {name: round(float(np.median(of)), 4) for name, of in found.items()},
        "splits": {name: np.round(of, 3).tolist() for name, of in found.items()},
        "claims": [
            claim("d_mae_15", "families never trained on, 15 labelled spectra: MAE over CN1..CN4", few,
                  at_most=0.43),
            claim("d_mae_36", "the same, 36 labelled spectra", many, at_most=0.35),
        ],
    }  # fmt: skip


def source_ensemble(library: SiteLibrary, simulator: Simulator, nuisances: Nuisances) -> Trained:
    """The deep MLP, trained on all fcc particles."""
    particles = fcc_particles(library)
    used = np.isin(np.arange(len(library.cn)), used_sites(particles))
    mixtures = Mixtures.of(library, particles, used, Structures(sites=""))
    rng = np.random.default_rng(SOURCE.seed)
    member_fold = np.zeros(SPEC.members, dtype=int)  # every member learns from all of them
    draw = draw_members(
        lambda fold, n: mixtures.draw(n, rng),
        lambda weights: simulator.measure(weights, nuisances, rng),
        member_fold,
    )
    return initial_ensemble(SPEC, member_fold, *draw(FIRST_DRAWS), SOURCE.seed).train(draw, SOURCE)
