"""Where rows of numbers stand in files, and how they are read. Kept light: the reading process imports it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 2**25
"""Numbers that are read at once, at most: 256 MB."""

Values = NDArray[np.float64]


class OtherShapeError(Exception):
    """Rows of a dataset do not have the shape that their data key declares."""


class Rows(Protocol):
    """Rows of one field in files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        ...

    def prepare(self) -> None:
        """Load what reads them: that takes no time from the reading."""
        ...

    def read(self, start: int, stop: int) -> Values:
        """Return rows from `start` to before `stop`, (stop - start, ...)."""
        ...


class DatasetRows(NamedTuple):
    """All rows of one HDF5 dataset, as they are.

    The adapter that Tiled has would do, but plans a task for every chunk of the file, and opens it for each.

    Attributes
    ----------
    path : of the file.
    dataset : its name in the file.
    swmr, locking : as for `h5py.File`.
    row : shape of a row, as its data key declares it.
    """

    path: Path
    dataset: str
    swmr: bool
    locking: bool | None
    row: tuple[int, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def prepare(self) -> None:
        """Load nothing: h5py is there."""

    def read(self, start: int, stop: int) -> Values:
        """Return rows, (stop - start, *row).

        Raises
        ------
        OSError, KeyError : when the file or the dataset cannot be opened, or does not hold them yet.
        OtherShapeError : when its rows have another shape.
        ValueError : when they are too many.
        """
        check_count(start, stop, self.row)
        options = {"swmr": self.swmr, "locking": self.locking, "libver": "latest"}
        with h5py.File(self.path, "r", **options) as file:
            dataset = file[self.dataset]
            if math.prod(dataset.shape[1:]) != math.prod(self.row):
                raise OtherShapeError(f"{self.dataset} has rows of shape {dataset.shape[1:]}, not {self.row}")
            if len(dataset) < stop:
                raise OSError(f"{self.dataset} holds {len(dataset)} rows so far, row {stop} is announced")
            found = np.asarray(dataset[start:stop], dtype=np.float64)
        return found.reshape(stop - start, *self.row)


class AdapterRows(NamedTuple):
    """Rows that the consolidator of their mimetype reads.

    Attributes
    ----------
    kind, state : class and attributes of the consolidator of bluesky_tiled_plugins: some cannot be pickled.
    paths : of its files.
    """

    kind: type
    state: Mapping[str, object]
    paths: tuple[Path, ...]

    def prepare(self) -> None:
        """Load Tiled's adapter of the format, some of which take seconds."""
        from tiled.mimetypes import DEFAULT_ADAPTERS_BY_MIMETYPE

        DEFAULT_ADAPTERS_BY_MIMETYPE.get(self.state.get("mimetype"))

    def read(self, start: int, stop: int) -> Values:
        """Return rows; raises what Tiled's adapter of the format does, ValueError when they are too many."""
        from tiled.ndslice import NDSlice

        consolidator: Any = object.__new__(self.kind)
        vars(consolidator).update(self.state)
        check_count(start, stop, consolidator.shape[1:])
        rows = consolidator.init_adapter().read(NDSlice(slice(start, stop)))
        return np.asarray(rows, dtype=np.float64)


def check_count(start: int, stop: int, row: tuple[int, ...]) -> None:
    """Refuse to read more than fits.

    Raises
    ------
    ValueError : when the rows hold over 2**25 numbers.
    """
    count = (stop - start) * math.prod(row)
    if count > MOST_VALUES:
        raise ValueError(f"rows {start} to {stop} hold {count} numbers, more than {MOST_VALUES} at once")
