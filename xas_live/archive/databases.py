"""The databases of an archive: runs in SQLite, tables in DuckDB."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import duckdb
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.alembic_utils import stamp_head
from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
from tiled.catalog.core import initialize_database

CATALOG = "catalog.db"
TABLES = "storage.duckdb"
_SCRATCH = "making-"


def make_databases(folder: Path) -> None:
    """Make the databases of a folder that lacks them: each elsewhere, then put in place whole.

    One that is there is opened, to end with DuckDB's own words where another process has it.

    Raises
    ------
    duckdb.Error : when another process has the tables, or they are no tables.
    OSError : when the folder cannot be written.
    """
    for left in folder.glob(f"{_SCRATCH}*"):  # by a start that was killed
        shutil.rmtree(left, ignore_errors=True)
    tables, catalog = folder / TABLES, folder / CATALOG
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
        if tables.exists():
            duckdb.connect(tables).close()
        else:
            duckdb.connect(Path(scratch, TABLES)).close()
            _put_in_place(Path(scratch, TABLES), tables)
        if not catalog.exists():
            _make_catalog(Path(scratch, CATALOG))
            _put_in_place(Path(scratch, CATALOG), catalog)


def _make_catalog(path: Path) -> None:
    """Make an empty catalog, as `tiled catalog init` does in a process of its own, which takes seconds."""
    uri = f"sqlite+aiosqlite:///{path}"

    async def make_tables() -> None:
        engine = create_async_engine(uri)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()

    asyncio.run(make_tables())
    stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)


def _put_in_place(draft: Path, path: Path) -> None:
    with draft.open("rb") as stream:
        os.fsync(stream)
    draft.replace(path)
