"""Growing particles at the simulated beamline: what the demo shows, for every metal and many seeds.

The particles took no part in training; contraction and disorder grow with the missing neighbours, and sample
and foil both differ from theory by shift, stretch, gain and a smooth bump. Writes
benchmarks/results/simulated.json.
"""

from __future__ import annotations

import numpy as np
from bluesky import RunEngine
from record import claim, record
from rich.console import Console
from rich.table import Table

import xas_live
from xas_live.models.registry import load_model
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan

METALS = {"pt_l3": "pt-l3", "pd_k": "pd-k", "au_l3": "au-l3"}
SEEDS = range(4)
SCANS = 12
NAMES = ("CN1", "CN2", "CN3", "CN4")


def run(metal: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (scans, 4), whether truths lie in their intervals (scans, 4), in domain (scans,)."""
    RE, beamline = RunEngine({}), SimulatedBeamline(metal, seed=seed)
    samples = growth(SCANS, metal)
    with xas_live.attach(RE, plot=False) as xas:
        for sample in samples:
            RE(simulated_scan(beamline, sample))
        xas.wait()
        predictions = xas.predictions
    error, inside = np.empty((SCANS, 4)), np.empty((SCANS, 4), dtype=bool)
    for i, (p, sample) in enumerate(zip(predictions, samples, strict=True)):
        truth = sample.truth()
        for j, name in enumerate(NAMES):
            value = p.values[name]
            error[i, j] = value.value - truth[name]
            inside[i, j] = value.lower <= truth[name] <= value.upper
    return error, inside, np.array([p.in_domain for p in predictions])


def main() -> None:
    table = Table("metal", *(f"mean |Δ{n}|" for n in NAMES), *(f"{n} covered" for n in NAMES), "in domain")
    claims = []
    for metal, model in METALS.items():
        runs = [run(metal, seed) for seed in SEEDS]
        error, inside, domain = (np.concatenate([r[i] for r in runs]) for i in range(3))
        mae = np.abs(error).mean(axis=0)
        table.add_row(
            model,
            *(f"{x:.2f}" for x in mae),
            *(f"{x:.0%}" for x in inside.mean(axis=0)),
            f"{domain.mean():.0%}",
        )
        covered = inside.mean()
        claims += [
            claim(
                f"{metal}_covered",
                f"{model}: truths in their 90 % intervals",
                covered,
                at_least=0.85,
            ),
            claim(f"{metal}_cn1_error", f"{model}: mean |ΔCN1|", mae[0], at_most=0.4),
        ]
    Console(width=132).print(table)
    shas = {model: load_model(model).sha256 for model in METALS.values()}
    record("simulated", claims, {"models": shas, "scans": SCANS, "seeds": len(SEEDS)})


if __name__ == "__main__":
    main()
