"""A detector that writes whole sweeps into files, as those of fast-scanning beamlines do, and tells of them.

A process of its own, `python -m xas_live.simulator.stream FOLDER --sweeps N`: it prints one document a line,
as JSON of its name and itself. Every row of a file is a sweep; files are HDF5, open for readers while they
are written (SWMR), and a new one is begun after so many rows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np

from xas_live.simulator.absorption import Mismatch, measured
from xas_live.simulator.library import site_library
from xas_live.simulator.sample import growth
from xas_live.spectrum import Array

FIELDS = ("energy", "i0", "it")
POINTS = 600
ROWS = 200  # written, and told of, at a time
BLANK = 0.2  # absorption of everything else in the beam
NOISE = 0.002  # of a point, in edge steps

Send = Callable[[str, Mapping[str, Any]], None]


def sweep_axis(library: str, points: int = POINTS) -> Array:
    """(points,) energies of a sweep (eV): half of them from 20 eV before the edge to 60 eV past it."""
    edge = site_library(library).edge_energy
    before, near = points // 10, points // 2
    return np.concatenate(
        [
            np.linspace(edge - 150, edge - 20, before, endpoint=False),
            np.linspace(edge - 20, edge + 60, near, endpoint=False),
            np.linspace(edge + 60, edge + 600, points - before - near),
        ]
    )


def sweeps_of(library: str, n: int, energy: Array, seed: int = 20261124) -> Array:
    """(n, points) absorption of growing particles, with noise."""
    clean = np.stack([measured(energy, library, sample, Mismatch()) for sample in growth(8, library)])
    noise = np.random.default_rng(seed).standard_normal((n, len(energy)))
    return clean[np.arange(n) % len(clean)] + BLANK + NOISE * noise


def stream_sweeps(
    folder: Path, sweeps: int, send: Send, *, rate: float, per_file: int, library: str = "pt_l3"
) -> float:
    """Write one run of sweeps.

    Parameters
    ----------
    folder : of the files, which are called 0.h5, 1.h5 and so on.
    sweeps : how many; a multiple of 200, and so is `per_file`, how many of them stand in a file.
    send : takes the documents.
    rate : sweeps a second.

    Returns
    -------
    Seconds that it took longer than the rate asks for.
    """
    about = site_library(library)
    energy = sweep_axis(library)
    columns = _counts(energy, sweeps_of(library, ROWS, energy))
    run = event_model.compose_run(
        metadata={"element": about.element, "edge": about.edge, "sample_temperature": 295.0}
    )
    key = {"source": "simulated", "dtype": "array", "dtype_numpy": "<f8", "shape": [POINTS]}
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={name: {**key, "external": "STREAM:"} for name in FIELDS},
        object_keys={"detector": list(FIELDS)},
        configuration={},
    )
    send("start", run.start_doc)
    send("descriptor", descriptor.descriptor_doc)
    began, done = time.monotonic(), 0
    for number in range(-(-sweeps // per_file)):
        with _file(folder / f"{number}.h5", run, send) as (datasets, bundles):
            for first in range(0, min(per_file, sweeps - done), ROWS):
                last = first + ROWS
                for name, dataset in datasets.items():
                    dataset.resize(last, axis=0)
                    dataset[first:] = columns[name]
                    dataset.flush()
                    datum = bundles[name].compose_stream_datum(
                        {"start": first, "stop": last},
                        seq_nums={"start": done + 1, "stop": done + ROWS + 1},
                        descriptor=descriptor.descriptor_doc,
                    )
                    send("stream_datum", datum)
                done += ROWS
                time.sleep(max(0.0, began + done / rate - time.monotonic()))
    late = time.monotonic() - began - done / rate
    send("stop", run.compose_stop())
    return late


def _counts(energy: Array, mu: Array) -> dict[str, Array]:
    """Columns of the files: energies, and counts of the two chambers."""
    i0 = 1e6 * (1.0 + 1e-3 * np.random.default_rng(1).standard_normal(mu.shape))
    return {"energy": np.tile(energy, (len(mu), 1)), "i0": i0, "it": i0 * np.exp(-mu)}


@contextmanager
def _file(path: Path, run: Any, send: Send) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """A new file's datasets, and what composes the documents about them, by field."""
    chunk = (ROWS // 4, POINTS)
    with h5py.File(path, "w", libver="latest") as file:
        datasets = {
            name: file.create_dataset(name, (0, POINTS), maxshape=(None, POINTS), chunks=chunk, dtype="f8")
            for name in FIELDS
        }
        file.swmr_mode = True
        bundles = {}
        for name in FIELDS:
            bundles[name] = run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=name,
                parameters={"dataset": name, "chunk_shape": list(chunk), "swmr": True},
            )
            send("stream_resource", bundles[name].stream_resource_doc)
        yield datasets, bundles


def main() -> None:
    """Print the documents of a run while its files are written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweeps", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2000.0, help="a second")
    parser.add_argument("--per-file", type=int, default=40_000)
    given = parser.parse_args()

    def send(name: str, doc: Mapping[str, Any]) -> None:
        print(json.dumps([name, doc]), flush=True)

    stream_sweeps(given.folder, given.sweeps, send, rate=given.rate, per_file=given.per_file)


if __name__ == "__main__":
    main()
