"""What every benchmark records beside its figures, and how it is kept.

It needs nothing but the standard library, so that benchmarks/gpu.py runs where little is installed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = ("xas-live", "numpy", "torch", "xraylarch", "bluesky", "tiled")


def claim(
    id_: str,
    text: str,
    value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    equal: float | None = None,
) -> dict[str, Any]:
    """One figure that is promised: what it is, what was measured, its limits in words, and whether it keeps them."""
    limits = [
        (at_least, "at least", lambda limit: value >= limit),
        (at_most, "at most", lambda limit: value <= limit),
        (above, "above", lambda limit: value > limit),
        (below, "below", lambda limit: value < limit),
        (equal, "", lambda limit: value == limit),
    ]
    given = [(limit, words, keeps) for limit, words, keeps in limits if limit is not None]
    words = ", ".join(f"{words} {limit:,}".strip() for limit, words, _ in given)
    if at_least is not None and at_most is not None:
        words = f"{at_least:,} to {at_most:,}"
    return {
        "id": id_,
        "claim": text,
        "value": float(f"{float(value):.6g}"),
        "limit": words,
        "met": all(bool(keeps(limit)) for limit, _, keeps in given),
    }


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
    return commit_of(ROOT)


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, with "-dirty" where it does not tell all."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=checkout, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip


def record(name: str, claims: list[dict[str, Any]], data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Print the claims, write benchmarks/results/NAME.json, and return what was written."""
    result = {
        "benchmark": name,
        "commit": commit(),
        "versions": _versions() | {"python": platform.python_version()},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "data": data,
        "claims": claims,
        **more,
    }
    print_claims(claims)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def print_claims(claims: list[dict[str, Any]]) -> None:
    """One line a claim."""
    for c in claims:
        print(
            f"{'met    ' if c['met'] else 'NOT MET'} {c['claim']}: {c['value']:g} ({c['limit']})", flush=True
        )


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
