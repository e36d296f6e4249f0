"""What the computer provides: processes, locks, Channel Access, the user's folders, time, plain text."""

from xas_live.host.channel_access import free_port, loopback_variables, port_is_free
from xas_live.host.clock import local_time
from xas_live.host.folders import user_folder
from xas_live.host.locks import FileLock
from xas_live.host.metadata import PersistentMetadata
from xas_live.host.process import end_process, start_module, tail, when_parent_ends
from xas_live.host.text import printable

__all__ = [
    "FileLock",
    "PersistentMetadata",
    "end_process",
    "free_port",
    "local_time",
    "loopback_variables",
    "port_is_free",
    "printable",
    "start_module",
    "tail",
    "user_folder",
    "when_parent_ends",
]
