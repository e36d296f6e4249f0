"""What a session and its IOC tell each other: JSON, one line a message, over a Unix domain socket."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xas_live.errors import Refusal
from xas_live.host import user_folder

HEARTBEAT_S = 0.5
"""The session sends its newest snapshot at least this often (s), changed or not."""

LONGEST_LINE = 65_536
"""Bytes of a message."""

_LONGEST_PATH = 107  # bytes, of a Unix domain socket
_PREFIX = re.compile(r"[A-Za-z0-9_:\-+\[\]<>;{}]{1,40}")


class Hello(BaseModel):
    """The session's first line.

    Attributes
    ----------
    protocol : version of these messages.
    session : who it is, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1] = 1
    session: str = Field(max_length=200)


class Answer(BaseModel):
    """The IOC's answer to the first line, and its last word on a message that it cannot read.

    Attributes
    ----------
    refused : why the session is not taken, in words; "" where it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    refused: str = ""


def line_of(message: BaseModel) -> bytes:
    """Return a message as its line."""
    return message.model_dump_json().encode() + b"\n"


def checked_prefix(prefix: str) -> str:
    """Return the prefix, if PVs may begin with it.

    Raises
    ------
    Refusal : with what is allowed.
    """
    if not _PREFIX.fullmatch(prefix):
        raise Refusal(
            f"prefix {prefix!r}: give 1 to 40 letters, digits and any of _ : - + [ ] < > ; {{ }}, as 'XAS:'"
        )
    return prefix


def socket_path(prefix: str) -> Path:
    """Return where the IOC of a prefix listens, in a folder that only its user may open.

    The name holds the host's too: home folders are shared between hosts, and sockets are not.

    Raises
    ------
    Refusal : when the prefix cannot be used, or the path is longer than a socket's may be.
    OSError : when the folder cannot be made.
    """
    of_host = hashlib.sha256(f"{socket.gethostname()} {checked_prefix(prefix)}".encode()).hexdigest()[:8]
    folder = user_folder("ioc")
    folder.chmod(0o700)
    path = folder / f"{re.sub(r'[^A-Za-z0-9]', '_', prefix)}{of_host}"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise Refusal(
            f"{path} is longer than the {_LONGEST_PATH} bytes that a socket's path may have: set "
            "XAS_LIVE_HOME to a folder with a shorter path, for the session and the IOC"
        )
    return path
