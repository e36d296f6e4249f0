"""What every test may ask for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_model import compose_run
from hypothesis import settings

from xas_live.archive import Archive, RunWriter, open_archive
from xas_live.energy import xanes_grid
from xas_live.models.bundle import Bundle
from xas_live.models.registry import load_model
from xas_live.reduction.anchor import FoilAnchor
from xas_live.simulator import Mismatch, Sample
from xas_live.simulator.absorption import measured as measured_absorption
from xas_live.simulator.library import site_library
from xas_live.spectrum import Spectrum

Documents = list[tuple[str, dict[str, Any]]]
ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: threads that wait for each other cost more
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("shared machine", deadline=None)  # what is timed there fails by chance
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def measured() -> Path:
    """Other people's measured spectra: read in place, never copied into the repository."""
    given = os.environ.get("XAS_LIVE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not (folder / "measured").is_dir():
        pytest.skip("no measured spectra: set XAS_LIVE_TEST_DATA to the folder that holds measured/")
    return folder / "measured"


@pytest.fixture(autouse=True, scope="session")
def _own_user_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Anchors and spools of the tests never mix with the user's."""
    os.environ["XAS_LIVE_HOME"] = str(tmp_path_factory.mktemp("xas_live_home"))


@pytest.fixture(autouse=True)
def _runs_in_todays_interface() -> None:
    """A `databroker.Broker` switches the runs of all clients of the process to its older interface."""
    if "databroker" not in sys.modules:
        return
    from bluesky_tiled_plugins import BlueskyRun
    from tiled.client.container import DEFAULT_STRUCTURE_CLIENT_DISPATCH

    for clients in DEFAULT_STRUCTURE_CLIENT_DISPATCH.values():
        clients.set("BlueskyRun", lambda: BlueskyRun)


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where detectors write files that the archive may read."""
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, detector_folder: Path) -> Iterator[Archive]:
    """A real Tiled server for all tests of a worker: a start costs seconds. Tests ask for their own runs."""
    with open_archive(tmp_path_factory.mktemp("archive"), readable_storage=[detector_folder]) as opened:
        yield opened


@pytest.fixture(scope="session")
def scan_of() -> Callable[..., Spectrum]:
    """Make a simulated scan: of a sample (None is a foil), with a reference channel of the foil."""

    def make(sample: Sample | None, library: str = "au_l3", *, noise: float = 0.0, seed: int = 0,
             shift: float = 0.0, end: float = 600.0, **rest: Any) -> Spectrum:  # fmt: skip
        known = site_library(library)
        energy = xanes_grid(known.edge_energy, end)
        rng = np.random.default_rng(seed)
        mu, foil = (measured_absorption(energy - shift, library, s, Mismatch()) + 0.2 for s in (sample, None))
        mu = mu + noise * rng.standard_normal(len(mu))
        keys = {"element": known.element, "edge": known.edge, "reference": foil, "temperature": 295.0}
        return Spectrum(energy=energy, mu=mu, **(keys | rest))

    return make


@pytest.fixture(scope="session")
def au() -> Bundle:
    return load_model("au-l3")


@pytest.fixture(scope="session")
def au_anchor(au: Bundle, scan_of: Callable[..., Spectrum]) -> FoilAnchor:
    return FoilAnchor.fit(scan_of(None, reference=None), au)


@pytest.fixture(scope="session")
def tuned(au: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model beside `au-l3`: the same theory and input, weights of its own."""
    weights = {
        name: tensor * 0.99 if name.startswith("layer") else tensor for name, tensor in au.tensors.items()
    }
    folder = tmp_path_factory.mktemp("models") / "au-tuned"
    replace(au, card=au.card.model_copy(update={"name": folder.name}), tensors=weights).save(folder)
    return folder


@pytest.fixture(scope="session")
def raw_writer(archive: Archive) -> RunWriter:
    return archive.raw_writer()


@pytest.fixture(scope="session")
def derived_writer(archive: Archive) -> RunWriter:
    return archive.derived_writer()


@pytest.fixture
def make_run() -> Callable[..., Documents]:
    return _make_run


def _make_run(
    rows: list[Any],
    *,
    dtype: str = "number",
    shape: tuple[int, ...] = (),
    channels: tuple[str, ...] = ("det",),
    uid: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Documents:
    """The documents of a run, with the same value in all channels of a row."""
    run = compose_run(uid=uid, metadata={"plan_name": "test", **(metadata or {})})
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={name: {"source": "test", "dtype": dtype, "shape": list(shape)} for name in channels},
        object_keys={name: [name] for name in channels},
        configuration={},
    )
    documents: Documents = [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc)]
    for value in rows:
        data = dict.fromkeys(channels, value)
        timestamps = dict.fromkeys(channels, time.time())
        event = descriptor.compose_event(data=data, timestamps=timestamps, validate=False)
        documents.append(("event", event))
    documents.append(("stop", run.compose_stop()))
    return documents
