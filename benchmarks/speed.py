"""How fast: reduction against larch and rexafs, latency from document to prediction, cost to the RunEngine.

Ratios in one run, medians: the machines that run this are shared. Reduction is timed from mu to the normalised,
flattened spectrum at given e0 (600 points), the peers without the resampling onto the network's grid that ours
does besides. Latency is measured while a RunEngine emits one sweep an event; what the RunEngine pays, on step scans
with a dwell of 20 ms, runs of all kinds interleaved. Writes benchmarks/results/speed.json and docs/explanations/speed.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core, for all of them
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import rexafs
import torch
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.callbacks.mpl_plotting import LivePlot
from larch import Group
from larch.xafs import pre_edge
from pages import write_page
from record import claim, commit, record
from scans import DWELL, STEPS, SWEEPS, point_scan, rows_scan
from sweeps import LIBRARY, MODEL, POINTS, anchor, dense_sweeps, spectra_of, sweeps, timed

from xas_live.analysis import Analyzer
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher
from xas_live.callbacks.publishers.plot import LiveStructurePlot
from xas_live.models.registry import load_model
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.normalize import NormalizationOperator, Windows
from xas_live.simulator.library import site_library
from xas_live.simulator.stream import sweep_axis
from xas_live.spectrum import Array, Spectrum

BATCH, REPEATS = 256, 5
SIZES = {"points": (150, 300, 600, 1200, 2400), "spectra": (1, 4, 16, 64, 256), "members": (1, 2, 5, 10)}


# --- reduction ------------------------------------------------------------------------------------------


def reduction() -> dict[str, float]:
    """Seconds a spectrum, and the largest difference to larch, in edge steps."""
    energy, mu = sweeps(BATCH)
    e0, grid = site_library(LIBRARY).edge_energy + 1.0, load_model(MODEL).grid
    onto_grid = NormalizationOperator(energy, e0, Windows(), e0 + grid)
    on_axis = NormalizationOperator(energy, e0, Windows())
    group = Group(energy=energy, mu=mu[0])

    def larch(row: Array) -> Array:
        pre_edge(energy, row, group=group, e0=e0)
        return np.asarray(group.flat)

    def rex(row: Array) -> Array:
        return np.asarray(rexafs.Spectrum(energy, row).set_e0(e0).normalize().flat())

    ours = on_axis(mu).flat
    rounds: dict[str, list[float]] = {"batch": [], "single": [], "larch": [], "rexafs": []}
    for _ in range(7):  # interleaved: a noisy machine disturbs all alike
        rounds["batch"].append(timed(lambda: onto_grid.flat(mu), 20) / BATCH)
        rounds["single"].append(timed(lambda: onto_grid.flat(mu[:1]), 200))
        rounds["larch"].append(timed(lambda: larch(mu[0]), 20))
        rounds["rexafs"].append(timed(lambda: rex(mu[0]), 60))
    return {
        **{name: float(np.median(values)) for name, values in rounds.items()},
        "larch_difference": max(float(np.abs(ours[i] - larch(mu[i])).max()) for i in range(32)),
        "rexafs_difference": max(float(np.abs(ours[i] - rex(mu[i])).max()) for i in range(32)),
    }


# --- latency and the RunEngine --------------------------------------------------------------------------


def latency(foil: FoilAnchor) -> dict[str, Any]:
    """Last document to prediction (ms), and the cost of a document in the RunEngine's thread (us)."""
    from xas_live.callbacks.assembly.channels import ChannelMapping

    engine, calls = RunEngine(), []
    live = LiveAnalysis(
        Analyzer(load_model(MODEL), foil, device="cpu"), mapping=ChannelMapping(energy="energy", mu="mu")
    )

    def subscribed(name: str, doc: Any) -> None:
        start = time.perf_counter()
        live(name, doc)
        calls.append(time.perf_counter() - start)

    energy, mu = sweeps(64)
    with live:
        engine.subscribe(subscribed)
        engine(rows_scan(mu, energy))
        live.wait()
        table = live.table[live.table["averaged"] == 1]
    lags = 1e3 * table["lag"].to_numpy()[10:]
    assert len(table) == SWEEPS, f"{len(table)} of {SWEEPS} sweeps"
    assert not table["refused"].any(), table["refused"].iloc[0]
    return {
        "p50_ms": float(np.median(lags)),
        "p90_ms": float(np.quantile(lags, 0.9)),
        "p99_ms": float(np.quantile(lags, 0.99)),
        "largest_ms": float(lags.max()),
        "sweeps": len(lags),
        "us_per_document": 1e6 * float(np.median(calls)),
        "us_per_document_p99": 1e6 * float(np.quantile(calls, 0.99)),
    }


class Previews(BasePublisher):
    """Notes how long after its last point a growing sweep was foreseen (ms)."""

    def __init__(self, when: list[float]) -> None:
        self.when, self.lags = when, []

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:
        """See `Publisher`."""
        if preview is not None:
            self.lags.append(1e3 * (time.perf_counter() - self.when[len(spectrum) - 1]))


def points(foil: FoilAnchor) -> dict[str, float]:
    """Of step scans: cost of a document in the RunEngine's thread (us), and from a point to what it foretells (ms)."""
    calls: dict[str, list[float]] = {"LiveAnalysis": [], "BestEffortCallback, plots": []}
    when: list[float] = []
    previews = Previews(when)
    live = LiveAnalysis(Analyzer(load_model(MODEL), foil, device="cpu"), [previews])

    def listening(name: str, callback: Callable[[str, Any], Any]) -> Callable[[str, Any], None]:
        def subscribed(kind: str, doc: Any) -> None:
            start = time.perf_counter()
            callback(kind, doc)
            calls[name].append(time.perf_counter() - start)
            if name == "LiveAnalysis" and kind == "event":
                when.append(start)
            elif name == "LiveAnalysis" and kind == "start":
                when.clear()

        return subscribed

    effort = BestEffortCallback()
    effort.disable_table()
    with live:
        for _ in range(REPEATS):
            for name, callback in (("LiveAnalysis", live), ("BestEffortCallback, plots", effort)):
                engine = RunEngine()
                engine.subscribe(listening(name, callback))
                engine(point_scan(DWELL, STEPS))
                plt.close("all")
        live.wait()
    taken = {name: 1e6 * np.array(values) for name, values in calls.items()}
    return {
        **{f"{name}, us": float(np.median(values)) for name, values in taken.items()},
        **{f"{name}, us, 99 %": float(np.quantile(values, 0.99)) for name, values in taken.items()},
        "preview_ms": float(np.median(previews.lags)),
        "previews": len(previews.lags),
    }


def slowdown(foil: FoilAnchor) -> dict[str, float]:
    """Seconds of a scan of 150 points at 20 ms, and freely running, by what listens; medians of interleaved runs."""

    def nothing(engine: RunEngine) -> Callable[[], Any]:
        return lambda: None

    def analysis(engine: RunEngine, plot: bool) -> Callable[[], Any]:
        publishers = [LiveStructurePlot()] if plot else []
        live = LiveAnalysis(Analyzer(load_model(MODEL), foil, device="cpu"), publishers)
        engine.subscribe(live)
        return live.close

    def best_effort(engine: RunEngine, plot: bool) -> Callable[[], Any]:
        callback = BestEffortCallback()
        callback.disable_table()
        if not plot:
            callback.disable_plots()
        engine.subscribe(callback)
        return lambda: plt.close("all")

    def live_plot(engine: RunEngine) -> Callable[[], Any]:
        engine.subscribe(LivePlot("it", x="energy"))
        return lambda: plt.close("all")

    kinds: dict[str, Callable[[RunEngine], Callable[[], Any]]] = {
        "nothing": nothing,
        "LiveAnalysis": lambda e: analysis(e, plot=False),
        "LiveAnalysis, figure": lambda e: analysis(e, plot=True),
        "LivePlot": live_plot,
        "BestEffortCallback": lambda e: best_effort(e, plot=False),
        "BestEffortCallback, plots": lambda e: best_effort(e, plot=True),
    }
    taken: dict[str, list[float]] = {}
    for round_ in range(REPEATS + 1):
        for name, subscribe in kinds.items():
            for dwell, what in ((DWELL, "20 ms"), (0.0, "free")):
                engine = RunEngine()
                close = subscribe(engine)
                engine(point_scan(dwell, 40))  # warm: figures drawn, operators built
                start = time.perf_counter()
                engine(point_scan(dwell, STEPS))
                if round_:
                    taken.setdefault(f"{name}, {what}", []).append(time.perf_counter() - start)
                close()
    return {name: float(np.median(values)) for name, values in taken.items()}


# --- growth ---------------------------------------------------------------------------------------------


def growing(foil: FoilAnchor) -> dict[str, dict[str, float]]:
    """Milliseconds of `Analyzer.analyze` a sweep, by points, batch and members."""
    bundle, found = load_model(MODEL), {name: {} for name in SIZES}
    analyzer = Analyzer(bundle, foil, device="cpu")
    for points in SIZES["points"]:
        one = spectra_of(*sweeps(1, points))
        found["points"][str(points)] = 1e3 * timed(lambda one=one: analyzer.analyze(one), 50)
    for n in SIZES["spectra"]:
        many = spectra_of(*sweeps(n))
        found["spectra"][str(n)] = 1e3 * timed(lambda many=many: analyzer.analyze(many), 15) / n
    one = spectra_of(*sweeps(1))
    for members in SIZES["members"]:
        spec = bundle.card.network.model_copy(update={"members": members})
        tensors = {
            name: t[:members] if name.startswith(("conv", "layer")) else t
            for name, t in bundle.tensors.items()
        }
        smaller = type(bundle)(
            bundle.card.model_copy(update={"network": spec}), tensors, f"{members} members"
        )
        few = Analyzer(smaller, foil, device="cpu")
        found["members"][str(members)] = 1e3 * timed(lambda few=few: few.analyze(one), 50)
    found["models in turn"] = models_in_turn()
    jittered = [
        s
        for k in range(40)
        for s in spectra_of(
            sweep_axis(LIBRARY) + 0.01 * np.random.default_rng(k).uniform(-1, 1, POINTS), sweeps(1)[1]
        )
    ]
    turn = iter(jittered * 10)
    found["axis"] = {
        "the same": found["points"][str(POINTS)],
        "jittering": 1e3 * timed(lambda: analyzer.analyze([next(turn)]), 30),
    }
    for name, dense in (
        ("dense, the same axis", dense_sweeps(1, jitter=False)),
        ("dense, jittering", dense_sweeps(40, jitter=True)),
    ):
        turn = iter(dense * 40)
        found["axis"][name] = 1e3 * timed(lambda turn=turn: analyzer.analyze([next(turn)]), 30)
    return found


def models_in_turn() -> dict[str, float]:
    """Milliseconds a sweep of one, two, three models, each asked in turn about a sweep of its own metal."""
    asked = []
    for model, library in (("pt-l3", "pt_l3"), ("pd-k", "pd_k"), ("au-l3", "au_l3")):
        foil, (one,) = anchor(model, library), spectra_of(*sweeps(1, library=library), library)
        asked.append((Analyzer(load_model(model), foil, device="cpu"), one))
    found = {}
    for n in range(1, len(asked) + 1):
        turn = itertools.cycle(asked[:n])

        def next_one(turn: Iterator[Any] = turn) -> None:
            analyzer, one = next(turn)
            analyzer.analyze([one])

        found[str(n)] = 1e3 * timed(next_one, 60)
    return found


def main() -> None:
    commit()
    torch.set_num_threads(1)
    foil = anchor()
    reduced = reduction()
    lag = latency(foil)
    stepped = points(foil)
    scans = slowdown(foil)
    grown = growing(foil)
    base = scans["nothing, 20 ms"]

    def slower(name: str) -> float:
        return 100.0 * (scans[f"{name}, 20 ms"] / base - 1.0)

    larch_batch, larch_single = reduced["larch"] / reduced["batch"], reduced["larch"] / reduced["single"]
    rex_batch, rex_single = reduced["rexafs"] / reduced["batch"], reduced["rexafs"] / reduced["single"]
    plain, plots = slower("LiveAnalysis"), slower("LiveAnalysis, figure")
    claims = [
        claim("larch_batch", "reduction in a batch of 256: times faster than larch", larch_batch, at_least=300),
        claim("larch_single", "reduction alone: times faster than larch", larch_single, at_least=60),
        claim("rexafs_batch", "reduction in a batch of 256: times faster than rexafs", rex_batch, at_least=20),
        claim("rexafs_single", "reduction alone: times faster than rexafs", rex_single, at_least=4),
        claim("larch_difference", "largest difference to larch, edge steps", reduced["larch_difference"], at_most=1e-9),
        claim("latency_p50_ms", "last document to prediction, median (ms)", lag["p50_ms"], at_most=10),
        claim("latency_p99_ms", "last document to prediction, 99th percentile (ms)", lag["p99_ms"], at_most=25),
        claim("re_us_per_document", "in the RunEngine's thread, a document of a step scan, median (us)", stepped["LiveAnalysis, us"], at_most=20),
        claim("re_us_per_row", "the same, a document that holds a whole sweep (us)", lag["us_per_document"], at_most=20),
        claim("re_slowdown_percent", "scan with 20 ms dwell longer by (%)", plain, at_most=2),
        claim("re_slowdown_plots_percent", "the same with the live figure (%)", plots, at_most=5),
    ]  # fmt: skip
    result = record(
        "speed", claims,
        {"spectra": "simulated Pt L3, 600 points, noise 0.002", "model": load_model(MODEL).sha256, "steps": STEPS, "repeats": REPEATS},
        reduction=reduced, latency=lag, points=stepped, scans=scans, growth=grown,
    )  # fmt: skip
    write_page("speed", result)


if __name__ == "__main__":
    main()
