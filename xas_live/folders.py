"""Where xas_live keeps what must outlive a session: anchors, archives, spools."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder(name: str) -> Path:
    """A folder of the user's, made if missing: `$XAS_LIVE_HOME/NAME`, else `~/.local/share/xas_live/NAME`."""
    home = os.environ.get("XAS_LIVE_HOME")
    root = Path(home).expanduser() if home else Path.home() / ".local" / "share" / "xas_live"
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
