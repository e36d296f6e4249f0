"""`xas-live flags`: every flag that a prediction may carry, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from xas_live.cli.output import out, print_json
from xas_live.flags import Flag, Severity

flags = typer.Typer(help="The flags of predictions.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_HEAD = """# Flags

Written by `xas-live flags document` from `xas_live/flags.py`; do not edit.

Every prediction carries its flags: what to know before you use the numbers. A flag never stops a plan
and never changes the raw run; the flagged prediction is stored beside it. A sweep that cannot be
analysed has no values but a reason: see [refusals](refusals.md). `xas-live flags list` prints this table."""

_END = """
See also: [what the verdict says](../explanations/verdict.md),
[what intervals and domain mean](../explanations/intervals-and-domain.md),
[how well they hold](../explanations/trust.md), [growing sweeps](../explanations/partial.md).
"""


@flags.command("list")
def list_flags(as_json: AsJson = False) -> None:
    """List the flags, with what each means and what to do about it."""
    if as_json:
        print_json(
            [
                {"flag": _written(f), "severity": f.severity.value, "meaning": f.meaning, "remedy": f.remedy}
                for f in Flag
            ]
        )
        return
    table = Table("flag", "severity", "meaning", "remedy", show_lines=True)
    for flag in Flag:
        table.add_row(_written(flag), flag.severity.value, flag.meaning, flag.remedy)
    out.print(table, markup=False)


@flags.command("document")
def document_flags() -> None:
    """Print the flags as a Markdown page (docs/reference/flags.md)."""
    typer.echo(flags_page(), nl=False)


def flags_page() -> str:
    """Return the page of flags, by severity, in Markdown."""
    lines = [_HEAD]
    for severity in Severity:
        lines += ["", f"## {severity.value.capitalize()}", "", severity.meaning, ""]
        lines += ["| flag | meaning | remedy |", "|---|---|---|"]
        lines += [
            f"| `{_written(flag)}` | {flag.meaning} | {flag.remedy} |"
            for flag in Flag
            if flag.severity is severity
        ]
    return "\n".join([*lines, _END])


def _written(flag: Flag) -> str:
    """Return the flag as predictions carry it; TARGET stands for "CN1", "R1", ..."""
    return flag.of("TARGET") if flag is Flag.BEYOND_TRAINING else flag.value
