"""What can go wrong with an archive."""

from __future__ import annotations

from xas_live.errors import XasLiveError


class ArchiveError(XasLiveError):
    """An archive cannot be opened or reached; the message says why and what to do."""
