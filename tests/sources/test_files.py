"""Data files of every kind become columns; bad ones become reasons."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from xas_live.sources.files import read_file
from xas_live.sources.scan import ColumnsError, Scan, Unreadable, parse_columns

ROWS = np.array([[11000.0 + 5 * i, 0.1 * i + 1, 0.2 * i + 2, 0.3 * i + 3] for i in range(8)])


def write(path: Path, header: str, columns: int = 2, rows: np.ndarray = ROWS, separator: str = " ") -> Path:
    lines = [separator.join(repr(float(x)) for x in row[:columns]) for row in rows]
    path.write_text((header + "\n" if header else "") + "\n".join(lines) + "\n")
    return path


def one(path: Path, **options: object) -> Scan:
    (scan,) = read_file(path, **options)  # type: ignore[arg-type]
    assert isinstance(scan, Scan), scan
    return scan


def refused(path: Path, **options: object) -> str:
    (entry,) = read_file(path, **options)  # type: ignore[arg-type]
    assert isinstance(entry, Unreadable)
    assert entry.source == str(path)
    return entry.reason


@pytest.mark.parametrize(
    ("header", "columns", "expected"),
    [
        ("", 2, {"energy": 0, "mu": 1}),
        ("# Pt foil, measured", 2, {"energy": 0, "mu": 1}),
        ("# energy absorbance", 2, {"energy": 0, "mu": 1}),
        ("# energy mu", 2, {"energy": 0, "mu": 1}),
        ("# energy_eV mu i0", 3, {"energy": 0, "mu": 1, "i0": 2}),
        ("Energy (eV), mu(E)", 2, {"energy": 0, "mu": 1}),
        ("# Energy XMU IReF", 3, {"energy": 0, "mu": 1, "ir": 2}),
        ("# i0 it energy", 3, {"energy": 2, "i0": 0, "it": 1}),
        ("energy\tI0\tI1\tirefer", 4, {"energy": 0, "i0": 1, "it": 2, "ir": 3}),
        ("# qexafs_energy\t time\t  I0\t It", 4, {"energy": 0, "i0": 2, "it": 3}),
        ("# energy time i0 iff", 4, {"energy": 0, "i0": 2, "iff": 3}),
        ("# scan 12\n# energy mu reference\n#-------", 3, {"energy": 0, "mu": 1, "reference": 2}),
    ],
)
def test_columns_are_told_by_their_names(
    tmp_path: Path, header: str, columns: int, expected: dict[str, int]
) -> None:
    scan = one(write(tmp_path / "scan.dat", header, columns))
    assert set(scan.channels) == set(expected)
    for name, number in expected.items():
        np.testing.assert_array_equal(scan.channels[name], ROWS[:, number])


@pytest.mark.parametrize("separator", [" ", "\t", ", ", ",", ";"])
def test_separators(tmp_path: Path, separator: str) -> None:
    scan = one(write(tmp_path / "scan.csv", "", 2, separator=separator))
    np.testing.assert_array_equal(scan.channels["mu"], ROWS[:, 1])


def test_ready_mu_wins_over_counts_unless_a_mode_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dat", "# energy mu i0 it", 4)
    assert one(path).mode == "mu"
    assert one(path, mode="transmission").mode == "transmission"
    assert "needs iff" in refused(path, mode="fluorescence")


def test_numbered_columns_overrule_names_and_skip_what_is_no_number(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dat", "Beamline 7, mu energy it i0\nexposed 1 s", 4)
    scan = one(path, columns=parse_columns("energy=0,i0=1,it=2,ir=3"))
    assert scan.mode == "transmission"
    np.testing.assert_array_equal(scan.channels["ir"], ROWS[:, 3])
    assert "columns 0 to 3, so no it=4" in refused(path, columns=parse_columns("energy=0,i0=1,it=4"))


@pytest.mark.parametrize("header", ["# Energy_keV mu", "# Energy (keV)  mu", "energy [keV], mu"])
def test_energies_in_kev_by_the_header(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "scan.dat", header, 2, ROWS / [1000, 1, 1, 1])
    np.testing.assert_allclose(one(path).channels["energy"], ROWS[:, 0])


def test_header_says_absorber_and_temperature(tmp_path: Path) -> None:
    lines = [
        "Element: Palladium ( 46)",
        "Edge: K",
        "Reference Foil Element: Pt",
        "temperature: 25 C",
        "energy mu",
    ]
    header = "\n".join(f"# {line}" for line in lines)
    scan = one(write(tmp_path / "scan.dat", header))
    assert (scan.element, scan.edge, scan.temperature) == ("Pd", "K", 298.15)
    assert one(write(tmp_path / "plain.dat", "# element: none\n# energy mu")).element is None


@pytest.mark.parametrize(
    ("lines", "absorber"),
    [
        ("Element.symbol: Pt\n# Element.edge: L3", ("Pt", "L3")),
        ("Edge: Ni_K", ("Ni", "K")),
        ("edge: Pt-L3", ("Pt", "L3")),
        ("element: Pt\n# edge: L3-edge", ("Pt", "L3")),
        ("Element = Au\n# Edge = LIII", ("Au", "L3")),
        ("E0: 24350", ("Pd", "K")),
        ("absorption edge: 3", (None, None)),
    ],
)
def test_header_says_absorber_in_many_ways(
    tmp_path: Path, lines: str, absorber: tuple[str | None, str | None]
) -> None:
    scan = one(write(tmp_path / "scan.dat", f"# {lines}\n# energy mu"))
    assert (scan.element, scan.edge) == absorber


def test_last_row_cut_short_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dat", "# energy mu")
    path.write_text(path.read_text() + "11040.0\n")
    assert len(one(path).channels["energy"]) == len(ROWS)


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.dat").write_text("\n")
    (tmp_path / "binary.h5").write_bytes(b"\x89HDF\r\n\x1a\n\0\0\0" + bytes(64))
    (tmp_path / "prose.txt").write_text("nothing to see here\nnor here\n")
    write(tmp_path / "one.dat", "", 1)
    write(tmp_path / "five.dat", "", 4, np.hstack([ROWS, ROWS]))
    text = write(tmp_path / "broken.dat", "# energy mu").read_text()
    (tmp_path / "broken.dat").write_text(text + "# beam lost\n" + text)
    (tmp_path / "bad.prj").write_text("no project")
    (tmp_path / "cut.prj").write_bytes(gzip.compress(b"# Athena project file -- " * 99)[:40])
    assert refused(tmp_path / "missing.dat") == "no such file"
    assert "is a folder" in refused(tmp_path)
    assert "empty" in refused(tmp_path / "empty.dat")
    assert "binary" in refused(tmp_path / "binary.h5")
    assert "no columns" in refused(tmp_path / "prose.txt")
    assert "only one column" in refused(tmp_path / "one.dat")
    assert "--columns" in refused(tmp_path / "five.dat")
    (first,) = read_file(tmp_path / "broken.dat")
    assert isinstance(first, Scan)
    assert first.read["left_out"] == ["8 rows of numbers at line 12"]
    assert "not an Athena project" in refused(tmp_path / "bad.prj")
    assert "damaged" in refused(tmp_path / "cut.prj")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_by_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.dat", "# energy mu")
    path.chmod(0)
    assert "cannot be opened" in refused(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("energy=0", "no spectrum"),
        ("mu=1", "energy column is missing"),
        ("energy=0,mu=x", "column number"),
        ("energy=0,mu=-1", "column number"),
        ("energy=0,mu", "column number"),
        ("energy=0,absorption=1", "names no channel"),
        ("energy=0,mu=1,mu=2", "twice"),
    ],
)
def test_unusable_choices_of_columns(text: str, complaint: str) -> None:
    with pytest.raises(ColumnsError, match=complaint):
        parse_columns(text)


# ------------------------------------------------------------------------------------------------- Athena


def perl_project(path: Path, groups: list[tuple[str, dict[str, object]]]) -> Path:
    def words(values: object) -> str:
        return ",".join(f"'{value}'" for value in np.ravel(values))  # type: ignore[call-overload]

    text = "# Athena project file -- Demeter version 0.9.20\n# written by a test\n\n"
    for number, (label, extra) in enumerate(groups):
        arguments: dict[str, object] = {"label": label, "is_xmu": 1, "bkg_z": "Au", "fft_edge": "L3", **extra}
        pairs = ",".join(f"'{key}','{value}'" for key, value in arguments.items())
        text += f"$old_group = 'g{number}';\n@args = ({pairs});\n"
        text += f"@x = ({words(ROWS[:, 0])});\n@y = ({words(ROWS[:, 1] + number)});\n[record]\n\n"
    path.write_bytes(gzip.compress((text + "@journal = ('done');\n1;\n").encode()))
    return path


def json_project(path: Path, labels: list[str]) -> Path:
    names = [f"g{number}" for number in range(len(labels))]
    project: dict[str, object] = {
        "_____header1": "# Athena project file -- Demeter version 0.9.24",
        "_____journal": ["a journal"],
        "_____order": names,
    }
    for name, label in zip(names, labels, strict=True):
        arguments = {"label": label, "bkg_eshift": "0.5", "bkg_z": "Pt", "fft_edge": "l3"}
        project[name] = {"args": arguments, "x": ROWS[:, 0].tolist(), "y": ROWS[:, 1].tolist()}
    path.write_text(json.dumps(project))
    return path


def test_every_group_of_a_project_with_its_shift(tmp_path: Path) -> None:
    groups = [
        ("0.12", {"bkg_eshift": "-0.24"}),
        ("same", {}),
        ("same", {}),
        ("chi", {"is_chi": 1, "is_xmu": 0}),
    ]
    entries = read_file(perl_project(tmp_path / "a.prj", groups))
    assert [entry.scan for entry in entries] == ["0.12", "same", "same", "chi"]
    first, second, third, chi = entries
    assert isinstance(chi, Unreadable)
    assert "no mu(E)" in chi.reason
    assert isinstance(first, Scan)
    assert isinstance(second, Scan)
    assert isinstance(third, Scan)
    np.testing.assert_allclose(first.channels["energy"], ROWS[:, 0] - 0.24)
    assert first.notes == {"athena_eshift": -0.24}
    assert (first.element, first.edge, first.mode) == ("Au", "L3", "mu")
    np.testing.assert_array_equal(third.channels["mu"] - second.channels["mu"], 1.0)


def test_a_group_without_a_label_is_read(tmp_path: Path) -> None:
    for entries in (
        read_file(perl_project(tmp_path / "perl.prj", [("", {}), ("named", {}), (" ", {})])),
        read_file(json_project(tmp_path / "json.prj", ["", "named", " "])),
    ):
        assert [entry.scan for entry in entries] == ["group 1", "named", "group 3"]
        assert all(isinstance(entry, Scan) for entry in entries)


def test_a_project_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    path = json_project(tmp_path / "a.prj", ["A"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (scan,) = read_file(path)
    assert isinstance(scan, Scan)


@pytest.mark.parametrize("share", [0.6, 0.7, 0.9])
def test_what_a_cut_project_lacks_is_named(tmp_path: Path, share: float) -> None:
    text = gzip.decompress(perl_project(tmp_path / "a.prj", [("A", {}), ("B", {})]).read_bytes())
    (tmp_path / "cut.prj").write_bytes(text[: int(share * len(text))])
    first, second = read_file(tmp_path / "cut.prj")
    assert isinstance(first, Scan)
    assert isinstance(second, Unreadable)
    assert second.scan == "group 2"
    assert "ends within this group" in second.reason


@pytest.mark.parametrize("order_last", [False, True])
@pytest.mark.parametrize("share", [0.55, 0.7, 0.9])
def test_what_a_cut_json_project_lacks_is_named(tmp_path: Path, share: float, order_last: bool) -> None:
    path = json_project(tmp_path / "a.prj", ["A", 'a "quoted" label', "C"])
    project = json.loads(path.read_text())
    if order_last:  # the order of the groups is lost with the rest
        project["_____order"] = project.pop("_____order")
    text = json.dumps(project)
    path.write_text(text[: int(share * len(text))])
    entries = read_file(path)
    read = [entry.scan for entry in entries if isinstance(entry, Scan)]
    assert read == ["A", 'a "quoted" label'][: len(read)]
    assert read
    assert isinstance(entries[-1], Unreadable)
    assert "ends within this group" in entries[-1].reason
    assert order_last or len(entries) == 3


def test_a_json_project_cut_before_its_first_group_ends_is_refused(tmp_path: Path) -> None:
    path = json_project(tmp_path / "a.prj", ["A", "B"])
    path.write_text(path.read_text()[:300])
    [entry] = read_file(path)
    assert isinstance(entry, Unreadable)
    assert "damaged" in entry.reason


def test_json_projects(tmp_path: Path) -> None:
    entries = read_file(json_project(tmp_path / "a.prj", ["Pt foil", "Pt foil", "x"]))
    assert [entry.scan for entry in entries] == ["Pt foil", "Pt foil", "x"]
    for entry in entries:
        assert isinstance(entry, Scan)
        np.testing.assert_allclose(entry.channels["energy"], ROWS[:, 0] + 0.5)


# ------------------------------------------------------------------------------------------- measured files


def test_every_measured_spectrum_is_readable(measured: Path) -> None:
    folders = ("foils_xdi", "foils_nsls", "qas_raw", "b18_pt3sn", "au_nanoparticles", "xraylarch_pt")
    files = [p for f in folders for p in sorted((measured / f).iterdir()) if p.suffix in (".dat", ".xdi")]
    assert len(files) >= 28
    for path in files:
        scan = one(path)
        energy = scan.channels["energy"]
        assert np.all(np.diff(energy) > 0), path
        assert 8000 < energy[0] < 26000, path
        assert all(np.isfinite(column).all() for column in scan.channels.values()), path


@pytest.mark.parametrize(
    ("file", "channels", "mode", "absorber"),
    [
        ("au_nanoparticles/14_Au_foil.dat", "energy mu i0", "mu", ("Au", None)),
        ("b18_pt3sn/263820_PtSn_OC_1.dat", "energy i0 it ir", "transmission", (None, None)),
        ("qas_raw/Pd_foil_0001.dat", "energy i0 it ir iff", "transmission", ("Pd", "K")),
        ("foils_xdi/pt_metal_rt.xdi", "energy i0 it", "transmission", ("Pt", "L3")),
        ("foils_xdi/CuO_tenorite_13K_01.xdi", "energy i0 it ir", "transmission", ("Cu", "K")),
        ("foils_xdi/cu_metal_10K.xdi", "energy mu", "mu", ("Cu", "K")),
        ("foils_nsls/Pt_foil_Pt_L3.dat", "energy mu", "mu", (None, None)),
    ],
)
def test_measured_formats(
    measured: Path, file: str, channels: str, mode: str, absorber: tuple[str | None, str | None]
) -> None:
    scan = one(measured / file)
    assert set(scan.channels) == set(channels.split())
    assert scan.mode == mode
    assert (scan.element, scan.edge) == absorber


def test_measured_project(measured: Path) -> None:
    entries = read_file(measured / "au_reduction_series" / "cyanobacteria.prj")
    assert [entry.scan for entry in entries][:9] == [
        "0.12",
        "2.42",
        "4.73",
        "7.03",
        "9.33",
        "20",
        "33",
        "720",
        "Au foil",
    ]
    assert all(isinstance(entry, Scan) and entry.element == "Au" for entry in entries)
    assert entries[3].notes == {"athena_eshift": -0.24}  # type: ignore[union-attr]
