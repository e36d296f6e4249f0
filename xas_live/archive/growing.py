"""Arrays that grow row by row, in files of many rows each.

Loaded by the embedded server when it stores an array.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import zarr
from tiled.adapters.zarr import ZarrArrayAdapter
from tiled.utils import path_from_uri

CHUNK_BYTES = 2**20
"""What a file of rows may hold, before compression.

A file costs zarr milliseconds, and a row added to one means to write it anew.
"""


class GrowingArray(ZarrArrayAdapter):
    """Tiled's Zarr array, whose files hold many rows however few came first.

    Tiled makes all files as long as what is written first. A scan whose first row is written while it runs
    would get a file for every row, and a list of them all in the catalog: milliseconds a row.
    """

    @classmethod
    def init_storage(cls, storage: Any, data_source: Any, path_parts: list[str]) -> Any:
        """Make the array on disk; see Tiled."""
        if {"", ".", ".."} & set(path_parts):
            raise ValueError(f"an array cannot be kept under the names {path_parts}")
        # Tiled has made sure that no node has this place: files in it are of a server that died before it
        # recorded their node.
        place = path_from_uri(storage.uri).joinpath(*map(quote_plus, path_parts))
        shutil.rmtree(place, ignore_errors=True)
        structure = data_source.structure
        (first, *more), *others = structure.chunks
        row_bytes = structure.data_type.to_numpy_dtype().itemsize
        for chunks in others:
            row_bytes *= chunks[0]
        rows = CHUNK_BYTES // max(row_bytes, 1)
        if more or rows <= first:
            return super().init_storage(storage, data_source, path_parts)
        longer = copy.copy(data_source)
        longer.structure = replace(structure, shape=(rows, *structure.shape[1:]), chunks=((rows,), *others))
        made = super().init_storage(storage, longer, path_parts)
        array = zarr.open_array(path_from_uri(made.assets[-1].data_uri))
        array.resize((structure.shape[0], *array.shape[1:]))
        made.structure = structure
        return made
