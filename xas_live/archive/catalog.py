"""open_archive: a folder or a URI becomes a catalog of Bluesky runs, with writers into it."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from xas_live.archive.address import DERIVED, RAW, Address
from xas_live.archive.derived import RUNS, beside, chosen, find_or_make, no_place, specs
from xas_live.archive.embedded import begin_use, end_use, ensure_server
from xas_live.archive.errors import ArchiveError
from xas_live.archive.spool import has_forgotten
from xas_live.archive.uri import folder_of, is_uri, joined
from xas_live.archive.writer import RunWriter
from xas_live.host import FileLock, user_folder

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 10.0


def open_archive(
    dir_or_uri: str | Path,
    api_key: str | None = None,
    *,
    readable_storage: Sequence[str | Path] = (),
    derived: str | Path | None = None,
    access_tags: Sequence[str] | None = None,
    copied: Sequence[str] = (),
) -> Archive:
    """Open an archive: start (or join) the Tiled server of a folder, or connect to a catalog elsewhere.

    Parameters
    ----------
    dir_or_uri : a folder, made if missing; or the URI of a catalog of runs, as its server, its web pages or
        Tiled's client give it. Of a container that is no catalog of runs its `raw` is meant.
    api_key : for a URI; default: its `?api_key=`, else the variable TILED_API_KEY. A folder keeps its own.
    readable_storage : for a folder: folders of detector files that runs refer to.
    derived : where derived runs go: the URI of a catalog, which is made if its container allows it; or the
        folder of an archive. Default: the catalog `xas_live` beside the raw runs, for a catalog of another
        name than `raw`, as `smi`, `smi_xas_live`.
    access_tags : for Tiled: those of a catalog of derived runs that is made here (default: those of the raw
        runs' catalog), and of derived runs whose raw run has none in its start document.
    copied : entries of raw runs' start documents that derived runs have too, besides those that they have in
        any case (`xas_live.callbacks.publishers.COPIED`).

    Raises
    ------
    ArchiveError : when the server does not start (with the end of its log) or does not answer, when it
        refuses the key, or when a server already running does not read one of `readable_storage`.
    """
    place = str(dir_or_uri)
    if not place.strip():
        raise ArchiveError("the archive's name is empty: give a folder, or the URI of a Tiled server")
    if is_uri(place):
        address = Address.of_uri(place, api_key)
        return Archive(address, _spool_of(address), None, derived, access_tags, copied)
    folder = folder_of(place)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        readable = tuple(str(Path(path).expanduser().resolve()) for path in readable_storage)
        use = _use(folder, readable)
    except OSError as error:
        raise ArchiveError(f"the archive folder {folder} cannot be used: {error}") from error
    return Archive(Address(folder, RAW), folder / "spool", use, derived, access_tags, copied)


class Archive:
    """An open archive. Made by `open_archive`; ends by `close`, as a context manager, or with the session.

    Attributes
    ----------
    address : how the catalog of raw runs is reached.
    folder : of an embedded archive, else None.
    copied : further entries of raw runs' start documents for derived runs.
    """

    def __init__(
        self,
        address: Address,
        spool: Path,
        use: FileLock | None = None,
        derived: str | Path | None = None,
        access_tags: Sequence[str] | None = None,
        copied: Sequence[str] = (),
    ) -> None:
        self.address = address
        self.folder = address.folder
        self.copied = tuple(copied)
        self._spool = spool
        self._derived_spool = spool
        self._tags = None if access_tags is None else tuple(access_tags)
        self._use = use
        self._process = os.getpid()
        self._writers: list[RunWriter] = []
        self._elsewhere: Archive | None = None
        atexit.register(self.close)
        try:
            self._root = self._connect()
            self._derived_address = self._place_of_derived(derived)
            self._deliver_leftovers()
        except BaseException:
            self.close()
            raise

    @property
    def uri(self) -> str:
        """URI of the catalog of raw runs, without the key."""
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
        """Tiled client of the catalog of derived runs, made if missing.

        Raises
        ------
        ArchiveError : when there is no place for it; the message says what to give as `derived`.
        """
        if self._elsewhere is not None:
            return self._elsewhere.derived
        if self._derived_address is None:
            raise no_place(self.address)
        return find_or_make(self._derived_address, self._root, self._tags)

    def find_derived(self) -> Any | None:
        """Tiled client of the catalog of derived runs, or None where there is none yet."""
        if self._elsewhere is not None:
            return self._elsewhere.derived
        return None if self._derived_address is None else self._derived_address.find()

    def raw_writer(self, on_trouble: Callable[[str], None] | None = None) -> RunWriter:
        """A new writer of raw runs, to subscribe to a RunEngine; closed by the archive if not before.

        Parameters
        ----------
        on_trouble : told of troubles, one line each; default: Python's log.
        """
        return self._writer(RunWriter(self.address, self._spool / RAW, on_trouble=on_trouble))

    def derived_writer(self, on_trouble: Callable[[str], None] | None = None) -> RunWriter:
        """A new writer of derived runs; a run that analysed more replaces its shorter twin.

        Raises
        ------
        ArchiveError : see `derived`.
        """
        if self._elsewhere is not None:
            return self._elsewhere.derived_writer(on_trouble)
        _ = self.derived  # made, or refused, before the first run
        assert self._derived_address is not None
        return self._writer(
            RunWriter(
                self._derived_address,
                self._derived_spool / DERIVED,
                replace_shorter=True,
                access_tags=self._tags,
                on_trouble=on_trouble,
            )
        )

    def next_attempt(self, raw_uid: str) -> int:
        """The number of a forced redo: one above the highest among the runs derived from a raw run."""
        from tiled.client.container import Container
        from tiled.queries import Eq

        # Not derived.search: a catalog of the user's choice need not know that start documents are meant.
        runs = Container.search(self.derived, Eq("start.raw_uid", raw_uid)).values()
        return 1 + max((int(run.metadata["start"].get("attempt", 1)) for run in runs), default=0)

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Close the writers, waiting up to `timeout` seconds for each; the server ends with its last user.

        In a forked child of the process that opened the archive it does nothing.
        """
        if os.getpid() != self._process:
            return
        atexit.unregister(self.close)
        while self._writers:
            self._writers[-1].close(timeout)
            self._writers.pop()
        if self._elsewhere is not None:
            self._elsewhere.close(timeout)
        if self._use is not None:
            assert self.folder is not None
            end_use(self.folder, self._use)
            self._use = None

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

    def _connect(self) -> Any:
        """The catalog of raw runs; of a container that only holds it, as `/chx`, its `raw`."""
        client = self.address.connect()
        if self.folder is None and RUNS not in specs(client):
            inner = replace(self.address, uri=joined(self.address.uri, RAW))
            within = inner.find()
            if within is not None and RUNS in specs(within):
                self.address = inner
                return within
        return client

    def _place_of_derived(self, given: str | Path | None) -> Address | None:
        """Where derived runs are; None where they are `_elsewhere`, or have no place by default."""
        if given is None:
            return beside(self.address)
        if is_uri(str(given)):
            address = chosen(str(given), self.address)
            self._derived_spool = _spool_of(address)
            return address
        if folder_of(str(given)) == self.folder:
            return beside(self.address)
        self._elsewhere = open_archive(given)
        return None

    def _deliver_leftovers(self) -> None:
        """Have delivered what sessions before this one left in the spool."""
        if has_forgotten(self._spool / RAW):
            self.raw_writer().begin()
        if self._elsewhere is None and has_forgotten(self._derived_spool / DERIVED):
            try:
                self.derived_writer().begin()
            except ArchiveError as error:
                logger.warning("runs kept in %s cannot be delivered: %s", self._derived_spool, error)

    def _writer(self, writer: RunWriter) -> RunWriter:
        self._writers = [*(known for known in self._writers if not known.closed), writer]
        return writer


def spools_of(dir_or_uri: str | Path) -> dict[str, Path]:
    """Return the folders where runs wait for an archive, by the catalog: `RAW`, `DERIVED`. Opens nothing.

    Parameters
    ----------
    dir_or_uri : as for `open_archive`.

    Raises
    ------
    ArchiveError : when it is no URI of a catalog.
    """
    place = str(dir_or_uri)
    spool = _spool_of(Address.of_uri(place)) if is_uri(place) else folder_of(place) / "spool"
    return {catalog: spool / catalog for catalog in (RAW, DERIVED)}


def _spool_of(address: Address) -> Path:
    """Folder where runs wait for a catalog elsewhere."""
    return user_folder("spool") / hashlib.sha256(address.uri.encode()).hexdigest()[:12]


def _use(folder: Path, readable: tuple[str, ...]) -> FileLock:
    """Begin to use a folder whose server reads these folders of detector files."""
    use = begin_use(folder)
    try:
        state = ensure_server(folder, readable)
        missing = [path for path in readable if path not in state.readable]
        if missing:
            raise ArchiveError(
                f"the server that runs on {folder} (process {state.pid}) does not read {', '.join(missing)}: "
                "close the sessions that use it, or give the first of them these folders as readable_storage"
            )
    except BaseException:
        end_use(folder, use)
        raise
    return use
