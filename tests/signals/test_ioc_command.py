"""`xas-live ioc` before it serves: what it lists, and what it refuses."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from xas_live.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["ioc", *arguments])


def test_it_lists_the_pvs_and_ends():
    listed = run("--list", "--prefix", "BL6:", "--target", "MSD")
    assert listed.exit_code == 0
    lines = listed.output.splitlines()
    assert lines[0].split()[:3] == ["BL6:MSD", "number", "Ang^2"]
    assert any(line.startswith("BL6:ACTIONABLE") for line in lines)
    assert all(line.startswith("BL6:") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prefix", "a b"], "prefix 'a b'"),
        (["--interface", "everywhere"], "no IP address"),
        (["--interface", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["--target", "C N"], "target 'C N'"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(arguments, words):
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert words in " ".join(refused.output.split())
