"""What the computer provides: helper processes, folders and metadata of the user, time of day, safe text."""

from xas_live.host.clock import local_time
from xas_live.host.folders import user_folder
from xas_live.host.metadata import PersistentMetadata
from xas_live.host.process import end_process, start_module, tail, when_parent_ends
from xas_live.host.text import printable

__all__ = [
    "PersistentMetadata",
    "end_process",
    "local_time",
    "printable",
    "start_module",
    "tail",
    "user_folder",
    "when_parent_ends",
]
