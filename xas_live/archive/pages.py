"""Event pages on their way to Tiled, column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow
from event_model import unpack_event_page

from xas_live.archive.documents import Document
from xas_live.archive.values import Column, plain

_PARTS = ("data", "timestamps", "filled")


def is_page(doc: Document) -> bool:
    """Whether an event document, or page, is a page."""
    return isinstance(doc["seq_num"], list)


def is_even(page: Document) -> bool:
    """Whether all columns of a page have the same number of rows, at least one, and hold data themselves."""
    columns = (page["uid"], page["time"], *page["data"].values(), *page["timestamps"].values())
    filled = all(all(column) for column in page.get("filled", {}).values())
    rows = len(page["seq_num"])
    return rows > 0 and filled and all(len(column) == rows for column in columns)


def events(page: Document) -> Iterator[Document]:
    """The events of a page, their values as JSON-born documents have them."""
    parts = {part: {k: plain(column) for k, column in page.get(part, {}).items()} for part in _PARTS}
    yield from unpack_event_page({**page, **parts})


def joined(pages: Sequence[Document]) -> list[Document]:
    """Pages of one stream as one page; as they are, where their columns differ."""
    if len(pages) == 1 or len({_signature(page) for page in pages}) > 1:
        return list(pages)
    first = pages[0]
    whole: Document = {
        name: list(chain(*(page[name] for page in pages))) for name in ("uid", "seq_num", "time")
    }
    for part in ("data", "timestamps"):
        whole[part] = {name: _joined([page[part][name] for page in pages]) for name in first[part]}
    return [{**first, **whole, "filled": {}}]


def table(page: Document, schema: pyarrow.Schema, without: Collection[str]) -> pyarrow.Table | None:
    """A page as rows of Tiled's table of a stream; None where they do not fit in.

    Parameters
    ----------
    schema : of the table.
    without : names of data that are not in the table.
    """
    columns = {"seq_num": page["seq_num"], "time": page["time"], **page["data"]}
    columns |= {f"ts_{name}": column for name, column in page["timestamps"].items()}
    kept = {name: column for name, column in columns.items() if name not in without}
    if kept.keys() != set(schema.names):
        return None
    # pyarrow takes arrays of one dimension as they are, others only as lists.
    flat = {name: c.tolist() if getattr(c, "ndim", 1) > 1 else c for name, c in kept.items()}
    try:
        return pyarrow.Table.from_pydict(flat, schema=schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return None


def block(column: Column, dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """A column as rows of Tiled's array of this dtype, each of this shape; None where it does not fit."""
    try:
        array = np.asarray(column, dtype=dtype)
    except (TypeError, ValueError):
        return None
    return array if array.shape[1:] == shape else None


def _signature(page: Document) -> Any:
    """What pages must share to be joined: names, and the sort and width of columns."""
    columns = chain(page["data"].items(), page["timestamps"].items())
    return tuple((name, (c.shape[1:], c.dtype) if isinstance(c, np.ndarray) else None) for name, c in columns)


def _joined(columns: Sequence[Column]) -> Column:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return list(chain(*columns))
