"""open_archive: a folder or a URI becomes a catalog of Bluesky runs, with writers into it."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from xas_live.archive.address import Address, ServerState, sub_catalog
from xas_live.archive.errors import ArchiveError
from xas_live.archive.spool import has_forgotten
from xas_live.archive.writer import RunWriter
from xas_live.host import end_process, start_module, tail, user_folder

DERIVED = "xas_live"
"""Key of the sub-catalog that holds derived runs."""

_START_SECONDS = 90.0
_END_SECONDS = 10.0
_CLOSE_SECONDS = 10.0


def open_archive(
    dir_or_uri: str | Path,
    api_key: str | None = None,
    *,
    readable_storage: Sequence[str | Path] = (),
) -> Archive:
    """Open an archive: start (or join) the Tiled server of a folder, or connect to one elsewhere.

    Parameters
    ----------
    dir_or_uri : a folder, made if missing; or an http(s) URI.
    api_key : for a URI; default: its `?api_key=`, else the variable TILED_API_KEY. A folder keeps its own.
    readable_storage : for a folder: folders of detector files that runs refer to.

    Raises
    ------
    ArchiveError : when the server does not start (with the end of its log) or does not answer, when it
        refuses the key, or when a server already running does not read one of `readable_storage`.
    """
    if str(dir_or_uri).startswith(("http://", "https://")):
        address = Address.of_uri(str(dir_or_uri), api_key)
        name = hashlib.sha256(address.uri.encode()).hexdigest()[:12]
        return Archive(address, user_folder("spool") / name)
    if not str(dir_or_uri).strip():
        raise ArchiveError("the archive's name is empty: give a folder, or the URI of a Tiled server")
    folder = Path(dir_or_uri).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        readable = tuple(str(Path(path).expanduser().resolve()) for path in readable_storage)
        server = _join_or_start(folder, readable)
    except OSError as error:
        raise ArchiveError(f"the archive folder {folder} cannot be used: {error}") from error
    return Archive(Address(folder=folder), folder / "spool", server)


class Archive:
    """An open archive. Made by `open_archive`; ends by `close`, as a context manager, or with the session.

    Attributes
    ----------
    address : how it is reached.
    folder : of an embedded archive, else None.
    """

    def __init__(self, address: Address, spool: Path, server: subprocess.Popen[str] | None = None) -> None:
        self.address = address
        self.folder = address.folder
        self._spool = spool
        self._server = server
        self._writers: list[RunWriter] = []
        atexit.register(self.close)
        try:
            self._root = address.connect()
            if self.folder is not None:
                # Before the first run, so that client[-1] is always a run.
                sub_catalog(self._root, DERIVED)
            self._deliver_leftovers()
        except BaseException:
            self.close()
            raise

    @property
    def uri(self) -> str:
        """URI of the server, without the key."""
        return self.address.current()[0]

    @property
    def api_key(self) -> str | None:
        """The key that opens it; None where none is needed."""
        return self.address.current()[1]

    @property
    def client(self) -> Any:
        """Tiled client of the catalog of raw runs (`CatalogOfBlueskyRuns`)."""
        return self._root

    @cached_property
    def derived(self) -> Any:
        """Tiled client of the sub-catalog `xas_live` of derived runs, made if missing."""
        return sub_catalog(self._root, DERIVED)

    def raw_writer(self, on_trouble: Callable[[str], None] | None = None) -> RunWriter:
        """A new writer of raw runs, to subscribe to a RunEngine; closed by the archive if not before.

        Parameters
        ----------
        on_trouble : told of troubles, one line each; default: Python's log.
        """
        return self._writer(RunWriter(self.address, self._spool / "raw", on_trouble=on_trouble))

    def derived_writer(self, on_trouble: Callable[[str], None] | None = None) -> RunWriter:
        """A new writer of derived runs; a run that analysed more replaces its shorter twin."""
        return self._writer(
            RunWriter(
                self.address,
                self._spool / DERIVED,
                catalog=DERIVED,
                replace_shorter=True,
                on_trouble=on_trouble,
            )
        )

    def next_attempt(self, raw_uid: str) -> int:
        """The number of a forced redo: one above the highest among the runs derived from a raw run."""
        from tiled.queries import Eq

        runs = self.derived.search(Eq("raw_uid", raw_uid)).values()
        return 1 + max((int(run.metadata["start"].get("attempt", 1)) for run in runs), default=0)

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Close the writers, waiting up to `timeout` seconds for each, then the server if started here."""
        atexit.unregister(self.close)
        while self._writers:
            self._writers.pop().close(timeout)
        if self._server is not None:
            end_process(self._server, _END_SECONDS)
            self._server = None

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Archive {self.folder or self.address.uri}>"

    def _deliver_leftovers(self) -> None:
        """Have delivered what sessions before this one left in the spool."""
        for name, make in (("raw", self.raw_writer), (DERIVED, self.derived_writer)):
            if has_forgotten(self._spool / name):
                make().begin()

    def _writer(self, writer: RunWriter) -> RunWriter:
        self._writers = [*(known for known in self._writers if not known.closed), writer]
        return writer


def _join_or_start(folder: Path, readable: tuple[str, ...]) -> subprocess.Popen[str] | None:
    """The process started for the folder, or None when a living server was joined."""
    with _locked(folder / "starting.lock"):
        state = ServerState.load(folder)
        if state is None or not state.alive():
            return _start(folder, readable)
        missing = [path for path in readable if path not in state.readable]
        if missing:
            raise ArchiveError(
                f"the server that runs on {folder} (process {state.pid}) does not read {', '.join(missing)}: "
                "close the session that started it, or give it these folders as readable_storage"
            )
        return None


def _start(folder: Path, readable: tuple[str, ...]) -> subprocess.Popen[str]:
    log = folder / "server.log"
    if log.exists():  # what the last one said may still be wanted
        log.replace(folder / "server.previous.log")
    arguments = [str(folder), "--parent", str(os.getpid())]
    for path in readable:
        arguments += ["--readable", path]
    server = start_module("xas_live.archive.server", arguments, log)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise ArchiveError(f"the server of {folder} ended at its start. {log} says:\n{tail(log)}")
            state = ServerState.load(folder)
            if state is not None and state.pid == server.pid and state.alive():
                return server
            time.sleep(0.1)
        raise ArchiveError(
            f"the server of {folder} does not answer after {_START_SECONDS:.0f} s. {log} says:\n{tail(log)}"
        )
    except BaseException:
        end_process(server, _END_SECONDS)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
