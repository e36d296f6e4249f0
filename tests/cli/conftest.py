"""Simulated files, and the command line run on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from parts import Cable, write
from typer.testing import CliRunner, Result

from xas_live.archive import Archive
from xas_live.cli import app
from xas_live.models.registry import SHIPPED_FOLDER
from xas_live.simulator import growth

Run = Callable[..., Result]


@pytest.fixture
def cable(archive: Archive) -> Iterator[Cable]:
    made = Cable(int(urlsplit(archive.uri).port or 0))
    yield made
    made.cut()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that no anchor saved elsewhere is found."""
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def pt() -> Path:
    """The shipped model of Pt L3, by its folder."""
    return SHIPPED_FOLDER / "pt-l3"


@pytest.fixture
def run() -> Run:
    def run_app(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return run_app


@pytest.fixture(scope="session")
def counts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 55-atom sample as a beamline writes it: energy, i0, it, ir."""
    return write(tmp_path_factory.mktemp("files") / "sample.dat", growth(4)[1], "# energy i0 it ir")


@pytest.fixture(scope="session")
def mu_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sample as two columns without names."""
    return write(tmp_path_factory.mktemp("files") / "sample_mu.dat", growth(4)[1], "")


@pytest.fixture(scope="session")
def foil_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The foil as energy and mu."""
    return write(tmp_path_factory.mktemp("files") / "pt_foil.dat", None, "# energy mu")
