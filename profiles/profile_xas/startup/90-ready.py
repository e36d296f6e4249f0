"""Last layer: a line that says the profile is complete. If you do not see it, a file before this one failed."""

xas_profile_ready = True

print("xas_live is watching RE. Try: RE(simulated_scan(beamline, growth(12)[3])), then xas")
