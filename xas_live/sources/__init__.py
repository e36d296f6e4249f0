"""Documents of data files and stored runs, and `replay.replay`, which analyses them."""

from xas_live.sources.files import read_file
from xas_live.sources.scan import ColumnsError, Scan, Unreadable, UnreadableError, parse_columns
from xas_live.sources.stored import stored_runs

__all__ = [
    "ColumnsError",
    "Scan",
    "Unreadable",
    "UnreadableError",
    "parse_columns",
    "read_file",
    "stored_runs",
]
