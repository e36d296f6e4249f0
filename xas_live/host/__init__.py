"""What the computer provides: helper processes, locks, the user's folders and metadata, the time of day."""

from xas_live.host.clock import local_time
from xas_live.host.folders import user_folder
from xas_live.host.locks import FileLock
from xas_live.host.metadata import PersistentMetadata
from xas_live.host.process import end_process, start_module, tail, when_parent_ends

__all__ = [
    "FileLock",
    "PersistentMetadata",
    "end_process",
    "local_time",
    "start_module",
    "tail",
    "user_folder",
    "when_parent_ends",
]
