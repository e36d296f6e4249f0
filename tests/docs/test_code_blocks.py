"""Every code block of README and docs runs, word for word.

The python blocks of a page run in order, in one namespace, in another process, with a home and a folder of
their own; so do the lines of its sh blocks, in this process. A block that cannot run says so, and why, in the
line above it: "(Not run by the tests: ...)".
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.docs.code_blocks import OTHER, RUN, Block, blocks_of
from xas_live.archive import open_archive
from xas_live.cli import app
from xas_live.energy import xanes_grid
from xas_live.simulator import Mismatch, Sample, growth
from xas_live.simulator.absorption import measured
from xas_live.simulator.library import site_library

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if blocks_of(page)]
ALONE = {"first-scan.md", "epics.md", "CONTRIBUTING.md", "at-your-beamline.md"}  # make their own RunEngine
EPICS = "epics.md"  # its variables are set before anything imports ophyd
MOST_LEFT_OUT = 10
SESSION = (ROOT / "tests" / "docs" / "beamline_session.py").read_text(encoding="utf-8")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name: foils, samples, standards."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("scans", "gold"):
        (folder / name).mkdir()
    counts = "# energy time i0 it ir"
    for k, sample in enumerate(growth(4)[1:3]):
        _write(folder / "scans" / f"{k}.dat", sample, counts)
        _write(folder / f"raw_{k}.dat", sample, "")
    _write(folder / "gold" / "0.dat", growth(4, "au_l3")[1], counts, "au_l3")
    for name, metal in (("Pt", "pt_l3"), ("Au", "au_l3")):
        _write(folder / f"{name}_foil.dat", None, "# energy mu", metal)
        text = (folder / f"{name}_foil.dat").read_text()
        absorber = f"# Element.symbol: {name}\n# Element.edge: L3\n"
        head = f"# XDI/1.0\n{absorber}# Column.1: energy eV\n# Column.2: mu\n# ---\n"
        (folder / f"{name}_foil.xdi").write_text(head + text)
    _write(folder / "Pt_1.dat", growth(4)[1], counts)
    _oxide(folder)
    _standards(folder)
    _project(folder / "project.prj", folder / "Au_foil.dat")
    return folder


@pytest.fixture(scope="module")
def home(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with an archive that holds a run; its server runs already, so that no page waits for one."""
    home = tmp_path_factory.mktemp("home")
    with open_archive(home / "xas_archive"):
        arguments = ["replay", str(files / "Pt_1.dat"), "--archive", str(home / "xas_archive")]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        yield home


def _write(path: Path, sample: Sample | None, header: str, metal: str = "pt_l3") -> None:
    """Columns of one scan; no sample is the foil."""
    energy = xanes_grid(site_library(metal).edge_energy)
    mu, foil = (0.2 + measured(energy, metal, each, Mismatch()) for each in (sample, None))
    i0 = 1e6 + 10.0 * (energy - energy[0])  # one that does not change would be a dead detector's
    counts = i0 * np.exp([0.0 * mu, -mu, -mu - foil])
    columns = [energy, mu] if header.endswith("mu") else [energy, np.ones_like(energy), *counts]
    np.savetxt(path, np.column_stack(columns), header=header.lstrip("# "), fmt="%.8g")


def _oxide(folder: Path) -> None:
    """A standard that is like an oxide."""
    energy, foil = np.loadtxt(folder / "Pt_foil.dat").T
    x = energy - 11564.0
    rise = 0.5 + np.arctan((x - 1.0) / 2.0) / np.pi
    step = np.median(foil[x > 100]) - np.median(foil[x < -50])
    oxide = foil[0] + step * (rise + 1.2 * np.exp(-0.5 * ((x - 2.0) / 3.0) ** 2))
    np.savetxt(folder / "PtO2.dat", np.column_stack([energy, oxide]), header="energy mu")


def _standards(folder: Path) -> None:
    """Spectra of known structure, in the layout of labelled spectra."""
    samples = growth(10)
    for k, sample in enumerate(samples):
        _write(folder / "standard.txt", sample, "# energy mu")
        energy, mu = np.loadtxt(folder / "standard.txt").T
        with h5py.File(folder / "standards.h5", "a") as file:
            if k == 0:
                file["energy"], file["foil/energy"] = energy, energy
                file["foil/mu"] = np.loadtxt(folder / "Pt_foil.dat").T[1]
                file.create_dataset("mu", (len(samples), len(energy)), dtype="f8")
            file["mu"][k] = mu
    with h5py.File(folder / "standards.h5", "a") as file:
        for name in ("CN1", "CN2", "CN3", "CN4", "R1"):
            file[f"targets/{name}"] = [sample.truth()[name] for sample in samples]
        file["targets/R1"].attrs["unit"] = "Å"


def _project(path: Path, foil: Path) -> None:
    """An Athena project of one group."""
    from larch import Group
    from larch.io import create_athena

    energy, mu = np.loadtxt(foil).T
    project = create_athena(str(path))
    project.add_group(Group(energy=energy, mu=mu, label="Au colloid", filename="colloid"))
    project.save()


def _folder(folder: Path, files: Path, home: Path) -> Path:
    """A folder of a page's own, with the files that pages name, and the archive."""
    shutil.copytree(files, folder)
    (folder / "archive").symlink_to(home / "xas_archive")
    return folder


def _own(home: Path, folder: Path) -> dict[str, str]:
    return {"HOME": str(home), "XAS_LIVE_HOME": str(folder / "xas_live"), "MPLBACKEND": "Agg"}


def _program(page: Path) -> list[tuple[int, str]]:
    session = [] if page.name in ALONE else [(1, SESSION)]
    return session + [(block.line, block.code) for block in _run_of(page, "python")]


def _run_of(page: Path, language: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == language and not block.left_out]


@pytest.mark.slow
def test_every_block_of_every_page_runs(
    files: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, so that one worker of several has the files, the archive and the imports."""
    failures: dict[str, str] = {}
    for apart in (False, True):
        pages = [page for page in PAGES if (page.name == EPICS) == apart and _run_of(page, "python")]
        folder = tmp_path / ("epics" if apart else "pages")
        results = _run_python(pages, folder, files, home)
        failures |= {
            _name(page): of["printed"] + of["failed"] for page, of in results.items() if of["failed"]
        }
    for page in PAGES:
        folder = tmp_path / "commands" / page.stem
        for name, value in _own(home, folder).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(_folder(folder, files, home))
        for block in _run_of(page, "sh"):
            failures |= _run_commands(block, page)
    assert not failures, "\n".join(f"{where}:\n{what}" for where, what in failures.items())


def _run_python(pages: list[Path], root: Path, files: Path, home: Path) -> dict[Path, dict[str, str]]:
    """Run the python blocks of pages in one process; what each page printed, and how it failed."""
    root.mkdir()
    given = [(str(page), str(_folder(root / page.stem, files, home)), _program(page)) for page in pages]
    subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs" / "run_pages.py"), str(root / "results.json")],
        env=os.environ | _own(home, root) | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    results = json.loads((root / "results.json").read_text())
    return {page: results[str(page)] for page in pages}


def _run_commands(block: Block, page: Path) -> dict[str, str]:
    """Run each line of an sh block; those that failed, with their output.

    Bash reads the line, and this process, which has it loaded, runs xas-live.
    """
    failures: dict[str, str] = {}
    for number, line in enumerate(block.code.replace("\\\n", " ").splitlines(), block.line):
        shell = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
        )
        command, *arguments = shell.stdout.split("\0")[:-1]
        if command not in ("", "xas-live"):
            failures[f"{_name(page)}:{number}"] = f"{line}\nonly xas-live is run; mark what cannot be"
        elif command:
            result = CliRunner().invoke(app, arguments)
            if result.exit_code != 0:
                failures[f"{_name(page)}:{number}"] = f"{line}\n{result.output}"
    return failures


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_name_a_language_that_is_known(page: Path) -> None:
    unknown = [block.line for block in blocks_of(page) if block.language not in (*RUN, *OTHER)]
    assert not unknown, f"name the language of the blocks at these lines: {', '.join((*RUN, *OTHER))}"


def test_few_blocks_are_left_out() -> None:
    left = [f"{_name(page)}:{block.line}" for page in PAGES for block in blocks_of(page) if block.left_out]
    assert len(left) <= MOST_LEFT_OUT, left
