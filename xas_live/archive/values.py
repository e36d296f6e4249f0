"""Values of events as their data keys declare them: a column's type in Tiled comes from its first rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xas_live.archive.documents import Document

Column = Sequence[Any] | np.ndarray[Any, Any]
"""Values of one column of an event page, one a row."""

# What numpy holds of a kind (second) without loss or change of meaning for a declared kind (first).
_HOLDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


class UnevenRows(ValueError):
    """A row does not fit the columns made from the rows before it; the run can be written as a whole."""


def fit(value: Any, key: Document, *, live: bool) -> Any:
    """A value of an event as its data key declares it.

    Raises
    ------
    TypeError, ValueError : when the value is of another sort.
    UnevenRows : live, when an integer turns out to be a fraction.
    """
    dtype = key["dtype"]
    if dtype == "array":
        return _floats_if_numbers(value) if kind(key) == "f" else value
    if dtype == "string":
        return value if isinstance(value, str) else str(value)
    if dtype == "boolean":
        return bool(value) if isinstance(value, int | float) else _refuse(value)
    if not isinstance(value, int | float):
        return math.nan if value is None and kind(key) == "f" else _refuse(value)
    if kind(key) == "f":
        return float(value)
    if isinstance(value, int) and not -(2**63) <= value < 2 ** (64 if kind(key) == "u" else 63):
        raise TypeError(f"{value} is larger than a column holds")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and live:
        raise UnevenRows(f"{value} is declared an integer")
    return value


def fit_array(column: Column, key: Document) -> np.ndarray[Any, Any] | None:
    """A column as its data key declares it, where that can be told of it as a whole; else None.

    Parameters
    ----------
    column : numbers of one sort, (rows, ...); what is no array is told value by value, with `fit`.
    """
    if not isinstance(column, np.ndarray) or (column.ndim > 1) != (key["dtype"] == "array"):
        return None
    declared = "b" if key["dtype"] == "boolean" else kind(key)
    if key["dtype"] == "string" or column.dtype.kind not in _HOLDS.get(declared, ""):
        return None
    return column.astype(np.float64, copy=False) if declared == "f" else column


def sort(value: Any) -> str:
    """What an array in an event holds: "number", "text", "uneven" rows, or "other" things."""
    try:
        held = np.asarray(value).dtype.kind
    except ValueError:
        return "uneven"
    return {"U": "text"}.get(held, "number" if held in "biuf" else "other")


def misfit(value: Any, key: Document) -> str:
    """Why a value, after `fit`, spoils the column of its data key; "" if it does not."""
    if key["dtype"] != "array":
        return ""
    if not isinstance(value, list) or sort(value) not in ("number", "text"):
        return f"it is no array but {str(value)[:60]}"
    shape: tuple[int, ...] = np.shape(value)
    declared = tuple(key.get("shape") or ())
    if len(shape) > 1 and None not in declared and shape != declared:
        return f"its shape is {shape} and not {declared}"
    return ""


def plain(column: Column) -> list[Any]:
    """The values of a column as JSON-born documents have them: numbers, texts, lists."""
    if isinstance(column, np.ndarray):
        return column.tolist()
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in column]


def kind(key: Document) -> str:
    """Kind, as numpy names it, of the values that a data key declares."""
    dtype = key.get("dtype_numpy")
    return np.dtype(dtype).kind if isinstance(dtype, str) else "O"


def _floats_if_numbers(value: Any) -> Any:
    # The normaliser declares every array without a dtype_numpy as one of floats, also one of strings.
    try:
        return _floats(value)
    except (TypeError, ValueError):
        return value


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return math.nan if value is None else float(value)


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not what the data key declares")


def listed(value: Any) -> Any:
    """A document without arrays of numpy: lists in their place."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [listed(item) for item in value]
    return value
