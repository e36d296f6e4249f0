"""What can go wrong with an archive."""

from __future__ import annotations


class ArchiveError(RuntimeError):
    """An archive cannot be opened or reached; the message says why and what to do."""
