"""Layer 0, the environment: beamline.toml is read, and what EPICS needs is set before pyepics is loaded.

What cannot be had in this or a later layer is said in one line and listed in beamline.missing; the session starts.
"""

from xas_live.beamline import load_beamline

beamline = load_beamline()  # beamline.toml beside startup/, or the file that XAS_LIVE_BEAMLINE names
