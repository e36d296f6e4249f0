"""Words to the user: what happens, and what went wrong, each said once."""

from __future__ import annotations

import logging
import re
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from xas_live.host import printable

# A log of its own: its lines go to the console too, and would appear twice where logging is not set up. What
# other parts of xas_live log must still reach Python's last resort, stderr.
logger = logging.getLogger("xas_live.live")
logger.addHandler(logging.NullHandler())

_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class ErrorRecord:
    """One error that the analysis, a publisher or the archive met.

    Attributes
    ----------
    time : Unix time (s).
    where : what failed, as "PredictionWriter.predicted".
    message : kind and text of the exception, or what the archive says.
    """

    time: float
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Notices:
    """Shows lines on the console and in the log "xas_live.live", and keeps the errors.

    Control characters in them are written out: a terminal would obey them. Errors that differ in their
    numbers only are shown once.

    Parameters
    ----------
    console : where lines are shown; default: standard output.
    keep : number of errors kept; older ones are only counted.

    Attributes
    ----------
    error_count : errors so far, also those no longer kept.
    """

    def __init__(self, console: Console | None = None, keep: int = 200) -> None:
        self._console = console or Console(soft_wrap=True)
        self._lock = threading.Lock()
        self._errors: deque[ErrorRecord] = deque(maxlen=keep)
        self._shown: deque[tuple[str, str]] = deque(maxlen=keep)
        self.error_count = 0

    @property
    def errors(self) -> list[ErrorRecord]:
        """The errors kept, oldest first."""
        with self._lock:
            return list(self._errors)

    def say(self, text: str) -> None:
        """Show one line."""
        text = printable(text)
        logger.info("%s", text)
        self._print(f"[bold cyan]xas_live[/] {escape(text)}")

    def error(self, where: str, error: BaseException) -> None:
        """Keep an error; show it unless the same was shown before, with other numbers perhaps."""
        record = self._keep(where, f"{type(error).__name__}: {error}")
        key = (record.where, _NUMBER.sub("0", record.message))
        with self._lock:
            new = key not in self._shown
            if new:
                self._shown.append(key)
        if new:
            self._show(record, error)

    def trouble(self, where: str, line: str) -> None:
        """Keep and show what somebody else found wrong, or right again, and tells once by itself."""
        self._show(self._keep(where, line))

    def _keep(self, where: str, message: str) -> ErrorRecord:
        record = ErrorRecord(time.time(), printable(where), printable(message))
        with self._lock:
            self.error_count += 1
            self._errors.append(record)
        return record

    def _show(self, record: ErrorRecord, error: BaseException | None = None) -> None:
        trace = "" if error is None else "\n" + printable("".join(traceback.format_exception(error)))
        logger.warning("%s%s", record, trace)
        self._print(f"[bold yellow]xas_live[/] {escape(str(record))} [dim](the plan goes on; see .errors)[/]")

    def _print(self, markup: str) -> None:
        # A console that is gone (closed pipe, ended notebook) must not end the analysis.
        with suppress(OSError, ValueError):
            self._console.print(markup, highlight=False)
