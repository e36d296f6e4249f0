"""IPython profiles for a beamline session (installed as xas_live.profiles)."""

if __name__ == "profiles":
    raise ImportError("import xas_live.profiles, not profiles: a second copy of it would be loaded")
