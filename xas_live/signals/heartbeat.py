"""Heartbeat: a function that is called again and again from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Heartbeat:
    """Calls a function once a period, and at once when it is woken.

    Parameters
    ----------
    beat : called from the thread; must not raise.
    period : seconds.
    name : of the thread.
    """

    def __init__(self, beat: Callable[[], None], period: float, name: str) -> None:
        self._beat = beat
        self._period = period
        self._woken = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Let the next beat come now."""
        self._woken.set()

    def end(self, timeout: float) -> None:
        """End, and wait for a beat that is under way, but not for longer than `timeout` seconds."""
        self._ended = True
        self._woken.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._ended:
            self._woken.clear()
            self._beat()
            self._woken.wait(self._period)
