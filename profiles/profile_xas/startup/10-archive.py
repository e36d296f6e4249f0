"""Layer 1, the archive: where raw runs and predictions are kept.

A folder starts a Tiled server of its own in it, on this machine only. For the server of your facility give its
address instead: open_archive("https://tiled.example.org/api/v1/metadata/chx/raw"), with its key in TILED_API_KEY.
Predictions go beside it, to /chx/xas_live, or where derived="..." says.
"""

import os

from xas_live.archive import open_archive
from xas_live.host import user_folder

archive = open_archive(os.environ.get("XAS_LIVE_ARCHIVE") or user_folder("archive"))
catalog = archive.client  # catalog[-1] is the last run; archive.derived has the predictions
