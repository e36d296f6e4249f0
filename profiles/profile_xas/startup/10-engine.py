"""Layer 1, the RunEngine. Keep your own here: every later file only uses the name RE."""

import matplotlib.pyplot as plt

RE = beamline.make_engine()  # scan_id goes on where the last session ended

# Figures that grow while a plan runs. For windows of their own, start IPython with --matplotlib=qt.
plt.ion()
