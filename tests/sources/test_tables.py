"""Columns of text: names are used where they are as many as the columns; what is passed over is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xas_live.sources.files import read_file
from xas_live.sources.scan import Scan, Unreadable, parse_columns
from xas_live.spectrum import Array

N = 60
ENERGY = 11400.0 + 5.0 * np.arange(N)
I0 = 2e5 + 100.0 * np.arange(N)
IT = 1e5 + 50.0 * np.arange(N)
IR = 5e4 + 20.0 * np.arange(N)
MU = np.log(I0 / IT)


def text_of(header: str, columns: Sequence[Array], delimiter: str = "  ", comma: bool = False) -> str:
    rows = [delimiter.join(f"{value:.6f}" for value in row) for row in np.transpose(columns)]
    text = "\n".join(rows)
    return header + "\n" + (text.replace(".", ",") if comma else text) + "\n"


def entries(
    folder: Path, text: str | bytes, name: str = "scan.dat", **options: object
) -> list[Scan | Unreadable]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(path, **options)  # type: ignore[arg-type]


def one(folder: Path, text: str | bytes, name: str = "scan.dat", **options: object) -> Scan:
    (scan,) = entries(folder, text, name, **options)
    assert isinstance(scan, Scan), scan
    return scan


def refused(folder: Path, text: str | bytes, name: str = "scan.dat", **options: object) -> str:
    (entry,) = entries(folder, text, name, **options)
    assert isinstance(entry, Unreadable), entry
    return entry.reason


def assert_channels(scan: Scan, **expected: Array) -> None:
    assert set(scan.channels) == set(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(scan.channels[name], column, rtol=0, atol=1e-6, err_msg=name)


# --------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "header",
    [
        "# Energy (eV)  Ring Current  I0  It  Ir",
        "# energy\tlive time\tI0\tI1\tiref",
        "#S 12  ascan  energy 11400 11695 60 1\n#N 5\n#L Energy  Live Time  I0  It  Ir",
        "# Energy, time stamp, i0, it, ir",
        "# XDI/1.0 test\n# Column.1: energy eV\n# Column.2: ring_current mA\n# Column.3: i0\n"
        "# Column.4: itrans\n# Column.5: irefer\n# ///\n#----\n# energy ring current i0 itrans irefer",
        "# 1-D Scan File created by LabVIEW Control Panel  1/1/2000\n# Column Headings:\n"
        "#Mono Energy *   Scaler preset time *   I0   IT   IR",
    ],
)
def test_names_of_two_words_do_not_shift_the_columns(tmp_path: Path, header: str) -> None:
    scan = one(tmp_path, text_of(header, [ENERGY, np.ones(N), I0, IT, IR]))
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT, ir=IR)
    assert scan.read["channels"]["it"].startswith("column 3")  # type: ignore[index]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("# energy ring current i0 it ir", 6),
        ("# Energy  i0  it  ir", 4),
        ("energy;ring;current;i0;it;ir", 6),
        ("# Energy time stamp mu", 4),
    ],
)
def test_names_that_are_not_as_many_as_the_columns_are_refused_with_both_counts(
    tmp_path: Path, header: str, names: int
) -> None:
    text = text_of(header, [ENERGY, np.ones(N), I0, IT, IR])
    reason = refused(tmp_path, text)
    assert f"{names} names stand over 5 columns" in reason
    assert "--columns" in reason
    scan = one(tmp_path, text, columns=parse_columns("energy=0,i0=2,it=3"))
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    assert scan.read["named_by"] == "--columns"


def test_a_column_of_xdi_beyond_the_table_is_refused(tmp_path: Path) -> None:
    header = "# XDI/1.0 test\n# Column.1: energy eV\n# Column.2: i0\n# Column.4: itrans\n# ///\n#----"
    assert "Column.4" in refused(tmp_path, text_of(header, [ENERGY, I0, IT]))


def test_an_empty_cell_leaves_its_row_without_a_number_and_is_told(tmp_path: Path) -> None:
    lines = text_of("energy,i0,it,ir", [ENERGY, I0, IT, IR], ",").split("\n")
    cells = lines[11].split(",")
    lines[11] = ",".join([cells[0], "", *cells[2:]])
    scan = one(tmp_path, "\n".join(lines), "scan.csv")
    expected = I0.copy()
    expected[10] = np.nan
    assert_channels(scan, energy=ENERGY, i0=expected, it=IT, ir=IR)
    assert scan.read["left_out"] == ["cells without a number in 1 row, line 12"]


def test_an_empty_column_keeps_its_place(tmp_path: Path) -> None:
    rows = [f"{e},,{a},{b}" for e, a, b in zip(ENERGY, I0, IT, strict=True)]
    scan = one(tmp_path, "energy,temperature,i0,it\n" + "\n".join(rows), "scan.csv")
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    trailing = "energy,i0,it\n" + "\n".join(f"{e},{a},{b}," for e, a, b in zip(ENERGY, I0, IT, strict=True))
    assert_channels(one(tmp_path, trailing, "trailing.csv"), energy=ENERGY, i0=I0, it=IT)


def test_a_row_with_a_missing_or_a_further_word_is_a_bad_row(tmp_path: Path) -> None:
    lines = text_of("# energy i0 it", [ENERGY, I0, IT]).split("\n")
    lines[6] = "  ".join(lines[6].split()[:2])
    lines[9] += "  1.0"
    scan = one(tmp_path, "\n".join(lines))
    good = np.ones(N, dtype=bool)
    good[[5, 8]] = False
    for name, column in {"energy": ENERGY, "i0": I0, "it": IT}.items():
        np.testing.assert_allclose(scan.channels[name][good], column[good])
        assert np.isnan(scan.channels[name][~good]).all()
    assert scan.read["left_out"] == ["rows without the 3 values of the others: line 7 with 2, line 10 with 4"]


def test_columns_of_words_keep_their_place(tmp_path: Path) -> None:
    rows = [
        f"2026-01-01 10:{k // 60:02}:{k % 60:02},{e},open,{m}"
        for k, (e, m) in enumerate(zip(ENERGY, MU, strict=True))
    ]
    scan = one(tmp_path, "time,energy,shutter,mu\n" + "\n".join(rows), "scan.csv")
    assert_channels(scan, energy=ENERGY, mu=MU)


def test_two_columns_of_one_name_are_not_chosen_from(tmp_path: Path) -> None:
    reason = refused(tmp_path, text_of("# energy i0 it i0", [ENERGY, I0, IT, IR]))
    assert "columns 1 and 3 are both named i0" in reason


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("# k chi", 2),
        ("# time mu", 2),
        ("# pixel intensity", 2),
        ("# energy i0", 2),
        ("# i0 it", 2),
        ("# energy temperature", 2),
        ("", 3),
        ("# first second third", 3),
    ],
)
def test_names_that_say_otherwise_are_not_taken_for_energy_and_mu(
    tmp_path: Path, header: str, columns: int
) -> None:
    reason = refused(tmp_path, text_of(header, [ENERGY, MU, I0][:columns]))
    assert "--columns" in reason


def test_a_guess_is_said(tmp_path: Path) -> None:
    scan = one(tmp_path, text_of("", [ENERGY, MU]))
    assert scan.read["guessed"] == ["energy and mu: two columns without names"]
    assert one(tmp_path, text_of("# energy mu", [ENERGY, MU])).read["guessed"] == []


@pytest.mark.parametrize(
    "header",
    ["# energy Io It Iref", "# hv io i1 iref", "# energy izero itrans irefer", "Energy[eV] I0 It Ir"],
)
def test_usual_names(tmp_path: Path, header: str) -> None:
    scan = one(tmp_path, text_of(header, [ENERGY, I0, IT, IR]))
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT, ir=IR)


@pytest.mark.parametrize(
    "header",
    [
        "# requested_energy achieved_energy i0 it",
        "# energy_setpoint energy i0 it",
        "# energy energy_readback i0 it",
        "# Mono Energy setpoint, Mono Energy (eV), i0, it",
        "# angle energy i0 it",
        "SSRL   EXAFS Data Collector 1.3\nWeights:\nData:\nRequested Energy\nAchieved Energy\nI0\nIT\n",
    ],
)
def test_the_readback_goes_before_the_setpoint(tmp_path: Path, header: str) -> None:
    scan = one(tmp_path, text_of(header, [ENERGY + 1.5, ENERGY, I0, IT]))
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)


@pytest.mark.parametrize(
    "header", ["# energy ring current i0 it", "Energy (eV) live time I0 It", "# energy I0 It sca 3"]
)
def test_single_blanks_do_not_part_names_of_two_words(tmp_path: Path, header: str) -> None:
    """As many words as columns by chance: the last column has no name."""
    reason = refused(tmp_path, text_of(header, [ENERGY, np.ones(N), I0, IT, IR]))
    assert "parted by single blanks" in reason


# A label and what it is; what holds a blank is a label of one column all the same.
_WORDS = {
    "i0": "i0", "I0": "i0", "It": "it", "I1": "it", "Ir": "ir", "itrans": "it", "Iref": "ir",
    "Ring Current": None, "Live Time": None, "time stamp": None, "time": None, "aux1": None, "DXP:0:Pt": None,
    "sca 3": None, "temperature": None, "ICR": None,
}  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.sampled_from(sorted(_WORDS)), min_size=1, max_size=7),
    place=st.integers(0, 7),
    energy=st.sampled_from(["energy", "Energy (eV)", "Mono Energy"]),
    joint=st.sampled_from([" ", "  ", "\t", ",", ";", ", "]),
    delimiter=st.sampled_from(["  ", "\t", ",", ";"]),
    more=st.integers(-2, 2),
    mark=st.sampled_from(["", "# ", "#L ", "; "]),
)
def test_never_a_wrong_channel_without_a_word(
    tmp_path: Path,
    labels: list[str],
    place: int,
    energy: str,
    joint: str,
    delimiter: str,
    more: int,
    mark: str,
) -> None:
    """Each channel read is the column under its name, or the file is refused."""
    names = [*labels[:place], energy, *labels[place:]]
    width = len(names) + more
    if width < 1:
        return
    columns = [ENERGY if k == names.index(energy) else 1000.0 * (k + 1) + np.arange(N) for k in range(width)]
    (entry,) = entries(tmp_path, text_of(mark + joint.join(names), columns, delimiter))
    if isinstance(entry, Unreadable):
        assert "--columns" in entry.reason or "column" in entry.reason
        return
    if width == 2 and entry.read["guessed"]:
        return
    assert more == 0, (names, width, entry.read)
    told = entry.read["channels"]
    for channel, where in told.items():  # type: ignore[union-attr]
        number = int(where.split()[1])
        expected = "energy" if names[number] == energy else _WORDS[names[number]]
        assert expected == channel
        np.testing.assert_allclose(entry.channels[channel], columns[number], atol=1e-6)


# --------------------------------------------------------------------------------------- what stands within


def test_tables_of_unlike_width_are_each_read(tmp_path: Path) -> None:
    first = text_of("#S 1 scan\n#L Energy  I0  It  Ir  If", [ENERGY, I0, IT, IR, IR])
    second = text_of("#S 2 scan\n#L Energy  I0  It", [ENERGY, IT, IR])
    one_, two = entries(tmp_path, first + "\n" + second)
    assert isinstance(one_, Scan)
    assert isinstance(two, Scan)
    assert_channels(one_, energy=ENERGY, i0=I0, it=IT, ir=IR, iff=IR)
    assert_channels(two, energy=ENERGY, i0=IT, it=IR)
    assert [one_.scan, two.scan] == ["scan.dat, line 3", "scan.dat, line 66"]


def test_a_table_that_gives_no_spectrum_is_named(tmp_path: Path) -> None:
    first = text_of("#L Energy  I0  It", [ENERGY, I0, IT])
    scan, other = entries(tmp_path, first + text_of("#L Delay  Gap  Current", [IT, IR, I0]))
    assert isinstance(scan, Scan)
    assert isinstance(other, Unreadable)
    assert other.scan == "scan.dat, line 63"
    assert "delay, gap, current" in other.reason


@pytest.mark.parametrize("at", [1, 2, 3, 30, 58])
@pytest.mark.parametrize("word", ["# shutter was closed", "beam dump", "#----"])
@pytest.mark.parametrize("xdi", [False, True])
def test_text_within_a_table_costs_no_rows(tmp_path: Path, at: int, word: str, xdi: bool) -> None:
    header = "# energy i0 itrans"
    if xdi:
        header = (
            "# XDI/1.0 t\n# Column.1: energy eV\n# Column.2: i0\n# Column.3: itrans\n# ///\n#----\n" + header
        )
    lines = text_of(header, [ENERGY, I0, IT]).split("\n")
    lines.insert(header.count("\n") + 1 + at, word)
    scan = one(tmp_path, "\n".join(lines), "scan.xdi" if xdi else "scan.dat")
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    (told,) = scan.read["left_out"]  # type: ignore[misc]
    assert "1 line of text within the table" in told
    assert word in told


@pytest.mark.parametrize("at", [1, 29, 58])
def test_a_word_for_a_number_costs_this_number_and_is_told(tmp_path: Path, at: int) -> None:
    lines = text_of("# energy i0 it", [ENERGY, I0, IT]).split("\n")
    cells = lines[1 + at].split()
    lines[1 + at] = "  ".join([cells[0], "overflow", cells[2]])
    scan = one(tmp_path, "\n".join(lines))
    expected = I0.copy()
    expected[at] = np.nan
    assert_channels(scan, energy=ENERGY, i0=expected, it=IT)
    assert scan.read["left_out"] == [f"cells without a number in 1 row, line {at + 2}"]


def test_numbers_above_the_table_are_told(tmp_path: Path) -> None:
    scan = one(tmp_path, "# energy i0 it\n60 3\n" + text_of("", [ENERGY, I0, IT]).lstrip())
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    assert scan.read["left_out"] == ["1 row of numbers at line 2"]


def test_a_last_row_cut_short_is_told(tmp_path: Path) -> None:
    scan = one(tmp_path, text_of("# energy i0 it", [ENERGY, I0, IT]) + "11700.0  2.0")
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    assert scan.read["left_out"] == ["the last row, line 62, which is cut short"]


# ------------------------------------------------------------------------------- number formats, encodings


@pytest.mark.parametrize("delimiter", ["\t", ";", " ; "])
@pytest.mark.parametrize("whole_energies", [False, True])
def test_decimal_commas_between_tabs_or_semicolons(
    tmp_path: Path, delimiter: str, whole_energies: bool
) -> None:
    text = text_of(f"energy{delimiter}mu", [ENERGY, MU], delimiter, comma=True)
    text = text.replace(",000000" + delimiter, delimiter) if whole_energies else text
    scan = one(tmp_path, text)
    np.testing.assert_allclose(scan.channels["energy"], ENERGY)
    np.testing.assert_allclose(scan.channels["mu"], MU, atol=1e-6)


def test_commas_that_may_be_either_are_refused_by_that_name(tmp_path: Path) -> None:
    assert "may be decimal" in refused(tmp_path, text_of("energy mu", [ENERGY, MU], " ", comma=True))
    mixed = text_of("energy;mu", [ENERGY, MU], ";").replace("11400.000000", "11400,000000")
    assert "stand side by side" in refused(tmp_path, mixed)
    thousands = text_of("energy;mu", [ENERGY, MU], ";").replace("11400.000000", "11.400,000000")
    assert "'11.400,000000' is no number" in refused(tmp_path, thousands)
    assert "4 columns" in refused(tmp_path, text_of("energy,mu", [ENERGY, MU], ",", comma=True))


def test_fortran_exponents(tmp_path: Path) -> None:
    rows = "\n".join(f"{e / 1e5:.8f}D+05 {m:.6f}" for e, m in zip(ENERGY, MU, strict=True))
    np.testing.assert_allclose(one(tmp_path, "# energy mu\n" + rows).channels["energy"], ENERGY)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "shift-jis"],
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    remark = "# 試料\n" if encoding == "shift-jis" else "# Probe\n"
    text = (remark + text_of("# energy i0 it", [ENERGY, I0, IT])).replace("\n", "\r\n")
    assert_channels(one(tmp_path, text.encode(encoding)), energy=ENERGY, i0=I0, it=IT)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_text_whatever_its_name(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    text = text_of("# energy i0 it", [ENERGY, I0, IT]).encode()
    assert_channels(one(tmp_path, pack(text), "scan.dat"), energy=ENERGY, i0=I0, it=IT)
    assert "damaged" in refused(tmp_path, pack(text)[:-40], "cut.dat.gz")


# ----------------------------------------------------------------------------------------------- the energy


@pytest.mark.parametrize(
    "header",
    ["# energy (keV)  i0  it", "# Energy_keV i0 it", "# energy i0 it\n# keV counts counts",
     "# XDI/1.0\n# Column.1: energy keV\n# Column.2: i0\n# Column.3: itrans\n#---"],
)  # fmt: skip
def test_kev_where_the_file_says_so(tmp_path: Path, header: str) -> None:
    scan = one(tmp_path, text_of(header, [ENERGY / 1000, I0, IT]))
    assert_channels(scan, energy=ENERGY, i0=I0, it=IT)
    assert scan.read["energy_unit"] == "keV"


def test_angles_with_the_d_spacing_of_the_file(tmp_path: Path) -> None:
    angle = np.degrees(np.arcsin(12398.419843 / (2 * 3.13553 * ENERGY)))
    rows = [f"{a:.9f} {b} {c}" for a, b, c in zip(angle, I0, IT, strict=True)]
    text = "# Mono.d_spacing: 3.13553\n# angle i0 it\n" + "\n".join(rows)
    scan = one(tmp_path, text)
    np.testing.assert_allclose(scan.channels["energy"], ENERGY, atol=1e-3)
    assert scan.read["energy_unit"] == "deg, d-spacing 3.13553 Å"
    radians = text.replace(
        "# angle i0 it", "# XDI/1.0\n# Column.1: angle rad\n# Column.2: i0\n# Column.3: itrans"
    )
    radians = "# XDI/1.0\n" + radians
    rows = [f"{np.radians(a):.12f} {b} {c}" for a, b, c in zip(angle, I0, IT, strict=True)]
    text = "\n".join(line for line in radians.split("\n") if line.startswith("#")) + "\n" + "\n".join(rows)
    np.testing.assert_allclose(one(tmp_path, text).channels["energy"], ENERGY, atol=1e-3)
    assert "d-spacing" in refused(tmp_path, "# angle i0 it\n" + "\n".join(rows))


def test_the_9809_format_with_its_own_d_spacing(tmp_path: Path) -> None:
    angle = np.degrees(np.arcsin(12398.419843 / (2 * 3.13553 * ENERGY)))
    header = (
        "  9809     KEK-PF   BL00\n x   24.01.01 10:00 - 24.01.01 10:20\n x\n"
        " Mono :   SI(111)       D=  3.13553 A    Initial angle=  9.90000 deg\n"
        " BL00     Transmission( 2)   Repetition=  1     Points= 60\n\n"
        "  Angle(c)  Angle(o)   time/s         2         3\n"
        "      Mode         0         0         1         2\n"
        "    Offset         0         0    10.000    10.000"
    )
    rows = [f"{a + 0.1:12.7f} {a:12.7f} 1.0 {b} {c}" for a, b, c in zip(angle, I0, IT, strict=True)]
    text = header + "\n" + "\n".join(rows)
    scan = one(tmp_path, text, columns=parse_columns("energy=1,i0=3,it=4"))
    np.testing.assert_allclose(scan.channels["energy"], ENERGY, atol=1e-2)
    assert "angle_drive, angle_read, time" in refused(tmp_path, text)


def test_a_file_that_is_too_large_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xas_live.sources.text.LARGEST", 2**20)
    bomb = gzip.compress(b"11400.0 0.5\n" * 200_000)
    assert len(bomb) < 2**20
    assert "over 1 MB" in refused(tmp_path, bomb, "bomb.dat.gz")
