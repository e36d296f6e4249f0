"""The embedded Tiled server: `python -m xas_live.archive.server FOLDER --lock DESCRIPTOR`.

One process per folder, since DuckDB admits one: it inherits the lock that says so. It listens on a Unix
socket in the folder and on the loopback, writes its address and a new key to the folder when it serves, and
ends when nobody uses the folder any more.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from bluesky_tiled_plugins.exporters import json_seq_exporter
from sqlalchemy.pool import QueuePool
from tiled.adapters.mapping import MapAdapter
from tiled.catalog import from_uri as catalog_from_uri
from tiled.catalog import orm
from tiled.catalog.adapter import STORAGE_ADAPTERS_BY_MIMETYPE
from tiled.config import Authentication, StreamingCacheConfig
from tiled.media_type_registration import default_serialization_registry
from tiled.mimetypes import ZARR_MIMETYPE
from tiled.server.app import build_app
from tiled.server.logging_config import LOGGING_CONFIG
from tiled.storage import SQLStorage

from xas_live.archive.address import DERIVED, RAW
from xas_live.archive.embedded import USERS_LOCK
from xas_live.archive.state import ServerState
from xas_live.archive.unix_socket import ListeningSocket
from xas_live.archive.whole import whole_run_router
from xas_live.host import FileLock

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 3
_END_SECONDS = 10.0
_TURN_SECONDS = 120.0
_CATALOG = "catalog.db"
_TABLES = "storage.duckdb"
_SCRATCH = "making-"


def build_archive_app(folder: Path, api_key: str, readable: tuple[str, ...] = ()) -> Any:
    """The Tiled application over a folder: SQLite catalog, DuckDB tables, arrays in files.

    It serves two catalogs side by side: raw runs as `/raw`, derived runs as `/xas_live`.

    Parameters
    ----------
    folder : made if missing, with all that is in it.
    api_key : the one key that opens it.
    readable : folders of detector files.
    """
    # Its module brings zarr, which only a server that stores an array needs.
    STORAGE_ADAPTERS_BY_MIMETYPE.set(
        ZARR_MIMETYPE, lambda: importlib.import_module("xas_live.archive.growing").GrowingArray
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    _make_databases(folder)
    raw, derived = _raw_and_derived(folder, readable)
    root = MapAdapter({RAW: raw, DERIVED: derived})
    serializers = copy.copy(default_serialization_registry)
    serializers.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    return build_app(
        root,
        serialization_registry=serializers,
        authentication=Authentication(single_user_api_key=api_key),
        include_routers=[whole_run_router({RAW: raw, DERIVED: derived})],
        tasks={
            "startup": [*raw.startup_tasks, *derived.startup_tasks],
            "shutdown": [*raw.shutdown_tasks, *derived.shutdown_tasks],
        },
    )


def _raw_and_derived(folder: Path, readable: tuple[str, ...]) -> tuple[Any, Any]:
    """The catalog of raw runs and that of derived runs, over one database.

    In the database the derived runs are in a container among the raw runs, as the first archives had it, so
    that those are served as they are. The server hides the container there, and shows it as a sibling.
    """
    options: dict[str, Any] = {
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        "writable_storage": [folder / "data", f"duckdb:///{folder / _TABLES}"],
        "readable_storage": list(readable),
        "cache_config": StreamingCacheConfig(uri="memory").model_dump(),
    }
    uri = f"sqlite:///{folder / _CATALOG}"
    everything = catalog_from_uri(uri, **options)
    raw = everything.new_variation(conditions=[orm.Node.key != DERIVED])
    _one_at_a_time(raw.context.writable_storage.values())
    derived = catalog_from_uri(uri, mount_node=DERIVED, create_mount_nodes_if_not_exist=True, **options)
    return raw, derived


def _make_databases(folder: Path) -> None:
    """Make the databases of a folder that lacks them: each elsewhere, then put in place whole.

    One that is there is opened, to end with DuckDB's own words where another process has it.
    """
    for left in folder.glob(f"{_SCRATCH}*"):  # by a start that was killed
        shutil.rmtree(left, ignore_errors=True)
    tables, catalog = folder / _TABLES, folder / _CATALOG
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
        if tables.exists():
            duckdb.connect(tables).close()
        else:
            duckdb.connect(Path(scratch, _TABLES)).close()
            _put_in_place(Path(scratch, _TABLES), tables)
        if not catalog.exists():  # a process of its own, and seconds
            uri = f"sqlite:///{Path(scratch, _CATALOG)}"
            subprocess.run([sys.executable, "-m", "tiled", "catalog", "init", uri], check=True)
            _put_in_place(Path(scratch, _CATALOG), catalog)


def _put_in_place(draft: Path, path: Path) -> None:
    with draft.open("rb") as stream:
        os.fsync(stream)
    draft.replace(path)


def _one_at_a_time(storages: Iterable[Any]) -> None:
    """Have requests wait for each other at a DuckDB.

    Tiled gives its one connection to all of them at once: two that read fail, or end the process.
    """
    for storage in storages:
        if isinstance(storage, SQLStorage):
            pool = QueuePool(
                storage.create_adbc_connection, pool_size=1, max_overflow=0, timeout=_TURN_SECONDS
            )
            vars(storage)["_connection_pool"] = pool


class _AnnouncingServer(uvicorn.Server):
    """Can be found from the time when requests are served to the time when it ends."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, folder: Path, listener: ListeningSocket
    ) -> None:
        super().__init__(config)
        self._state = state
        self._folder = folder
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            # In this order: who finds the socket finds its key.
            self._state.save(self._folder)
            self._listener.announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._listener.remove()
        ServerState.remove(self._folder)
        await super().shutdown(sockets)


def serve(folder: Path, readable: tuple[str, ...]) -> None:
    """Serve a folder until nobody uses it or a signal comes."""
    os.umask(0o077)
    crashed = ServerState.load(folder)
    api_key = secrets.token_hex(32)
    local = ListeningSocket(folder)
    # The same port, if free: addresses that were copied from a server that died stay right.
    listener = _listen(crashed.port if crashed else 0)
    port = listener.getsockname()[1]
    state = ServerState(f"http://{LOOPBACK}:{port}/api/v1", api_key, os.getpid(), readable)
    logging = copy.deepcopy(LOGGING_CONFIG)
    for formatter in logging["formatters"].values():
        formatter["use_colors"] = False
    for logger in logging["loggers"].values():
        logger["level"] = "WARNING"
    config = uvicorn.Config(
        build_archive_app(folder, api_key, readable),
        log_config=logging,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _AnnouncingServer(config, state, folder, local)
    threading.Thread(target=_end_when_unused, args=[folder, server], name="users", daemon=True).start()
    server.run(sockets=[local.socket, listener])


def _end_when_unused(folder: Path, server: uvicorn.Server) -> None:
    """Wait until nobody uses the folder; from then on it takes no new users until this process has ended."""
    FileLock.take(folder / USERS_LOCK, wait=True)
    server.should_exit = True
    time.sleep(_END_SECONDS)  # a thread that writes may hang
    os._exit(1)


def _listen(preferred: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, preferred))
    except OSError:
        listener.bind((LOOPBACK, 0))
    return listener


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the lock that it inherits")
    parser.add_argument("--readable", action="append", default=[])
    arguments = parser.parse_args()
    serve(arguments.folder, tuple(arguments.readable))


if __name__ == "__main__":
    main()
