"""What goes wrong while runs are written, told to the user: each trouble once, and once when it is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

_END_SECONDS = 2.0
_KEEP = 1000

logger = logging.getLogger(__name__)


class Troubles:
    """Tells troubles from a thread of its own, so that neither a plan nor the delivery waits for a console.

    Parameters
    ----------
    tell : takes a line; default: a warning in Python's log, which shows it on stderr where nothing is set up.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell or logger.warning
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="RunWriter troubles", daemon=True)
        self._thread.start()

    def add(self, key: str, text: str) -> None:
        """Tell a trouble, unless one of this key was told and is not over. Quick; never raises."""
        with self._lock:
            if key in self._known:
                return
            self._known[key] = None
            if len(self._known) > _KEEP:
                del self._known[next(iter(self._known))]
        self._line(text)

    def over(self, key: str, text: str) -> None:
        """Tell that a trouble is over, if it was told."""
        with self._lock:
            if key not in self._known:
                return
            del self._known[key]
        self._line(text)

    def close(self) -> None:
        """Tell what is left; what comes later goes to the log."""
        self._closed = True
        self._lines.put(None)
        self._thread.join(_END_SECONDS)

    def _line(self, text: str) -> None:
        if self._closed:
            logger.warning(text)
        else:
            self._lines.put(text)

    def _work(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                self._tell(text)
            except Exception:
                # The user's own code: what it could not show must not be lost, nor end this thread.
                logger.exception("a trouble could not be told: %s", text)
