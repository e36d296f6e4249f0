"""xas_live in a facility's profile: put this and xas_live.toml into startup/, after the file that makes RE.

There something like `nslsii.configure_base(get_ipython().user_ns, ...)` or an instrument package makes RE, the catalog
and the devices. They stay as they are: only `beamline`, `xas` and %xas are added.
"""

from pathlib import Path

from xas_live.beamline import load_beamline
from xas_live.beamline.magics import load_magics

beamline = load_beamline(Path(__file__).with_name("xas_live.toml"))
xas = beamline.attach(RE, beamline.open_archive(), beamline.make_actuators(globals()))
load_magics()
