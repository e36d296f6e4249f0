"""Verdict and chemistry of a shipped model, in simulation: parts of benchmarks/trust.py.

Everything is measured on particles and compounds that took no part in what is measured: the cost of departures
and the intervals of the chemistry are fitted anew to four fifths (a half) of the particles and judged by the
rest; a compound is seen by the networks that never saw it, and the cost of departures is fitted without it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from shipped import LEVEL, SEED, ShippedModel

from xas_live.analysis.verdict import chemistry_of, verdict_of
from xas_live.models.ensemble import Judged
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.intervals import gaussian_quantile, half_width
from xas_live.models.sections.chemistry import ChemistryEstimate, calibration, estimate, from_zero
from xas_live.models.sections.cost import widening
from xas_live.models.sections.specs import CHEMISTRY_NETWORK
from xas_live.prediction import LOOKS, Chemistry, Degree, DomainVerdict, Verdict
from xas_live.spectrum import Array
from xas_live.theory.phases import Phase
from xas_live.theory.sites import Indices
from xas_live.training.chemistry import Looking, PhasePool, Seen, calibration_of, nuisances_of, see
from xas_live.training.cost import KINDS, Departed, cost_tensors, depart, judged_by
from xas_live.training.simulate import Admixture

DRAWN = 10_000
FOLDS = 5
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
MIXTURES = 12  # spectra of each compound at each share
AS_METAL = ("alloy", "hydride")  # their atoms have twelve neighbours, too


def widened(shipped: ShippedModel, tensors: Tensors, drawn: Departed) -> Judged:
    """Departed spectra as judged with another cost of departures."""
    section = shipped.bundle.card.sections.cost
    assert section is not None
    factor, departed = widening(section, tensors, torch.from_numpy(drawn.far(shipped.bundle)).float())
    by = factor.double().numpy()
    return drawn.judged._replace(half=drawn.judged.half * by, widening=by, departed=departed.numpy())


def verdicts(shipped: ShippedModel, judged: Judged) -> list[tuple[Verdict, Chemistry | None]]:
    """Of every spectrum, by itself: no flag of a measurement is raised."""
    sections, quantile, found = shipped.bundle.card.sections, gaussian_quantile(LEVEL), []
    for row in range(len(judged.mean)):
        chemistry = chemistry_of(sections, judged, row, LEVEL, quantile)
        domain = DomainVerdict(reason="unlike any particle")
        found.append((verdict_of(sections, judged, row, domain, chemistry, ())[0], chemistry))
    return found


def without_cost(shipped: ShippedModel) -> Any:
    """The bundle as it is before departures are judged."""
    sections = shipped.bundle.card.sections.model_copy(update={"cost": None})
    return replace(shipped.bundle, card=shipped.bundle.card.model_copy(update={"sections": sections}))


def degrees(shipped: ShippedModel) -> tuple[dict[str, Any], Departed]:
    """Coverage and width of CN1's interval by verdict, over departures of every kind; and the spectra."""
    section = shipped.bundle.card.sections.cost
    assert section is not None
    rng = np.random.default_rng(SEED + 5)
    drawn = depart(shipped.recipe, shipped.population, shipped.trained, without_cost(shipped), DRAWN, rng)
    c, fold = section.column, drawn.particle % FOLDS
    inside, half = np.zeros(len(fold), dtype=bool), np.zeros(len(fold))
    degree = np.empty(len(fold), dtype=object)
    for k in range(FOLDS):
        tensors = cost_tensors(section, shipped.bundle, drawn.of(np.flatnonzero(fold != k)))
        rows = np.flatnonzero(fold == k)
        part = drawn.of(rows)
        judged = widened(shipped, tensors, part)
        half[rows] = judged.half[:, c]
        inside[rows] = np.abs(part.error[:, c]) <= judged.half[:, c]
        degree[rows] = [verdict.degree for verdict, _ in verdicts(shipped, judged)]
    metal = drawn.other <= 0.5
    found: dict[str, Any] = {"spectra": len(fold), "particles": len(np.unique(drawn.particle))}
    for each in Degree:
        rows = np.flatnonzero((degree == each) & metal)
        found[str(each)] = {
            "share": round(float((degree == each).mean()), 4),
            "coverage": round(float(inside[rows].mean()), 4) if len(rows) else None,
            "coverage_95": _interval(inside[rows], drawn.particle[rows]) if len(rows) else None,
            "median_half_width": round(float(np.median(half[rows])), 3) if len(rows) else None,
        }
    found["by_kind"] = {
        kind: {
            "degrees": {str(k): v for k, v in Counter(degree[drawn.kind == i]).items()},
            "coverage": round(
                float(inside[(drawn.kind == i) & metal & (degree != Degree.NOT_USABLE)].mean()), 3
            ),
        }
        for i, kind in enumerate(KINDS)
    }
    found["false_alarms"] = round(float((degree[drawn.kind == 0] != Degree.TRUSTED).mean()), 4)
    return found, drawn


def _interval(inside: Array, particle: Indices) -> list[float]:
    """95 % interval of a coverage, particles drawn anew."""
    rng = np.random.default_rng(SEED)
    values = np.array([inside[particle == p].mean() for p in np.unique(particle)])
    count = np.array([(particle == p).sum() for p in np.unique(particle)])
    draws = []
    for _ in range(1000):
        rows = rng.integers(len(values), size=len(values))
        draws.append(float(np.average(values[rows], weights=count[rows])))
    return [round(float(q), 4) for q in np.quantile(draws, [0.025, 0.975])]


def non_metal(shipped: ShippedModel) -> dict[str, Any]:
    """Share of oxide in particles: error, coverage by intervals of the other half of the particles, and 10 % seen."""
    section = shipped.bundle.card.sections.chemistry
    assert section is not None
    looking = looking_of(shipped)
    rng = np.random.default_rng(SEED + 6)
    seen = see(shipped.recipe, shipped.population, section, looking, rng)
    found: dict[str, list[Array]] = {"oxide": [], "other": [], "tenth": [], "none": []}
    for half in range(2):
        mine = {name: part.of(torch.nonzero(part.particle % 2 == half)[:, 0]) for name, part in seen.items()}
        rest = {name: part.of(torch.nonzero(part.particle % 2 != half)[:, 0]) for name, part in seen.items()}
        tensors = calibration_of(rest)
        for name in ("oxide", "other", "none"):
            if name in mine:
                found[name].append(_told(tensors, mine[name]))
    tables = {name: np.concatenate(parts) for name, parts in found.items() if parts}
    oxide = tables["oxide"]
    tenth = np.abs(oxide[:, 1] - 0.1) < 0.02
    result = {
        "coverage": float(oxide[:, 4].mean()),
        "error": float(np.abs(oxide[:, 0] - oxide[:, 1]).mean()),
        "seen_at_a_tenth": float((oxide[tenth, 2] > 0).mean()),
        "false_alarms": float((tables["none"][:, 2] > 0).mean()),
        "median_half_width": float(np.median(oxide[:, 3])),
    }
    for low, high in ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6)):
        rows = (oxide[:, 1] >= low) & (oxide[:, 1] < high)
        result[f"coverage_{low:g}_to_{high:g}"] = float(oxide[rows, 4].mean())
    if "other" in tables:
        other = tables["other"]
        result["other_coverage"] = float(other[:, 4].mean())
        result["other_error"] = float(np.abs(other[:, 0] - other[:, 1]).mean())
    return {name: round(value, 4) for name, value in result.items()}


def _told(tensors: Tensors, seen: Seen) -> Array:
    """(n, 5) value, truth, lower end, half width, and whether the interval holds the truth."""
    own, truth = seen.own[:, 0], seen.truth[:, 0]
    half = torch.where(
        seen.oxide,
        half_width(calibration(tensors, "non_metal_oxide_"), seen.spread[:, :1], own, LEVEL)[:, 0],
        half_width(calibration(tensors, "non_metal_other_"), seen.spread[:, :1], own, LEVEL)[:, 0],
    )
    none = tensors["chemistry_none"][torch.searchsorted(tensors["chemistry_none_edges"], seen.size)]
    half = from_zero(own, half, none)
    low, high = (own - half).clamp(0.0, 1.0), (own + half).clamp(0.0, 1.0)
    inside = (truth >= low - 1e-6) & (truth <= high + 1e-6)
    return np.stack([part.double().numpy() for part in (own, truth, low, half, inside)], 1)


def looking_of(shipped: ShippedModel) -> Looking:
    """The shipped networks of the chemistry."""
    t, section = shipped.bundle.tensors, shipped.bundle.card.sections.chemistry
    assert section is not None
    weights = {k.removeprefix("chemistry."): v for k, v in t.items() if k.startswith("chemistry.")}
    column = shipped.bundle.target_names.index(section.stratify_by)
    return Looking(t, weights, shipped.trained, column)


def compounds(shipped: ShippedModel, drawn: Departed) -> dict[str, Any]:
    """Compounds alone and beside particles, each judged by what never saw it."""
    section, chemistry = shipped.bundle.card.sections.cost, shipped.bundle.card.sections.chemistry
    assert section is not None
    assert chemistry is not None
    pool = PhasePool.of(shipped.population, CHEMISTRY_NETWORK.members)
    rng, rows = np.random.default_rng(SEED + 7), []
    for k in range(CHEMISTRY_NETWORK.members):
        strange = np.flatnonzero(pool.fold == k)
        known = np.flatnonzero(~np.isin(drawn.phase, strange) & (drawn.particle % FOLDS != k))
        tensors = cost_tensors(section, shipped.bundle, drawn.of(known))
        of = np.flatnonzero(shipped.tested.fold == k % shipped.recipe.folds)
        for i in strange:
            for share in SHARES:
                rows += [
                    {"name": pool.phases[i].name, "kind": pool.phases[i].kind, "share": share, **row}
                    for row in _mixed(shipped, pool, int(i), share, k, of, tensors, rng)
                ]
    return {"rows": len(rows), **_counted(rows, pool.phases)}


def _mixed(
    shipped: ShippedModel, pool: PhasePool, phase: int, share: float, member: int, of: Indices,
    tensors: Tensors, rng: np.random.Generator,
) -> list[dict[str, Any]]:  # fmt: skip
    """Verdicts on one compound beside particles of one fold, with whether CN1's interval holds the truth."""
    section = shipped.bundle.card.sections.cost
    assert section is not None
    here, c = shipped.population.simulator.instrument.here, section.column
    particle = rng.choice(of, MIXTURES)
    spectra = here(pool.draw(np.full(MIXTURES, phase), rng))
    measured = shipped.population.simulator.measure_mixed(
        shipped.tested.weights[particle], nuisances_of(shipped.recipe), rng,
        Admixture(spectra, here(np.full(MIXTURES, share))),
    )  # fmt: skip
    judged, own = judged_by(without_cost(shipped), shipped.trained, measured.x, shipped.tested.fold[particle])
    judged = judged._replace(chemistry=_by_member(shipped, measured.x, own[:, c], member))
    truth = measured.truth[:, shipped.population.columns].double().numpy()
    if share == 1.0:
        truth = np.full_like(truth, 12.0 if pool.phases[phase].kind in AS_METAL else np.nan)
    zeros = np.zeros(MIXTURES)
    part = Departed(
        measured.x, judged, own - truth, particle, zeros.astype(int), zeros, zeros.astype(int), truth
    )
    widened_ = widened(shipped, tensors, part)
    inside = np.abs(own[:, c] - truth[:, c]) <= widened_.half[:, c]  # False where there is no truth
    return [
        {"degree": verdict.degree, "looks": "" if seen is None else seen.looks, "inside": bool(good)}
        for (verdict, seen), good in zip(verdicts(shipped, widened_), inside, strict=True)
    ]


def _by_member(shipped: ShippedModel, x: torch.Tensor, size: Array, member: int) -> ChemistryEstimate:
    """Chemistry as the member gives it that knows neither compound nor particle."""
    section = shipped.bundle.card.sections.chemistry
    assert section is not None
    seen = estimate(section, shipped.bundle.tensors, x, torch.from_numpy(size).float(), LEVEL)
    shares, quantities = looking_of(shipped).at(section, x)
    own = seen._replace(shares=shares[member], mean=quantities[member])
    return ChemistryEstimate(*(part.double().numpy() for part in own))


def _counted(rows: list[dict[str, Any]], phases: tuple[Phase, ...]) -> dict[str, Any]:
    silent = [row["degree"] is Degree.TRUSTED and not row["inside"] for row in rows]
    halves = {
        p.name
        for p in phases
        if p.kind == "alloy" and p.name.split("_")[0] not in _UNEQUAL and "0.1" not in p.name
    }
    asked = [
        row
        for row in rows
        if row["share"] == 1.0 and (row["kind"] in ("salt", "sulphide", "oxide") or row["name"] in halves)
    ]
    by_kind = {
        kind: {
            "not_trusted": _mean([r["degree"] is not Degree.TRUSTED for r in asked if r["kind"] == kind]),
            "right_word": _mean([r["looks"] == LOOKS[kind] for r in asked if r["kind"] == kind]),
        }
        for kind in sorted({row["kind"] for row in asked})
    }
    return {
        "silently_wrong": _mean(silent),
        "silently_wrong_by_share": {
            f"{share:g}": _mean([s for s, row in zip(silent, rows, strict=True) if row["share"] == share])
            for share in SHARES
        },
        "not_trusted": _mean([row["degree"] is not Degree.TRUSTED for row in asked]),
        "right_word": _mean([row["looks"] == LOOKS[row["kind"]] for row in asked]),
        "by_kind": by_kind,
    }


_UNEQUAL = frozenset(
    (
        "Pt3Sn",
        "Pt3Co",
        "Pt3Ni",
        "Pt3Fe",
        "Pt3Ti",
        "Pt3Al",
        "Pt3Zn",
        "Pd3Fe",
        "Pd3Sn",
        "Au3Cu",
        "Cu3Pt",
        "Cu3Au",
    )
)
"""Alloys that are not half and half."""


def _mean(values: list[bool]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")
