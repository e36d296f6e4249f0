"""What a session, its delivery process and the embedded server tell each other."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

ROUTE = "xas_live/whole_run"
"""Of a catalog, under the API of the embedded server: it takes the lines of a run that has ended."""


@dataclass(frozen=True)
class Order:
    """What to deliver, and where to.

    Attributes
    ----------
    root, session : spool folder of the catalog, and the session's own folder in it.
    address : of the catalog, as `Address.to_json` gives it.
    access_tags : in Tiled, of runs that bring none; None for those that the server gives them.
    replace_shorter : a complete run in the archive with fewer events than its twin here is replaced.
    parent : process id of the session.
    """

    root: str
    session: str
    address: dict[str, str | None]
    access_tags: list[str] | None
    replace_shorter: bool
    parent: int


Kind = Literal["progress", "done", "failed", "aside", "remark", "offline", "online", "waiting", "died"]


@dataclass(frozen=True)
class Report:
    """What became of a run file.

    Attributes
    ----------
    kind : "progress" and "done" (delivered up to `offset`), "failed" (and tried again), "aside" (not taken,
        and set aside), "remark" (delivered, with something to be told), "offline" and "online" (the server),
        "waiting" (for other sessions that write), "died" (the delivery process).
    file : name of the run file; "" where the report is not about one.
    adopted : the file was left by another session.
    offset, documents : bytes and documents delivered so far.
    error : in words.
    """

    kind: Kind
    file: str = ""
    adopted: bool = False
    offset: int = 0
    documents: int = 0
    error: str = ""

    def send(self) -> None:
        """Tell the session; if it has gone, nobody listens."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(asdict(self)), flush=True)
