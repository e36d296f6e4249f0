"""A beamline session made from beamline.toml: environment, engine, archive, devices, analysis, daily verbs.

Nothing here raises in a startup file: what cannot be had is said in one line, and the session starts.
"""

from xas_live.beamline.session import BeamlineSession, load_beamline
from xas_live.beamline.settings import BeamlineSettings, SettingsFileError, read_settings

__all__ = ["BeamlineSession", "BeamlineSettings", "SettingsFileError", "load_beamline", "read_settings"]
