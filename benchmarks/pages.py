"""Pages of docs/explanations/ from the figures in benchmarks/results/: `python benchmarks/pages.py [NAME ...]`.

A page is benchmarks/templates/NAME.md with its placeholders filled. Nothing is measured here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean, median
from string import Template
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "explanations"
TEMPLATES = ROOT / "benchmarks" / "templates"
RESULTS = ROOT / "benchmarks" / "results"

Result = Mapping[str, Any]


def write_page(name: str, result: Result) -> None:
    """Write docs/explanations/NAME.md from a benchmark's record."""
    (FOLDER / f"{name}.md").write_text(PAGES[name](result), encoding="utf-8")


def recorded(name: str) -> dict[str, Any]:
    """Return the record that benchmark NAME wrote last."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def fill(name: str, **parts: object) -> str:
    """Fill template NAME; a list becomes lines."""
    template = Template((TEMPLATES / f"{name}.md").read_text(encoding="utf-8").strip())
    return template.substitute({k: "\n".join(v) if isinstance(v, list) else v for k, v in parts.items()})


def page(name: str, result: Result, **parts: object) -> str:
    """Fill template NAME, with the claims, the commit and the number of cores of the record."""
    told = {"commit": result["commit"], "cores": result["machine"]["cores"]}
    return fill(name, claims=claims_table(result["claims"]), **told, **parts) + "\n"


def row(cells: Iterable[object]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def rule(columns: int) -> str:
    """Return the line under the head of a Markdown table."""
    return f"|{'---|' * columns}"


def claims_table(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the claims as lines of a Markdown table."""
    return [
        row(("promised", "measured", "limit", "met")),
        rule(4),
        *(
            row(
                (
                    c["claim"].replace("|", r"\|"),
                    f"{c['value']:.4g}",
                    c["limit"],
                    "yes" if c["met"] else "**no**",
                )
            )
            for c in claims
        ),
    ]


def library_name(sites: str) -> str:
    """Return a library's name as people write it: "Pt L3" of "pt_l3"."""
    element, edge = sites.split("_")
    return f"{element.title()} {edge.upper()}"


def accuracy(result: Result) -> str:
    """Network families: what was measured of them, metal by metal, then transfer and displacement."""
    parts = result["parts"]
    metals = [name for name in ("pt_l3", "pd_k", "au_l3") if name in parts]
    return page(
        "accuracy",
        result,
        folds=len(parts[metals[0]]["test_particles"]["a"]) if metals else 0,
        metals="\n\n".join(_metal(name, parts[name], result["paper"]) for name in metals),
        transfer=_transfer(parts["transfer"]) if "transfer" in parts else "",
        msd=_msd(parts["msd"]) if "msd" in parts else "",
    )


def decisions(result: Result) -> str:
    """Statistical errors, changes, and what plans and PVs do with them."""
    data = result["data"]
    noise, acting = data["statistical"], data["acting"]
    sweeps: list[Mapping[str, Any]] = noise["rows"]
    samples = {(each["model"], each["sample"]) for each in sweeps}
    models = list(data["changes_unseen"])

    def of(key: str, **where: object) -> list[float]:
        """What was measured where the record says so."""
        return [each[key] for each in sweeps if all(each[name] == value for name, value in where.items())]

    by_counts = [
        row(
            (
                f"{counts:.0e}",
                *(f"{noise['cells'][f'{counts:.0e}, {n}']:.3f}" for n in (1, 4, 16)),
                f"{median(half[0] for half in of('half', counts=counts, repeats=1)):.2g}",
                f"{median(of('narrowing', counts=counts, repeats=16)):.2f}",
                f"{mean(of('repeats_beyond_best', counts=counts, repeats=1)):.2f}",
            )
        )
        for counts in sorted({each["counts"] for each in sweeps})
    ]
    by_model = [
        row(
            (
                model,
                f"{mean(mean(targets) for targets in of('covered', model=model)):.3f}",
                f"{median(of('narrowing', model=model, repeats=16)):.2f}",
                f"{mean(of('repeats_beyond_best', model=model, repeats=1)):.2f}",
            )
        )
        for model in models
    ]
    unseen = [
        row(
            (
                model,
                u["particles"],
                f"{u['pooled']:.3f}",
                *(f"{share:.3f}" for share in u["by_size_of_change"]),
            )
        )
        for model, u in data["changes_unseen"].items()
    ]
    seen = [
        row((model, counts, f"{s['covered']:.3f}", f"{s['half_over_independent']:.2f}"))
        for model, every in data["changes_seen"].items()
        for counts, s in every.items()
    ]
    ends = {"kill": "killed", "close": "closed", "hang": "hung"}
    return page(
        "decisions",
        result,
        particles=len(samples),
        each=len(samples) // len(models),
        counts=by_counts,
        models=by_model,
        peer=f"{noise['three_repeats_over_half']:.2f}",
        unseen=unseen,
        seen=seen,
        stopped=len(acting["false_stops"]["stopped"]),
        trials=acting["false_stops"]["trials"],
        held=[
            "  " + row((model, f"{h['true']:.0f} %", f"{h['predicted']:.0f} %"))
            for model, h in acting["held"].items()
        ],
        invalid=", ".join(f"{ends[how]} {after:.2f}" for how, after in acting["invalid_after"].items()),
        least=f"{min(noise['cells'].values()):.3f}",
        most=f"{max(noise['cells'].values()):.3f}",
        floor=f"{median(of('narrowing', counts=max(of('counts')), repeats=16)):.2f}",
    )


def faults(result: Result) -> str:
    """What is missing after processes were killed, and whether mutated input ends in a traceback."""
    data, series = result["data"], result["series"]
    kills = sum(of["kills"] for of in series.values())
    return page(
        "faults",
        result,
        beamline=data["beamline"],
        runs=data["runs"],
        series=[
            row(
                (
                    f"the {kind}" if of["kills"] else "nothing",
                    of["kills"],
                    of["runs"],
                    *(len(of[what]) for what in ("lost", "doubled", "invalid")),
                    f"{of['run_s']:.2f}",
                )
            )
            for kind, of in series.items()
        ],
        recovery=f"{median(series['archive']['recovery_s']):.1f}",
        inputs=f"{data['inputs']:.0%}",
        kills=kills,
        bound=f"{1.0 - 0.05 ** (1.0 / kills):.1%}",
    )


def foils(result: Result) -> str:
    """Foil or particle: what is taken for a foil."""
    asked = ("theory", "reference", "saved foil")
    simulated = [
        row((library_name(metal), what, *(f"{share[by]:.2f}" for by in asked)))
        for metal, shares in result["simulated"].items()
        for what, share in shares.items()
    ]
    by_foil: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in result["measured"]:
        by_foil.setdefault((each["model"], each["foil"]), []).append(each)
    measured_foils = [
        row((*foil, *(e["strength"] for e in every), *(f"{e['taken']} of {e['asked']}" for e in every)))
        for foil, every in by_foil.items()
    ]
    return page(
        "foils",
        result,
        weakest=f"{result['data']['weakest_foil']:.0%}",
        beamlines=result["data"]["beamlines"],
        simulated=simulated,
        measured=measured_foils,
        particles=[row((e["sample"], e["theory"], e["saved foil"])) for e in result["particles"]],
    )


def _metal(name: str, part: Mapping[str, Any], published: Mapping[str, float]) -> str:
    results, gain = part["results"], part["gain_over_deep_mlp"]
    counts = {test: sum(of) for test, of in part["test_particles"].items()}
    targets = ("CN1", "CN2", "CN3", "CN4", "mean")
    rows = [
        row(
            (
                network,
                *(f"{a[target]:.2f}" for target in targets),
                *(f"{results[test][network]['mean']:.2f}" for test in "bce"),
                f"{results['e'][network]['R1']:.4f}",
                f"{published[network]:.2f}" if network in published else "",
            )
        )
        for network, a in results["a"].items()
    ]
    return fill(
        "accuracy_metal",
        metal=library_name(name),
        particles=counts["a"],
        known=counts["c"],
        seeds=part["seeds"],
        gain=f"{gain['value']:.0%}",
        low=f"{gain['low']:.0%}",
        high=f"{gain['high']:.0%}",
        rows=rows,
    )


def _transfer(part: Mapping[str, Any]) -> str:
    rows = [row((name, f"{mae:.2f}", f"{part['median'][name]:.2f}")) for name, mae in part["results"].items()]
    return fill("accuracy_transfer", splits=len(part["splits"]["un-tuned"]), rows=rows)


def _msd(part: Mapping[str, Any]) -> str:
    results, floor, families = part["results"], part["floor"], part["families"]
    conditions = list(results)

    def of_each(value: Callable[[str], float]) -> list[str]:
        return [f"{1e4 * value(condition):.2f}" for condition in conditions]

    rows = [row((name, *of_each(lambda c, name=name: results[c][name]))) for name in results[conditions[0]]]
    rows.append(row(("least possible", *of_each(lambda c: floor[c]))))
    by_family = [
        row((name, span, *of_each(lambda c, name=name, span=span: families[c][name][span])))
        for name, spans in families[conditions[0]].items()
        for span in spans
    ]
    return fill("accuracy_msd", conditions=" | ".join(conditions), rows=rows, families=by_family)


def measured(result: Result) -> str:
    """Measured spectra, one a line."""
    return page("measured", result, rows=[row(cells) for cells in result["rows"]])


def partial(result: Result) -> str:
    """Growing sweeps: coverage, half width and error by the energy reached."""
    parts = result["parts"]
    kinds = ("first sweep", "later sweeps")
    energies = list(next(iter(parts.values()))[kinds[0]]["coverage"])
    rows = [row(("model, sweep", *(f"{energy} eV" for energy in energies))), rule(1 + len(energies))]
    for name, part in parts.items():
        for kind in kinds:
            p = part[kind]
            rows += [
                row(
                    (f"{name}, {kind}: coverage, all targets", *(f"{c:.1%}" for c in p["coverage"].values()))
                ),
                row(("half width of CN1", *(f"{h:.2f}" for h in p["half"]))),
                row(("mean error of CN1", *(f"{e:.2f}" for e in p["error"]))),
            ]
        peer = part["error_by_the_mean"]
        by_mean = (f"{peer[energy]:.2f}" if energy in peer else "" for energy in energies)
        rows.append(row(("the rest by the mean spectrum: mean error", *by_mean)))
    return page("partial", result, rows=rows)


def speed(result: Result) -> str:
    """Times of the reduction, from the last document to the prediction, and in the RunEngine's thread."""
    red, lag, stepped, scans = (result[k] for k in ("reduction", "latency", "points", "scans"))
    steps, repeats = result["data"]["steps"], result["data"]["repeats"]
    base = scans["nothing, 20 ms"]
    subscribed = []
    for name in dict.fromkeys(key.rsplit(", ", 1)[0] for key in scans):
        dwell, free = scans[f"{name}, 20 ms"], scans[f"{name}, free"]
        cells = (name, f"{dwell:.3f}", f"{100 * (dwell / base - 1):+.1f} %", f"{1e3 * free / steps:.2f}")
        subscribed.append(row(cells))
    growth = [
        "\n".join(
            [row((name, *values)), rule(1 + len(values)), row(("ms", *(f"{v:.2f}" for v in values.values())))]
        )
        for name, values in result["growth"].items()
    ]
    return page(
        "speed",
        result,
        **{name: f"{1e6 * red[name]:.1f}" for name in ("batch", "single", "larch", "rexafs")},
        larch_difference=f"{red['larch_difference']:.1e}",
        rexafs_difference=f"{red['rexafs_difference']:.1e}",
        sweeps=lag["sweeps"],
        p50=f"{lag['p50_ms']:.2f}",
        p90=f"{lag['p90_ms']:.2f}",
        p99=f"{lag['p99_ms']:.2f}",
        largest=f"{lag['largest_ms']:.1f}",
        whole=f"{lag['us_per_document']:.1f}",
        whole_p99=f"{lag['us_per_document_p99']:.0f}",
        point=f"{stepped['LiveAnalysis, us']:.1f}",
        point_p99=f"{stepped['LiveAnalysis, us, 99 %']:.0f}",
        peer=f"{stepped['BestEffortCallback, plots, us']:.0f}",
        peer_p99=f"{stepped['BestEffortCallback, plots, us, 99 %']:.0f}",
        preview=f"{stepped['preview_ms']:.1f}",
        previews=stepped["previews"],
        steps=steps,
        repeats=repeats,
        subscribed=subscribed,
        growth="\n\n".join(growth),
    )


def stream(result: Result) -> str:
    """Sweeps a second, lag and memory of a long stream."""
    rows = []
    for name, p in result["parts"].items():
        cells = ("", "", "")
        if "sweeps" in p:
            memory = f"{p['memory_growth_mb']:+.0f} of {p['memory_mb']:.0f}"
            cells = (f"{p['sweeps']} of {p['asked']}", f"{p['largest_lag_s']:.1f}", memory)
        rows.append(row((name, f"{p['rate']:.0f}", *cells)))
    data = result["data"]
    return page("stream", result, rate=data["asked_rate"], seconds=f"{data['seconds']:g}", rows=rows)


def trust(result: Result) -> str:
    """Coverage of intervals, domain, standards, measured spectra and the quality gate."""
    parts, real, gate = result["parts"], result["real"], result["gate"]
    intervals, perturbed, oxide, standards = [], [], [], []
    for name, p in parts.items():
        c, d, s = p["coverage"], p["domain"], p["standards"]
        cells = c["cells"].values()
        three = (f"{c[k]:.3f}" for k in ("pooled", "whole_particles", "bare_ensemble"))
        intervals.append(row((name, c["particles"], *three, f"{min(cells):.3f}, {max(cells):.3f}")))
        for size, key in (("full", "perturbed"), ("half", "half_perturbed")):
            perturbed.append(row((name, size, *(f"{a:.2f} / {b:.2f}" for a, b in p[key].values()))))
        peer = d["oxide_seen_by_isolation_forest"]
        seen = (f"{share:.2f} ({peer[w]:.2f})" for w, share in d["oxide_seen"].items())
        areas = (f"{d[f'auroc_{what}']:.3f}" for what in ("metal", "edge", "glitch"))
        oxide.append(row((name, f"{d['false_alarms']:.3f}", *seen, *areas)))
        two = ("cn1_sample_error", "cn1_sample_covered", "degenerate")
        rest = (f"{s[k]:.2f}" for k in ("w_covered", *two))
        standards.append(row((name, f"{s['w_error']:.3f}", *rest)))
    spectra = [
        real["salt"], *real["colloids"], *real["foils"], *real["catalysts"], *real["alloy"], *real["reduction_series"],
    ]  # fmt: skip
    shares = [
        row(
            (
                name,
                *(
                    f"{p['non_metal'][k]:.3f}"
                    for k in ("error", "coverage", "seen_at_a_tenth", "false_alarms")
                ),
            )
        )
        for name, p in parts.items()
    ]
    compounds = [
        row((name, kind, f"{of['not_trusted']:.0%}", f"{of['right_word']:.0%}"))
        for name, p in parts.items()
        for kind, of in p["compounds"]["by_kind"].items()
    ]
    return page(
        "trust",
        result,
        folds=result["data"]["folds"],
        intervals=intervals,
        perturbed=perturbed,
        oxide=oxide,
        standards=standards,
        degrees=[line for name, p in parts.items() for line in _degrees(name, p["verdict"])],
        shares=shares,
        compounds=compounds,
        spectra=[row(_verdict(v)) for v in spectra],
        scans=gate["scans"],
        gate=[
            row(
                (
                    s["scan"],
                    *("usable" if s[k] else "failed" for k in ("tag", "usable")),
                    f"{s['margin']:.2f}",
                    s["reason"],
                )
            )
            for s in gate["differ"]
        ],
    )


def _verdict(v: Mapping[str, Any]) -> tuple[str, ...]:
    cn1 = "" if v["CN1"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(*v["CN1"])
    share = "" if v["non_metal"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(*v["non_metal"])
    wider = f", {v['widening']:.1f} times wider" if v["widening"] > 1.05 else ""
    return v["scan"], v["verdict"] + wider, cn1, share, v["reason"]


def _degrees(name: str, found: Mapping[str, Any]) -> list[str]:
    """Lines of one model in the table of degrees."""
    lines = []
    for degree in ("trusted", "caution", "not usable"):
        d = found[degree]
        covered = (
            ""
            if d["coverage"] is None
            else f"{d['coverage']:.3f} ({d['coverage_95'][0]:.3f} to {d['coverage_95'][1]:.3f})"
        )
        width = "" if d["median_half_width"] is None else f"{d['median_half_width']:.2f}"
        lines.append(row((name, degree, f"{d['share']:.0%}", covered, width)))
    return lines


PAGES: dict[str, Callable[[Result], str]] = {
    "accuracy": accuracy,
    "decisions": decisions,
    "faults": faults,
    "foils": foils,
    "measured": measured,
    "partial": partial,
    "speed": speed,
    "stream": stream,
    "trust": trust,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        write_page(name, recorded(name))
