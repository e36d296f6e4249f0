"""Metadata of a RunEngine that outlive the session, so that scan_id goes on where the last one ended."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import UserDict
from pathlib import Path
from typing import Any


class PersistentMetadata(UserDict[str, Any]):
    """A dictionary that is kept in a JSON file: `RunEngine(PersistentMetadata(path))`.

    It is written whenever an entry is set or deleted; what is changed inside an entry is written with the
    next one. bluesky's own PersistentDict keeps arrays in a form that may run code when it is read. Two
    sessions at a time need a file each: the last one to write wins.

    Neither a damaged file nor a full disk ends a session: a warning says so. A damaged file is kept under
    another name.

    Parameters
    ----------
    path : of the file; its folder is made if missing.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        self._unkept: set[str] = set()
        self.data = self._read()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._write()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._write()

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads(self.path.read_bytes())
            if not isinstance(record, dict):
                raise ValueError(f"it holds no dictionary but {str(record)[:40]}")
            return record
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._warn(f"cannot be read ({error}): metadata begin empty, and scan_id at 1")
        except ValueError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
            try:
                self.path.replace(aside)
            except OSError:
                aside = self.path
            self._warn(
                f"is damaged ({error}). It is kept as {aside}; metadata begin empty, and scan_id at 1: to go "
                "on, set RE.md['scan_id'] to the last one"
            )
        return {}

    def _write(self) -> None:
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w") as stream:
                stream.write(self._text())
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.path)
        except OSError as error:
            self._warn(f"cannot be written ({error}): the next session will not know these metadata")

    def _text(self) -> str:
        """Return the entries as JSON, without those that it cannot hold."""
        texts = {}
        for key, value in self.data.items():
            try:
                texts[str(key)] = json.dumps(value, default=_plain)
            except (TypeError, ValueError, RecursionError) as error:
                if key not in self._unkept:
                    self._unkept.add(key)
                    self._warn(f"does not keep {key!r} for the next session: {error}")
        return "{" + ",\n ".join(f"{json.dumps(key)}: {text}" for key, text in texts.items()) + "}\n"

    def _warn(self, text: str) -> None:
        warnings.warn(f"the file of metadata {self.path} {text}", stacklevel=4)


def _plain(value: Any) -> Any:
    """Return a number or array of numpy as JSON can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is nothing that JSON can hold")
