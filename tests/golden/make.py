"""Write the golden files: what the code as it stands says, for later code to be held to.

Run it only where numbers are meant to change, and say in the commit which and why:

    python tests/golden/make.py            # all of them
    python tests/golden/make.py live       # one

The measured spectra are read in place; of them only predictions are kept.
"""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import access
import cases
import numpy as np
import scipy.linalg  # its BLAS is part of the arithmetic
import torch
from threadpoolctl import threadpool_info, threadpool_limits

FOLDER = Path(__file__).resolve().parent
DIGITS = 12
"""Significant digits kept: a thousand times finer than what is compared."""

_FLAGS = ("avx", "avx2", "avx512bw", "avx512dq", "avx512f", "avx512vl", "fma")


def path_of(name: str) -> Path:
    """The golden file of a case."""
    return FOLDER / f"{name}.json"


def computed(name: str) -> Any:
    """What the code says now in one case, as the golden file would hold it."""
    return _computed(cases.CASES[name])


def computed_elsewhere() -> Any:
    """What the second process says now; held to the golden file that this process made."""
    return _computed(cases.second_process)


def _computed(case: Any) -> Any:
    with one_thread(), TemporaryDirectory() as folder, access.home(Path(folder)):
        return _tidy(case())


@contextmanager
def one_thread() -> Iterator[None]:
    """Shared among threads, sums round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def fingerprint() -> dict[str, Any]:
    """What rounding depends on: processor and libraries."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    told = dict(reversed([[word.strip() for word in line.split(":", 1)] for line in lines if ":" in line]))
    blas = {  # numpy's and scipy's own; others that happen to be loaded have no part in it
        " ".join(str(lib.get(key)) for key in ("internal_api", "version", "architecture"))
        for lib in threadpool_info()
        if Path(lib["filepath"]).parent.name in ("numpy.libs", "scipy.libs")
    }
    return {
        "machine": platform.machine(),
        "processor": told.get("vendor_id", ""),
        "flags": [flag for flag in _FLAGS if flag in told.get("flags", "").split()],
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": torch.__version__,
        "torch_arithmetic": torch.backends.cpu.get_cpu_capability(),
        "blas": sorted(blas),
    }


def _tidy(found: Any) -> Any:
    """As JSON holds it: NaN as null, numbers with `DIGITS` digits."""
    if isinstance(found, Mapping):
        return {str(key): _tidy(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_tidy(value) for value in found]
    if isinstance(found, np.generic):
        found = found.item()
    if isinstance(found, float):
        return (
            float(f"{found:.{DIGITS}g}")
            if math.isfinite(found)
            else None
            if math.isnan(found)
            else str(found)
        )
    if found is None or isinstance(found, str | int):
        return found
    raise TypeError(f"{type(found).__name__} has no place in a golden file")


def main(names: list[str]) -> None:
    """Write the golden files of these cases, or of all."""
    for name in names or cases.CASES:
        content = {"fingerprint": fingerprint(), "results": computed(name)}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        path_of(name).write_text(text + "\n", encoding="utf-8")
        print(f"{path_of(name).name}: {len(text) / 1024:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
