"""Whole runs in one request: a route of the embedded server that stores a run as TiledWriter lays it out.

A run is some thirty nodes, arrays and tables. Written from outside each of them is a request or two, and a
request costs Tiled more than what it stores. Loaded by the embedded server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import anyio.from_thread
import anyio.to_thread
import numpy as np
import pyarrow
from fastapi import APIRouter, HTTPException, Request, Security
from tiled.server.authentication import check_scopes
from tiled.server.schemas import DataSource
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily
from tiled.structures.table import TableStructure
from tiled.utils import Conflicts, ensure_awaitable

from xas_live.archive.documents import decode
from xas_live.archive.messages import ROUTE

_SQL_TABLE = "application/x-tiled-sql-table"
_FIRST = {"start": 0, "descriptor": 1}
logger = logging.getLogger(__name__)

_SCOPES = ["write:metadata", "write:data", "create:node"]

# Who lost the answer sends a run again, while it is being stored.
_one_at_a_time = threading.Lock()


def whole_run_router(catalogs: Mapping[str, Any]) -> APIRouter:
    """Return the route that takes the lines of a spool file, all of one run that has ended.

    It answers 409 when the catalog has the run already. What else fails leaves a part of the run, as a
    TiledWriter that fails does: who tries again removes it.

    Parameters
    ----------
    catalogs : Tiled's adapters by key.
    """
    router = APIRouter(dependencies=[Security(check_scopes, scopes=_SCOPES)])

    @router.post(f"/{ROUTE}/{{catalog}}", status_code=201)
    async def store(catalog: str, request: Request) -> None:
        if catalog not in catalogs:
            raise HTTPException(404, f"no catalog {catalog!r}")
        lines = await request.body()
        try:
            await anyio.to_thread.run_sync(_store, Node(catalogs[catalog], catalog), lines)
        except Conflicts:
            raise
        except Exception as error:
            # Left to the server, it would end the connection, and the next request with it.
            logger.warning("a run was not stored at once", exc_info=True)
            raise HTTPException(500, f"{type(error).__name__}: {error}"[:500]) from error

    return router


def _store(catalog: Node, lines: bytes) -> None:
    # Brings TiledWriter: a server that only shows runs starts in two thirds of the time without.
    from xas_live.archive.sink import RunSink

    # Rows wait for the stop document, or for a descriptor, so that these come first: those of a stream are
    # written together.
    sink = RunSink(catalog)
    documents = [decode(line) for line in lines.splitlines(keepends=True)]
    with _one_at_a_time:
        for name, doc in sorted(documents, key=lambda document: _FIRST.get(document[0], len(_FIRST))):
            sink(name, doc)


class Node:
    """A node of a catalog of this process, with what TiledWriter needs of Tiled's client for a whole run.

    Its methods wait for the server's event loop: they are for a worker thread.

    Parameters
    ----------
    adapter : Tiled's adapter of the node.
    uri : tells the node from others.
    """

    def __init__(self, adapter: Any, uri: str) -> None:
        self._adapter = adapter
        self.uri = uri
        self.item = {"id": uri.rpartition("/")[2]}

    @property
    def base(self) -> Node:
        """The same: what it holds are nodes."""
        return self

    def include_data_sources(self) -> Node:
        """The same: they are at hand."""
        return self

    def create_container(self, key: str, **about: Any) -> Node:
        """Make a container; see Tiled's client."""
        return self._new(StructureFamily.container, key, **about)

    def write_array(self, array: np.ndarray[Any, Any], *, key: str, dims: Any = None, **about: Any) -> Node:
        """Store an array as a whole; see Tiled's client."""
        structure = ArrayStructure(
            shape=array.shape,
            chunks=tuple((length,) for length in array.shape),
            dims=dims,
            data_type=BuiltinDtype.from_numpy_dtype(array.dtype),
        )
        node = self._new(
            StructureFamily.array,
            key,
            DataSource(structure_family=StructureFamily.array, structure=structure),
            **about,
        )
        node._inside("write", array)
        return node

    def create_appendable_table(self, schema: pyarrow.Schema, *, key: str, **about: Any) -> Node:
        """Make a table of the database; see Tiled's client."""
        structure = TableStructure.from_schema(schema, 1)
        return self._new(
            StructureFamily.table,
            key,
            DataSource(structure_family=StructureFamily.table, structure=structure, mimetype=_SQL_TABLE),
            **about,
        )

    def append_partition(self, partition: int, table: pyarrow.Table) -> None:
        """Append rows to the table that the node is; see Tiled's client."""
        self._inside("append_partition", partition, table)

    def update_metadata(self, metadata: dict[str, Any], *, drop_revision: bool) -> None:
        """Add to the metadata, by their first keys; see Tiled's client."""
        merged = {**self._adapter.metadata(), **metadata}

        async def update() -> None:
            await self._adapter.replace_metadata(metadata=merged, drop_revision=drop_revision)

        anyio.from_thread.run(update)

    def close_stream(self) -> None:
        """Nothing: who subscribes finds the run whole."""

    def _new(
        self,
        family: StructureFamily,
        key: str,
        *sources: DataSource,
        access_tags: Any = None,  # of no use on a server without accounts: Tiled's own route drops them, too
        **about: Any,
    ) -> Node:
        async def create() -> Any:
            return await self._adapter.create_node(family, key=key, data_sources=list(sources), **about)

        return Node(anyio.from_thread.run(create), f"{self.uri}/{key}")

    def _inside(self, method: str, *arguments: Any) -> None:
        """Call a method of the adapter that stores the node's data."""

        async def call() -> None:
            await ensure_awaitable(getattr(await self._adapter.get_adapter(), method), *arguments)

        anyio.from_thread.run(call)
