"""What the assembler tells the user: which fields it chose, and why a run gives no spectra."""

from __future__ import annotations

from collections.abc import Callable


class Messages:
    """Lines for the user; what is the same for many runs is told once.

    Parameters
    ----------
    tell : takes one line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._told: set[str] = set()

    def tell_once(self, text: str, *, subject: str | None = None) -> None:
        """Tell a line unless one about the same subject was told before.

        Parameters
        ----------
        text : the line.
        subject : what it is about; default: its text.
        """
        subject = text if subject is None else subject
        if subject not in self._told:
            self._told.add(subject)
            self.tell(text)
