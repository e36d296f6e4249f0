"""How far theory lies from measured foils after anchoring, and measured foils from one another.

What theory gets wrong for the foil cancels in the anchored spectrum of the bulk, and returns with the share u
of neighbours that are missing: the size and length of that error stand in the recipes as mismatch_per_u and
mismatch_length. What differs between beamlines' foils does not cancel: it stands there as mismatch. Here both
are measured, for each model on the foils of the other metals alone, and compared with its recipe. Writes
benchmarks/results/mismatch.json.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from measured import anchor
from record import ROOT, claim, record
from rich.console import Console
from rich.table import Table

from xas_live.models.bundle import Bundle
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import FoilAnchor, common_windows
from xas_live.reduction.normalize import NormalizationOperator
from xas_live.spectrum import Array
from xas_live.training.instrument import Instrument
from xas_live.training.recipe import Nuisances, read_recipe

FOILS = {
    "au-l3": ["au_nanoparticles/14_Au_foil.dat", "foils_nsls/Au_foil_Au_L3.dat",
              "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi"],
    "pt-l3": ["foils_nsls/Pt_foil_Pt_L3.dat", "foils_xdi/pt_metal_rt.xdi"],
    "pd-k": ["foils_nsls/Pd_foil_Pd_K.dat"],
}  # fmt: skip
FAR = 13.0  # eV, past the white line
SHIFTS = np.linspace(-1.5, 1.5, 61)  # eV between two foils


def theory_error(foil: FoilAnchor, bundle: Bundle) -> Array:
    """(g,) anchored foil less theory, in edge steps."""
    theory = np.interp(bundle.grid, bundle.array("theory_energy"), bundle.array("theory_bulk"))
    windows = common_windows(bundle.card.inputs[0].fit_windows, [foil.energy], foil.e0)
    flat, gain = foil.on_grid(bundle.grid, theory, windows)
    return np.asarray(gain * flat - theory)


def beamlines_error(foil: FoilAnchor, other: FoilAnchor, bundle: Bundle) -> Array:
    """(g,) another foil less the anchor's, without what recipes name apart: shift, stretch, resolution, gain, curve."""
    x = bundle.grid
    theory = np.interp(x, bundle.array("theory_energy"), bundle.array("theory_bulk"))
    windows = common_windows(bundle.card.inputs[0].fit_windows, [foil.energy, other.energy], foil.e0)
    own, gain = foil.on_grid(x, theory, windows)

    def moved(shift: float) -> Array:
        points = other.e0 + shift + foil.shift + foil.stretch * x
        operator = NormalizationOperator(other.energy, other.e0, windows, points)
        return np.asarray(operator.flat(other.mu[None])[0][0])

    off = min((moved(shift) - own for shift in SHIFTS), key=lambda d: float(d @ d)) * gain
    slope, rise = np.gradient(own, x), np.maximum(x, 0.0) / 80.0
    named = np.stack([own, rise, rise**2 - rise, slope, x * slope, np.gradient(slope, x)], axis=1)
    return np.asarray(off - named @ np.linalg.lstsq(named, off, rcond=None)[0])


def rms(values: list[Array]) -> float:
    """Root mean square, each spectrum counting alike."""
    return float(np.sqrt(np.mean([np.mean(v**2) for v in values])))


def length(x: Array, error: Array) -> float:
    """eV at which the autocorrelation has fallen to exp(-1/2)."""
    mesh = np.arange(x[0], x[-1], 0.5)
    y = np.interp(mesh, x, error)
    alike = np.correlate(y - y.mean(), y - y.mean(), "full")[len(y) - 1 :]
    return float(0.5 * np.argmax(alike < np.exp(-0.5) * alike[0]))


def mismatch_alone(x: Array, recipe: Nuisances, n: int = 300) -> list[Array]:
    """What a recipe draws as mismatch, and nothing else, on a flat spectrum."""
    instrument, rng = Instrument(x), np.random.default_rng(0)
    flat = torch.ones((n, len(instrument.mesh)))
    alone = Nuisances(mismatch_per_u=1.0, mismatch_length=recipe.mismatch_length)
    return list((instrument.measure(flat, torch.ones(n), flat[0], alone, rng) - 1.0).double().numpy())


def main() -> None:
    theory: dict[str, list[Array]] = {}
    between: dict[str, list[Array]] = {}
    far = {}
    for model, names in FOILS.items():
        bundle = load_model(model)
        foils = [anchor(model, name) for name in names]
        theory[model] = [theory_error(foil, bundle) for foil in foils]
        between[model] = [beamlines_error(a, b, bundle) for a, b in permutations(foils, 2)]
        far[model] = bundle.grid > FAR
    table = Table("model", "mismatch_per_u", "measured", "mismatch", "measured ", "length (eV)", "measured  ",
                  title="recipes against foils of the other metals")  # fmt: skip
    claims, rows = [], {}
    for model in FOILS:
        others = [name for name in FOILS if name != model]
        x = load_model(model).grid
        recipe = read_recipe(Path(ROOT / "xas_live" / "training" / "recipes" / f"{model}.toml")).nuisances
        per_u = rms([e[far[name]] for name in others for e in theory[name]])
        beamline = rms([e for name in others for e in between[name]])
        long = float(np.mean([length(x[far[name]], e[far[name]]) for name in others for e in theory[name]]))
        drawn = float(np.median([length(x[x > FAR], e[x > FAR]) for e in mismatch_alone(x, recipe)]))
        stated = recipe.mismatch_per_u / np.sqrt(3.0)  # drawn evenly from zero
        table.add_row(model, f"{stated:.4f}", f"{per_u:.4f}", f"{recipe.mismatch:.4f}", f"{beamline:.4f}",
                      f"{drawn:.1f}", f"{long:.1f}")  # fmt: skip
        for what, ratio in (("mismatch_per_u", stated / per_u), ("length of the mismatch", drawn / long)):
            claims.append(
                claim(f"{what.split()[0]}_{model}", f"{model}: {what} as drawn, over that of other metals' foils",
                      ratio, at_least=0.5, at_most=2)
            )  # fmt: skip
        rows[model] = {
            "recipe": {"per_u": round(float(stated), 4), "beamlines": recipe.mismatch},
            "other_metals_foils": {"per_u": round(per_u, 4), "beamlines": round(beamline, 4)},
            "length_ev": {
                "recipe": recipe.mismatch_length,
                "as_drawn_past_the_white_line": round(drawn, 2),
                "other_metals_foils": round(long, 2),
            },
            "own_foils_past_the_white_line": [round(rms([e[far[model]]]), 4) for e in theory[model]],
            "own_foils_up_to_it": [round(rms([e[~far[model]]]), 4) for e in theory[model]],
        }
    Console().print(table)
    record("mismatch", claims, {"foils": FOILS}, measured=rows)


if __name__ == "__main__":
    main()
