"""What every benchmark records beside its figures, and how it is kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("xas-live", "numpy", "torch", "xraylarch", "bluesky", "tiled")


def claim(id_: str, text: str, value: float, limit: str, *, met: bool) -> dict[str, Any]:
    """One figure that is promised: what it is, what was measured, and its limit in words."""
    return {"id": id_, "claim": text, "value": float(f"{float(value):.6g}"), "limit": limit, "met": bool(met)}


def measured_folder() -> Path:
    """The folder of other people's measured spectra."""
    given = os.environ.get("XAS_LIVE_TEST_DATA")
    folder = (Path(given) if given else ROOT.parent / "shared" / "data") / "measured"
    if not folder.is_dir():
        raise SystemExit("no measured spectra: set XAS_LIVE_TEST_DATA to the folder that holds measured/")
    return folder


@cache
def commit() -> str:
    """The commit that runs, with "-dirty" where it does not tell all; as it was when first asked."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip


def record(name: str, claims: list[dict[str, Any]], data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Print the claims, write benchmarks/results/NAME.json, and return what was written."""
    result = {
        "benchmark": name,
        "commit": commit(),
        "versions": {library: version(library) for library in LIBRARIES}
        | {"python": platform.python_version()},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "data": data,
        "claims": claims,
        **more,
    }
    table = Table("claim", "value", "limit", "met", title=name)
    for c in claims:
        table.add_row(c["claim"], f"{c['value']:g}", c["limit"], "yes" if c["met"] else "[red]no")
    Console().print(table)
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
