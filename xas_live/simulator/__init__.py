"""A simulated absorption beamline: ophyd devices and samples that change."""
