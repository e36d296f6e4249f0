"""The embedded Tiled server: `python -m xas_live.archive.server FOLDER --parent PID`.

One process per folder, since DuckDB admits one. It listens on the loopback only, writes its address and
key to the folder when it serves, and ends with the process that started it.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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

from xas_live.archive.address import DERIVED, RAW, ServerState
from xas_live.archive.whole import whole_run_router
from xas_live.host import when_parent_ends

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 3
_TURN_SECONDS = 120.0


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
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
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
    catalog_file, data = folder / "catalog.db", folder / "data"
    options: dict[str, Any] = {
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        "writable_storage": [data, f"duckdb:///{folder / 'storage.duckdb'}"],
        "readable_storage": list(readable),
        "cache_config": StreamingCacheConfig(uri="memory").model_dump(),
    }
    uri = f"sqlite:///{catalog_file}"
    # To make a catalog costs seconds and another process.
    everything = catalog_from_uri(uri, init_if_not_exists=not catalog_file.exists(), **options)
    raw = everything.new_variation(conditions=[orm.Node.key != DERIVED])
    _one_at_a_time(raw.context.writable_storage.values())
    derived = catalog_from_uri(uri, mount_node=DERIVED, create_mount_nodes_if_not_exist=True, **options)
    return raw, derived


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
    """Writes the state file once requests are served."""

    def __init__(self, config: uvicorn.Config, state: ServerState, folder: Path) -> None:
        super().__init__(config)
        self._state = state
        self._folder = folder

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._state.save(self._folder)


def serve(folder: Path, readable: tuple[str, ...], parent: int) -> None:
    """Serve a folder until the process `parent` ends or a signal comes."""
    os.umask(0o077)
    before = ServerState.load(folder)
    # The same key and, if free, the same port: clients of a server that died find its successor.
    api_key = before.api_key if before else secrets.token_hex(32)
    listener = _listen(before.port if before else 0)
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
    server = _AnnouncingServer(config, state, folder)

    def stop() -> None:
        server.should_exit = True

    when_parent_ends(parent, stop)
    server.run(sockets=[listener])


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
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--readable", action="append", default=[])
    arguments = parser.parse_args()
    serve(arguments.folder, tuple(arguments.readable), arguments.parent)


if __name__ == "__main__":
    main()
