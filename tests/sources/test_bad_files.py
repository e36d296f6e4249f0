"""One bad file of a thousand is refused by name, within bounds of time and memory; the rest is analysed."""

from __future__ import annotations

import decimal
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from tests.callbacks.edges import GRID, Edges, mu_of
from xas_live.sources import Scan, Unreadable, athena, files, read_file
from xas_live.sources.replay import replay

HEADER = "# energy mu\n"
GOOD = HEADER + "".join(f"{energy} {mu}\n" for energy, mu in zip(GRID, mu_of(GRID), strict=True))
PROJECT = '{"____header": "Athena project file -- Athena version 0.9", '


def refused(path: Path) -> str:
    (found,) = read_file(path)
    assert isinstance(found, Unreadable)
    assert found.source == str(path)
    return found.reason


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("deep.prj", PROJECT + '"a": ' + "[" * 200_000, "the Athena project is damaged"),
        ("groups.prj", PROJECT + '"_____order": ["a"], "a": {"args": ' + '{"a":' * 200_000, "is damaged"),
        ("lines.dat", HEADER + "1 2\n" * 600_000, "600002 lines and"),
        ("line.dat", "1 " * 100_000, "a line has 200000 characters"),
        ("long.dat", HEADER + "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20\n" * 450_000, "characters"),
        (
            "crystal.xdi",
            "# XDI/1.0\n# Mono.d_spacing: 0\n# Column.1: angle degrees\n# Column.2: mu\n#---\n" + GOOD[12:],
            "give the crystal's",
        ),
    ],
)
def test_a_file_beyond_all_bounds_is_refused_with_the_reason(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    assert why in refused(tmp_path / name)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.dat")
    assert refused(tmp_path / "scan.dat") == "is no file but a pipe, a socket or a device"
    assert "is no file" in refused(Path("/dev/zero"))


def test_a_compressed_file_is_unpacked_no_further_than_it_is_read(tmp_path):
    path = tmp_path / "bomb.dat.gz"
    with gzip.open(path, "wb", compresslevel=1) as packed:
        for _ in range(64):
            packed.write(bytes(2**24))
    assert path.stat().st_size < 8 * 2**20
    assert "over 40 MB" in refused(path)


def test_of_a_project_with_very_many_groups_the_rest_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(athena, "MOST_GROUPS", 3)
    x, mu = ",".join(f"'{e}'" for e in GRID), ",".join(f"'{m}'" for m in mu_of(GRID))
    group = (
        f"$old_group = 'a';\n@args = ('label','a','is_xmu','1');\n@x = ({x});\n@y = ({mu});\n[record]   #\n"
    )
    (tmp_path / "p.prj").write_text("# Athena project file -- Demeter version 0.9.20\n" + group * 9)
    *scans, rest = read_file(tmp_path / "p.prj")
    assert [type(scan) for scan in scans] == [Scan] * 3
    assert isinstance(rest, Unreadable)
    assert rest.reason.startswith("the project holds over 3 groups")


def test_an_error_that_nobody_foresaw_is_a_refusal(tmp_path, monkeypatch):
    (tmp_path / "scan.dat").write_text(GOOD)

    def fails(*_: object) -> None:
        raise decimal.InvalidOperation("no decimal")

    monkeypatch.setattr(files, "read_columns", fails)
    assert refused(tmp_path / "scan.dat") == "it cannot be read (InvalidOperation: no decimal)"


def test_one_wrong_energy_costs_neither_memory_nor_the_replay(tmp_path):
    paths = []
    for k, energy in enumerate(("19095000000.0", "1e300", "-2147483647")):
        lines = GOOD.splitlines()
        lines[30] = f"{energy} 1.0"
        paths.append(tmp_path / f"{k}.dat")
        paths[-1].write_text("\n".join(lines))
    os.mkfifo(tmp_path / "pipe.dat")
    (tmp_path / "good.dat").write_text(GOOD)
    found = list(replay([*paths, tmp_path / "pipe.dat", tmp_path / "good.dat"], Edges()))
    assert len(found) == 5
    assert found[3].refused == "is no file but a pipe, a socket or a device"
    assert found[4].refused is None
    assert found[4].values["CN1"].value == np.float64(len(GRID))
