"""Bytes of a data file as text: compressed or not, in whatever encoding instruments write."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from charset_normalizer import from_bytes

from xas_live.sources.scan import UnreadableError

LARGEST = 40 * 2**20
"""Bytes that are read of a file at most: of a compressed one, of what it unpacks to."""

_JUDGED = 2**16  # bytes by which an encoding is told
_PACKED: dict[bytes, Callable[[IO[bytes]], IO[bytes] | io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Return the text of a file, its lines ended by a newline; gzip, bzip2 and xz are unpacked.

    UTF-8, UTF-16 and UTF-32 are told by their marks or their zeros, other encodings by charset-normalizer.

    Raises
    ------
    UnreadableError : when it is no file, empty, binary, damaged, or over 40 MB unpacked.
    """
    raw = _unpacked(path)
    if not raw.strip():
        raise UnreadableError("the file is empty")
    text = raw.decode(_encoding(raw), errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unpacked(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise UnreadableError("is no file but a pipe, a socket or a device")
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(0)
            opener = next((opener for mark, opener in _PACKED.items() if head.startswith(mark)), None)
            if opener is None:
                return _bounded(file)
            with opener(file) as packed:
                try:
                    return _bounded(packed)
                except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                    raise UnreadableError(f"the compressed file is damaged: {error}") from None
    except IsADirectoryError:
        raise UnreadableError("is a folder: give the files in it") from None
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror or error}") from None


def _bounded(file: IO[bytes] | io.BufferedIOBase) -> bytes:
    raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise UnreadableError(f"the file holds over {LARGEST // 2**20} MB of text: divide it")
    return raw


def _encoding(raw: bytes) -> str:
    """Return the name of the encoding; raise UnreadableError where the bytes are no text."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    head = raw[:_JUDGED]
    if b"\0" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        half = len(head) // 2
        if odd > 0.5 * half > 10 * even:  # Latin letters and digits: every second byte is zero
            return "utf-16-le"
        if even > 0.5 * half > 10 * odd:
            return "utf-16-be"
        raise UnreadableError("binary file: give XDI, an Athena project or columns of text")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        best = from_bytes(head).best()
        return "latin-1" if best is None else best.encoding
    return "utf-8"
