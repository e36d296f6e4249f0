"""IPython's settings of this profile. IPython leaves out all startup files after one that raises: those run here."""

c = get_config()  # noqa: F821 IPython gives it
c.InteractiveShellApp.exec_lines = ["import xas_live.beamline.startup as _s; _s.finish(get_ipython()); del _s"]
c.InteractiveShell.banner2 = ""
