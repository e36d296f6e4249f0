"""Layer 2, devices. These are a simulated beamline's: put your own in their place.

xas_live finds the energy and the detectors by their names, units and hints, and says what it found. Where it
guesses wrong, name the fields in 30-analysis.py.

    from ophyd import EpicsMotor, EpicsSignalRO
    energy = EpicsMotor("XF:00-MONO{Energy}", name="energy")
    i0 = EpicsSignalRO("XF:00-IC{0}Current", name="i0")
"""

from xas_live.simulator import SimulatedBeamline, growing_particles, growth, simulated_scan, xanes_grid

beamline = SimulatedBeamline("pt_l3", dwell=0.01)
energy, ion_chambers = beamline.energy, beamline.ion_chambers
