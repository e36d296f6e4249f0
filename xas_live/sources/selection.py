"""Which runs of a catalog: by sample and by date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from xas_live.errors import Refusal
from xas_live.spectrum import Provenance

if TYPE_CHECKING:
    from xas_live.sources.stored import Catalog


def runs_between(
    catalog: Catalog, sample: str | None = None, since: str | None = None, until: str | None = None
) -> list[str]:
    """Return the uids of the runs of a sample, or of a time, the oldest first.

    Parameters
    ----------
    catalog : Tiled client of a catalog of Bluesky runs, as `Archive.client`.
    sample : name as it stands in the start document (`sample_name`, `sample` or its `name`), whatever its
        case; "Pt*" are all that begin so. None: any.
    since, until : local dates or times, as "2026-11-28" or "2026-11-28 14:30"; a date alone means all of the
        day. None: without limit.

    Raises
    ------
    Refusal : for a date that cannot be read.
    httpx.HTTPError : when the server does not answer.
    """
    from tiled.queries import Comparison

    found: Any = catalog
    if since is not None:
        found = found.search(Comparison("ge", "time", _moment(since, time.min)))
    if until is not None:
        found = found.search(Comparison("le", "time", _moment(until, time.max)))
    starts = [run.metadata.get("start") for run in found.values()]
    chosen = [start for start in starts if start is not None and _is_of(start, sample)]
    return [start["uid"] for start in sorted(chosen, key=lambda start: float(start["time"]))]


def _is_of(start: Mapping[str, Any], sample: str | None) -> bool:
    name = Provenance(metadata=start).sample
    return sample is None or fnmatch(name.casefold(), sample.casefold())


def _moment(text: str, of_day: time) -> float:
    """Return the Unix time (s) of a local date or time; of a date alone, at this time of the day."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refusal(f"{text!r} is no date: write 2026-11-28, or 2026-11-28 14:30") from None
    if len(text.strip()) <= len("2026-11-28"):
        moment = datetime.combine(moment.date(), of_day)
    return moment.timestamp()
