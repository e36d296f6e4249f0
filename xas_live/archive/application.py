"""What the embedded server serves: Tiled over a folder, with a catalog of raw and one of derived runs."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy.pool import QueuePool
from tiled.adapters.mapping import MapAdapter
from tiled.catalog import from_uri as catalog_from_uri
from tiled.catalog import orm
from tiled.catalog.adapter import STORAGE_ADAPTERS_BY_MIMETYPE
from tiled.config import Authentication, StreamingCacheConfig
from tiled.media_type_registration import default_serialization_registry
from tiled.mimetypes import ZARR_MIMETYPE
from tiled.server.app import build_app
from tiled.storage import SQLStorage

from xas_live.archive.address import DERIVED, RAW
from xas_live.archive.databases import CATALOG, TABLES, make_databases
from xas_live.archive.whole import whole_run_router

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
    (folder / "data").mkdir(parents=True, exist_ok=True)
    make_databases(folder)
    raw, derived = _raw_and_derived(folder, readable)
    root = MapAdapter({RAW: raw, DERIVED: derived})
    serializers = copy.copy(default_serialization_registry)
    serializers.register("BlueskyRun", "application/json-seq", _as_documents)
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


def _as_documents(*asked: Any) -> Any:
    """Give a run as documents. The exporter's module takes a third of the start of a server that lacks it."""
    from bluesky_tiled_plugins.exporters import json_seq_exporter

    return json_seq_exporter(*asked)


def _raw_and_derived(folder: Path, readable: tuple[str, ...]) -> tuple[Any, Any]:
    """The catalog of raw runs and that of derived runs, over one database.

    In the database the derived runs are in a container among the raw runs, as the first archives had it, so
    that those are served as they are. The server hides the container there, and shows it as a sibling.
    """
    options: dict[str, Any] = {
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        "writable_storage": [folder / "data", f"duckdb:///{folder / TABLES}"],
        "readable_storage": list(readable),
        "cache_config": StreamingCacheConfig(uri="memory").model_dump(),
    }
    uri = f"sqlite:///{folder / CATALOG}"
    everything = catalog_from_uri(uri, **options)
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
