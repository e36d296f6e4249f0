"""A mount that hangs, as that of a file server that has gone: a file system that nobody serves."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DETACH = 2


@contextmanager
def hung_mount(folder: Path) -> Iterator[Path]:
    """Give a folder in which nothing answers. Whoever waits for it goes on, with an error, at the end."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a mount that hangs takes root, and a kernel with FUSE")
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options):
            pytest.skip(f"no mount that hangs can be made here: {os.strerror(ctypes.get_errno())}")
        try:
            yield folder
        finally:
            libc.umount2(os.fsencode(folder), _DETACH)
    finally:
        os.close(server)
