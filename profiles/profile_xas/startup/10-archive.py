"""Layer 1, the archive: where raw runs and predictions are kept.

A folder starts a Tiled server of its own in it, on this machine only. For the server of your facility give its
address instead: open_archive("https://tiled.example.org/api/v1/my_catalog"), with its key in TILED_API_KEY.
"""

import os

from xas_live.archive import open_archive
from xas_live.host import user_folder

archive = open_archive(os.environ.get("XAS_LIVE_ARCHIVE") or user_folder("archive"))
catalog = archive.client  # catalog[-1] is the last run
