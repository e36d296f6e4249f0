"""Layer 3, devices, by [devices] of beamline.toml; each is here under its name. Add devices of your own below.

    from ophyd import EpicsMotor
    table = EpicsMotor("XF:00-TABLE{X}", name="table")
"""

devices = beamline.make_devices()
globals().update(devices)
