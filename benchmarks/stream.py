"""A stream of whole sweeps from another process: is any lost, does the memory grow, how many a second?

A process of its own (xas_live.simulator.stream) writes HDF5 files in SWMR mode at 2,000 sweeps of 600 points a second,
as a QEXAFS beamline's file-writing detector does, and announces rows by stream_datum documents. LiveAnalysis reads,
analyses and, in the second part, archives them into a Tiled server on the same two cores. The peer reduces one spectrum
a call with larch and runs the network on it alone. `--seconds N` sets how long sweeps are produced where they are
archived (600); a tenth of it where they are not. Writes benchmarks/results/stream.json, docs/explanations/stream.md.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from larch import Group
from larch.xafs import pre_edge
from pages import write_page
from record import claim, commit, record
from sweeps import anchor, sweeps, timed

from xas_live.analysis import Analyzer
from xas_live.archive import open_archive
from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.callbacks.publishers.writer import PredictionWriter
from xas_live.models.networks import network
from xas_live.models.registry import load_model

RATE, PER_FILE = 2000, 40_000


class Order(BasePublisher):
    """Counts sweeps, and those that came out of turn; removes files that are analysed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sweeps = self.out_of_turn = self.refused = 0

    def predicted(self, result: SweepResult) -> None:
        """See `Publisher`."""
        prediction = result.primary
        self.out_of_turn += prediction.provenance.sweep != self.sweeps
        self.refused += prediction.refused is not None
        self.sweeps += 1
        done, rest = divmod(self.sweeps - 2, PER_FILE)  # the two newest rows may still be looked at
        if done and not rest:
            (self.folder / f"{done - 1}.h5").unlink()


def consume(seconds: float, folder: Path, *, archived: bool) -> dict[str, Any]:
    """Analyse what another process produces."""
    files = folder / f"files_{archived}"
    files.mkdir()
    order = Order(files)
    archive = open_archive(folder / "archive") if archived else None
    writer = archive.derived_writer() if archive is not None else None
    publishers = [order] + ([PredictionWriter(writer)] if writer is not None else [])
    analyzer = Analyzer(load_model("pt-l3"), anchor(), device="cpu")
    memory: list[float] = []
    lags: list[float] = []
    ended = threading.Event()
    mapping = ChannelMapping(energy="energy", i0="i0", it="it")
    with LiveAnalysis(analyzer, publishers, mapping, history=200) as live:

        def look() -> None:
            page = os.sysconf("SC_PAGE_SIZE") / 2**20
            while not ended.wait(1.0):
                memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)
                lags.append(live.status().lag or 0.0)

        threading.Thread(target=look, daemon=True).start()
        command = [
            sys.executable,
            "-m",
            "xas_live.simulator.stream",
            str(files),
            "--sweeps",
            str(int(RATE * seconds)),
        ]
        command += ["--rate", str(RATE), "--per-file", str(PER_FILE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as producer:
            assert producer.stdout is not None
            lines = itertools.chain([producer.stdout.readline()], producer.stdout)
            start = time.monotonic()  # the producer is there
            for line in lines:
                name, doc = json.loads(line)
                live(name, doc)
        produced = time.monotonic() - start
        live.wait()
        took = time.monotonic() - start
        ended.set()
        errors = [str(e) for e in live.errors]
    found: dict[str, Any] = {}
    if archive is not None and writer is not None:
        found["delivered"] = writer.flush(1800.0)
        writer.close()
        (run,) = list(archive.derived.values())
        stored = run["predictions"].read(["sweep"])["sweep"].to_numpy()  # all columns would be over 1 GB
        found["archived"] = len(stored)
        found["archived_in_order"] = bool(np.all(np.diff(stored) == 1))
        found["archive_done_s"] = round(time.monotonic() - start, 1)
        archive.close()
    quarter = max(len(memory) // 4, 1)
    return found | {
        "asked": int(RATE * seconds), "sweeps": order.sweeps, "out_of_turn": order.out_of_turn, "refused": order.refused,
        "produced_s": round(produced, 1), "took_s": round(took, 1), "rate": order.sweeps / took,
        # From the end of the first quarter, when caches are full, to the last.
        "memory_growth_mb": max(memory[-quarter:]) - max(memory[:quarter]), "memory_mb": max(memory),
        "largest_lag_s": max(lags), "errors": errors[:3], "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def peer() -> float:
    """Sweeps a second by one larch call and one network call each."""
    bundle = load_model("pt-l3")
    energy, mu = sweeps(64)
    group, grid = Group(), 11564.0 + bundle.grid
    t = bundle.tensors

    def one(row: Any) -> None:
        pre_edge(energy, row, group=group)
        x = torch.from_numpy(np.interp(grid, energy, group.flat)[None]).float()
        with torch.inference_mode():
            network(bundle.card.network, bundle.network, (x - t["input_mean"]) / t["input_scale"])

    return 1.0 / timed(lambda: one(mu[0]), 60)


def main(seconds: float) -> None:
    commit()
    torch.set_num_threads(1)
    parts: dict[str, Any] = {"larch and network, a call each": {"rate": peer()}}
    with tempfile.TemporaryDirectory() as folder:
        for archived in (False, True):
            name = "analysed and archived" if archived else "analysed"
            parts[name] = consume(seconds if archived else seconds / 10, Path(folder), archived=archived)
            print(name, parts[name], flush=True)
    alone, both = parts["analysed"], parts["analysed and archived"]
    lost = sum(p["asked"] - p["sweeps"] for p in (alone, both)) + both["asked"] - both["archived"]
    disorder = alone["out_of_turn"] + both["out_of_turn"] + (not both["archived_in_order"])
    growth = max(alone["memory_growth_mb"], both["memory_growth_mb"])
    result = record("stream", [
        claim("lost", f"sweeps lost of {alone['asked']} analysed and of {both['asked']} archived", lost, equal=0),
        claim("refused", "sweeps refused", alone["refused"] + both["refused"], equal=0),
        claim("out_of_order", "sweeps out of order", disorder, equal=0),
        claim("rate", "sweeps a second, analysed and archived", both["rate"], at_least=2000),
        claim("rate_analysed", "sweeps a second, analysed alone", alone["rate"], at_least=2000),
        claim("memory_growth_mb", "growth of the memory from the first to the last quarter (MB)", growth, at_most=50),
    ], {"sweeps": "simulated Pt L3, 600 points", "seconds": seconds, "asked_rate": RATE}, parts=parts)  # fmt: skip
    write_page("stream", result)


if __name__ == "__main__":
    main(float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 600.0)
