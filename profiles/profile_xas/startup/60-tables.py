"""Layer 6, what is printed while plans run: a table of the readings. Figures are xas's."""

import warnings

from bluesky.callbacks.best_effort import BestEffortCallback

warnings.filterwarnings("ignore", "The key .* will be skipped because LiveTable")  # arrays of fly scans

readings = BestEffortCallback()
readings.disable_plots()
RE.subscribe(readings)
