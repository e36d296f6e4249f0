"""What others write into names and metadata never steers a terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from tests.callbacks.edges import GRID, predict
from xas_live.callbacks.live import Notices
from xas_live.callbacks.publishers.result_table import table
from xas_live.callbacks.publishers.results import Result
from xas_live.cli.output import Terminal
from xas_live.host import printable
from xas_live.sources import Scan, read_file
from xas_live.spectrum import Provenance, Spectrum

COMMANDS = "\x1b]52;c;cm0gLXJmIH4K\x07 \x1b[2J \x9b2J \x1b[8mhidden \u202egnp.exe \ud800"


def obeyed(text: str) -> list[str]:
    """What of a text a terminal would obey, but for colours that rich sets."""
    return [
        each for each in ("\x1b]", "\x1b[2J", "\x9b", "\x1b[8m", "\x07", "\u202e", "\ud800") if each in text
    ]


@given(st.text(st.characters(categories=("Cc", "Cs", "Cf", "L"))))
def test_controls_are_written_out_and_letters_stay(text):
    found = printable(text)
    assert not obeyed(found)
    assert all(each.isprintable() or each in "\t\n" or each not in found for each in "\x00\x1b\x07\x9b\ud800")
    found.encode()
    assert printable(found) == found


def test_notices_and_their_records_are_safe(caplog):
    shown = io.StringIO()
    notices = Notices(Console(file=shown, force_terminal=True, soft_wrap=True))
    with caplog.at_level("INFO", logger="xas_live.live"):
        notices.say(f"Run {COMMANDS} gives no spectra")
        notices.error(COMMANDS, ValueError(COMMANDS))
        notices.trouble("Courier", COMMANDS)
    for text in (shown.getvalue(), caplog.text, *map(str, notices.errors)):
        assert not obeyed(text)
        assert "x1b]52" in text


def test_errors_that_differ_in_numbers_only_are_shown_once():
    shown = io.StringIO()
    notices = Notices(Console(file=shown, soft_wrap=True))
    for k in range(100):
        notices.error("AnalyzerProcess", OSError(f"another is tried in {100 - k} s"))
    notices.error("AnalyzerProcess", OSError("no space is left"))
    assert shown.getvalue().count("another is tried") == 1
    assert "no space" in shown.getvalue()
    assert notices.error_count == 101


def test_tables_of_commands_and_of_results_are_safe():
    shown = io.StringIO()
    cells = Table()
    cells.add_column("scan")
    cells.add_row(COMMANDS)
    terminal = Terminal(file=shown, force_terminal=True, width=200)
    terminal.print(cells)
    terminal.print(COMMANDS)
    where = Provenance(scan=COMMANDS, metadata={"sample_name": COMMANDS})
    found = predict(Spectrum(GRID, GRID, provenance=where))
    for text in (shown.getvalue(), repr(table([Result(found)])), repr(found)):
        assert not obeyed(text)


@pytest.mark.parametrize("name", ["a\x1b[2J\x1b]0;owned\x07b", COMMANDS[:-1]])
def test_a_group_of_a_project_has_a_name_that_may_be_shown(tmp_path, name):
    energies, mu = ",".join(f"'{e}'" for e in GRID), ",".join("'1'" for _ in GRID)
    text = (
        "# Athena project file -- Demeter version 0.9.20\n$old_group = 'abcd';\n"
        f"@args = ('label','{name}','is_xmu','1');\n@x = ({energies});\n@y = ({mu});\n[record]   #\n"
    )
    (tmp_path / "p.prj").write_text(text)
    (found,) = read_file(tmp_path / "p.prj")
    assert not obeyed(found.scan)
    assert isinstance(found, Scan)
