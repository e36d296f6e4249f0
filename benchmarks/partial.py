"""Predictions of growing sweeps: do their intervals cover, and do they narrow?

Simulated sweeps of particles whose environments the predicting members never saw are cut off 30 to 80 eV past the
edge and predicted. In twenty folds of particles a fold's widening comes from the scores of the others. The peer fills
the rest with the mean training spectrum and normalises by its first guess of the step. Writes
benchmarks/results/partial.json, docs/explanations/partial.md and its picture.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from pages import FOLDER, write_page
from record import claim, commit, record
from shipped import SEED, ShippedModel
from sweeps import anchor, spectra_of, sweeps

mpl.use("Agg")
import matplotlib.pyplot as plt

from xas_live.analysis import Analyzer
from xas_live.models.registry import load_model
from xas_live.models.sections.completion import Completion
from xas_live.models.sections.preview import LAST_ENERGIES
from xas_live.simulator import growth
from xas_live.spectrum import Array
from xas_live.training.partial import PartialScores, partial_scores

MODELS = ("au-l3", "pt-l3", "pd-k")
FOLDS = 20
KINDS = ("first sweep", "later sweeps")


def coverage(scores: PartialScores) -> tuple[Array, Array]:
    """Hits (2, energies, rows, targets), and calibrated half widths, each row by the factors of other folds."""
    particles = np.unique(scores.particle)
    folds = np.random.default_rng(SEED).permutation(len(particles)) % FOLDS
    half = np.empty_like(scores.half)
    for fold in range(FOLDS):
        of = particles[folds == fold]
        rows = np.isin(scores.particle, of)
        half[:, :, rows] = scores.half[:, :, rows] * scores.factors(without=of)[:, :, None]
    return np.abs(scores.error) <= half, half


def by_the_mean(shipped: ShippedModel, last: float) -> float:
    """Mean error of CN1 where the rest is the mean training spectrum, on fresh measurements of the same particles."""
    mean = shipped.bundle.array("train_mean")
    x, y = shipped.particles(1500, shipped.recipe.nuisances)
    m = int(np.searchsorted(shipped.bundle.grid, last, side="right"))
    inputs = x.double().numpy().copy()
    guess = Completion(mean, shipped.bundle.array("train_covariance")).first_guess(inputs[:, :m], np.zeros(m))
    inputs[:, :m] /= guess[:, None]
    inputs[:, m:] = mean[m:]
    with torch.inference_mode():
        found = shipped.trained.predict(torch.from_numpy(inputs).float()).mean(0)
    return float((found[:, 0] - y[:, 0]).abs().mean())


def one_sweep() -> dict[str, Any]:
    """A simulated Pt sweep while it grows: CN1 with its interval, by energy past the edge."""
    analyzer = Analyzer(load_model("pt-l3"), anchor(), device="cpu")
    energy, mu = sweeps(5)
    sweep = spectra_of(energy, mu)[4]
    (full,) = analyzer.analyze([sweep])
    grown: dict[str, list[float]] = {"energy": [], "value": [], "lower": [], "upper": []}
    for end in range(30, 126, 2):
        m = int(np.searchsorted(energy, 11564.0 + end))
        found = analyzer.preview(replace(sweep, energy=energy[:m], mu=sweep.mu[:m], complete=False))
        if found is not None:
            value = found.values["CN1"]
            for name, number in zip(grown, (float(end), value.value, value.lower, value.upper), strict=True):
                grown[name].append(number)
    whole = full.values["CN1"]
    return {
        **grown,
        "truth": growth(8, "pt_l3")[4].truth()["CN1"],
        "whole": [whole.lower, whole.value, whole.upper],
    }


def draw(parts: dict[str, Any], grown: dict[str, Any], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.fill_between(grown["energy"], grown["lower"], grown["upper"], color="#f4c9a5", label="90 % interval")
    left.plot(grown["energy"], grown["value"], color="#c4561a", label="so far")
    left.axhline(grown["truth"], color="0.3", ls="--", label="truth")
    lower, value, upper = grown["whole"]
    left.errorbar(
        [132],
        [value],
        [[value - lower], [upper - value]],
        fmt="o",
        color="#1f4e79",
        capsize=4,
        label="whole sweep",
    )
    left.set(xlabel="energy reached (eV past the edge)", ylabel="CN1", title="One sweep while it grows")
    left.legend(frameon=False, ncols=2, loc="lower right")
    for name, part in parts.items():
        for kind, style in zip(KINDS, ("-", ":"), strict=True):
            right.plot(LAST_ENERGIES, part[kind]["half"], style, marker="o", ms=3.5, label=f"{name}, {kind}")
    right.set(
        xlabel="energy reached (eV past the edge)",
        ylabel="half width of CN1's interval",
        title="Intervals, mean over particles",
    )
    right.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    commit()
    torch.set_num_threads(1)
    parts: dict[str, Any] = {}
    pooled: dict[float, list[Array]] = {}
    for name in MODELS:
        shipped = ShippedModel(name)
        scores = partial_scores(
            shipped.recipe, shipped.population, shipped.trained, shipped.bundle, np.random.default_rng(SEED)
        )
        hits, half = coverage(scores)
        parts[name] = {"sha256": shipped.bundle.sha256, "particles": len(np.unique(scores.particle))}
        for i, kind in enumerate(KINDS):
            parts[name][kind] = {
                "coverage": {f"{e:g}": float(hits[i, k].mean()) for k, e in enumerate(LAST_ENERGIES)},
                "coverage_cn1": {
                    f"{e:g}": float(hits[i, k, :, 0].mean()) for k, e in enumerate(LAST_ENERGIES)
                },
                "half": [float(h) for h in half[i, :, :, 0].mean(1)],
                "error": [float(e) for e in np.abs(scores.error[i, :, :, 0]).mean(1)],
            }
        parts[name]["error_by_the_mean"] = {f"{e:g}": by_the_mean(shipped, e) for e in (30.0, 50.0, 80.0)}
        for k, e in enumerate(LAST_ENERGIES):
            # Of each particle its share of hits, over both kinds and all targets: particles are the clusters.
            rows = hits[:, k].mean(axis=(0, 2))
            pooled.setdefault(e, []).append(
                np.array([rows[scores.particle == p].mean() for p in np.unique(scores.particle)])
            )
        print(name, parts[name], flush=True)
    claims = []
    for e in (30.0, 50.0, 80.0):
        cells = [parts[n][kind]["coverage"][f"{e:g}"] for n in MODELS for kind in KINDS]
        worst = max(cells, key=lambda c: abs(c - 0.9))
        shares = np.concatenate(pooled[e])
        draws = np.random.default_rng(SEED).choice(shares, (2000, len(shares))).mean(1)
        low, high = np.quantile(draws, [0.025, 0.975])
        claims.append(claim(
            f"coverage_{e:g}", f"90 % intervals {e:g} eV past the edge: coverage (pooled {shares.mean():.3f}, 95 %: {low:.3f} to {high:.3f}), "
            "worst of models, first and later sweeps", worst, at_least=0.86, at_most=0.94,
        ))  # fmt: skip
    narrowing = min(float(-np.diff(parts[n][kind]["half"]).max()) for n in MODELS for kind in KINDS)
    claims.append(
        claim(
            "narrows",
            "least narrowing of CN1's mean half width from one energy to the next",
            narrowing,
            above=0,
        )
    )
    grown = one_sweep()
    result = record(
        "partial", claims, {"models": {n: parts[n]["sha256"] for n in MODELS}}, parts=parts, one_sweep=grown
    )
    draw(parts, grown, FOLDER / "partial.png")
    write_page("partial", result)


if __name__ == "__main__":
    main()
