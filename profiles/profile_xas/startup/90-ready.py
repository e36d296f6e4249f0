"""Last layer: the verbs, and a line that says how the session has started."""

from xas_live.beamline.magics import load_magics

load_magics()
xas_profile_ready = True
print(beamline.ready())
