"""May plans and people act on it? The statistical error against repeats, and the error of changes against the truth.

Scans of simulated particles, with counting noise of 1e4 to 1e8 photons a point, go through the Analyzer. The statistical 90 %
is held against the scatter of repeats and of their averages; that of a change against true changes of particles whose
environments the networks had not seen. acting.py adds what plans and PVs do with them. The peer is what a user would do without it: three repeats and their standard
deviation. Writes benchmarks/results/decisions.json and docs/explanations/decisions.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from acting import BAND, Held, draw, false_stops, held_in_band, invalid_after
from pages import write_page
from record import claim, record
from scipy.stats import t as student
from shipped import ShippedModel

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.analysis.averages import RunningAverage
from xas_live.models.outputs.intervals import conformal_rank, gaussian_quantile
from xas_live.models.registry import load_model
from xas_live.plans import mean_of
from xas_live.prediction import Prediction, change
from xas_live.reduction import FoilAnchor
from xas_live.reduction.axis import AxisCache
from xas_live.reduction.quality import Checked, check_all
from xas_live.simulator import growth
from xas_live.simulator.absorption import Mismatch, measured
from xas_live.simulator.library import site_library
from xas_live.simulator.sample import Sample
from xas_live.spectrum import Array, Spectrum
from xas_live.training.change import DRAWS, simulate_changes

MODELS = {"pt-l3": "pt_l3", "au-l3": "au_l3", "pd-k": "pd_k"}
COUNTS = (1e4, 1e5, 1e6, 1e7, 1e8)
REPEATS = (1, 4, 16)
SWEEPS, LEVEL, SEED, FOLDS = 64, 0.9, 20261129, 5
FOIL_COUNTS = 1e9
ASKED, TRIALS = (2, 3, 4, 6, 9, 12), 10  # fewest repeats that would do, and series drawn for each


def axis_of(edge: float) -> Array:
    """Energies of a step scan (eV)."""
    parts = ((-180, -20, 5), (-20, 40, 0.5), (40, 120, 1), (120, 640, 3))
    return edge + np.concatenate([np.arange(*part, dtype=float) for part in parts])


@dataclass
class Beamline:
    """Simulated scans of one metal, with counting noise, and the analysis anchored by its foil."""

    name: str
    rng: np.random.Generator
    mismatch: Mismatch = field(default_factory=Mismatch)

    def __post_init__(self) -> None:
        self.bundle, self.library = load_model(self.name), site_library(MODELS[self.name])
        self.energy = axis_of(self.library.edge_energy)
        self.foil = measured(self.energy, self.library.name, None, self.mismatch)
        anchor = FoilAnchor.fit(self.scan(self.foil, FOIL_COUNTS), self.bundle)
        self.analyzer = Analyzer(self.bundle, anchor, AnalysisConfig(align="reference", level=LEVEL))

    def scan(self, mu: Array, counts: float) -> Spectrum:
        """A sweep with so many photons a point in front of the sample, its foil behind it."""
        i0 = self.rng.poisson(counts, len(mu))
        it = self.rng.poisson(i0 * np.exp(-0.3 - mu))
        ir = self.rng.poisson(it * np.exp(-0.3 - self.foil))
        return Spectrum.from_counts(
            self.energy,
            {"i0": i0, "it": it, "ir": ir},
            element=self.library.element,
            edge=self.library.edge,
            temperature=295.0,
        )

    def absorption(self, sample: Sample) -> Array:
        """(n,) of a sample, in edge steps."""
        return measured(self.energy, self.library.name, sample, self.mismatch)

    def particles(self, n: int) -> list[Sample]:
        """Samples of whole particles of the library, drawn at random."""
        names = sorted(self.library.sites.particles)
        chosen = self.rng.choice(names, size=min(n, len(names)), replace=False)
        return [Sample({str(name): 1.0}, self.library.name) for name in chosen]


def averaged(spectra: Sequence[Spectrum]) -> Spectrum:
    """The average over repeats, as a run's is made."""
    checked = [each for each in check_all(spectra, AxisCache()) if isinstance(each, Checked)]
    average = RunningAverage(spectra[0], checked[0])
    for spectrum, each in zip(spectra, checked, strict=True):
        average.add(spectrum, each)
    return average.spectrum


def table_of(predictions: Sequence[Prediction], names: Sequence[str], part: str) -> Array:
    """(n, targets) of the predictions that were given."""
    good = [p for p in predictions if p.refused is None]
    return np.array([[getattr(p.values[name], part) for name in names] for p in good]).reshape(-1, len(names))


def statistical(line: Beamline, n: int) -> list[dict[str, Any]]:
    """Of each particle, counts and number of repeats: how often the statistical interval holds the repeats' mean."""
    found: list[dict[str, Any]] = []
    names = line.bundle.target_names
    for sample in line.particles(n):
        mu = line.absorption(sample)
        for counts in COUNTS:
            sweeps = [line.scan(mu, counts) for _ in range(SWEEPS)]
            single = 1.0
            for repeats in REPEATS:
                groups = [sweeps[k : k + repeats] for k in range(0, SWEEPS, repeats)]
                spectra = [group[0] if repeats == 1 else averaged(group) for group in groups]
                predictions = line.analyzer.analyze(spectra)
                value, half = (table_of(predictions, names, part) for part in ("value", "statistical"))
                if len(value) < 3:
                    continue
                # about their own mean, which takes its part of the scatter
                off = np.abs(value - value.mean(0)) * np.sqrt(len(value) / (len(value) - 1))
                inside = off <= half
                single = float(np.median(half[:, 0])) if repeats == 1 else single
                beyond = _repeats_beyond_best(predictions, names[0], line.rng) if repeats == 1 else None
                three = value[: len(value) // 3 * 3].reshape(-1, 3, len(names))
                peer = student.ppf(0.5 + LEVEL / 2, 2) * three.std(1, ddof=1)
                found.append(
                    {
                        "model": line.name, "sample": sample.name, "counts": counts, "repeats": repeats,
                        "covered": inside.mean(0).tolist(), "half": np.median(half, axis=0).tolist(),
                        "repeats_beyond_best": beyond,
                        "narrowing": float(np.median(half[:, 0])) / single,
                        "peer_over_half": float(np.median(peer[:, 0]) / np.median(half[:, 0])),
                    }
                )  # fmt: skip
    return found


def _repeats_beyond_best(predictions: Sequence[Prediction], name: str, rng: np.random.Generator) -> float:
    """How many repeats `repeat_until` takes beyond the fewest that would do, were the noise known; on average."""
    found = [p.values[name] for p in predictions if p.refused is None]
    true = gaussian_quantile(LEVEL) * statistics.stdev(value.value for value in found)
    beyond = []
    for best in ASKED:
        asked = true / math.sqrt(best)
        for _ in range(TRIALS):
            order = rng.permutation(len(found))
            used = next(
                (n for n in range(1, len(found) + 1) if mean_of([found[k] for k in order[:n]])[1] <= asked),
                len(found),
            )
            beyond.append(used - best)
    return float(np.mean(beyond))


def unseen_changes(name: str) -> dict[str, Any]:
    """Coverage of the model's part of changes, calibrated without the particles that are tested."""
    shipped = ShippedModel(name)
    changes = simulate_changes(
        shipped.population, shipped.trained, shipped.bundle.tensors, shipped.domain_nuisances,
        np.random.default_rng(SEED),
    )  # fmt: skip
    fold = np.random.default_rng(SEED).permutation(changes.particle.max() + 1) % FOLDS
    fold = fold[changes.particle]
    covered = np.zeros(changes.error.shape, dtype=bool)
    for k in range(FOLDS):
        rest, here = fold != k, fold == k
        every = np.sort(np.abs(changes.error[rest]) / changes.distance[rest, None], axis=0)[
            DRAWS - 1 :: DRAWS
        ]
        limit = every[conformal_rank(len(every), LEVEL)]
        covered[here] = np.abs(changes.error[here]) <= limit * changes.distance[here, None]
    third = np.argsort(np.argsort(changes.distance)) * 3 // len(changes.distance)
    return {
        "pooled": float(covered.mean()),
        "by_target": dict(zip(shipped.bundle.target_names, covered.mean(0).round(4).tolist(), strict=True)),
        "by_size_of_change": [float(covered[third == k].mean()) for k in range(3)],
        "particles": len(np.unique(changes.particle)),
    }


def changes_seen(line: Beamline, counts: float, n: int = 40) -> dict[str, float]:
    """Whole intervals of changes along a growing sample, with noise, through the Analyzer."""
    series = growth(n, line.library.name)
    names = ("CN1", "CN2", "CN3", "CN4")
    told = line.analyzer.analyze([line.scan(line.absorption(sample), counts) for sample in series])
    truth = np.array([sample.weights() @ line.library.sites.cn for sample in series])
    covered, narrower = [], []
    for _ in range(400):
        i, j = line.rng.choice(n, 2, replace=False)
        if told[i].refused or told[j].refused:
            continue
        found = change(told[i], told[j])
        for column, name in enumerate(names):
            value, true = found[name], truth[j, column] - truth[i, column]
            covered.append(value.lower <= true <= value.upper)
            whole = np.hypot(
                *(0.5 * (p.values[name].upper - p.values[name].lower) for p in (told[i], told[j]))
            )
            narrower.append(0.5 * (value.upper - value.lower) / whole)
    return {"covered": float(np.mean(covered)), "half_over_independent": float(np.median(narrower))}


def main(particles: int) -> None:
    """Print the figures and write them down."""
    rows: list[dict[str, Any]] = []
    seen, unseen = {}, {}
    for name in MODELS:
        line = Beamline(name, np.random.default_rng(SEED))
        rows += statistical(line, particles)
        seen[name] = {f"{counts:.0e}": changes_seen(line, counts) for counts in (1e5, 1e6, 1e8)}
        unseen[name] = unseen_changes(name)
    cells = {
        f"{counts:.0e}, {repeats}": float(
            np.mean([r["covered"] for r in rows if r["counts"] == counts and r["repeats"] == repeats])
        )
        for counts in COUNTS
        for repeats in REPEATS
    }
    print("statistical 90 %, coverage of repeats by counts a point and number averaged")
    for cell, covered in cells.items():
        print(f"  {cell:12s} {covered:.3f}")
    pooled = float(np.mean([r["covered"] for r in rows]))
    narrowing = float(np.median([r["narrowing"] for r in rows if r["repeats"] == 16]))
    peer = float(np.median([r["peer_over_half"] for r in rows if r["repeats"] == 1]))
    beyond = float(np.mean([r["repeats_beyond_best"] for r in rows if r["repeats"] == 1]))
    changes = float(np.mean([each["pooled"] for each in unseen.values()]))
    print(
        f"pooled {pooled:.3f}; half width of 16 repeats over one's {narrowing:.3f}; three repeats' {peer:.2f} times ours"
    )
    for name in MODELS:
        print(name, "changes:", unseen[name], seen[name])
    claims = [
        claim(
            "statistical_coverage", "the statistical 90 % covers repeats", pooled, at_least=0.88, at_most=0.92
        ),
        claim(
            "difference_coverage",
            "90 % of a change covers true changes",
            changes,
            at_least=0.88,
            at_most=0.92,
        ),
        claim(
            "repeats_over_best", "repeats beyond the fewest that would do, on average", beyond, at_most=1.0
        ),
        claim("narrowing_at_16", "statistical half width of 16 repeats over one's", narrowing, at_most=0.3),
    ]
    stops = false_stops()
    held: dict[str, Held] = {name: held_in_band(name) for name in MODELS}
    draw(held)
    percent = {
        name: {"true": run.percent(run.true), "predicted": run.percent(run.predicted)}
        for name, run in held.items()
    }
    invalid = invalid_after()
    print(f"false stops: {stops}; CN1 held in {BAND} (%): {percent}; INVALID after (sweep times): {invalid}")
    claims += [
        claim("false_stops_out_of_domain", "repeats on oxides, sulphides and salts that ended as known", float(len(stops["stopped"])), at_most=0.0),
        claim("held_in_band_percent", "scans with true CN1 in the band, of those since it was reached", min(each["true"] for each in percent.values()), at_least=90.0),
        claim("invalid_within_sweeps", "sweep times until PVs are INVALID after the analysis was killed, closed or hung", max(invalid.values()), at_most=2.0),
    ]  # fmt: skip
    acting = {"false_stops": stops, "held": percent, "invalid_after": invalid}
    of_noise = {"cells": cells, "pooled": pooled, "three_repeats_over_half": peer, "rows": rows}
    result = record(
        "decisions",
        claims,
        {"statistical": of_noise, "changes_unseen": unseen, "changes_seen": seen, "acting": acting},
    )
    write_page("decisions", result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=6, help="of each metal (default 6)")
    main(parser.parse_args().particles)
