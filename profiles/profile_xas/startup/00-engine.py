"""Layer 0, the RunEngine. Keep your own here: every later file only uses the name RE."""

import matplotlib.pyplot as plt
from bluesky import RunEngine

from xas_live.host import PersistentMetadata, user_folder

# RE.md is kept in a file, so that scan_id goes on where the last session ended.
RE = RunEngine(PersistentMetadata(user_folder("metadata") / "RE.md.json"))

# What every run shall say of itself, beside what each plan adds:
RE.md["beamline"] = "simulated"

# Figures that grow while a plan runs. For windows of their own, start IPython with --matplotlib=qt.
plt.ion()
