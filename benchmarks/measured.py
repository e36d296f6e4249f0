"""Shipped models on real measured spectra, judged by EXAFS labels that no model was fitted to.

Writes benchmarks/results/measured.json and the table docs/explanations/measured.md.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pages import write_page
from record import claim, measured_folder, record
from scipy.stats import spearmanr

from xas_live.analysis import AnalysisConfig, AnalyzerPool
from xas_live.models.registry import load_model
from xas_live.prediction import Degree, Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.sources.files import read_file
from xas_live.sources.replay import replay, spectra_of
from xas_live.sources.scan import Scan, parse_columns
from xas_live.spectrum import Array

MEASURED = measured_folder()
B18_COLUMNS = "energy=0,i0=2,it=3,ir=4"
FOILS = {
    "au-l3": ["au_nanoparticles/14_Au_foil.dat", "foils_nsls/Au_foil_Au_L3.dat",
              "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi"],
    "pt-l3": ["foils_nsls/Pt_foil_Pt_L3.dat", "foils_xdi/pt_metal_rt.xdi"],
}  # fmt: skip


def anchor(model: str, name: str) -> FoilAnchor:
    """The foil in a file, laid on the model's theory."""
    (scan,) = read_file(MEASURED / name)
    assert isinstance(scan, Scan)
    return FoilAnchor.fit(spectra_of(scan)[0], load_model(model))


def colloids() -> tuple[list[Prediction], list[dict[str, str]]]:
    """The six Au colloids, the salt and the foil, anchored by the foil; and the labels of the colloids."""
    folder = MEASURED / "au_nanoparticles"
    files = sorted(folder.glob("*.dat"))
    predictions = list(replay(files, AnalyzerPool("au-l3", anchor("au-l3", FOILS["au-l3"][0]))))
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = {row["sample"]: row for row in csv.DictReader(file)}
    names = [p.provenance.scan.split("_", 1)[1].removesuffix(".dat").replace("_", " ") for p in predictions]
    return predictions, [labels.get(name, {}) for name in names]


def foils() -> list[tuple[str, str, Prediction]]:
    """Every foil anchored by each other beamline's: anchor, sample, prediction."""
    found = []
    for model, names in FOILS.items():
        for own in names:
            pool = AnalyzerPool(model, anchor(model, own), AnalysisConfig(align="e0"))
            others = [name for name in names if name != own]
            found += [
                (own, other, p)
                for other, p in zip(others, replay([MEASURED / o for o in others], pool), strict=True)
            ]
    return found


def catalysts() -> list[tuple[str, str, Prediction]]:
    """Two supported Pt catalysts at three temperatures, by each foil: foil, sample, prediction.

    Their energy scale is another beamline's than the foils', so samples are aligned by their edge.
    """
    files = sorted((MEASURED / "xraylarch_pt").glob("*.dat"))
    found = []
    for foil in FOILS["pt-l3"]:
        pool = AnalyzerPool("pt-l3", anchor("pt-l3", foil), AnalysisConfig(align="e0"))
        found += [(foil, p.provenance.scan, p) for p in replay(files, pool)]
    return found


def widest(found: Iterable[tuple[str, str, Prediction]]) -> float:
    """Largest range of CN1 over the temperatures of one sample, by one foil."""
    values: dict[tuple[str, str], list[float]] = {}
    for foil, scan, p in found:
        values.setdefault((foil, scan.split("_")[1]), []).append(p.values["CN1"].value)
    return float(max(np.ptp(v) for v in values.values()))


def both(
    predictions: list[Prediction], labels: list[dict[str, str]], name: str, label: str
) -> tuple[Array, Array]:
    """A value of the six colloids, as predicted and as labelled."""
    ours = [p.values[name].value for p in predictions[1:-1]]
    return np.array(ours), np.array([float(r[label]) for r in labels[1:-1]])


def real_data() -> dict[str, Any]:
    """What real spectra say of the shipped models: a part of benchmarks/accuracy.py."""
    predictions, labels = colloids()
    ours, exafs = both(predictions, labels, "CN1", "CN1")
    r1, exafs_r1 = both(predictions, labels, "R1", "R_A")
    foil_r1 = predictions[-1].values["R1"].value
    mae, rank = np.abs(ours - exafs).mean(), spearmanr(ours, exafs).statistic
    r1_error, contracted = np.abs(r1 - exafs_r1).mean(), int((r1 < foil_r1).sum())
    shift_error = np.abs((r1 - foil_r1) - (exafs_r1 - float(labels[-1]["R_A"]))).mean()
    spread = widest(catalysts())
    foil_error = max(abs(p.values["CN1"].value - 12.0) for _, _, p in foils())
    return {
        "models": {name: load_model(name).sha256 for name in FOILS},
        "claims": [
            claim("au_colloids_mae", "Au colloids: mean |CN1 - EXAFS|", mae, at_most=0.5),
            claim("au_colloids_rank", "Au colloids: rank correlation", rank, at_least=0.9),
            claim("au_colloids_r1", "Au colloids: mean |R1 - EXAFS| (Å)", r1_error, at_most=0.03),
            claim("au_colloids_r1_shift", "Au colloids: mean |(R1 - foil's) - EXAFS's own| (Å)", shift_error,
                  at_most=0.03),
            claim("au_colloids_contracted", "Au colloids whose R1 is below the foil's, of 6", contracted, equal=6),
            claim("pt_temperature_spread", "Pt catalysts: widest range of CN1 over 20, 150, 300 K", spread,
                  at_most=0.4),
            claim("foils_cn1_error", "Pt, Au foils by another's: largest |CN1 - 12|", foil_error, at_most=0.5),
        ],
    }  # fmt: skip


def cells(name: str, p: Prediction, label: str = "") -> list[str]:
    """One line of the table in docs/explanations/measured.md."""
    if p.refused:
        return [name, f"refused: {p.refused}", "", "", "", "", "", "", label]
    cn1, r1 = p.values["CN1"], p.values["R1"]
    seen = p.outcome.chemistry
    share = "" if seen is None else f"{seen.non_metal}"
    return [
        name,
        f"{cn1.value:.2f} [{cn1.lower:.2f}, {cn1.upper:.2f}]",
        *(f"{p.values[cn].value:.1f}" for cn in ("CN2", "CN3", "CN4")),
        f"{r1.value:.3f} ± {0.5 * (r1.upper - r1.lower):.3f}",
        share,
        str(p.verdict).replace("|", "/"),
        label,
    ]


def main() -> None:
    predictions, labels = colloids()
    salt, foil = predictions[0], predictions[-1]
    pairs = [(p, r) for p, r in zip(predictions[1:-1], labels[1:-1], strict=True)]
    ours, exafs = both(predictions, labels, "CN1", "CN1")
    error = np.array([float(r["CN1_err"]) for _, r in pairs])
    overlap = sum(
        p.values["CN1"].lower <= c + e and p.values["CN1"].upper >= c - e
        for (p, _), c, e in zip(pairs, exafs, error, strict=True)
    )
    b18_files = sorted((MEASURED / "b18_pt3sn").glob("*.dat"))
    b18_scans = [s for f in b18_files for s in read_file(f, columns=parse_columns(B18_COLUMNS))]
    b18 = list(replay(b18_scans, AnalyzerPool("pt-l3", "reference")))
    spread = np.ptp([p.values["CN1"].value for p in b18])
    noted = sum(p.verdict.degree is Degree.NOT_USABLE for p in b18)
    crossed, heated = foils(), catalysts()
    lowest = min(p.values["CN1"].value for _, _, p in crossed)
    mae, rank = np.abs(ours - exafs).mean(), spearmanr(ours, exafs).statistic
    above = foil.values["CN1"].value - ours.max()
    out = salt.verdict.degree is Degree.NOT_USABLE
    inside = sum(p.verdict.usable for p, _ in pairs)
    claims = [
        claim("au_colloids_usable", "Au colloids trusted or under caution, of 6", inside, equal=6),
        claim("au_colloids_mae", "Au colloids: mean |CN1 - EXAFS CN1|", mae, at_most=0.5),
        claim("au_colloids_rank", "Au colloids: rank correlation", rank, at_least=0.8),
        claim("au_colloids_overlap", "Au colloids: intervals overlapping EXAFS ± its error, of 6", overlap,
              at_least=4),
        claim("au_foil_above", "Au foil: CN1 above the highest colloid's", above, at_least=1.0),
        claim("au_salt_out", "K2AuCl4 not usable", out, equal=1),
        claim("b18_spread", "Pt3Sn in air, four scans: spread of CN1", spread, at_most=0.3),
        claim("b18_flagged", "Pt3Sn in air: scans not usable, of 4", noted, equal=4),
        claim("foils_cn1", "Pt, Au foils anchored by another's: lowest CN1", lowest, above=11),
    ]  # fmt: skip
    rows = [
        *(
            cells(
                p.provenance.scan,
                p,
                f"{r['CN1']} ± {r['CN1_err']}, {r['R_A']}".replace("± fixed", "(fixed)") if r else "",
            )
            for p, r in zip(predictions, labels, strict=True)
        ),
        *(cells(f"Pt3Sn/C in air, {p.provenance.scan}, own reference", p, "(alloy)") for p in b18),
        *(cells(f"{Path(other).name} anchored by {Path(own).name}", p, "12") for own, other, p in crossed),
        *(
            cells(f"{scan} anchored by {Path(foil).name}", p, "same sample at 20, 150, 300 K")
            for foil, scan, p in heated
        ),
    ]
    shas = {name: load_model(name).sha256 for name in FOILS}
    result = record("measured", claims, {"models": shas, "spectra": len(rows)}, rows=rows)
    write_page("measured", result)


if __name__ == "__main__":
    main()
