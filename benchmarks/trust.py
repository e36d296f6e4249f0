"""Whether predictions know when they are wrong: intervals, domain, standards, quality gate.

Coverage is measured on particles whose environments the predicting members never saw, in twenty folds
of particles: a fold's intervals come from the scores of the others. Spectra carry every nuisance of the recipe.
False alarms and the power to see oxide are measured at the shipped threshold, on fresh draws. Real spectra
judge (others' data: only where they lie); nothing was fitted to them. Writes benchmarks/results/trust.json,
docs/explanations/trust.md and its pictures; `--cards` writes the figures into the shipped models' cards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import matplotlib as mpl
import measured
import numpy as np
import torch
import verdicts
from pages import FOLDER, write_page
from record import claim, commit, record
from scipy.stats import spearmanr
from shipped import SEED, ShippedModel
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from xas_live.analysis import AnalysisConfig, AnalyzerPool
from xas_live.models import registry
from xas_live.models.bundle import CARD, read_card
from xas_live.models.card import Trust
from xas_live.models.outputs.intervals import fit_intervals, gaussian_quantile, half_width
from xas_live.models.registry import load_model
from xas_live.models.sections.latent import encode, reconstruct
from xas_live.models.sections.phases import DEGENERATE, Metals, Mixed, phase_fractions
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.axis import Axis
from xas_live.reduction.gate import quality
from xas_live.reduction.quality import standing_out
from xas_live.sources.files import read_file
from xas_live.sources.replay import replay, spectra_of
from xas_live.sources.scan import parse_columns
from xas_live.spectrum import Array, Spectrum
from xas_live.theory.oxides import Oxides
from xas_live.training.calibrate import DRAWS, Unseen, measure_unseen

mpl.use("Agg")
import matplotlib.pyplot as plt

MODELS = {"au-l3": "Au L3", "pt-l3": "Pt L3", "pd-k": "Pd K"}
OXIDES = {"au-l3": ("PtO", "PtO2"), "pt-l3": ("PtO", "PtO2"), "pd-k": ("PdO",)}
OTHER_METAL = {"au-l3": "pt-l3", "pt-l3": "au-l3", "pd-k": "pt-l3"}
OTHER_EDGE = {"au-l3": "pd-k", "pt-l3": "pd-k", "pd-k": "au-l3"}  # a K edge for an L3 edge, and the reverse
FOLDS, LEVEL = 20, 0.9
LEVELS = np.arange(0.05, 0.96, 0.05)
NOISY_FLAG = 0.02  # edge steps a point, from which a sweep is flagged as noisy
POSITIVES = 400


# --- intervals ------------------------------------------------------------------------------------------


def coverage(unseen: Unseen, targets: list[str]) -> dict[str, Any]:
    """Of intervals from the other folds' particles: overall, by cell, by level, and that of the bare ensemble."""
    particles = np.unique(unseen.particle)
    fold_of = dict(
        zip(
            particles,
            np.random.default_rng(SEED).permutation(len(particles)) % FOLDS,
            strict=True,
        )
    )
    fold = np.array([fold_of[p] for p in unseen.particle])
    error = unseen.mean - unseen.truth
    hits = np.zeros((len(LEVELS) + 1, *error.shape), dtype=bool)
    for k in range(FOLDS):
        known = np.flatnonzero(fold != k)
        tensors = fit_intervals(error[known], unseen.spread[known], unseen.mean[known, 0], draws=DRAWS)
        rows = np.flatnonzero(fold == k)
        for i, level in enumerate((LEVEL, *LEVELS)):
            half = half_width(tensors, unseen.spread[rows], unseen.mean[rows, 0], float(level))
            hits[i, rows] = (error[rows].abs() <= half).numpy()
    third = np.argsort(np.argsort(unseen.mean[:, 0].numpy())) * 3 // len(error)
    cells = {
        f"{name}, {('least', 'middle', 'largest')[k]} third": float(hits[0, third == k, j].mean())
        for j, name in enumerate(targets)
        for k in range(3)
    }
    bare = (error.abs() <= gaussian_quantile(LEVEL) * unseen.spread).numpy()
    whole = unseen.whole
    return {
        "hits": hits[0],
        "particle": unseen.particle,
        "pooled": float(hits[0].mean()),
        "cells": cells,
        "by_target": dict(zip(targets, hits[0].mean(0).round(4).tolist(), strict=True)),
        "whole_particles": float(hits[0, whole].mean()),
        "levels": [float(h.mean()) for h in hits[1:]],
        "bare_ensemble": float(bare.mean()),
        "particles": len(particles),
    }


def bootstrap(parts: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """95 % interval of pooled coverage, particles drawn anew."""
    rng, of_particles = np.random.default_rng(SEED), []
    for part in parts:
        hits, particle = part["hits"].mean(1), part["particle"]
        of_particles += [hits[particle == p].mean() for p in np.unique(particle)]
    values = np.array(of_particles)
    draws = [rng.choice(values, len(values)).mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def perturbed(shipped: ShippedModel, share: float) -> dict[str, tuple[float, float]]:
    """Covered or flagged, and flagged, under all perturbations together and each alone, at a share of full size."""
    z = shipped.recipe.nuisances
    still = z.model_copy(
        update={"shift": 0.0, "gain": 0.0, "noise": (0.001, 0.003), "self_absorption": 0.0, "glitch": 0.0}
    )
    kinds = ("shift", "noise", "edge step", "self-absorption")
    rng, found = np.random.default_rng(SEED + 1), {}
    of = shipped.tested
    whole = np.flatnonzero(of.whole)
    for name in ("all", *kinds):
        on = kinds if name == "all" else (name,)
        noise = 0.03 * share if "noise" in on else 0.003
        now = still.model_copy(
            update={
                "noise": (noise, noise) if "noise" in on else still.noise,
                "shift": share if "shift" in on else 0.0,
            }
        )
        covered, flagged = [], []
        for k in np.unique(of.fold[whole]):
            rows = np.repeat(whole[of.fold[whole] == k], DRAWS)
            x, y = shipped.population.measure(of.weights[rows], now, rng)
            if "self-absorption" in on:
                a = 0.1 * share
                x = x * (1.0 + a) / (1.0 + a * x)
            if "edge step" in on:
                x = x * (1.0 + 0.03 * share * torch.from_numpy(rng.uniform(-1, 1, (len(x), 1))).float())
            members = np.flatnonzero(shipped.trained.member_fold == k)
            mean = shipped.trained.predict(x, members).mean(0).double().numpy()
            judged = shipped.found(x)
            covered.append(np.abs(mean - y.double().numpy()) <= judged.half)
            flag = shipped.distrusted(judged) | shipped.edge_flagged(x) | (noise > NOISY_FLAG)
            flagged.append(flag)
        inside, flags = np.concatenate(covered), np.concatenate(flagged)
        found[name] = (float((inside | flags[:, None]).mean()), float(flags.mean()))
    return found


# --- domain ---------------------------------------------------------------------------------------------


def oxidised(shipped: ShippedModel, x: torch.Tensor, share: float, salt: Array | None) -> torch.Tensor:
    """Particles with a share of oxide: its energy zero within 1 eV; for Au the measured salt."""
    if salt is not None:
        return x + share * torch.from_numpy(salt - shipped.theory).float()
    oxides = Oxides(OXIDES[shipped.name], shipped.bundle.grid, shipped.theory)
    off = [
        oxides.at(int(shipped.rng.integers(len(oxides.spectra))), shipped.rng.uniform(-1.0, 1.0))
        for _ in range(len(x))
    ]
    return x + share * torch.from_numpy(np.stack(off)).float()


def domain(shipped: ShippedModel, all_shipped: dict[str, ShippedModel], salt: Array | None) -> dict[str, Any]:
    """False alarms, oxide seen, and areas under the curve for other metals, edges and glitches."""
    x, _ = shipped.particles(4000)
    _, scores, out = shipped.judged(x)
    forest = IsolationForest(random_state=SEED).fit(shipped.particles(4000)[0].numpy())
    forest_limit = np.quantile(forest.score_samples(x.numpy()), np.mean(out))
    seen, by_forest = {}, {}
    for share in (0.05, 0.1, 0.2, 0.3):
        mixed = oxidised(shipped, x, share, salt)
        seen[f"{share:g}"] = float((shipped.judged(mixed)[2] | shipped.edge_flagged(mixed)).mean())
        by_forest[f"{share:g}"] = float((forest.score_samples(mixed.numpy()) < forest_limit).mean())

    def auroc(other: str) -> float:
        positives, _ = all_shipped[other].particles(POSITIVES)
        worse = shipped.judged(positives)[1]
        return float(roc_auc_score(np.r_[np.zeros(len(scores)), np.ones(len(worse))], np.r_[scores, worse]))

    return {
        "false_alarms": float(out.mean()),
        "edge_flag_alone": float((shipped.edge_flagged(x) & ~out).mean()),
        "oxide_seen": seen,
        "oxide_seen_by_isolation_forest": by_forest,
        "auroc_metal": auroc(OTHER_METAL[shipped.name]),
        "auroc_edge": auroc(OTHER_EDGE[shipped.name]),
        "auroc_glitch": glitch_auroc(shipped),
    }


def glitch_auroc(shipped: ShippedModel) -> float:
    """Of glitches of 0.1 to 0.5 edge steps at one point, by how far the worst point stands out."""
    axis = Axis(shipped.bundle.grid)
    clean = shipped.domain_nuisances.model_copy(update={"glitch": 0.0})
    x = shipped.particles(2 * POSITIVES, clean)[0].double().numpy()
    height = shipped.rng.uniform(0.1, 0.5, POSITIVES) * shipped.rng.choice([-1.0, 1.0], POSITIVES)
    at = shipped.rng.integers(3, len(axis) - 3, POSITIVES)
    x[np.arange(POSITIVES), at] += height
    worst = [float(standing_out(axis, row, 1.0).max()) for row in x]
    return float(roc_auc_score(np.arange(len(x)) < POSITIVES, worst))


# --- standards ------------------------------------------------------------------------------------------


def standards(shipped: ShippedModel, salt: Array | None, n: int = 200) -> dict[str, float]:
    """Particles with 0 to 0.6 of a measured standard: errors of its share and of CN1 of the sample, and coverage."""
    bundle, rng = shipped.bundle, shipped.rng
    section = bundle.card.sections.phases
    assert section is not None
    metals = Metals(*(bundle.array(name) for name in ("metal_mean", "metal_factor", "metal_rest")))
    whole = rng.choice(np.flatnonzero(shipped.tested.whole), n)
    usual = shipped.domain_nuisances.model_copy(update={"noise": shipped.recipe.nuisances.noise})
    x, y = shipped.population.measure(shipped.tested.weights[whole], usual, rng)
    share = rng.uniform(0.0, 0.6, n)
    oxides = Oxides(OXIDES[shipped.name], bundle.grid, shipped.theory)
    found = []
    for row, truth, w in zip(x.double().numpy(), y.numpy(), share, strict=True):
        phase = salt if salt is not None else shipped.theory + oxides.at(0, rng.uniform(-1.0, 1.0))
        mixed = Mixed.fit((1.0 - w) * row + w * phase, phase[None], metals)
        out = shipped.trained.predict(torch.from_numpy(mixed.remainder).float())
        half = half_width(bundle.tensors, out.std(0, correction=0), out.mean(0)[:, 0], LEVEL)
        std = half.double().numpy() / gaussian_quantile(LEVEL)
        told = phase_fractions(
            mixed, bundle.target_names, out.mean(0).double().numpy(), std, ["oxide"], section
        )
        assert told.sample is not None
        (fraction, its), (cn1, cn1_std) = told.fractions["oxide"], told.sample
        q = gaussian_quantile(LEVEL)
        found.append(
            (
                abs(fraction - w), abs(fraction - w) <= q * its,
                abs(cn1 - (1.0 - w) * truth[0]), abs(cn1 - (1.0 - w) * truth[0]) <= q * cn1_std,
                abs(told.correlation) > DEGENERATE,
            )
        )  # fmt: skip
    table = np.array(found, dtype=float)
    told_apart = table[table[:, 4] == 0]
    return {
        "w_error": float(told_apart[:, 0].mean()),
        "w_covered": float(told_apart[:, 1].mean()),
        "cn1_sample_error": float(table[:, 2].mean()),
        "cn1_sample_covered": float(table[:, 3].mean()),
        "degenerate": float(table[:, 4].mean()),
    }


# --- real spectra ---------------------------------------------------------------------------------------


def tagged() -> list[tuple[str, bool, Any]]:
    """Name, the beamline scientist's tag, and the gate's verdict, of 184 scans."""
    with h5py.File(measured.MEASURED / "bmm_quality" / "bmm_scans.h5") as file:
        return [
            (
                name,
                bool(scan.attrs["tag"]),
                quality(Spectrum(energy=scan[:, 1].astype(float), mu=scan[:, 2].astype(float))),
            )
            for name, scan in file.items()
        ]


def reduction_series() -> list[Any]:
    """The eight spectra of Au(III) on its way to Au(0), by hours, anchored by their project's own foil."""
    scans = read_file(measured.MEASURED / "au_reduction_series" / "cyanobacteria.prj")
    (foil,) = (scan for scan in scans if scan.scan == "Au foil")
    series = [scan for scan in scans if scan.scan.replace(".", "").isdigit()]
    anchor = FoilAnchor.fit(spectra_of(foil)[0], load_model("au-l3"))
    return list(replay(series, AnalyzerPool("au-l3", anchor, AnalysisConfig(align="none"))))


# --- pictures -------------------------------------------------------------------------------------------


def draw_latent(shipped: ShippedModel, others: list[tuple[str, Array]], path: Path) -> None:
    """The latent map: training spectra by their CN1, and measured spectra over them."""
    t = shipped.bundle.tensors
    figure, ax = plt.subplots(figsize=(7.2, 5.4), layout="constrained")
    cloud = t["latent_cloud"].numpy()
    dots = ax.scatter(*cloud[:, :2].T, c=t["latent_target"].numpy(), s=12, cmap="viridis", alpha=0.7, lw=0)
    for name, x in others:
        at = encode(t, torch.from_numpy(x[None]).float())[0]
        ax.plot(at[0], at[1], "o", ms=7, mfc="white", mec="#d55e00", mew=1.6)
        ax.annotate(
            name, (float(at[0]), float(at[1])), xytext=(7, -12), textcoords="offset points", fontsize=8
        )
    ax.set(
        xlabel="first latent coordinate",
        ylabel="second latent coordinate",
        title=f"{shipped.name}: training spectra, and measured ones",
    )
    figure.colorbar(dots, label="CN1 of the training spectrum")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def denoising(shipped: ShippedModel, n: int = 400) -> tuple[float, tuple[Array, Array, Array]]:
    """Error after denoising over error before, at a noise of 0.03 a point; and one spectrum: true, noisy, denoised."""
    quiet = shipped.domain_nuisances.model_copy(update={"noise": (0.0, 0.0), "i0_noise": 0.0, "glitch": 0.0})
    true, _ = shipped.particles(n, quiet)
    noisy = true + 0.03 * torch.from_numpy(shipped.rng.standard_normal(true.shape)).float()
    back = reconstruct(shipped.bundle.tensors, noisy)[1]
    ratio = float(((back - true).square().mean() / (noisy - true).square().mean()).sqrt())
    return ratio, (true[0].numpy(), noisy[0].numpy(), back[0].numpy())


def draw_denoised(grid: Array, spectra: tuple[Array, Array, Array], ratio: float, path: Path) -> None:
    """A noisy spectrum, its reconstruction by the autoencoder, and the truth."""
    true, noisy, back = spectra
    figure, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    ax.plot(grid, noisy, ".", ms=4, color="#999999", label="noise of 0.03 edge steps a point")
    ax.plot(grid, true, color="black", lw=1.2, label="true")
    ax.plot(grid, back, color="#0072b2", lw=1.6, label=f"denoised (error {ratio:.2f} of the noise's)")
    ax.set(xlabel="energy (eV from the Fermi level)", ylabel="network input (edge steps)")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    commit()
    torch.set_num_threads(1)
    all_shipped = {name: ShippedModel(name) for name in MODELS}
    colloids, labels = measured.colloids()
    salt = colloids[0]
    assert salt.reduced is not None
    salt_input = salt.reduced.network_input
    parts: dict[str, Any] = {}
    intervals = {}
    for name, shipped in all_shipped.items():
        own = salt_input if name == "au-l3" else None
        unseen = measure_unseen(shipped.recipe, shipped.population, shipped.trained, shipped.rng)
        intervals[name] = coverage(unseen, shipped.bundle.target_names)
        ratio, spectra = denoising(shipped)
        verdict, drawn = verdicts.degrees(shipped)
        parts[name] = {
            "sha256": shipped.bundle.sha256,
            "coverage": {k: v for k, v in intervals[name].items() if k not in ("hits", "particle")},
            "perturbed": perturbed(shipped, 1.0),
            "half_perturbed": perturbed(shipped, 0.5),
            "domain": domain(shipped, all_shipped, own),
            "verdict": verdict,
            "non_metal": verdicts.non_metal(shipped),
            "compounds": verdicts.compounds(shipped, drawn),
            "standards": standards(shipped, own),
            "denoised": ratio,
        }
        print(f"{name}: {parts[name]}", flush=True)
        if name == "au-l3":
            draw_denoised(shipped.bundle.grid, spectra, ratio, FOLDER / "denoised.png")
            shown = [("foil", colloids[-1]), ("K2AuCl4", salt)] + [
                ("six colloids" if k == 0 else "", p) for k, p in enumerate(colloids[1:-1])
            ]
            draw_latent(
                shipped,
                [(words, p.reduced.network_input) for words, p in shown if p.reduced is not None],
                FOLDER / "latent.png",
            )
    real = real_spectra(colloids, labels)
    scans = tagged()
    result = record(
        "trust", claims(parts, intervals, real, scans), {"models": {n: h.bundle.sha256 for n, h in all_shipped.items()}, "folds": FOLDS},
        parts=parts, real=real, gate=differing(scans),
    )  # fmt: skip
    write_page("trust", result)
    if "--cards" in sys.argv:
        write_cards(parts)


def write_cards(parts: dict[str, Any]) -> None:
    """The figures into the shipped cards, and the cards' new hashes into the registry."""
    source = Path(registry.__file__)
    for name, part in parts.items():
        folder = registry.SHIPPED_FOLDER / name
        told = {what: part["domain"][f"auroc_{what}"] for what in ("metal", "edge", "glitch")}
        trust = Trust(
            coverage=round(part["coverage"]["pooled"], 4),
            particles=part["coverage"]["particles"],
            false_alarms=round(part["domain"]["false_alarms"], 4),
            oxide_flagged={share: round(seen, 3) for share, seen in part["domain"]["oxide_seen"].items()},
            told_apart={what: round(area, 4) for what, area in told.items()},
            half_perturbed_flagged=round(part["half_perturbed"]["all"][1], 3),
        )
        card = read_card(folder).model_copy(update={"trust": trust})
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        text = source.read_text(encoding="utf-8")
        source.write_text(
            text.replace(registry.SHIPPED_HASHES[name], registry.bundle_sha256(folder)), encoding="utf-8"
        )


def real_spectra(colloids: list[Any], labels: list[dict[str, str]]) -> dict[str, Any]:
    """Verdicts on measured spectra."""
    crossed = [p for _, _, p in measured.foils()]
    b18_files = sorted((measured.MEASURED / "b18_pt3sn").glob("*.dat"))
    b18_scans = [s for f in b18_files for s in read_file(f, columns=parse_columns(measured.B18_COLUMNS))]
    alloy = list(replay(b18_scans, AnalyzerPool("pt-l3", "reference")))
    series = reduction_series()
    heated = [p for _, _, p in measured.catalysts()]

    def verdict(p: Any) -> dict[str, Any]:
        seen = p.outcome.chemistry
        cn1 = p.values.get("CN1")
        return {
            "scan": p.provenance.scan, "verdict": str(p.verdict.degree), "widening": round(p.verdict.widening, 2),
            "CN1": None if cn1 is None else [round(v, 2) for v in (cn1.value, cn1.lower, cn1.upper)],
            "non_metal": None if seen is None else [round(v, 2) for v in (seen.non_metal.value, seen.non_metal.lower, seen.non_metal.upper)],
            "looks": "" if seen is None else seen.looks,
            "in_domain": p.in_domain, "p": round(p.domain.p, 4) if p.refused is None else None,
            "score": round(p.domain.score, 2) if p.refused is None else None, "reason": p.refused or p.verdict.reason,
            "flags": [f for f in p.flags if f != "temperature_unknown"],
        }  # fmt: skip

    return {
        "salt": verdict(colloids[0]),
        "colloids": [verdict(p) for p in colloids[1:-1]],
        "foils": [verdict(p) for p in crossed],
        "catalysts": [verdict(p) for p in heated],
        "alloy": [verdict(p) for p in alloy],
        "reduction_series": [verdict(p) for p in series],
        "labels": [float(label["CN1"]) for label in labels[1:-1]],
    }


def claims(
    parts: dict[str, Any], intervals: dict[str, Any], real: dict[str, Any], scans: list[tuple[str, bool, Any]]
) -> list[dict[str, Any]]:
    """What is promised, and what was measured."""
    of = list(parts.values())
    pooled = float(np.concatenate([i["hits"].ravel() for i in intervals.values()]).mean())
    low, high = bootstrap(intervals.values())
    cells = {f"{name}: {cell}": v for name, p in parts.items() for cell, v in p["coverage"]["cells"].items()}
    worst = max(cells, key=lambda c: abs(cells[c] - LEVEL))
    levels = np.mean([p["coverage"]["levels"] for p in of], axis=0)
    area = float(np.abs(levels - LEVELS).mean())
    full = float(np.mean([p["perturbed"]["all"][0] for p in of]))
    half = float(np.mean([p["half_perturbed"]["all"][1] for p in of]))
    alarms = max(p["domain"]["false_alarms"] for p in of)
    auroc = {kind: min(p["domain"][f"auroc_{kind}"] for p in of) for kind in ("metal", "edge", "glitch")}
    w = float(np.mean([p["standards"]["w_error"] for p in of]))
    cn1 = float(np.mean([p["standards"]["cn1_sample_error"] for p in of]))
    right = float(np.mean([tag == verdict.usable for _, tag, verdict in scans]))
    passed = max((v.margin for _, tag, v in scans if not tag and v.usable), default=0.0)
    denoised = max(p["denoised"] for p in of)
    colloids_in = sum(v["verdict"] != "not usable" for v in real["colloids"])
    foils_in = float(np.mean([v["verdict"] == "trusted" for v in real["foils"]]))
    usable = [v["verdict"] != "not usable" for v in real["colloids"] + real["catalysts"]]
    usable += [v["verdict"] == "trusted" for v in real["foils"]]
    unusable = [
        v["verdict"] == "not usable" for v in [real["salt"], *real["alloy"], real["reduction_series"][0]]
    ]
    mae = float(
        np.mean([abs(v["CN1"][0] - label) for v, label in zip(real["colloids"], real["labels"], strict=True)])
    )
    spread = {degree: [p["verdict"][degree]["coverage"] for p in of] for degree in ("trusted", "caution")}
    silent = max(p["compounds"]["silently_wrong"] for p in of)
    doubted = min(p["compounds"]["not_trusted"] for p in of)
    worded = float(np.mean([p["compounds"]["right_word"] for p in of]))
    shares = [p["non_metal"] for p in of]
    found = [
        claim("coverage_pooled", f"90 % intervals, new environments: coverage (95 %: {low:.3f} to {high:.3f})", pooled,
              at_least=0.88, at_most=0.92),
        claim("coverage_worst_cell", f"the same, cell farthest from 0.9 ({worst})", cells[worst], at_least=0.85, at_most=0.95),
        claim("miscalibration_area", "mean |coverage - level| over levels 0.05 to 0.95", area, at_most=0.03),
        claim("perturbed_covered_or_flagged", "shift 1 eV, noise 0.03, edge step 3 %, self-absorption 10 %: covered or flagged",
              full, at_least=0.85),
        claim("half_perturbed_flagged", "at half of that: flagged", half, at_most=0.30),
        claim("false_alarms", "in-domain particles out of domain (worst model)", alarms, at_most=0.02),
    ]  # fmt: skip
    for name, metal in (("au-l3", "au"), ("pt-l3", "pt"), ("pd-k", "pd")):
        seen = parts[name]["domain"]["oxide_seen"]["0.1"]
        which = "measured Au(III) salt" if metal == "au" else "FEFF oxides"
        found.append(
            claim(
                f"oxide10_{metal}",
                f"{MODELS[name]}: 10 % {which} flagged",
                seen,
                at_least=0.95,
            )
        )
    found += [
        claim(
            f"auroc_{kind}",
            f"{words}: AUROC (worst model)",
            auroc[kind],
            at_least=0.99,
        )
        for kind, words in (
            ("metal", "another metal"),
            ("edge", "another kind of edge"),
            ("glitch", "glitches of 0.1 to 0.5"),
        )
    ]
    return [
        *found,
        claim("standards_w", "share of a standard, 0 to 0.6: mean error (mean of models)", w, at_most=0.05),
        claim("standards_cn1_sample", "CN1 of the sample: mean error (mean of models)", cn1, at_most=0.3),
        claim("quality_accuracy", f"quality gate on {len(scans)} tagged scans", right, at_least=0.97),
        claim("quality_bad_margin", "largest margin of a scan tagged bad that passes (1: twice as good as needed)", passed,
              below=1),
        claim("denoised_error", "error after denoising over before, noise 0.03 (worst model)", denoised, at_most=0.5),
        claim("colloids_in_domain", "measured Au colloids trusted or under caution, of 6", colloids_in, equal=6),
        claim("foils_in_domain", "measured foils by another's anchor: share trusted", foils_in, equal=1),
        *(
            claim(f"verdict_coverage_{degree}", f"90 % intervals of CN1 under \"{degree}\", departures of every kind: coverage farthest from 0.9",
                  max(values, key=lambda v: abs(v - LEVEL)), at_least=0.88, at_most=0.92)
            for degree, values in spread.items()
        ),
        claim("non_metal_coverage", "share of oxide, 0 to 0.6: coverage of the 90 % interval farthest from 0.9 (worst model)",
              max((p["coverage"] for p in shares), key=lambda v: abs(v - LEVEL)), at_least=0.88, at_most=0.92),
        claim("non_metal_error", "the same: mean error (worst model)", max(p["error"] for p in shares), at_most=0.06),
        claim("non_metal_tenth_seen", "10 % of oxide: lower end above 0 (worst model)", min(p["seen_at_a_tenth"] for p in shares), at_least=0.6),
        claim("non_metal_false_alarms", "bare metal: lower end above 0 (worst model)", max(p["false_alarms"] for p in shares), at_most=0.025),
        claim("measured_good_usable", "measured colloids and Pt catalysts not \"not usable\", foils \"trusted\": share", float(np.mean(usable)), equal=1),
        claim("measured_bad_usable", "K2AuCl4, Pt3Sn in air, first of the reduction series usable: share", 1.0 - float(np.mean(unusable)), equal=0),
        claim("reduction_series_in_order", "Au(III) to Au(0): verdict never falls back", _in_order(real), equal=1),
        claim("colloids_mae", "Au colloids: mean |CN1 - EXAFS|", mae, at_most=0.5),
        claim("compounds_silently_wrong", "compounds, alone and as 10 to 100 %: trusted with the truth outside (worst model)", silent, at_most=0.1),
        claim("compounds_not_trusted", "half-and-half alloys, complexes, sulphides alone: not trusted (worst model)", doubted, at_least=0.9),
        claim("compounds_right_word", "the same: the right word", worded, at_least=0.7),
        claim("salt_out", "K2AuCl4 out of domain or refused", not real["salt"]["in_domain"], equal=1),
        claim("alloy_out", "Pt3Sn in air: scans out of domain or refused, of 4", sum(not v["in_domain"] for v in real["alloy"]), equal=4),
        claim("reduction_series_falls", "Au(III) to Au(0): rank correlation of domain score with order", _falls(real), below=0),
    ]  # fmt: skip


def differing(scans: list[tuple[str, bool, Any]]) -> dict[str, Any]:
    """How many scans the gate judged, and those that it judges otherwise than their tag."""
    return {
        "scans": len(scans),
        "differ": [
            {"scan": name, "tag": tag, "usable": v.usable, "margin": round(v.margin, 4), "reason": v.reason}
            for name, tag, v in scans
            if v.usable != tag
        ],
    }


def _in_order(real: dict[str, Any]) -> bool:
    """Whether the series goes from not usable to caution or trusted, and never back."""
    rank = [("not usable", "caution", "trusted").index(v["verdict"]) for v in real["reduction_series"]]
    return rank == sorted(rank) and rank[0] == 0 < rank[-1]


def _falls(real: dict[str, Any]) -> float:
    scores = [v["score"] for v in real["reduction_series"] if v["score"] is not None]
    return float(spearmanr(range(len(scores)), scores).statistic)


if __name__ == "__main__":
    main()
