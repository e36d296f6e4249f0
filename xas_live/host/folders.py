"""Where xas_live keeps what must outlive a session: anchors, archives, spools."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder(name: str, *, make: bool = True) -> Path:
    """A folder of the user's: `$XAS_LIVE_HOME/NAME`, else `~/.local/share/xas_live/NAME`.

    Parameters
    ----------
    make : whether to make it if it is missing.

    Raises
    ------
    OSError : when it is missing and cannot be made.
    """
    home = os.environ.get("XAS_LIVE_HOME")
    root = Path(home).expanduser() if home else Path.home() / ".local" / "share" / "xas_live"
    folder = root / name
    if make:
        folder.mkdir(parents=True, exist_ok=True)
    return folder
