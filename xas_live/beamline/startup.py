"""finish: what a profile does after its startup files, where one of them has failed."""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path
from typing import Any

READY = "xas_profile_ready"
"""Name that the last startup file defines."""


def finish(shell: Any) -> None:
    """Run the startup files that IPython has left out, and say in one line which one failed.

    IPython leaves out all startup files after one that raises. The profile's ipython_config.py calls this
    after them; it does nothing where all have run.

    Parameters
    ----------
    shell : the IPython shell.
    """
    if READY in shell.user_ns:
        return
    folder = Path(shell.profile_dir.startup_dir)
    files = sorted([*folder.glob("*.py"), *folder.glob("*.ipy")])
    failed = _where(getattr(sys, "last_value", None), files)
    for file in files[files.index(failed) + 1 :] if failed else []:
        try:
            shell.safe_execfile(str(file), shell.user_ns, raise_exceptions=True)
        except (Exception, SystemExit) as error:  # noqa: BLE001 the files after it shall run
            print(f"xas_live: {_told(error, file)}", flush=True)


def _where(error: BaseException | None, files: list[Path]) -> Path | None:
    """Return the startup file that an error comes from, and say so; None where it comes from none."""
    places = [] if error is None else [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    places += [error.filename] if isinstance(error, SyntaxError) and error.filename else []
    found = next((file for file in files if str(file) in places), None)
    if found is not None and error is not None:
        print(f"xas_live: {_told(error, found)}; the files after it run all the same", flush=True)
    return found


def _told(error: BaseException, file: Path) -> str:
    """Return in one line where and why a startup file failed."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    text = linecache.getline(str(file), line or 0).strip()
    reason = " ".join(str(error).split())
    return f"{file.name}, line {line} ({text}) failed with {type(error).__name__}: {reason}"
