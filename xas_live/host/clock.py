"""Times of documents as times of day, wherever they come from."""

from __future__ import annotations

from datetime import datetime

_LATEST = 7_258_118_400.0  # the year 2200, in Unix time: beyond it are ms or ns taken for seconds


def local_time(seconds: float | None) -> datetime | None:
    """Local time of a Unix time (s); None for what is none: missing, NaN, before 1970 or after 2200."""
    if seconds is None or not 0.0 < seconds < _LATEST:
        return None
    return datetime.fromtimestamp(seconds)
