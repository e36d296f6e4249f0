"""Watch: tells the user when something that a worker thread called does not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Call:
    what: str
    since: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since

    def __str__(self) -> str:
        return f"{self.what} for {self.seconds:.0f} s"


class Watch:
    """Notes what a worker thread is busy with; a thread of its own tells the user what does not return.

    Parameters
    ----------
    tell : takes what was called and a line about it: once when it takes long, once when it returns after all.
    waiting : gives the number of documents that wait meanwhile.
    patience : how long a call may take before the user is told (s).
    """

    def __init__(self, tell: Callable[[str, str], None], waiting: Callable[[], int], patience: float) -> None:
        self._tell = tell
        self._waiting = waiting
        self._patience = patience
        self._call: _Call | None = None
        self._told: _Call | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._look, name="xas_live watch", daemon=True).start()

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch over one call, in the worker thread."""
        call = self._call = _Call(what, time.monotonic())
        try:
            yield
        finally:
            self._call = None
            if self._told is call:
                self._tell(what, f"has returned after {call.seconds:.0f} s")

    @property
    def busy(self) -> str:
        """What has not returned for over a second, as "Slow.predicted for 14 s", else ""."""
        call = self._call
        return str(call) if call is not None and call.seconds > 1.0 else ""

    def close(self) -> None:
        """End the watching."""
        self._ended.set()

    def _look(self) -> None:
        while not self._ended.wait(self._patience / 5):
            call = self._call
            if call is not None and call is not self._told and call.seconds > self._patience:
                self._told = call
                self._tell(
                    call.what,
                    f"has not returned for {call.seconds:.0f} s; {self._waiting()} documents wait for it",
                )
