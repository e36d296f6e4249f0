"""Is anything lost, doubled or stopped where processes are killed, and does any input end in a traceback?

Sessions of a simulated beamline (`--session`, processes of their own) measure 20 runs into an archive, each with its
analysis. At random moments the archive's server, the delivery, the analysis or the session itself is killed (-9).
Then every run that was measured, analysed and on disk before a kill of its session must be in the archive: once, whole, valid by
event-model, with its derived run. The delay of plans is that of runs with kills beside runs without. Mutated files and
streams are those of benchmarks/reading.py. `--share` and `--inputs` take a share of kills and of inputs (1: 75 kills, 20,000 files and
30,000 streams). Writes benchmarks/results/faults.json and docs/explanations/faults.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.plans import list_scan
from event_model import DocumentNames, schema_validators
from pages import write_page
from record import claim, commit, record

import xas_live
from xas_live.archive import Archive, open_archive
from xas_live.energy import xanes_grid
from xas_live.simulator import SimulatedBeamline, growth

RUNS = 20
KILLS = {"archive": 30, "delivery": 15, "analysis": 15, "session": 15}
PAUSES = {"archive": (1.0, 6.0), "delivery": (0.5, 5.0), "analysis": (0.1, 1.5), "session": (4.0, 20.0)}  # s
MODULES = {
    "archive": "xas_live.archive.server",
    "delivery": "xas_live.archive.deliver",
    "analysis": "xas_live.analysis.child",
}
FILES, STREAMS, MEMORY_MB = 20_000, 30_000, 1000
BACK_S = 10.0
PATIENCE_S = 120.0
SEED = 20261128
Random = np.random.Generator


# ------------------------------------------------------------------------------------------------- a session


def session(folder: Path, runs: int) -> None:
    """Measure and analyse runs, and tell each on stdout; go on until so many are done and stdin says it is enough."""
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), enough.set()), daemon=True).start()
    RE = RunEngine({})
    beamline = SimulatedBeamline("pt_l3", dwell=0.01, seed=os.getpid())
    beamline.load(growth(4, "pt_l3")[2])
    energies = xanes_grid(beamline.library.edge_energy)[::2].tolist()
    xas = xas_live.attach(RE, archive=folder, plot=False, write_raw=True, process=True)
    done = 0
    while done < runs or not enough.is_set():
        began = time.monotonic()
        (uid,) = RE(list_scan([beamline.ion_chambers], beamline.energy, energies, md=beamline.metadata()))
        seconds = time.monotonic() - began
        xas.wait(PATIENCE_S)
        while any(writer.queued for writer in xas.status().writers.values()):
            time.sleep(0.02)
        done += 1
        told = {"uid": uid, "points": len(energies), "seconds": seconds}
        print(f"\n{json.dumps(told)}", flush=True)
    xas.close(PATIENCE_S)


class Session:
    """A session in a process of its own.

    Attributes
    ----------
    finished : what it told of each run.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        self.finished: list[dict[str, Any]] = []
        command = [sys.executable, __file__, "--session", str(folder), "--runs", str(runs)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Let it finish its runs and close."""
        assert self._process.stdin is not None
        self._process.stdin.write("enough\n")
        self._process.stdin.flush()
        self._process.wait()
        self._reader.join()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"uid"'):
                self.finished.append(json.loads(line))


# ----------------------------------------------------------------------------------------------------- kills


@dataclass
class Series:
    """What came of a series of runs.

    Attributes
    ----------
    finished : what sessions told of the runs.
    kills : so many; not_back : servers that were not back in time.
    recovery : s from each kill of the server until another serves.
    lost, doubled, invalid : what is wrong in the archive, in words.
    """

    finished: list[dict[str, Any]] = field(default_factory=list)
    kills: int = 0
    recovery: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)

    @property
    def kills_ok(self) -> int:
        """Kills after which all is as it should be."""
        if self.lost or self.doubled or self.invalid:
            return 0
        late = sum(seconds > BACK_S for seconds in self.recovery)
        return self.kills - late


def quiet_series(folder: Path) -> Series:
    """Measure a series in which nothing is killed."""
    series, measuring = Series(), Session(folder, RUNS)
    measuring.end()
    series.finished = measuring.finished
    audit(folder, series)
    return series


def series_with_kills(kind: str, count: int, folder: Path, rng: Random) -> Series:
    """Measure a series in which processes of a kind are killed, and look at what is in the archive then.

    Parameters
    ----------
    kind : "archive", "delivery", "analysis" or "session".
    """
    series, measuring = Series(), Session(folder, RUNS)
    while not measuring.finished and measuring.alive:  # imports and the first server are not what is tested
        time.sleep(0.1)
    while series.kills < count:
        time.sleep(rng.uniform(*PAUSES[kind]))
        if kind == "session":
            measuring.kill()
            series.finished += measuring.finished
            series.kills += 1
            measuring = Session(folder, max(1, RUNS - len(series.finished)))
            continue
        parent = None if kind == "archive" else measuring.pid
        for pid in processes(MODULES[kind], folder if kind == "archive" else None, parent)[:1]:
            os.kill(pid, signal.SIGKILL)
            series.kills += 1
            if kind == "archive":
                series.recovery.append(seconds_until_back(folder, pid))
        if not measuring.alive:
            raise SystemExit(f"the session of the series {kind} has ended by itself")
    measuring.end()
    series.finished += measuring.finished
    audit(folder, series)
    return series


def processes(module: str, folder: Path | None, parent: int | None) -> list[int]:
    """Return the processes that run a module, of an archive's folder or of a parent."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            above = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if module in command and (folder is None or str(folder) in command) and parent in (None, above):
            found.append(int(entry.name))
    return found


def seconds_until_back(folder: Path, killed: int) -> float:
    """Return how long it takes until another server says that it serves."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        try:
            if json.loads((folder / "server.json").read_text())["pid"] != killed:
                break
        except (OSError, ValueError):
            pass
        time.sleep(0.02)
    return time.monotonic() - began


# ----------------------------------------------------------------------------------------------------- audit


def audit(folder: Path, series: Series) -> None:
    """Compare the archive with what sessions told."""
    with open_archive(folder) as archive:
        deadline = time.monotonic() + PATIENCE_S
        while list((folder / "spool").rglob("*.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.2)
        series.lost += [f"kept in {path}" for path in (folder / "spool").rglob("*.jsonl")]
        derived: dict[str, list[Any]] = {}
        for run in archive.derived.values():
            derived.setdefault(run.metadata["start"]["raw_uid"], []).append(run)
        points = {told["uid"]: told["points"] for told in series.finished}
        for uid in [uid for uid in points if uid not in archive.client]:
            series.lost.append(f"raw run {uid}")
        for uid in archive.client:
            look_at(archive, uid, points.get(uid), series)
        for uid in points:
            sweeps = [
                list(run.v3["predictions"].base["internal"].read()["sweep"]) for run in derived.get(uid, [])
            ]
            if not sweeps or [0] not in sweeps:
                series.lost.append(f"derived run of {uid}")
            if len(sweeps) > 1 or any(len(each) > 1 for each in sweeps):
                series.doubled.append(f"derived run of {uid}: sweeps {sweeps}")


def look_at(archive: Archive, uid: str, points: int | None, series: Series) -> None:
    """Look at one raw run: of one that was not finished, only whether rows are there twice."""
    run = archive.client[uid].v3
    streams = [stream for stream in run if "internal" in run[stream].base]
    for stream in streams:
        numbers = [int(n) for n in run[stream].base["internal"].read()["seq_num"]]
        if len(set(numbers)) != len(numbers):
            series.doubled.append(f"rows of raw run {uid}")
        if points is not None and stream == "primary" and set(numbers) != set(range(1, points + 1)):
            series.lost.append(f"{points - len(set(numbers))} rows of raw run {uid}")
    if points is None:
        return
    if not run.metadata.get("stop"):
        series.lost.append(f"the stop document of raw run {uid}")
    for name, doc in run.documents():
        for error in schema_validators[DocumentNames[name]].iter_errors(dict(doc)):
            series.invalid.append(f"a {name} document of {uid}: {error.message}")


# ------------------------------------------------------------------------------------------------------ main


def folders() -> Iterator[Path]:
    """Give an empty folder for each series."""
    with tempfile.TemporaryDirectory() as root:
        for number in range(len(KILLS) + 1):
            yield Path(root) / f"archive-{number}"


def fuzz(share: float) -> tuple[int, float]:
    """Return how many mutated files and streams reach the user as a traceback, and the memory that they take (MB)."""
    from reading import all_fuzzed

    found = [all_fuzzed("files", round(FILES * share)), all_fuzzed("streams", round(STREAMS * share))]
    return sum(each.escaped.total() for each in found), max(each.memory_mb for each in found)


def main(share: float, inputs: float, fuzzed: Callable[[float], tuple[int, float]] = fuzz) -> None:
    commit()
    rng, places = np.random.default_rng(SEED), folders()
    quiet = quiet_series(next(places))
    series = {}
    for kind, most in KILLS.items():
        series[kind] = series_with_kills(kind, max(1, round(most * share)), next(places), rng)
        print(
            kind,
            series[kind].kills_ok,
            "of",
            series[kind].kills,
            series[kind].lost[:3],
            series[kind].doubled[:3],
            flush=True,
        )
    tracebacks, memory = fuzzed(inputs)
    usual = np.median([told["seconds"] for told in quiet.finished])
    disturbed = [told["seconds"] for kind in MODULES for told in series[kind].finished]
    delay = 100.0 * (float(np.median(disturbed)) / float(usual) - 1.0)
    every = [quiet, *series.values()]
    result = record("faults", [
        *(claim(f"{kind}_kills_ok", f"kills of the {kind}, of {of.kills}, after which every finished run is there", of.kills_ok, equal=of.kills)
          for kind, of in series.items()),
        claim("duplicates", "rows and derived runs that are there twice", sum(len(of.doubled) for of in every), equal=0),
        claim("lost", "runs, rows, stop documents and derived runs that are missing, or not valid",
              sum(len(of.lost) + len(of.invalid) for of in every), equal=0),
        claim("recovery_s", "longest time until a server serves again (s)", max(series["archive"].recovery, default=0.0), at_most=BACK_S),
        claim("plan_delay_percent", "plans take so much longer while processes are killed (%, median)", delay, at_most=5),
        claim("fuzz_tracebacks", "mutated files and streams that end in a traceback", tracebacks, equal=0),
        claim("fuzz_memory_mb", "memory of the process that reads them (MB)", memory, below=MEMORY_MB),
    ], {"runs": RUNS, "share": share, "inputs": inputs, "beamline": "simulated Pt L3"}, series={
        kind: {
            "runs": len(of.finished), "kills": of.kills, "recovery_s": [round(s, 2) for s in of.recovery],
            "run_s": round(float(np.median([told["seconds"] for told in of.finished])), 3),
            "lost": of.lost[:20], "doubled": of.doubled[:20], "invalid": of.invalid[:20],
        }
        for kind, of in {"none": quiet, **series}.items()
    })  # fmt: skip
    write_page("faults", result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the kills")
    parser.add_argument("--inputs", type=float, default=1.0, help="share of the mutated files and streams")
    parser.add_argument("--session", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    if arguments.session is not None:
        session(arguments.session, arguments.runs)
    else:
        main(arguments.share, arguments.inputs)
