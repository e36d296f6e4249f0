"""Keeping runs: an embedded Tiled server, its client, and writers that never make a plan wait."""

from xas_live.archive.catalog import Archive, open_archive
from xas_live.archive.errors import ArchiveError
from xas_live.archive.others import writers_of
from xas_live.archive.status import WriterStatus
from xas_live.archive.table import predictions
from xas_live.archive.writer import RunWriter

__all__ = [
    "Archive",
    "ArchiveError",
    "RunWriter",
    "WriterStatus",
    "open_archive",
    "predictions",
    "writers_of",
]
